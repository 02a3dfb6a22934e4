"""A run that is stopped in any way and started again ends where an undisturbed run ends."""

import json
import os
import resource
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
    assert list(folder.glob("checkpoints/tiny/.last.pt.*.tmp"))
    last = folder / "checkpoints/tiny/last.pt"
    kill(folder, "pathlib:Path.replace:5")  # between moving last.pt to previous.pt and the new one into its place
    assert not last.exists() and last.with_name("previous.pt").exists()
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
            RunFolder(load_config("tiny.yaml")).open(None)
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
    assert changed("train.save_every=5", "data.workers=1", "device=cpu").load_last(data)["step"] == 8
    with pytest.raises(ValueError, match=r"train.lr was 0.001 and is 0.1, train.ema was 0.9 and is 0.5\): put them"):
        changed("train.lr=0.1", "train.ema=0.5").load_last(data)
    with pytest.raises(ValueError, match="begun on other training images"):
        changed().load_last("other")


def test_a_run_that_has_made_no_step_takes_other_settings(copied):
    last = copied / "checkpoints/tiny/last.pt"
    state = torch.load(last)
    torch.save({**state, "step": 0}, last)
    assert changed("train.batch=1", "train.crop=40").load_last(state["data"]) is None


def test_new_images_are_noticed(copied, capsys):
    shutil.copy("set/train/GT/000.png", "set/train/GT/100.png")
    shutil.copy("set/train/hazy/000.png", "set/train/hazy/100.png")
    with open("set/train/domains.csv", "a") as file:
        file.write("\n100.png,indoor")
    code, _, errors = tiny.train(capsys)
    assert code == 2 and errors.count("\n") == 1 and "begun on other training images" in errors


@pytest.mark.parametrize("broken", [b"", b"hello", None, {"epoch": 3, "state_dict": {}}])
def test_a_broken_last_checkpoint_gives_way_to_the_one_before(copied, broken):
    last = copied / "checkpoints/tiny/last.pt"
    if isinstance(broken, dict):
        torch.save(broken, last)
    else:
        last.write_bytes(last.read_bytes()[:5000] if broken is None else broken)
    content, final = last.read_bytes(), tiny.state(copied, which="best")
    code, output, errors = tiny.run(copied)  # a process, as `straight`: the bits depend on the number of threads
    assert code == 0 and "step 6 of 8" in output
    assert "last.pt" in errors and "kept as checkpoints/tiny/last-broken.pt, resuming from" in errors
    assert (copied / "checkpoints/tiny/last-broken.pt").read_bytes() == content
    assert tiny.state(copied)["step"] == 8 and tiny.same(tiny.state(copied, which="best"), final)


def test_a_run_whose_steps_fp16_has_all_skipped_goes_on(copied, capsys):
    last = copied / "checkpoints/tiny/last.pt"
    state = {**torch.load(last), "step": 6, "validated": 6}
    state["optimizer"]["state"] = {}
    torch.save(state, last)
    code, output, errors = tiny.train(capsys)
    assert code == 0 and "step 6 of 8" in output and "done, step 8 of 8" in output, errors


def test_where_no_checkpoint_can_be_read_nothing_is_touched(copied, capsys):
    for name in ("last", "previous"):
        (copied / f"checkpoints/tiny/{name}.pt").write_bytes(b"hello")
    before = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    code, _, errors = tiny.train(capsys)
    assert code == 2 and errors.count("\n") == 1 and "last.pt cannot be read" in errors and "set run=NAME" in errors
    assert {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()} == before


def test_a_place_that_cannot_be_written_is_named(copied, capsys):
    shutil.rmtree("checkpoints")
    (copied / "checkpoints").write_text("a file")
    code, _, errors = tiny.train(capsys)
    assert code == 2 and errors.count("\n") == 1 and "checkpoints/tiny cannot be used" in errors


def test_a_full_disk_is_named_and_costs_no_checkpoint(copied, capsys):
    (copied / "checkpoints/tiny/last.pt").unlink()  # resume from step 6
    before = (copied / "checkpoints/tiny/previous.pt").read_bytes()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit[1]))
    try:
        code, _, errors = tiny.train(capsys)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert code == 2 and ".pt cannot be written (File too large), what was saved before is kept" in errors
    assert (copied / "checkpoints/tiny/previous.pt").read_bytes() == before
    code, output, errors = tiny.train(capsys)
    assert code == 0 and "step 6 of 8" in output and "done, step 8 of 8" in output, errors
