"""The battery, faults: full disks, kills and places that cannot be written, at every file that a script writes.

A fault is met once at each of a script's changes to files and folders; then the same command, run again, ends with what
an undisturbed run ends with.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.battery import accepted, copy_of, is_one_line, refused, snapshot
from tests.made import make_pairs

CHANGES = {"clip_text.py": 12, "train.py": 22, "test.py": 16}  # a training of 2 steps, a test of 1 image
NEW = {"clip_text.py": [], "train.py": ["run=new"], "test.py": []}  # another run, so that there is something to write
OUTPUT = {"clip_text.py": "data/*/domains.npz", "train.py": "checkpoints", "test.py": "results"}
EVERY = [(script, change) for script, number in CHANGES.items() for change in range(1, number + 1)]
SOME = [(script, change) for script, change in EVERY if script != "train.py" or change % 3 == 1]


@pytest.fixture
def fresh(work):
    """Makes the folder as it was before a script."""

    def clear(script):
        for path in work.glob(OUTPUT[script]):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return work

    return clear


def same_end(script, folder, finished):
    """Whether a script left what it left in the undisturbed folder."""
    if script == "test.py":
        read = (root.joinpath("results/small-test/results.csv").read_text() for root in (folder, finished))
    elif script == "train.py":
        read = (torch.load(root / "checkpoints/small/last.pt")["network"]["state"] for root in (folder, finished))
        ours, theirs = read
        return all(torch.equal(ours[name], theirs[name]) for name in theirs)
    else:
        read = (np.load(root / "data/train/domains.npz")["prob"].tolist() for root in (folder, finished))
    ours, theirs = read
    return ours == theirs


@pytest.mark.parametrize(("script", "change"), EVERY)
def test_a_full_disk_is_one_line_and_room_is_all_it_takes_to_go_on(scripts, fresh, finished, script, change):
    work = fresh(script)
    before = snapshot(work)
    done = scripts(work, script, "small.yaml", write=change, fault="full")
    after = snapshot(work)
    assert set(before) <= set(after) and not [name for name in after if name.endswith(".tmp")], after
    if done.code:  # a folder that is there already needs no room
        is_one_line(done, script)
        assert "No space left" in done.stderr and "make room" in done.stderr, done.stderr
    accepted(scripts, work, script, "small.yaml")
    assert same_end(script, work, finished)


@pytest.mark.parametrize(
    ("script", "change", "name"),
    [(*case, "SIGKILL") for case in EVERY] + [(*case, name) for case in SOME for name in ("SIGTERM", "SIGINT")],
)
def test_a_signal_loses_nothing_and_the_same_command_goes_on(scripts, fresh, finished, script, change, name):
    work = fresh(script)
    before = snapshot(work)
    done = scripts(work, script, "small.yaml", write=change, fault=int(getattr(signal, name)))
    after = snapshot(work)
    assert done.code in {"SIGKILL": {-9}, "SIGTERM": {143, 0}, "SIGINT": {130, 0}}[name], done
    assert "Traceback" not in done.stderr, done.stderr
    assert set(before) <= set(after)
    assert name == "SIGKILL" or not [path for path in after if path.endswith(".tmp")], after
    accepted(scripts, work, script, "small.yaml", leftovers=name == "SIGKILL" and script != "train.py")
    assert same_end(script, work, finished)


@pytest.mark.parametrize("script", CHANGES)
def test_there_are_no_more_changes_than_faults_were_tried_at(scripts, fresh, script):
    work = fresh(script)
    assert scripts(work, script, "small.yaml", write=CHANGES[script] + 1, fault=signal.SIGKILL).code == 0
    work = fresh(script)
    assert scripts(work, script, "small.yaml", write=CHANGES[script], fault=signal.SIGKILL).code == -9


@pytest.mark.parametrize("script", CHANGES)
@pytest.mark.parametrize("size", [0, 100, 4000, 60_000])
def test_a_limit_on_the_size_of_files_keeps_what_was_there(scripts, work, script, size):
    before = snapshot(work)
    done = scripts(work, script, "small.yaml", *NEW[script], file_size=size)
    after = snapshot(work)
    if done.code:
        is_one_line(done, script)
    assert set(before) <= set(after) and not [name for name in after if name.endswith(".tmp")]
    assert script != "train.py" or all(after[name] == before[name] for name in before)


@pytest.fixture
def small_disk(tmp_path, finished):
    """The finished work on a disk with room for little more."""
    disk = tmp_path / "disk"
    disk.mkdir()
    needed = sum(path.stat().st_size + 4096 for path in finished.rglob("*"))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={needed + 20_000}", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield copy_of(finished, disk)
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("script", CHANGES)
def test_a_disk_that_is_really_full_keeps_what_was_there(scripts, small_disk, script):
    with open(small_disk / "filler", "wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    before = snapshot(small_disk)
    done = scripts(small_disk, script, "small.yaml", *NEW[script])
    is_one_line(done, script)
    assert "No space left" in done.stderr and "make room" in done.stderr
    after = snapshot(small_disk)
    assert all(after[name] == before[name] for name in before) and not [name for name in after if ".tmp" in name]


@pytest.mark.parametrize(
    ("script", "path"),
    [
        ("train.py", "checkpoints"),
        ("train.py", "checkpoints/small"),
        ("test.py", "results"),
        ("test.py", "results/small-test"),
    ],
)
def test_a_folder_that_may_not_be_written_is_named(scripts, work, script, path):
    if path == "results":
        shutil.rmtree(work / "results/small-test")
    (work / path).chmod(0o555)
    arguments = {"clip_text.py": [], "test.py": [], "train.py": ["run=new"] if path == "checkpoints" else []}[script]
    done = refused(scripts, work, script, "small.yaml", *arguments, says=path, humble=True)
    assert "ermission" in done.stderr
    (work / path).chmod(0o755)


def test_a_read_only_set_that_is_labelled_is_as_good_and_another_is_named(scripts, work):
    (work / "data/train").chmod(0o555)
    accepted(scripts, work, "clip_text.py", "small.yaml", humble=True)
    keep = ["small.yaml", "text.encoder=ViT-B-32-quickgelu", "text.weights=none.pt"]
    (work / "none.pt").touch()
    refused(scripts, work, "clip_text.py", *keep, says=["data/train cannot be written", "permissions"], humble=True)
    (work / "data/train").chmod(0o755)


def test_too_few_open_files_are_said_in_one_line(scripts, work):
    refused(scripts, work, "train.py", "small.yaml", "run=new", "data.workers=2", says="ulimit -n", files=24)


def test_a_data_process_that_is_killed_is_said_in_one_line(scripts, work):
    process = scripts.start(work, "train.py", "small.yaml", "run=new", "train.steps=100000", "data.workers=1")
    children = Path(f"/proc/{process}/task/{process}/children")
    while not (work / "checkpoints/new/previous.pt").exists():  # steps are being made
        time.sleep(0.02)
    os.kill(int(children.read_text().split()[0]), signal.SIGKILL)
    done = scripts.finish()
    is_one_line(done, "train.py")
    assert "memory" in done.stderr and "data.workers" in done.stderr


def test_a_killed_data_process_that_is_noticed_where_nothing_can_be_raised_leaves_no_traceback():
    script = """
from utils.script import run

class Fork:
    def __init__(self, message):
        self.message = message
    def __del__(self):
        raise RuntimeError(self.message)

run(lambda: [Fork("DataLoader worker (pid 1) is killed by signal: Killed. "), Fork("another")] and 0)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr.count("Traceback") == 1 and "RuntimeError: another" in done.stderr


@pytest.mark.parametrize("after", [0.2, None])  # seconds until the signal comes; None: it came before
def test_a_data_process_that_is_killed_as_it_hands_a_batch_over_is_said_in_one_line(after):
    script = f"""
import os, signal, threading
from utils.script import run

def handler(number, frame):
    raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Killed. ")

def main():
    signal.signal(signal.SIGCHLD, handler)
    if {after}:
        threading.Timer({after}, os.kill, (os.getpid(), signal.SIGCHLD)).start()
    raise ConnectionResetError(104, "Connection reset by peer")

run(main)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "data.workers" in done.stderr


@pytest.mark.skipif(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN, reason="under nohup, which training respects")
def test_a_hangup_saves(scripts, work):
    process = scripts.start(work, "train.py", "small.yaml", "run=new", "train.steps=100000")
    while not (work / "checkpoints/new/previous.pt").exists():
        time.sleep(0.02)
    os.kill(process, signal.SIGHUP)
    done = scripts.finish()
    assert done.code == 0 and "run the same command to resume" in done.stdout, done.stderr


@pytest.mark.parametrize("script", ["compare.py", "test.py", "train.py"])
def test_standard_output_that_is_full_is_named_and_one_that_is_closed_is_done_without(scripts, work, script):
    arguments = ["results/small-test"] * 2 if script == "compare.py" else ["small.yaml"]
    done = scripts(work, script, *arguments, output="/dev/full")
    is_one_line(done, script)
    assert "standard output" in done.stderr and "make room" in done.stderr
    accepted(scripts, work, script, *arguments, output="")


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("train.py", ["run=new", "train.crop=1024", "train.batch=16"]),
        ("test.py", ["test.batch=1"]),
        ("test.py", ["test.batch=1", "test.self_ensemble=true"]),
    ],
)
def test_too_little_memory_is_said_in_one_line(scripts, work, script, arguments):
    shutil.rmtree(work / "data/test")
    shutil.rmtree(work / "results")
    make_pairs(work / "data/test", ["0.png"], size=(1500, 1500))
    done = scripts(work, script, "small.yaml", *arguments, memory=2**27, timeout=60)
    is_one_line(done, script)
    assert "memory" in done.stderr


PLACES = {  # a file, or a folder, that lies where something must be written
    "checkpoints is a file": ("train.py", "checkpoints", False),
    "the run folder is a file": ("train.py", "checkpoints/small", False),
    "the lock is a folder": ("train.py", "checkpoints/small/.lock", True),
    "the log is a folder": ("train.py", "checkpoints/small/log.jsonl", True),
    "the settings are a folder": ("train.py", "checkpoints/small/config.yaml", True),
    "the best checkpoint is a folder": ("train.py", "checkpoints/small/best.pt", True),
    "results is a file": ("test.py", "results", False),
    "the results folder is a file": ("test.py", "results/small-test", False),
    "the scores are a folder": ("test.py", "results/small-test/metrics.json", True),
    "the table is a folder": ("test.py", "results/small-test/results.csv", True),
    "the features are a folder": ("clip_text.py", "data/train/domains.npz", True),
}


@pytest.mark.parametrize("name", PLACES)
def test_what_lies_in_the_way_is_named(scripts, fresh, name):
    script, path, folder = PLACES[name]
    work = fresh(script)
    (work / path).parent.mkdir(parents=True, exist_ok=True)
    (work / path).mkdir() if folder else (work / path).write_text("here first")
    done = scripts(work, script, "small.yaml")
    is_one_line(done, script)
    assert path in done.stderr
    assert (work / path).is_dir() if folder else (work / path).read_text() == "here first"
    assert not [path for path in work.rglob("*.tmp")]
