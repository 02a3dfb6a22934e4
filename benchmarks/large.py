"""Large images: predict.py's peak memory and time, as it likes and with a tenth less memory.

    python -m benchmarks.large                         3840 x 2160, 7680 x 4320, size s, fp32
    python -m benchmarks.large --size l --images 3840x2160 --precision bf16

The networks have random weights: they change neither time nor memory. The peak is the largest resident size of the
predict.py process; CPU seconds are those of all its threads.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from benchmarks.measure import high_water, machine
from datasets.images import write_image
from tests.made import save_network

ROOT = Path(__file__).parent.parent


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="s", help="of the network")
    parser.add_argument("--fusion", default="calip", help="calip or parametric")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--images", nargs="+", default=["3840x2160", "7680x4320"], help="WIDTHxHEIGHT")
    args = parser.parse_args()
    print(f"size {args.size}, fusion {args.fusion}, {args.precision}; {machine()}", flush=True)
    for size in args.images:
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            save_network(folder / "n.pt", args.fusion, size=args.size, window=256)
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
    if process.returncode:
        print(f"{size} {' '.join(options)}: refused", flush=True)
        return peak
    seconds, after = time.perf_counter() - start, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    print(f"{size} {' '.join(options)}: peak {peak / 1e9:.2f} GB, {seconds:.0f} s, {cpu:.0f} CPU s", flush=True)
    return peak


if __name__ == "__main__":
    main()
