"""How long a large set takes to open, the first time and the next, and how much memory it takes with 4 workers.

    python -m benchmarks.opening                       200,000 pairs: links to a few small images, in a temporary folder
    python -m benchmarks.opening --pairs 20000

Every row is a process of its own. Memory is that of the process and its workers together (proportional set sizes), once
every worker has read pairs from all of the set, over the same with 64 pairs.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from torch.utils.data import DataLoader

from benchmarks.measure import machine
from datasets.pairs import Pairs, TrainingSamples
from tests.made import make_pairs

WORKERS = 4


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=200_000)
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)  # a set to open, in this process
    args = parser.parse_args()
    if args.open:
        return print(*open_set(args.open))
    with tempfile.TemporaryDirectory() as folder:
        few, many = (link_pairs(Path(folder) / str(num), num) for num in (64, args.pairs))
        print(f"{args.pairs:,} pairs; {machine()}", flush=True)
        before = opened(few)[1]
        for time_of in ("first", "second"):
            seconds, memory = opened(many)
            row = f"{seconds:5.1f} s, {(memory - before) / 1e6:.0f} MB with {WORKERS} workers"
            print(f"{time_of:6} time: {row}", flush=True)


def link_pairs(root, num):
    """A set of so many pairs: links to 64 small ones."""
    source = root.with_name("images")
    names = [f"{i}.png" for i in range(64)]
    if not source.exists():
        make_pairs(source, names)
    for side in ("hazy", "GT"):
        folder = root / "train" / side
        folder.mkdir(parents=True)
        for i in range(num):
            os.symlink(source / side / names[i % len(names)], folder / f"scene{i:07}_0.8_0.12.png")
    return root


def opened(root):
    command = [sys.executable, "-W", "ignore::UserWarning", "-m", "benchmarks.opening", "--open", str(root)]
    seconds, memory = subprocess.check_output(command, text=True).split()
    return float(seconds), int(memory)


def open_set(root):
    """Seconds that the set takes to open, and bytes of this process and its workers at work."""
    start = time.perf_counter()
    pairs = Pairs(root, "train")
    seconds = time.perf_counter() - start
    samples = TrainingSamples(pairs, np.zeros((len(pairs), 2), np.float32), seed=1, crop=16)
    drawn = [(i, i) for i in np.linspace(0, len(pairs) - 1, 256).astype(int).tolist()]
    loader = DataLoader(samples, batch_size=None, sampler=drawn, num_workers=WORKERS, persistent_workers=True)
    batches = iter(loader)
    for _ in drawn:
        next(batches)
    memory = sum(proportional(pid) for pid in (os.getpid(), *(worker.pid for worker in batches._workers)))
    return seconds, memory


def proportional(pid):
    """The memory of a process, in bytes: what it shares is divided by the number of those who share it."""
    return 1024 * int(re.search(r"^Pss:\s*(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)[1])


if __name__ == "__main__":
    main()
