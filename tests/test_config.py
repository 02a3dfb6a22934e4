"""Settings: what is read, and how mistakes are named before any work is begun."""

import re
from pathlib import Path

import pytest

import train
from tests.battery import refused
from utils.config import from_plain, load_config
from utils.settings import Config, differences, fields, marked, to_plain

ROOT = Path(__file__).parent.parent
RANGES = {key: metadata["range"] for key, _, metadata in fields(Config()) if "range" in metadata}


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("path", sorted((ROOT / "configs").rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_config_is_valid(path):
    assert load_config(path).run


def test_a_file_holds_what_differs_and_overrides_come_last(tmp_path):
    write(tmp_path / "base.yaml", "train: {lr: 1e-3, batch: 4}\nseed: 5")
    config = load_config(write(tmp_path / "mine.yaml", "base: base.yaml\ntrain: {batch: 6}"), ["train.crop=64"])
    assert (config.train.lr, config.train.batch, config.train.crop, config.seed) == (1e-3, 6, 64, 5)
    assert config.run == "mine"


@pytest.mark.parametrize("text", ["", "\ufeff# nothing\n"])
def test_an_empty_file_means_the_defaults(tmp_path, text):
    assert load_config(write(tmp_path / "a.yaml", text)) == Config(run="a")


def test_an_override_reaches_one_of_two_sections_that_share_an_anchor(tmp_path):
    path = write(tmp_path / "a.yaml", "train: &t {batch: 2}\ntest: *t\n")
    config = load_config(path, ["test.batch=5", "data.root=~/set"])
    assert (config.train.batch, config.test.batch, config.data.root) == (2, 5, str(Path.home() / "set"))


def test_settings_of_older_checkpoints_that_are_gone_are_left_out():
    values = to_plain(Config())
    values["train"]["compile"] = values["test"]["graphs"] = True
    assert from_plain({**values, "test": {**values["test"], "engine": "own"}}) == Config()


def test_marks_of_a_section_hold_for_its_settings_and_differences_are_named():
    assert {"device", "data.workers", "test.domain"} <= marked("resume")
    assert not {"train.lr", "data.train", "text.labels"} & marked("resume")
    assert differences(Config(seed=2), Config()) == {"seed": (2, 1)}


FILES = {
    "a tab": ("train:\n\tsteps: 3", "line 2 is not valid YAML"),
    "a list": ("- 1\n- 2", "holds a list, not settings"),
    "a key that is a list": ("? [a, b]\n: 3", "is not valid YAML"),
    "an object": ("seed: !!python/object/apply:os.system ['touch fired']", "is not valid YAML"),
    "not text": (b"\xff\xfe\x00\x01\x80", "is not valid YAML"),
    "base is missing": ("base: none.yaml", "none.yaml does not exist"),
    "null for a section": ("train: null", "train is a section of settings, got None"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_settings_file_with_a_fault_is_named(tmp_path, name):
    text, message = FILES[name]
    with pytest.raises(ValueError, match=message) as error:
        load_config(write(tmp_path / "a.yaml", text))
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


OVERRIDES = {
    "train.stps=3": "unknown setting train.stps: did you mean train.steps",
    "lr=3": "did you mean train.lr",
    "trian.steps=3": r"unknown setting trian: did you mean train\?",
    "train.steps": "is not key=value",
    "train.steps=": "train.steps must be int, got None",
    "train.steps=many": "train.steps must be int, got 'many'",
    "train.steps=1.5": "train.steps must be int",
    "model.size=huge": "model.size must be one of n, t, s, b, l, got 'huge'",
    "train=3": "train is a section",
    "run='a": "the value cannot be read",
    "train.lr=.nan": "train.lr must be",
    "data.flip=1": "data.flip must be bool",
    "run=../mine": "run names a folder",
    "run=" + "a" * 300: "run names a folder",
    "data.val=../data/train": "data.val names a folder",
    "data.val=1.0": "data.val must be a share",
    "text.classes=[a, a]": "at least two different names",
    "text.prompt=a photo": "must hold {class}",
    "data.haze_strength=[0.5, 1.5]": r"data.haze_strength must be \[low, high\] within 0 and 1, got 0.5 and 1.5",
    "data.haze_strength=[0.5]": "data.haze_strength must be a list of two floats or null",
    "model.window=whole": "model.window must be int or one of crop, frame",
}


@pytest.mark.parametrize("override", OVERRIDES)
def test_an_override_with_a_fault_is_named(tmp_path, override):
    with pytest.raises(ValueError, match=OVERRIDES[override]):
        load_config(write(tmp_path / "a.yaml", ""), [override])


def test_every_range_is_kept(tmp_path):
    path = write(tmp_path / "a.yaml", "")
    for key, (low, high) in RANGES.items():
        for value in (low * 2 - high - 1, high * 2 + 1):
            with pytest.raises(ValueError, match=f"{key} must be from {low} to {high}"):
                load_config(path, [f"{key}={value}"])


@pytest.mark.parametrize("path", ["configs/dmo.yaml", "none/small.yaml"])
def test_a_settings_file_that_is_missing_is_named(path):
    message = "did you mean .*demo.yaml" if "dmo" in path else "does not exist: give a YAML file"
    with pytest.raises(ValueError, match=message):
        load_config(ROOT / path)


SCRIPTS = {
    "an unknown option": (["--dry_run"], "--help"),
    "an unknown fusion": (["model.fusion=magic", "run=new"], "fusion must be one of none, calip, parametric"),
    "an unknown ResNet": (["loss.contrastive=0.1", "loss.backbone=r", "run=new"], "loss.backbone=r is not a ResNet"),
    "weights that are no weights": (["loss.contrastive=0.1", "loss.weights=small.yaml", "run=new"], "small.yaml"),
    "a start that is missing": (["model.init=none.pt", "run=new"], "none.pt does not exist"),
    "a batch that cannot be shared": (["train.accumulate=3"], "cannot be shared equally by 1 process(es) in 3 part(s)"),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_training_names_a_setting_that_it_cannot_use(scripts, work, name):
    overrides, message = SCRIPTS[name]
    new = "run=new" in overrides  # a run folder is opened before weights are looked for
    refused(scripts, work, "train.py", "small.yaml", *overrides, says=message, untouched=not new)


def test_the_cost_is_told_before_the_data_are_there(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text("data: {root: data/Haze4K, val: 0.1}\nmodel: {size: n}\ntrain: {crop: 64}\n")
    train.main(["a.yaml", "--dry-run"])
    assert re.search("multiply-adds .*crop 64, forward\nsteps .*of batch 16\n", capsys.readouterr().out)
