"""The battery, checkpoints: a missing, damaged, unfitting or hostile one is named, and nothing in it runs."""

import json
import pickle
import re
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from models import network_of
from tests.battery import accepted, refused
from tests.made import save_network
from utils import checkpoint

BEST = "checkpoints/small/best.pt"
DAMAGED = "best.pt is not a checkpoint, is damaged, or holds more than tensors and numbers"


class Fire:
    """Unpickling this leaves a file behind."""

    def __reduce__(self):
        return (open, ("fired", "w"))


def pickled(data):
    """An archive as torch makes it, whose pickle is `data`."""

    def write(path):
        with zipfile.ZipFile(path, "w") as new:
            new.writestr("best/data.pkl", data)
            new.writestr("best/version", "3\n")
            new.writestr("best/byteorder", "little")

    return write


def content(change):
    """Change what a checkpoint holds, and save it as torch does."""

    def rewrite(path):
        values = torch.load(path)
        result = change(values)
        torch.save(values if result is None else result, path)

    return rewrite


def without(name, *within):
    return content(lambda values: at(values, *within).__delitem__(name))


def replaced(name, value, *within):
    return content(lambda values: at(values, *within).__setitem__(name, value))


def at(values, *within):
    for name in within:
        values = values[name]
    return values


STATE = ("network", "state")
FAULTS = {
    "no file": (lambda path: path.unlink(), "best.pt does not exist"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "best.pt is a folder"),
    "random bytes": (lambda path: path.write_bytes(np.random.default_rng(0).bytes(10_000)), DAMAGED),
    "cut off half-way": (lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]), DAMAGED),
    "a pickle that runs code": (lambda path: path.write_bytes(pickle.dumps(Fire())), DAMAGED),
    "an archive that runs code": (pickled(pickle.dumps(Fire(), 2)), DAMAGED),
    "a checkpoint with a part that runs code": (replaced("step", Fire()), DAMAGED),
    "other things": (content(lambda values: {"weights": [1, 2]}), "neither"),
    "the wrong size": (replaced("size", "t", "network"), "do not fit this network"),
    "unknown settings": (replaced("settings", {"x": 1}), DAMAGED),
    "no settings": (without("settings"), DAMAGED),
    "a tensor missing": (without("patch_embed.bias", *STATE), "Missing key.s. in state_dict: .patch_embed.bias"),
    "a tensor of another shape": (replaced("patch_embed.bias", torch.ones(3), *STATE), "size mismatch for patch_embed"),
    "text without dimensions": (replaced("text", torch.tensor(1.0), *STATE), "needs text embeddings"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_in_a_checkpoint_is_named_and_nothing_in_it_runs(tmp_path, monkeypatch, name):
    change, message = FAULTS[name]
    monkeypatch.chdir(tmp_path)
    save_network(tmp_path / "best.pt")
    change(tmp_path / "best.pt")
    with pytest.raises(ValueError, match=message):
        network_of(checkpoint.load("best.pt"))
    assert not (tmp_path / "fired").exists()


def test_a_checkpoint_comes_back(tmp_path):
    for step in (1, 2):
        checkpoint.save(tmp_path / "last.pt", {"step": step, "weight": torch.full((3,), step)})
    assert checkpoint.load(tmp_path / "last.pt")["weight"].tolist() == [2, 2, 2]
    assert torch.load(tmp_path / "last.pt", weights_only=True)["format"] == checkpoint.FORMAT
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def test_a_safetensors_file_whose_metadata_are_odd_is_named(tmp_path):
    save_file({"weight": torch.zeros(2)}, tmp_path / "a.safetensors", {checkpoint.METADATA: "[1]"})
    with pytest.raises(ValueError, match="a.safetensors is not a checkpoint, is damaged"):
        checkpoint.load(tmp_path / "a.safetensors")


@pytest.mark.parametrize("name", ["an archive that runs code", "cut off half-way"])
def test_scripts_name_a_fault_in_one_line(scripts, work, name):
    change, message = FAULTS[name]
    change(work / BEST)
    for script, *arguments in (["test.py"], ["train.py", "run=new", f"model.init={BEST}"]):
        done = refused(scripts, work, script, "small.yaml", *arguments, says="best.pt", untouched=script == "test.py")
        assert re.search(message, done.stderr) and not (work / "fired").exists()


@pytest.mark.parametrize("name", ["a tensor missing", "a tensor of another shape"])
def test_a_training_whose_last_checkpoint_does_not_fit_is_not_begun_anew(scripts, work, name):
    FAULTS[name][0](work / "checkpoints/small/last.pt")
    refused(scripts, work, "train.py", "small.yaml", says="does not fit its own settings")


def broken(values):
    (values["ema"] or values["network"]["state"])["patch_embed.weight"][:] = float("nan")


def test_weights_that_are_not_finite_give_no_scores(scripts, work):
    content(broken)(work / BEST)
    refused(scripts, work, "test.py", "small.yaml", says="the output for 0.png is not finite", untouched=False)


def test_settings_that_contradict_the_checkpoint_are_recorded_as_the_checkpoints(scripts, work):
    accepted(scripts, work, "test.py", "small.yaml", "model.size=l")
    assert json.loads((work / "results/small-test/metrics.json").read_text())["settings"]["model"]["size"] == "n"


def test_the_results_of_another_test_are_not_replaced_and_no_picture_of_an_earlier_one_stays(scripts, work):
    refused(scripts, work, "test.py", "small.yaml", "test.domain=wrong", says=["holds results with", "run="])
    (work / "other.pt").write_bytes((work / BEST).read_bytes())
    refused(scripts, work, "test.py", "small.yaml", "checkpoint=other.pt", says=["holds results with checkpoint="])
    accepted(scripts, work, "test.py", "small.yaml", "test.images=true")
    accepted(scripts, work, "test.py", "small.yaml")
    assert not (work / "results/small-test/images").exists()


def test_a_checkpoint_that_may_not_be_read_is_named(scripts, work):
    (work / BEST).chmod(0)
    refused(scripts, work, "test.py", "small.yaml", says="best.pt", humble=True)
