"""Large images: predict.py's peak memory and time, as it likes and with a tenth less memory.

    python -m benchmarks.large                         3840 x 2160, 7680 x 4320, size s, fp32
    python -m benchmarks.large --size l --images 3840x2160 --precision bf16

The networks have random weights: they change neither time nor memory. The peak is the largest resident size of the
predict.py process; CPU seconds are those of all its threads.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from datasets.images import write_image
from models import build_model, describe
from tests.tiny import TEXT_FACTS
from utils import checkpoint

ROOT = Path(__file__).parent.parent


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="s", help="of the network")
    parser.add_argument("--fusion", default="calip", help="calip or parametric")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--images", nargs="+", default=["3840x2160", "7680x4320"], help="WIDTHxHEIGHT")
    args = parser.parse_args()
    machine = f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
    print(f"size {args.size}, fusion {args.fusion}, {args.precision}; torch {torch.__version__}, {machine}", flush=True)
    text = torch.nn.functional.normalize(torch.randn(2, 512), dim=1)
    network = describe(build_model(args.size, args.fusion, "concat", text, window=256))
    for size in args.images:
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            parts = {"network": network, "ema": None, "text": TEXT_FACTS, "settings": {}, "step": 0}
            checkpoint.save(folder / "n.pt", parts)
            write_photo(folder / "photo.png", *map(int, size.split("x")))
            peak = measure(folder, size, args.precision)
            measure(folder, size, args.precision, "--max-memory", str(int(0.9 * peak)))


def write_photo(path, width, height):
    coarse = np.random.default_rng(0).integers(0, 256, (height // 16, width // 16, 3), np.uint8)
    write_image(path, cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))


def measure(folder, size, precision, *options):
    """Print what predict.py takes for the folder's photo, and return its peak in bytes."""
    command = ["--checkpoint", folder / "n.pt", "--input", folder / "photo.png", "--output", folder / "out"]
    command += ["--domain", "outdoor", "--precision", precision, "--overwrite", *options]
    before, start, peak = os.times(), time.perf_counter(), 0
    process = subprocess.Popen([sys.executable, ROOT / "predict.py", *command], stdout=subprocess.DEVNULL)
    while process.poll() is None:
        peak = max(peak, high_water(process.pid))
        time.sleep(0.1)
    assert process.returncode == 0, "predict.py failed"
    seconds, after = time.perf_counter() - start, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    print(f"{size} {' '.join(options)}: peak {peak / 1e9:.2f} GB, {seconds:.0f} s, {cpu:.0f} CPU s", flush=True)
    return peak


def high_water(pid):
    """The largest resident size that a process has had, in bytes, by Linux. (Its rusage begins with its parent's.)"""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    main()
