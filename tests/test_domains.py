"""The stored text features and the table of labels: round trips, corrections by hand, mistakes."""

import unicodedata
from dataclasses import replace

import numpy as np
import pytest

from datasets.domains import load_domains, open_domains, prob_of, read_labels, save_domains, stand_in
from tests.made import TEXT_FACTS
from tests.test_battery_checkpoints import Fire
from utils.settings import Text

TEXT = Text(encoder="stand-in")
NAMES = ("a.png", "b, c.png", "ä.png")
SOFT = np.array([[0.6, 0.4], [0.1, 0.9], [0.3, 0.7]], np.float32)


@pytest.fixture
def folder(tmp_path):
    """A split of three images with known labels."""
    (tmp_path / "hazy").mkdir()
    for name in NAMES:
        (tmp_path / "hazy" / name).touch()
    (tmp_path / "domains.csv").write_text('name,domain\na.png,indoor\n"b, c.png",outdoor\nä.png,outdoor\n')
    return tmp_path


@pytest.fixture
def domains(folder):
    return stand_in(folder, TEXT.classes, TEXT.prompts)


def labels(folder, table, by_hand=False, classes=TEXT.classes):
    (folder / "domains.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    return read_labels(folder, classes, by_hand)


def test_known_labels_become_one_hot_and_survive_the_file(folder, domains):
    save_domains(folder, domains)
    loaded = load_domains(folder)
    assert loaded.names == NAMES and loaded.prob.tolist() == [[1, 0], [0, 1], [0, 1]]
    assert np.array_equal(loaded.text, domains.text) and np.allclose(loaded.text @ loaded.text.T, np.eye(2), atol=1e-6)
    assert np.load(folder / "domains.npz", allow_pickle=False)["classes"].tolist() == ["indoor", "outdoor"]
    assert loaded.text_facts("soft").keys() == TEXT_FACTS.keys()


def test_a_correction_by_hand_wins(folder, domains):
    save_domains(folder, replace(domains, prob=SOFT, given=np.zeros(3, bool)))
    text = (folder / "domains.csv").read_text()
    assert text.splitlines()[1] == "a.png,indoor,0.6000,0.4000"
    (folder / "domains.csv").write_text(text.replace("a.png,indoor", "a.png,outdoor"))
    loaded = load_domains(folder)
    assert loaded.prob[0].tolist() == [0, 1] and loaded.given.tolist() == [True, False, False]
    assert np.array_equal(loaded.prob[1:], SOFT[1:])


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("a.png,indoor,1.0000,0.0000", {}),
        ("a.png,outdoor,0.5000,0.5000", {}),
        ("a.png,indoor,0.1000,0.9000", {"a.png": "indoor"}),
        ("a.png,indoor,0,1", {"a.png": "indoor"}),
        ("a.png,indoor", {"a.png": "indoor"}),
    ],
)
def test_lines_by_hand_are_told_from_written_ones(folder, line, found):
    assert labels(folder, f"name,domain,indoor,outdoor\n{line}\n", by_hand=True) == found


def test_other_classes_than_before_are_no_corrections(folder):
    table = "name,domain,indoor,outdoor\na.png,indoor,0.9000,0.1000\n"
    assert labels(folder, table, by_hand=True, classes=("street", "room")) == {}


@pytest.mark.parametrize(
    "table",
    [
        "name,domain\r\na.png,indoor\r\n",
        "\ufeffname;domain\r\na.png;indoor\r\n",  # Excel's
        "name;domain;indoor;outdoor\na.png;indoor;1;0\nä.png;outdoor;0,1;0,9\n",
        'remark,"domain","name"\n"x,y",indoor,a.png\n',
        "name,domain\n\n a.png , indoor \n\n",
    ],
)
def test_a_table_may_come_in_any_dress(folder, table):
    assert labels(folder, table, by_hand=True) == {"a.png": "indoor"}


def test_blanks_and_the_composition_of_accents_do_not_matter(folder, domains):
    other = unicodedata.normalize("NFD", "ä.png")
    assert other != "ä.png" and labels(folder, f"name,domain\n{other} ,indoor\n") == {"ä.png": "indoor"}
    assert prob_of(domains, [other]).tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("name,domain\na.png,in door\n", "line 2: 'in door' is not in text.classes"),
        ("", "must begin with the line name,domain"),
        ("name,domain\nü.png,indoor\n".encode("latin1"), "write it as CSV in UTF-8"),
        ("name,domain\na,indoor\nb,outdoor\n", r"'a' is not an image of .*hazy \(2 in all\).* such as 'a.png'"),
        ("name,domain\na.png,indoor\nhazy/ä.png,outdoor\n", "line 3: 'hazy/ä.png' is not an image"),
    ],
)
def test_mistakes_in_the_table_are_named(folder, table, message):
    with pytest.raises(ValueError, match=message):
        labels(folder, table)


def test_lines_of_other_images_are_allowed_where_every_image_has_its_own(folder):
    table = (folder / "domains.csv").read_text() + "d.png,indoor\n"
    assert set(labels(folder, table)) == set(NAMES)


def test_probabilities_by_name_hard_and_shuffled(domains):
    domains = replace(domains, prob=SOFT)
    assert prob_of(domains, NAMES[::-1])[0].tolist() == pytest.approx([0.3, 0.7])
    assert prob_of(domains, NAMES, "hard").tolist() == [[1, 0], [0, 1], [0, 1]]
    assert sorted(prob_of(domains, NAMES, shuffle_seed=1)[:, 0]) == sorted(SOFT[:, 0])
    with pytest.raises(ValueError, match="1 images have no domain label, first new.png"):
        prob_of(domains, [*NAMES, "new.png"])


@pytest.mark.parametrize(
    ("asked", "weights", "named"),
    [
        ({}, "sha256:12", None),
        ({}, "clip.pt", None),  # the file itself is not here
        ({}, "sha256:34", "weights sha256:12, the settings ask for sha256:34"),
        ({"beta3": 0.1}, "sha256:12", "beta3 0.05, the settings ask for 0.1"),
        ({"prompt": "{class}"}, "sha256:12", "prompts"),
        ({"encoder": "RN50", "accept": True}, "sha256:12", None),
    ],
)
def test_features_made_with_other_settings_are_refused_unless_accepted(folder, domains, asked, weights, named):
    made = {"encoder": "ViT-B-32", "weights": "sha256:12", "source": "clip.pt", "zero_shot": "calip"}
    save_domains(folder, replace(domains, **made, beta2=0.5, beta3=0.05))
    text = Text(**{"encoder": "ViT-B-32", "weights": "clip.pt", "zero_shot": "calip", **asked})
    if named:
        with pytest.raises(ValueError, match=named):
            open_domains(folder, text, weights)
    else:
        assert open_domains(folder, text, weights).source == "clip.pt"


def test_a_file_of_the_contracts_fields_alone_is_enough(folder, domains):
    fields = ("classes", "prompts", "text", "names", "prob", "encoder", "weights", "zero_shot")
    np.savez(folder / "domains.npz", **{name: np.array(getattr(domains, name)) for name in fields})
    assert np.array_equal(load_domains(folder).prob, domains.prob)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": np.array("none")}, "do not fit together"),
        ({"names": np.array([Fire()], dtype=object)}, "domains.npz cannot be read"),
        ({"text": np.ones((3, 512), np.float32)}, "do not fit together"),
        ({"prob": np.zeros((3, 2), np.float32)}, "not of sum 1"),
    ],
)
def test_a_broken_file_is_named_and_runs_no_code(folder, domains, monkeypatch, change, message):
    monkeypatch.chdir(folder)
    save_domains(folder, domains)
    np.savez(folder / "domains.npz", **{**np.load(folder / "domains.npz"), **change})
    with pytest.raises(ValueError, match=message):
        load_domains(folder)
    assert not (folder / "fired").exists()


def test_what_is_missing_is_asked_for(tmp_path):
    with pytest.raises(ValueError, match="needs known labels: write .*domains.csv"):
        open_domains(tmp_path, TEXT)
    with pytest.raises(ValueError, match="run clip_text.py"):
        open_domains(tmp_path, Text())
