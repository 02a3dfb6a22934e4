"""Kill trainings at random moments, resume them, and compare with undisturbed ones, bit for bit.

    python benchmarks/resume.py                                     10 kills with 0 and 10 with 2 loading processes
    python benchmarks/resume.py --kills 3 --workers 2 --seed 7

The trainings are of the demo's network with averaged weights, on a few small images that are made for it, on the CPU.
Compared are all of last.pt and best.pt (weights, average, optimiser, random state, scores) and log.jsonl without times.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.measure import machine  # noqa: E402
from tests.made import make_pairs  # noqa: E402
from tests.tiny import TIMES, same  # noqa: E402

SETTINGS = """
data: {root: set, val: 0.3}
model: {size: n}
text: {encoder: stand-in}
train: {steps: 60, batch: 4, crop: 48, lr: 1e-3, precision: fp32, ema: 0.9, eval_every: 5, save_every: 3, log_every: 1}
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10, help="for each number of workers")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    args = parser.parse_args()
    rng, failed = random.Random(args.seed), 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_pairs(folder / "set" / "train", [f"{i:03}.png" for i in range(14)], (64, 64))
        (folder / "killed.yaml").write_text(SETTINGS)
        for workers in args.workers:
            straight = f"straight-{workers}"
            start = time.monotonic()
            first_step = finish(folder, straight, workers)
            seconds = time.monotonic() - start
            for i in range(args.kills):
                run = f"killed-{workers}-{i}"
                after = rng.uniform(first_step, seconds)
                found = kill(folder, run, workers, after)
                finish(folder, run, workers)
                different = compare(folder / "checkpoints" / straight, folder / "checkpoints" / run)
                failed += bool(different)
                verdict = "different: " + ", ".join(different) if different else "equal"
                print(f"{workers} workers, killed after {after:5.2f} s ({found}), resumed: {verdict}", flush=True)
    total = args.kills * len(args.workers)
    print(f"{total - failed} of {total} killed and resumed runs end bit for bit where the undisturbed ones end")
    print(machine())
    return 1 if failed else 0


def start(folder, run, workers):
    command = [sys.executable, ROOT / "train.py", "killed.yaml", f"run={run}", f"data.workers={workers}"]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish(folder, run, workers):
    """Train to the end; returns the seconds until the first line of the log."""
    begin, first = time.monotonic(), None
    process, log = start(folder, run, workers), folder / "checkpoints" / run / "log.jsonl"
    while process.poll() is None:
        if first is None and log.exists() and log.stat().st_size:
            first = time.monotonic() - begin
        time.sleep(0.01)
    if process.returncode:
        raise RuntimeError(process.stderr.read())
    return first


def kill(folder, run, workers, seconds):
    """Start a training, kill it after so many seconds, and say what it left."""
    process = start(folder, run, workers)
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.wait()
    place = folder / "checkpoints" / run
    lines = (place / "log.jsonl").read_text().splitlines() if (place / "log.jsonl").exists() else []
    step = json.loads(lines[-1])["step"] if lines else 0
    left = ", while writing" if list(place.glob(".*.tmp")) else ""
    return f"step {step}, {'last.pt' if (place / 'last.pt').exists() else 'no checkpoint'}{left}"


def compare(a, b):
    """The names of what differs between two run folders."""
    different = [] if read_log(a) == read_log(b) else ["log.jsonl"]
    for name in ("last.pt", "best.pt"):
        ours, theirs = (torch.load(folder / name, weights_only=True) for folder in (a, b))
        for state in (ours, theirs):
            del state["settings"]["run"]
        different += [f"{name} {key}" for key in ours if not same(ours[key], theirs.get(key))]
    return different


def read_log(folder):
    lines = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    return [{key: value for key, value in line.items() if key not in TIMES} for line in lines]


if __name__ == "__main__":
    sys.exit(main())
