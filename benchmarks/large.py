"""Large images: what strips cost in time against the whole frame, and predict.py's peak memory.

    python -m benchmarks.large                         time at 1600 x 1200, then predict.py on 3840 x 2160, 7680 x 4320
    python -m benchmarks.large --size l --memory 3840x2160
    python -m benchmarks.large --repeats 0             memory only

The networks have random weights: they change neither time nor memory. Times are taken in turn in one process and given
as ratios; the peak is the largest resident size of the predict.py process.
"""

import argparse
import platform
import statistics
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
from models.fast.strips import choose_rows, forward_in_strips
from utils import checkpoint

TIMED = (1200, 1600)
TEXT = {
    **{"encoder": "stand-in", "weights": "none", "source": "none", "zero_shot": "none", "beta2": 0.0, "beta3": 0.0},
    **{"classes": ["indoor", "outdoor"], "prompts": ["a photo of a {class}"], "labels": "soft"},
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="s", help="of the network")
    parser.add_argument("--fusion", default="calip")
    parser.add_argument("--repeats", type=int, default=3, help="timed passes, each way")
    parser.add_argument("--memory", nargs="*", default=["3840x2160", "7680x4320"], help="WIDTHxHEIGHT to measure")
    args = parser.parse_args()
    machine = f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
    print(f"size {args.size}, fusion {args.fusion}, fp32; torch {torch.__version__}, {machine}", flush=True)
    text = torch.nn.functional.normalize(torch.randn(2, 512), dim=1)
    network = build_model(args.size, args.fusion, "concat", text, window=256).eval().requires_grad_(False)
    if args.repeats:
        compare_speed(network, args.repeats)
    for size in args.memory:
        measure_memory(network, *map(int, size.split("x")))


@torch.inference_mode()
def compare_speed(network, repeats):
    """The time of strips over that of the whole frame, pass by pass in turn."""
    hazy, prob = torch.rand(1, 3, *TIMED) * 2 - 1, torch.tensor([[0.9, 0.1]])
    rows = choose_rows(network, hazy, 2**40)
    ways = {"whole": lambda: network(hazy, prob), "strips": lambda: forward_in_strips(network, hazy, prob, rows)}
    seconds = {name: [] for name in ways}
    outputs = {}
    for _ in range(repeats):
        for name, way in ways.items():
            start = time.perf_counter()
            outputs[name] = way()
            seconds[name].append(time.perf_counter() - start)
    ratios = [strips / whole for strips, whole in zip(seconds["strips"], seconds["whole"], strict=True)]
    difference = (outputs["strips"] - outputs["whole"]).abs().max()
    print(
        f"{TIMED[1]} x {TIMED[0]}, strips of {rows} rows over whole frame: time x {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f}, n={repeats}), largest difference {difference:.1e}",
        flush=True,
    )


def measure_memory(network, width, height):
    """The peak of predict.py on a generated photograph."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        parts = {"network": describe(network), "ema": None, "text": TEXT, "settings": {}, "step": 0}
        checkpoint.save(folder / "n.pt", parts)
        coarse = np.random.default_rng(0).integers(0, 256, (height // 16, width // 16, 3), np.uint8)
        write_image(folder / "photo.png", cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))
        command = ["--checkpoint", folder / "n.pt", "--input", folder / "photo.png", "--output", folder / "out"]
        command = [sys.executable, Path(__file__).parent.parent / "predict.py", *command, "--domain", "outdoor"]
        start, peak = time.perf_counter(), 0
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while process.poll() is None:
            peak = max(peak, high_water(process.pid))
            time.sleep(0.1)
        assert process.returncode == 0, "predict.py failed"
        print(f"{width} x {height}: peak {peak / 1e9:.2f} GB, {time.perf_counter() - start:.0f} s", flush=True)


def high_water(pid):
    """The largest resident size that a process has had, in bytes, by Linux. (Its rusage begins with its parent's.)"""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    main()
