"""The stored text features: round trips, corrections by hand, mistakes."""

from dataclasses import replace

import numpy as np
import pytest

from datasets.domains import (
    load_domains,
    open_domains,
    prob_of,
    save_domains,
    stand_in_domains,
    stand_in_text,
)
from datasets.labels import read_labels, readable
from utils.checkpoint import TEXT_PARTS
from utils.settings import Text

TEXT = Text(encoder="stand-in")
NAMES = ("a.png", "b, c.png", "ä.png")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "domains.csv").write_text('name,domain\na.png,indoor\n"b, c.png",outdoor\nä.png,outdoor\n')
    return tmp_path


def test_known_labels_become_one_hot_and_survive_the_file(folder):
    domains = stand_in_domains(folder, TEXT.classes, TEXT.prompts)
    save_domains(folder, domains)
    loaded = load_domains(folder)
    assert loaded.names == NAMES
    assert loaded.prob.tolist() == [[1, 0], [0, 1], [0, 1]]
    assert np.array_equal(loaded.text, domains.text)
    assert np.load(folder / "domains.npz", allow_pickle=False)["classes"].tolist() == ["indoor", "outdoor"]


def test_a_checkpoint_keeps_every_fact_of_the_text(folder):
    facts = stand_in_domains(folder, TEXT.classes, TEXT.prompts).text_facts("soft")
    assert {name: type(value) for name, value in facts.items()} == TEXT_PARTS


def test_stand_in_vectors_are_orthonormal_and_fixed():
    text = stand_in_text(5)
    assert np.allclose(text @ text.T, np.eye(5), atol=1e-6)
    assert np.array_equal(text, stand_in_text(5))


def test_a_correction_by_hand_wins(folder):
    soft = np.array([[0.6, 0.4], [0.1, 0.9], [0.3, 0.7]], np.float32)
    save_domains(folder, replace(stand_in_domains(folder, TEXT.classes, TEXT.prompts), prob=soft))
    text = (folder / "domains.csv").read_text()
    assert text.splitlines()[1] == "a.png,indoor,0.6000,0.4000"
    (folder / "domains.csv").write_text(text.replace("a.png,indoor", "a.png,outdoor"))
    loaded = load_domains(folder)
    assert loaded.prob[0].tolist() == [0, 1] and loaded.given[0]
    assert np.array_equal(loaded.prob[1:], soft[1:])


def test_lines_by_hand_are_told_from_written_ones(tmp_path):
    lines = [
        "name,domain,indoor,outdoor",
        "sure.png,indoor,1.0000,0.0000",
        "unsure.png,outdoor,0.4999,0.5001",
        "turned.png,indoor,0.1000,0.9000",
        "given.png,outdoor,0,1",
        "added.png,indoor",
    ]
    (tmp_path / "domains.csv").write_text("\n".join(lines))
    assert read_labels(tmp_path, TEXT.classes, by_hand=True) == {
        "turned.png": "indoor", "given.png": "outdoor", "added.png": "indoor"
    }
    (tmp_path / "domains.csv").write_text("name,domain,remark\na.png,indoor,dark\n")
    assert read_labels(tmp_path, TEXT.classes, by_hand=True) == {"a.png": "indoor"}
    (tmp_path / "domains.csv").write_text("\n".join([*lines[:2], "a.png,indoor,0.5,x"]))
    with pytest.raises(ValueError, match="line 3: 0.5, x are not all probabilities"):
        read_labels(tmp_path, TEXT.classes, by_hand=True)


def test_other_classes_than_before_are_no_corrections(tmp_path):
    (tmp_path / "domains.csv").write_text("name,domain,indoor,outdoor\na.png,indoor,0.9000,0.1000\n")
    assert read_labels(tmp_path, ("street", "room"), by_hand=True) == {}
    (tmp_path / "domains.csv").write_text("name,domain,indoor,outdoor\na.png,indoor,1,0\n")
    with pytest.raises(ValueError, match="line 2: 'indoor' is none of text.classes .*move the file away"):
        read_labels(tmp_path, ("street", "room"), by_hand=True)


def test_written_probabilities_keep_the_most_likely_class():
    assert readable(np.float32([0.25, 0.75])) == ["0.2500", "0.7500"]
    texts = readable(np.float32([0.49999, 0.50001]))
    assert [float(text) for text in texts] == pytest.approx([0.49999, 0.50001])


def test_probabilities_by_name_hard_and_shuffled(folder):
    domains = replace(
        stand_in_domains(folder, TEXT.classes, TEXT.prompts),
        prob=np.array([[0.6, 0.4], [0.1, 0.9], [0.3, 0.7]], np.float32),
    )
    assert prob_of(domains, NAMES[::-1])[0].tolist() == pytest.approx([0.3, 0.7])
    assert prob_of(domains, NAMES, "hard").tolist() == [[1, 0], [0, 1], [0, 1]]
    shuffled = prob_of(domains, NAMES, shuffle_seed=1)
    assert sorted(shuffled[:, 0]) == sorted(domains.prob[:, 0])
    with pytest.raises(ValueError, match="1 images have no domain label, first new.png"):
        prob_of(domains, [*NAMES, "new.png"])


@pytest.mark.parametrize(
    ("csv", "message"),
    [
        ("name,domain\na.png,in door\n", "line 2: 'in door' is none of text.classes"),
        ("name,domain\na.png,indoor\na.png,outdoor\n", "line 3: a.png is labelled twice"),
        ("file,label\na.png,indoor\n", "must begin with the line name,domain"),
        ("", "must begin with the line name,domain"),
        ("name,domain\na.png\n", "line 2: '' is none of text.classes"),
    ],
)
def test_mistakes_in_the_table_are_named(tmp_path, csv, message):
    (tmp_path / "domains.csv").write_text(csv)
    with pytest.raises(ValueError, match=message):
        read_labels(tmp_path, TEXT.classes)


def test_features_made_with_other_settings_are_refused_unless_accepted(folder):
    save_domains(folder, stand_in_domains(folder, TEXT.classes, TEXT.prompts))
    with pytest.raises(ValueError, match="made with encoder stand-in, the settings ask for ViT"):
        open_domains(folder, Text())
    assert open_domains(folder, Text(accept=True)).encoder == "stand-in"


@pytest.mark.parametrize(
    ("asked", "weights", "named"),
    [
        ({}, "sha256:12", None),
        ({}, "clip.pt", None),  # the file itself is not here
        ({}, "sha256:34", "weights sha256:12, the settings ask for sha256:34"),
        ({"beta3": 0.1}, "sha256:12", "beta3 0.05, the settings ask for 0.1"),
        ({"zero_shot": "clip"}, "sha256:12", "zero_shot calip"),
        ({"prompt": "{class}"}, "sha256:12", "prompts"),
    ],
)
def test_every_setting_that_makes_features_is_compared(folder, asked, weights, named):
    made = {"encoder": "ViT-B-32", "weights": "sha256:12", "source": "clip.pt", "zero_shot": "calip"}
    known = stand_in_domains(folder, TEXT.classes, TEXT.prompts)
    save_domains(folder, replace(known, **made, beta2=0.5, beta3=0.05))
    text = Text(**{"encoder": "ViT-B-32", "weights": "clip.pt", "zero_shot": "calip", **asked})
    if named:
        with pytest.raises(ValueError, match=named):
            open_domains(folder, text, weights)
    else:
        assert open_domains(folder, text, weights).source == "clip.pt"


def test_a_file_of_the_contracts_fields_alone_is_enough(folder):
    domains = stand_in_domains(folder, TEXT.classes, TEXT.prompts)
    fields = ("classes", "prompts", "text", "names", "prob", "encoder", "weights", "zero_shot")
    np.savez(folder / "domains.npz", **{name: np.array(getattr(domains, name)) for name in fields})
    assert np.array_equal(load_domains(folder).prob, domains.prob)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04" + bytes(100)])
def test_a_broken_file_is_named(folder, content):
    (folder / "domains.npz").write_bytes(content)
    with pytest.raises(ValueError, match="domains.npz cannot be read"):
        load_domains(folder)


def test_an_archive_with_objects_is_refused(folder):
    np.savez(folder / "domains.npz", classes=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match="domains.npz cannot be read"):
        load_domains(folder)


def test_what_is_missing_is_asked_for(tmp_path):
    with pytest.raises(ValueError, match="needs known labels: write .*domains.csv"):
        open_domains(tmp_path, TEXT)
    with pytest.raises(ValueError, match="run clip_text.py"):
        open_domains(tmp_path, Text())
