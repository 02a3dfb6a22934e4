"""A run that is stopped in any way and started again ends where an undisturbed run ends."""

import json
import os
import shutil
import signal
import time

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests import tiny
from utils.config import load_config
from utils.run_folder import RunFolder


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A folder with an undisturbed run."""
    folder = tiny.make(tmp_path_factory.mktemp("straight"))
    code, output, errors = tiny.run(folder)
    assert code == 0 and "done, step 8 of 8" in output, errors
    return folder


@pytest.fixture
def copied(straight, tmp_path, monkeypatch):
    """A copy of it, as the working folder."""
    shutil.copytree(straight, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def kill(folder, where, *overrides):
    code, _, errors = tiny.run(folder, f"kill={where}", *overrides, script="tests/kill_at.py")
    assert code == -signal.SIGKILL, errors


def test_a_run_killed_again_and_again_ends_bit_for_bit_where_an_undisturbed_one_ends(straight, tmp_path):
    folder = tiny.make(tmp_path)
    kill(folder, "utils.evaluate:psnr:1")  # within the validation of step 3
    kill(folder, "os:fsync:4", "data.workers=2")  # in writing the checkpoint of step 4; best.pt is that of step 3
    assert list(folder.glob("checkpoints/tiny/.last.pt.tmp"))
    kill(folder, "pathlib:Path.replace:5")  # just before the new checkpoint is moved into its place
    code, output, errors = tiny.run(folder, "data.workers=2")
    assert code == 0 and "done, step 8 of 8" in output, errors
    assert tiny.log(folder) == tiny.log(straight)
    for which in ("last", "best"):
        ours, theirs = (tiny.state(place, which=which) for place in (folder, straight))
        assert tiny.same({**ours, "settings": None}, {**theirs, "settings": None})  # data.workers differs
    events = EventAccumulator(str(folder / "checkpoints/tiny")).Reload().Scalars("train/loss")
    assert [event.step for event in events] == list(range(1, 9))  # what was made twice is shown once
    assert not list(folder.glob("checkpoints/tiny/.*.tmp"))


def wait_for_step(folder, process, step):
    log = folder / "checkpoints/tiny/log.jsonl"
    while process.poll() is None:
        if log.exists() and (lines := log.read_text().splitlines()) and json.loads(lines[-1])["step"] >= step:
            return
        time.sleep(0.02)
    raise AssertionError(process.stderr.read())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_processes_finishes_the_step_saves_and_exits_with_0(tmp_path, monkeypatch, number):
    folder = tiny.make(tmp_path)
    monkeypatch.chdir(folder)
    with tiny.started(folder, "data.workers=2", "train.steps=100000", "train.save_every=100000") as process:
        wait_for_step(folder, process, 2)
        with pytest.raises(ValueError, match="checkpoints/tiny is in use by another training"):
            RunFolder(load_config("tiny.yaml")).open("", None)
        os.killpg(process.pid, number)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 0 and "Traceback" not in errors, errors
    step = tiny.state(folder)["step"]
    assert f"stopped, run the same command to resume, step {step} of 100000" in output
    assert tiny.log(folder)[-1]["step"] == step


def changed(*overrides):
    return RunFolder(load_config("tiny.yaml", overrides))


def test_changed_settings_and_data_are_named(copied):
    data = tiny.state(copied)["data"]
    assert changed("train.save_every=5", "data.workers=1", "device=cpu").open(data, None)["step"] == 8
    with pytest.raises(ValueError, match=r"train.lr was 0.001 and is 0.1, train.ema was 0.9 and is 0.5\): put it"):
        changed("train.lr=0.1", "train.ema=0.5").open(data, None)
    with pytest.raises(ValueError, match="begun differently .other training images"):
        changed().open("other", None)


def test_a_run_that_has_made_no_step_takes_other_settings(copied):
    last = copied / "checkpoints/tiny/last.pt"
    state = torch.load(last)
    torch.save({**state, "step": 0}, last)
    assert changed("train.batch=1", "train.crop=40").open(state["data"], None) is None


def test_where_the_last_checkpoint_cannot_be_used_nothing_is_touched(copied, capsys):
    last = copied / "checkpoints/tiny/last.pt"
    last.write_bytes(last.read_bytes()[:5000])
    before = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    code, _, errors = tiny.train(capsys)
    assert code == 2 and errors.count("\n") == 1 and "last.pt is" in errors and "set run=NAME" in errors
    assert {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()} == before


def test_a_best_checkpoint_without_a_last_one_is_not_replaced(copied, capsys):
    (copied / "checkpoints/tiny/last.pt").unlink()
    code, _, errors = tiny.train(capsys)
    assert code == 2 and "best.pt has no last.pt beside it" in errors
