"""Settings: what is read, and how mistakes are named."""

from pathlib import Path

import pytest

from utils.config import from_plain, load_config, to_yaml
from utils.settings import differences, to_plain

ROOT = Path(__file__).parent.parent


def write(path, text):
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", sorted((ROOT / "configs").rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_config_is_valid(path):
    assert load_config(path).run


def test_a_file_holds_what_differs_and_overrides_come_last(tmp_path):
    write(tmp_path / "base.yaml", "train: {lr: 1e-3, batch: 4}\nseed: 5")
    config = load_config(write(tmp_path / "mine.yaml", "base: base.yaml\ntrain: {batch: 6}"), ["train.crop=64"])
    assert (config.train.lr, config.train.batch, config.train.crop, config.seed) == (1e-3, 6, 64, 5)
    assert config.run == "mine"


def test_settings_survive_yaml(tmp_path):
    config = load_config(write(tmp_path / "a.yaml", ""), ["data.val=0.2", "text.prompt=['a {class}', 'the {class}']"])
    again = load_config(write(tmp_path / "b.yaml", to_yaml(config)))
    assert again == config == from_plain(to_plain(config))
    assert differences(config, load_config(tmp_path / "a.yaml"))["data.val"] == (0.2, 0.05)


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ("", ["train.stps=3"], "unknown setting train.stps: did you mean train.steps"),
        ("", ["lr=3"], "did you mean train.lr"),
        ("", ["trian.steps=3"], r"unknown setting trian: did you mean train\?"),
        ("", ["train.steps=many"], "train.steps must be a whole number, got 'many'"),
        ("", ["train.steps=1.5"], "train.steps must be a whole number"),
        ("", ["train.steps=true"], "train.steps must be a whole number"),
        ("", ["data.flip=1"], "data.flip must be true or false"),
        ("", ["train.lr=-1"], "train.lr must be from"),
        ("", ["train.lr=nan"], "train.lr must be"),
        ("", ["train"], "is not key=value"),
        ("", ["train=3"], "train is a section"),
        ("", ["seed.x=3"], "unknown setting|seed must be"),
        ("", ["model.size=xl"], "model.size must be one of n, t, s, b, l"),
        ("", ["data.val=1.5"], "data.val must be a share"),
        ("", ["train.batch=5", "train.accumulate=2"], "cannot be cut"),
        ("", ["text.classes=[a, a]"], "at least two different names"),
        ("", ["text.prompt=a photo"], "must hold {class}"),
        ("", ["run=a/b"], "run names a folder"),
        ("train:\n\tsteps: 3", [], "line 2 is not valid YAML"),
        ("seed: 1\nseed: 2", [], "'seed' is given twice"),
        ("[1, 2]", [], "holds a list, not settings"),
        ("base: a.yaml", [], "base leads back to itself"),
        ("base: none.yaml", [], "none.yaml does not exist"),
    ],
)
def test_a_mistake_is_named(tmp_path, text, overrides, message):
    with pytest.raises(ValueError, match=message):
        load_config(write(tmp_path / "a.yaml", text), overrides)


def test_a_misspelt_file_name_gets_a_suggestion():
    with pytest.raises(ValueError, match="did you mean .*demo.yaml"):
        load_config(ROOT / "configs" / "dmo.yaml")
