"""The battery, faults: full disks, kills and places that cannot be written.

A fault is met at changes that a script makes to files and folders; then the same command, run again, ends with what an
undisturbed run ends with.
"""

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

from tests.battery import accepted, is_one_line, refused, snapshot
from tests.made import make_pairs

ROOT = Path(__file__).parent.parent

CHANGES = {"clip_text.py": 12, "train.py": 18, "test.py": 16}  # at the least: 2 steps, 1 image
OUTPUT = {"clip_text.py": "data/*/domains.npz", "train.py": "checkpoints", "test.py": "results"}
EVERY = [(script, change) for script, number in CHANGES.items() for change in range(1, number + 1)]


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
    if script == "train.py":
        saved = (torch.load(root / "checkpoints/small/last.pt") for root in (folder, finished))
        ours, theirs = (state["network"]["state"] for state in saved)
        return all(torch.equal(ours[name], theirs[name]) for name in theirs)
    if script == "test.py":
        ours, theirs = (root.joinpath("results/small-test/results.csv").read_text() for root in (folder, finished))
    else:
        ours, theirs = (np.load(root / "data/train/domains.npz")["prob"].tolist() for root in (folder, finished))
    return ours == theirs


@pytest.mark.parametrize(
    ("script", "change", "name"),
    [(*case, "SIGKILL") for case in EVERY[1::2]] + [(*case, "SIGTERM") for case in EVERY[::6]],
)
def test_a_signal_loses_nothing_and_the_same_command_goes_on(scripts, fresh, finished, script, change, name):
    work = fresh(script)
    before = snapshot(work)
    done = scripts(work, script, "small.yaml", write=change, fault=int(getattr(signal, name)))
    after = snapshot(work)
    assert done.code in {"SIGKILL": {-9}, "SIGTERM": {143, 0}}[name], done
    assert "Traceback" not in done.stderr, done.stderr
    assert set(before) <= set(after)
    assert name == "SIGKILL" or not [path for path in after if path.endswith(".tmp")], after
    accepted(scripts, work, script, "small.yaml", leftovers=name == "SIGKILL" and script != "train.py")
    assert same_end(script, work, finished)


@pytest.mark.parametrize(("script", "size"), [("clip_text.py", 2000), ("train.py", 100_000), ("test.py", 2000)])
def test_a_full_disk_is_named_and_room_is_all_it_takes_to_go_on(scripts, fresh, finished, script, size):
    work = fresh(script)
    done = scripts(work, script, "small.yaml", file_size=size)
    is_one_line(done, script)
    assert "File too large" in done.stderr and "make room" in done.stderr
    assert not list(work.rglob("*.tmp"))
    accepted(scripts, work, script, "small.yaml")
    assert same_end(script, work, finished)


@pytest.mark.parametrize(("script", "path"), [("train.py", "checkpoints/small"), ("test.py", "results/small-test")])
def test_a_folder_that_may_not_be_written_is_named(scripts, work, script, path):
    (work / path).chmod(0o555)
    refused(scripts, work, script, "small.yaml", says=[path, "ermission"], humble=True)
    (work / path).chmod(0o755)


def test_a_killed_loader_is_one_line(scripts, work):
    keep = ["small.yaml", "run=new", "train.steps=100000", "train.save_every=100000", "data.workers=1"]
    process = scripts.start(work, "train.py", *keep)
    children = Path(f"/proc/{process}/task/{process}/children")
    log = work / "checkpoints/new/log.jsonl"
    while not (log.exists() and log.stat().st_size):  # steps are being made
        time.sleep(0.02)
    os.kill(int(children.read_text().split()[0]), signal.SIGKILL)
    done = scripts.finish()
    is_one_line(done, "train.py")
    assert "memory" in done.stderr and "data.workers" in done.stderr


def test_too_little_shared_memory_is_one_line_with_both_remedies(scripts, work):
    inside = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o size=64k tmpfs /dev/shm && exec "$@"', "sh"]
    if subprocess.run([*inside, "true"], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    command = [sys.executable, ROOT / "train.py", "small.yaml", "run=new", "train.crop=256", "data.workers=2"]
    done = subprocess.run([*inside, *map(str, command)], cwd=work, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "--shm-size" in done.stderr and "data.workers=0" in done.stderr


@pytest.mark.parametrize(
    ("script", "arguments"),
    [("train.py", ["run=new", "train.crop=1024", "train.batch=16"]), ("test.py", [])],
)
def test_too_little_memory_is_one_line(scripts, work, script, arguments):
    shutil.rmtree(work / "data/test")
    shutil.rmtree(work / "results")
    make_pairs(work / "data/test", ["0.png"], size=(1500, 1500))
    done = scripts(work, script, "small.yaml", *arguments, memory=2**28, timeout=60)
    is_one_line(done, script)
    assert "memory" in done.stderr


PLACES = {  # a file, or a folder, that lies where something must be written
    "checkpoints is a file": ("train.py", "checkpoints", False),
    "the best checkpoint is a folder": ("train.py", "checkpoints/small/best.pt", True),
    "the results folder is a file": ("test.py", "results/small-test", False),
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
