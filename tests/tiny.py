"""A tiny training: a few small pairs, a nano network, a few steps."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import torch

from utils import checkpoint, entry

ROOT = Path(__file__).parent.parent
TIMES = ("images_per_second", "data_wait", "peak_memory_gb")  # what no two runs share

SETTINGS = """
data: {root: set, val: 0.3, workers: 0}
model: {size: n}
text: {encoder: stand-in}
train: {steps: 8, batch: 4, crop: 40, lr: 1e-3, precision: fp32, ema: 0.9, eval_every: 3, save_every: 2, log_every: 1}
"""

TEXT_FACTS = {
    **{"encoder": "stand-in", "weights": "none", "source": "none", "zero_shot": "none", "beta2": 0.0, "beta3": 0.0},
    **{"classes": ["indoor", "outdoor"], "prompts": ["a photo of a {class}"], "labels": "soft"},
}  # what a checkpoint says of its text features


def make(folder, num=11, side=48):
    """Write <folder>/set with `num` training pairs and 3 test pairs, and <folder>/tiny.yaml. Returns the folder."""
    random = np.random.default_rng(0)
    for split, count in (("train", num), ("test", 3)):
        labels = ["name,domain"]
        for i in range(count):
            clear = cv2.resize(random.random((6, 6, 3)), (side, side), interpolation=cv2.INTER_LINEAR)
            for kind, image in (("GT", clear), ("hazy", 0.5 * clear + 0.4)):
                path = folder / "set" / split / kind / f"{i:03}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), (255 * image).astype(np.uint8))
            labels.append(f"{i:03}.png,{('indoor', 'outdoor')[i % 2]}")
        (folder / "set" / split / "domains.csv").write_text("\n".join(labels))
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
    import train as script

    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        entry.run(lambda: script.main(["tiny.yaml", *overrides]))
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
