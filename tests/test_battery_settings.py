"""The battery, settings: whatever is wrong with them is named before any work is begun."""

from pathlib import Path

import pytest

from tests.battery import CHOICES, accepted, refused
from utils.settings import RANGES, Config, flatten, to_plain

KEYS = [key for key, _ in flatten(to_plain(Config()))]


@pytest.mark.parametrize("key", KEYS)
def test_a_value_of_the_wrong_type_is_refused_by_name(scripts, finished, key):
    refused(scripts, finished, "train.py", "small.yaml", f"{key}={{a: [1, 2]}}", says=[key, "must be"])


@pytest.mark.parametrize("key", KEYS)
def test_a_misspelt_key_gets_the_right_one(scripts, finished, key):
    misspelt = key[:-2] + key[-1]
    refused(scripts, finished, "train.py", "small.yaml", f"{misspelt}=1", says=["unknown setting", key])


@pytest.mark.parametrize(
    ("key", "value"), [(key, end) for key, (low, high) in RANGES.items() for end in (low * 2 - high - 1, high * 2 + 1)]
)
def test_a_number_out_of_range_is_refused_with_the_range(scripts, finished, key, value):
    refused(scripts, finished, "train.py", "small.yaml", f"{key}={value}", says=[f"{key} must be from"])


@pytest.mark.parametrize("key", CHOICES)
def test_a_choice_there_is_not_is_refused_with_those_there_are(scripts, finished, key):
    says = [f"{key} must be one of", *CHOICES[key]]
    refused(scripts, finished, "train.py", "small.yaml", f"{key}=nonsense", says=says)


PAIRS = list(zip("abcdefgh", "bcdefghi", strict=True))
LAUGHS = "&a [x, x, x, x, x, x, x, x, x], " + ", ".join(f"&{new} [{', '.join([f'*{old}'] * 9)}]" for old, new in PAIRS)
MERGES = "&a {x: 1}, " + ", ".join(f"&{new} {{<<: [{', '.join([f'*{old}'] * 9)}]}}" for old, new in PAIRS)

FILES = {
    "a tab": ("train:\n\tsteps: 3", "line 2 is not valid YAML"),
    "a duplicated key": ("train: {steps: 3, steps: 4}", "'steps' is given twice"),
    "a duplicated section": ("train: {steps: 3}\ntrain: {batch: 4}", "'train' is given twice"),
    "a list": ("- 1\n- 2", "holds a list, not settings"),
    "a word": ("settings", "holds a str, not settings"),
    "a key that is a list": ("? [a, b]\n: 3", "is not valid YAML"),
    "a key that is a section": ("? {a: b}\n: 3", "is not valid YAML"),
    "a key that is a number": ("3: 4", "unknown setting 3"),
    "a key that is nothing": ("? \n: 4", "unknown setting"),
    "an open bracket": ("train: {steps: 3", "is not valid YAML"),
    "an unknown anchor": ("train: *other", "is not valid YAML"),
    "an anchor within itself": ("train: &a {steps: *a}", "train.steps must be a whole number"),
    "a billion laughs": (f"seed: [{LAUGHS}]", "seed must be a whole number, got a list"),
    "a billion laughs as texts": (f"text: {{classes: [{LAUGHS}]}}", "text.classes must be a list of texts"),
    "a billion merges": (f"seed: [{MERGES}]", "seed must be a whole number, got a list"),
    "a merge with itself": ("train: &a {<<: *a, steps: x}", "train.steps must be a whole number"),
    "5000 brackets": ("seed: " + "[" * 5000, "is not valid YAML"),
    "a key of 40,000 letters": ("? " + "a" * 40_000 + "\n: 1", "unknown setting aaa"),
    "a value of 40,000 letters": ("device: " + "a" * 40_000, "device must be one of"),
    "an object": ("seed: !!python/object/apply:os.system ['touch fired']", "is not valid YAML"),
    "a date that is none": ("run: 2020-13-45", "is not valid YAML"),
    "a number of 5000 digits": ("seed: " + "9" * 5000, "small.yaml"),
    "bytes": ("seed: !!binary aGVsbG8=", "seed must be a whole number"),
    "control characters": ("seed: \x07", "is not valid YAML"),
    "not a text": (b"\xff\xfe\x00\x01\x80", "cannot be read"),
    "10 MB": ("# \n" * 3_500_000, "is no settings file"),
    "base is itself": ("base: small.yaml", "base leads back to itself"),
    "base is empty": ("base: ''", "settings file . cannot be read: Is a directory"),
    "base is not there": ("base: none.yaml", "none.yaml does not exist"),
    "base is a list": ("base: [a.yaml]", "base must be the name of a YAML file"),
    "base is a folder": ("base: data", "data cannot be read"),
    "base never ends": ("base: /dev/zero", "/dev/zero"),
    "null for a section": ("train: null", "train is a section of settings"),
    "a value with a colon": ("run: a: b", "is not valid YAML"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_settings_file_with_a_fault_is_named(scripts, work, name):
    text, says = FILES[name]
    (work / "small.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    refused(scripts, work, "train.py", "small.yaml", says=says, memory=2**30, timeout=10)


OVERRIDES = {
    "no value": (["train.steps"], "is not key=value"),
    "an empty value": (["train.steps="], "train.steps must be a whole number, got None"),
    "a value for a section": (["train=3"], "train is a section"),
    "a section in a value": (["seed.x=3"], "seed"),
    "a section in an override": (["seed=3", "seed.x=4"], "seed is a value, not a section"),
    "an empty key": (["=3"], "unknown setting"),
    "dots": (["..=3"], "unknown setting"),
    "an open quote": (["run='a"], "the value cannot be read"),
    "5000 brackets": (["seed=" + "[" * 5000], "the value cannot be read"),
    "5000 digits": (["seed=" + "9" * 5000], "seed="),
    "a date that is none": (["run=2020-13-45"], "run="),
    "not a number": (["train.lr=.nan"], "train.lr must be"),
    "infinity": (["train.lr=.inf"], "train.lr must be"),
    "half an hour": (["train.steps=1:30"], "train.steps must be a whole number, got '1:30'"),
    "a gap in a number": (["train.steps=1_0"], "train.steps must be a whole number, got '1_0'"),
    "half a step": (["train.steps=1.5"], "train.steps must be a whole number"),
    "a run in another folder": (["run=../mine"], "run names a folder"),
    "a run above": (["run=.."], "run names a folder"),
    "a run of 300 letters": (["run=" + "a" * 300], "run"),
    "a run with a null": (["run=\"a\\0b\""], "run names a folder"),
    "a run with a line break": (["run=\"a\\nb\""], "run names a folder"),
    "a split above": (["data.train=../../data/train"], "data.train"),
    "a validation split above": (["data.val=../data/train"], "data.val"),
    "a whole share": (["data.val=1.0"], "data.val must be a share"),
    "no share": (["data.val=0"], "data.val must be a share"),
    "a batch in unequal parts": (["train.accumulate=3"], "cannot be cut into 3 parts"),
    "one class": (["text.classes=[indoor]"], "at least two different names"),
    "a class twice": (["text.classes=[indoor, indoor]"], "at least two different names"),
    "no classes": (["text.classes=[]"], "text.classes must be a list of texts"),
    "a prompt without a class": (["text.prompt=a photo"], "must hold {class}"),
    "haze thicker than it is": (["data.haze_strength=[0.5, 1.5]"], "data.haze_strength must be [low, high] within 0"),
    "one haze strength": (["data.haze_strength=[0.5]"], "data.haze_strength must be a list of two numbers or null"),
    "no such device": (["device=tpu"], "device must be one of"),
    "no such window": (["model.window=whole"], "model.window must be a whole number or one of crop, frame"),
    "a window of nothing": (["test.window=0"], "test.window must be from 40 to 65536, got 0"),
    "an option that is none": (["--dry_run"], "--help"),
    "a ResNet that is none": (["loss.contrastive=0.1", "loss.backbone=r", "run=new"], "loss.backbone must be one of"),
    "weights that are no file": (["loss.contrastive=0.1", "loss.weights=small.yaml", "run=new"], "small.yaml"),
    "a start that is no file": (["model.init=none.pt", "run=new"], "none.pt does not exist"),
    "another demo": (["data.root=nowhere"], "nowhere does not exist"),
    "a root that is a file": (["data.root=small.yaml"], "small.yaml"),
}


@pytest.mark.parametrize("name", OVERRIDES)
def test_an_override_with_a_fault_is_named(scripts, work, name):
    overrides, says = OVERRIDES[name]
    new = "run=new" in overrides  # a run folder is opened before weights are looked for
    refused(scripts, work, "train.py", "small.yaml", *overrides, says=says, untouched=not new, timeout=20)


def test_the_cost_is_told_before_the_data_are_there(scripts, tmp_path):
    (tmp_path / "a.yaml").write_text("data: {root: data/Haze4K, val: 0.1}\nmodel: {size: n}\ntrain: {crop: 64}\n")
    assert "epochs of 2,700 pairs" in accepted(scripts, tmp_path, "train.py", "a.yaml", "--dry-run").stdout
    refused(scripts, tmp_path, "train.py", "a.yaml", "data.root=data/mine", "--dry-run", says="data/mine")


def test_the_home_folder_is_meant_by_a_tilde(scripts, work):
    refused(scripts, work, "train.py", "small.yaml", "data.root=~/no-data", "run=new", says=f"{Path.home()}/no-data")


@pytest.mark.parametrize("script", ["train.py", "test.py", "clip_text.py"])
@pytest.mark.parametrize("path", ["none.yaml", "data", "none/small.yaml", "", "smll.yaml"])
def test_a_settings_file_that_is_none_is_named(scripts, finished, script, path):
    says = "did you mean small.yaml?" if path == "smll.yaml" else "settings file"
    refused(scripts, finished, script, path, says=says)


def test_a_settings_file_that_may_not_be_read_is_named(scripts, work):
    (work / "small.yaml").chmod(0)
    refused(scripts, work, "train.py", "small.yaml", says="small.yaml cannot be read", humble=True)


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "\ufeff# nothing\n"])
def test_an_empty_file_means_the_defaults(scripts, work, text):
    (work / "small.yaml").write_text(text)
    keep = ["data.root=data", "text.encoder=stand-in", "model.size=n"]
    accepted(scripts, work, "train.py", "small.yaml", *keep, "--dry-run")


def test_anchors_and_merges_are_yaml_as_any_other(scripts, work):
    text = "data: &d {root: data, workers: 0}\ntext: {encoder: stand-in}\nmodel: {size: n}\n"
    (work / "anchors.yaml").write_text(text + "train: {steps: &n 3, batch: 2, warmup: *n}\ntest: {<<: {batch: 2}}\n")
    done = accepted(scripts, work, "train.py", "anchors.yaml", "test.batch=5", "--dry-run")
    assert "warmup: 3" in done.stdout


def test_an_override_reaches_one_of_two_sections_that_share_an_anchor(scripts, work):
    text = "train: &t {batch: 2}\ntest: *t\ndata: {root: data}\ntext: {encoder: stand-in}\nmodel: {size: n}\n"
    (work / "anchors.yaml").write_text(text)
    done = accepted(scripts, work, "train.py", "anchors.yaml", "test.batch=5", "--dry-run")
    assert "batch: 2" in done.stdout and "batch: 5" in done.stdout
