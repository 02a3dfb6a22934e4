"""Several processes do what one does, stop together, and say what is wrong once."""

import json
import os
import signal
import time

import pytest
import torch
from torchvision.models import resnet18

from tests import tiny
from utils.distributed import pick_device

# Small steps, as Adam makes whole steps of rounding errors; the contrastive loss; 3 validation images, an odd number.
OPTIONS = ("train.lr=1e-6", "train.sync_batchnorm=true", "data.val=test", "loss.contrastive=0.1")
OPTIONS += ("loss.backbone=resnet18", "loss.weights=resnet18.pt")


def make(folder):
    torch.manual_seed(0)
    torch.save(resnet18().state_dict(), tiny.make(folder) / "resnet18.pt")
    return folder


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    folder = make(tmp_path_factory.mktemp("single"))
    code, _, errors = tiny.run(folder, *OPTIONS)
    assert code == 0, errors
    return folder


def assert_same_run(folder, single):
    for line, expected in zip(tiny.log(folder), tiny.log(single), strict=True):
        assert line.pop("event") == expected["event"] and line.pop("pairs", None) == expected.get("pairs")
        norm = line.pop("gradient_norm", 0)  # a difference near 0 that changes its sign moves it a little
        assert norm == pytest.approx(expected.get("gradient_norm", 0), rel=1e-2)
        assert line == pytest.approx({key: expected[key] for key in line}, rel=1e-4)
    ours, theirs = tiny.state(folder), tiny.state(single)
    for name, value in ours["network"]["state"].items():
        assert (value - theirs["network"]["state"][name]).abs().max() <= 1e-5, name
        assert (ours["ema"][name] - theirs["ema"][name]).abs().max() <= 1e-5, name
    gradients, expected = (mean_gradients(state) for state in (ours, theirs))
    assert (gradients - expected).norm() <= 5e-3 * expected.norm()


def mean_gradients(state):
    """The optimiser's average of the gradients, all in one vector."""
    return torch.cat([moments["exp_avg"].flatten() for moments in state["optimizer"]["state"].values()])


def test_two_processes_end_where_one_ends(single, tmp_path):
    code, output, errors = tiny.run(make(tmp_path), *OPTIONS, processes=2)
    assert code == 0 and output.count("done, step 8 of 8") == 1, errors
    assert errors.count("step 8: validation") == 1
    assert_same_run(tmp_path, single)


def test_a_run_goes_on_with_another_number_of_processes(single, tmp_path):
    code, _, errors = tiny.run(make(tmp_path), *OPTIONS, "kill=os:fsync:7", script="tests/kill_at.py")
    assert code == -signal.SIGKILL, errors
    assert tiny.state(tmp_path)["step"] == 4
    code, output, errors = tiny.run(tmp_path, *OPTIONS, processes=2)
    assert code == 0 and "step 4 of 8" in output, errors
    assert_same_run(tmp_path, single)


def ours(errors):
    """The lines that are not torchrun's."""
    return [line for line in errors.splitlines() if line.startswith("train.py")]


def wait_for_log(process, log):
    while not (log.exists() and log.read_text().count("\n") > 2):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)


def test_an_image_that_one_process_cannot_read_ends_both(tmp_path):
    log = tiny.make(tmp_path) / "checkpoints/tiny/log.jsonl"
    with tiny.started(tmp_path, "data.workers=1", "train.steps=100000", processes=2) as process:
        wait_for_log(process, log)
        (tmp_path / "set/train/GT/004.png").unlink()
        _, errors = process.communicate(timeout=60)
    said = [line for line in ours(errors) if "set/train/GT/004.png cannot be read" in line]
    assert process.returncode == 1 and said and "Traceback" not in said[0], errors


def test_a_signal_stops_all_processes_at_one_step_and_a_mistake_is_said_once(tmp_path):
    log = tiny.make(tmp_path) / "checkpoints/tiny/log.jsonl"
    options = ("data.workers=1", "train.steps=100000", "train.save_every=100000")
    with tiny.started(tmp_path, *options, processes=2) as process:
        wait_for_log(process, log)
        code, _, errors = tiny.run(tmp_path, "train.steps=100000", processes=2)
        assert code == 1 and len(ours(errors)) == 1, errors
        assert "checkpoints/tiny is in use by another training" in ours(errors)[0]
        os.kill(process.pid, signal.SIGTERM)
        output, errors = process.communicate(timeout=60)
    assert "stopped" in output, errors
    step = tiny.state(tmp_path)["step"]
    assert f"stopped, run the same command to resume, step {step} of 100000" in output, errors
    assert json.loads(log.read_text().splitlines()[-1])["step"] == step


def test_a_gpu_that_torch_cannot_use_is_named_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("utils.distributed.Path.exists", lambda path: True)
    assert pick_device("auto").type == "cpu"
    assert capsys.readouterr().err.count("note: there is an NVIDIA GPU, but") == 1
    with pytest.raises(ValueError, match="device=cuda, but .*: use device=cpu or device=auto"):
        pick_device("cuda")
