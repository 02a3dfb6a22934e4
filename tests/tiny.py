"""A tiny training: a few small pairs, a nano network, a few steps."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import torch

from tests.made import make_pairs
from utils import checkpoint, script

ROOT = Path(__file__).parent.parent
TIMES = ("images_per_second", "peak_memory_gb")  # what no two runs share

SETTINGS = """
data: {root: set, val: 0.3, workers: 0}
model: {size: n}
text: {encoder: stand-in}
train: {steps: 8, batch: 4, crop: 40, lr: 1e-3, precision: fp32, ema: 0.9, eval_every: 3, save_every: 2, log_every: 1}
"""


def make(folder, num=11, side=48):
    """Write <folder>/set with `num` training pairs and 3 test pairs, and <folder>/tiny.yaml. Returns the folder."""
    for seed, (split, count) in enumerate({"train": num, "test": 3}.items()):
        make_pairs(folder / "set" / split, [f"{i:03}.png" for i in range(count)], (side, side), seed)
    (folder / "tiny.yaml").write_text(SETTINGS)
    return folder


def command(*overrides, processes=1, script="train.py"):
    """The command line of a training, as a user types it."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return [sys.executable, *(launcher if processes > 1 else []), str(ROOT / script), "tiny.yaml", *overrides]


@contextmanager
def started(folder, *overrides, **options):
    """A training as a process in a session of its own, which is ended with all that it started at the end."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    line = command(*overrides, **options)
    process = subprocess.Popen(line, cwd=folder, env=environment, start_new_session=True, **pipes)
    try:
        yield process
    finally:
        process.terminate()  # torchrun ends those that it started, which are in sessions of their own
        try:
            process.communicate(timeout=40)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def run(folder, *overrides, **options):
    """(exit code, standard output, standard error) of a training as a process."""
    with started(folder, *overrides, **options) as process:
        output, errors = process.communicate(timeout=120)
        return process.returncode, output, errors


def train(capsys, *overrides):
    """(exit code, standard output, standard error) of a training in this process and folder."""
    import train as module

    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        script.run(lambda: module.main(["tiny.yaml", *overrides]))
    except SystemExit as end:
        return (end.code, *capsys.readouterr())
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def log(folder, name="tiny"):
    """The lines of a run's log, without what differs from run to run."""
    lines = (folder / "checkpoints" / name / "log.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key not in TIMES} for line in lines]


def state(folder, name="tiny", which="last"):
    """A checkpoint's contents."""
    return checkpoint.load(folder / "checkpoints" / name / f"{which}.pt")


def same(a, b):
    """Whether two nested states are equal bit for bit."""
    if torch.is_tensor(a):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b
