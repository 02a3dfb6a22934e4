"""The stored text features: round trips, corrections by hand, mistakes."""

from dataclasses import replace

import numpy as np
import pytest

from datasets.domains import (
    load_domains,
    open_domains,
    prob_of,
    read_labels,
    save_domains,
    stand_in_domains,
    stand_in_text,
)
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
