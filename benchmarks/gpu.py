"""Everything that needs a GPU, in one run: see gpu.sh.

Each part is a process of its own with a time limit: one that fails says so, and the rest goes on. A part measures its
rows one after the other, warmed, and gives the median of `--repetitions` turns with a synchronisation after each.
"of bandwidth" and "of arithmetic" are the shares of the measured rates that the convolutions alone, each input, weight
and output moved once, would need in that time.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).resolve().parent.parent
TRAINING = ("plain", "form-plain", "form", "form-recompute")
FRAMES = ((256, 256), (460, 620), (1080, 1920), (2160, 3840))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="for the results")
    parser.add_argument("--peer", type=Path, help="a published model file, which defines MixDehazeNet_<size>()")
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=8.5, help="parts that would begin later are left out")
    parser.add_argument("--try", action="store_true", dest="tiny", help="tiny sizes, two repetitions")
    parser.add_argument("--from", type=Path, default=Path(), dest="start", help=argparse.SUPPRESS)
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)  # what a child process runs
    args = parser.parse_args()
    args.peer = args.peer and (args.start / args.peer).resolve()
    if args.part:
        print(json.dumps(PARTS[args.part[0]](args, *args.part[1:])))
        return
    folder, begun, results = args.start / args.folder, time.monotonic(), {}
    folder.mkdir(parents=True, exist_ok=True)
    for part in plan(args):
        left = 60 * args.minutes - (time.monotonic() - begun)
        results[" ".join(part)] = measure(args, part, left) if left > 15 else {"failed": "left out: no time"}
        (folder / "gpu.json").write_text(json.dumps(results, indent=1) + "\n")
        (folder / "gpu.md").write_text(table(results))
    print(table(results))
    print(f"{time.monotonic() - begun:.0f} s; {folder / 'gpu.md'}, {folder / 'gpu.json'}")


def plan(args):
    """The parts in order of weight: what time is too short for comes last."""
    sizes = ("n",) if args.tiny else ("s", "b")
    yield ("device",)
    yield ("tests",)
    yield from (("training", *both, *TRAINING) for both in product(sizes, ("bf16", "fp32")))
    yield from (("inference", sizes[0], precision, "plain", "form") for precision in ("bf16", "fp32"))
    if args.peer:
        yield "training", sizes[0], "bf16", "peer"
        yield "inference", sizes[0], "bf16", "peer"
    yield ("loader",)
    yield ("labelling",)
    yield from (("training", *both, "form-compiled") for both in product(sizes, ("bf16", "fp32")))


def measure(args, part, seconds):
    """What a part gives, or {"failed": why}; with the clocks before and after it."""
    command = [sys.executable, "-m", "benchmarks.gpu", *sys.argv[1:], "--part", *part]
    before, start = clocks(), time.monotonic()
    print(f"{' '.join(part)} ...", file=sys.stderr, flush=True)
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=min(seconds, 180))
        found = json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired as error:
        found = {"failed": f"longer than {error.timeout:.0f} s"}
    except (ValueError, IndexError):
        found = {"failed": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]}
    return {**found, "clocks": [before, clocks()], "seconds": time.monotonic() - start}


def clocks():
    """SM and memory clock, temperature and power, as nvidia-smi says them."""
    query = "--query-gpu=clocks.sm,clocks.mem,temperature.gpu,power.draw,driver_version"
    try:
        done = subprocess.run(
            ["nvidia-smi", query, "--format=csv,noheader"], capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() or "unknown"


def table(results):
    """One Markdown table of all rows; of the other parts, what they say."""
    lines = ["| part | row | ms | images/s | peak GB | of bandwidth | of arithmetic | kernels |", "|" + "---|" * 8]
    device = results["device"]
    for name, part in results.items():
        if "failed" in part:
            lines.append(f"| {name} | FAILED: {part['failed']} | | | | | | |")
        for row, figures in part.get("rows", {}).items():
            if "failed" in figures:
                lines.append(f"| {name.rsplit(' plain')[0]} | {row}: FAILED: {figures['failed']} | | | | | | |")
                continue
            seconds = statistics.median(figures["seconds"])
            shares = ["", ""]
            if "rates" in device:
                rates = device["rates"]["bandwidth"], device["rates"][figures["precision"]]
                needed = figures["bytes"], figures["multiply_adds"]
                shares = [f"{need / rate / seconds:.0%}" for need, rate in zip(needed, rates, strict=True)]
            lines.append(
                f"| {' '.join(name.split()[:3])} | {row} | {1e3 * seconds:.2f} | {figures['images'] / seconds:.1f} "
                f"| {figures['peak'] / 1e9:.2f} | {' | '.join(shares)} | {figures['kernels']} |"
            )
        if "text" in part:
            lines.append(f"| {name} | {'<br>'.join(part['text'])} | | | | | | |")
    return "\n".join(lines) + "\n"


# ---- parts, each in a process of its own ----


def device_part(args):
    import torch

    from benchmarks import limits, speed

    gpu = torch.device("cuda", 0)
    free, total = torch.cuda.mem_get_info()
    rates = {precision: limits.matrix_rate(dtype, gpu) for precision, dtype in dtypes().items()}
    rates["bandwidth"] = limits.copy_bandwidth(gpu)
    capability = ".".join(map(str, torch.cuda.get_device_capability()))
    text = [
        f"{speed.machine(gpu)}, capability {capability}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free",
        f"clocks, driver: {clocks()}; {os.cpu_count()} CPU cores",
        f"copying {rates['bandwidth'] / 1e9:.0f} GB/s; "
        + ", ".join(f"{name} {rates[name] / 1e12:.1f} T multiply-adds/s" for name in dtypes()),
    ]
    return {"rates": rates, "text": text}


def dtypes():
    import torch

    return {"bf16": torch.bfloat16, "fp32": torch.float32}


def tests_part(args):
    command = [sys.executable, "-m", "pytest", "-m", "cuda", "tests/test_cuda_device.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=170)
    lines = done.stdout.strip().splitlines()
    return {"text": [line for line in lines if line.startswith("FAILED")] + lines[-1:]}


def training_part(args, size, precision, *forms):
    batch, crop = (2, 64) if args.tiny else (16, 256)
    return rows(args, size, precision, forms, [(batch, crop, crop)], train=True)


def inference_part(args, size, precision, *forms):
    frames = ((64, 64), (60, 80)) if args.tiny else FRAMES
    return rows(args, size, precision, forms, [(1, *frame) for frame in frames], train=False)


def rows(args, size, precision, forms, shapes, train):
    """Figures of every form and shape; a row that fails says so."""
    import torch

    from benchmarks import limits, speed
    from models import kernels_report, use_plain
    from models.fast import trial

    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    gpu, found = torch.device("cuda", 0), {}
    for form, (batch, height, width) in product(forms, shapes):
        settings = SimpleNamespace(
            size=size, fusion="calip", train=train, batch=batch, crop=height, height=height, width=width
        )
        settings.peer, settings.contrastive = args.peer, None
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        trial.refused.pop(gpu, None)
        if form == "form-plain":
            use_plain(gpu)
        try:
            once = speed.build(settings, form.replace("form-plain", "form"), precision, gpu)
            for _ in range(3):
                speed.timed(once, gpu)
            seconds = [speed.timed(once, gpu) for _ in range(2 if args.tiny else args.repetitions)]
        except Exception as error:  # such as too little memory: the other rows are still worth having
            found[f"{form} {batch} x {height} x {width}"] = {"failed": f"{type(error).__name__}: {str(error)[:200]}"}
            continue
        finally:
            once = None
        found[f"{form} {batch} x {height} x {width}"] = {
            **limits.least_work(*speed.one_run(settings), dtypes()[precision]),
            "seconds": seconds,
            "images": batch,
            "peak": torch.cuda.max_memory_allocated(),
            "precision": precision,
            "kernels": kernels_report("training")["path"] if form.startswith("form") else "",
        }
    return {"rows": found, "trial": {str(gpu): trial.tried.get(gpu, {}), "refused": trial.refused.get(gpu)}}


def loader_part(args):
    with tempfile.TemporaryDirectory() as folder:
        command = ["benchmarks.loader", make_images(folder, args.tiny), "--workers", str(min(os.cpu_count(), 16))]
        return said(*command, *(["--images", "16", "--batch", "4", "--repetitions", "1"] if args.tiny else []))


def labelling_part(args):
    if importlib.util.find_spec("open_clip") is None:
        raise ImportError("open_clip is not installed")
    with tempfile.TemporaryDirectory() as folder:
        return said("benchmarks.label", make_images(folder, args.tiny), "--device", "cuda", "--repeats", "2")


def make_images(folder, tiny):
    """A split of pairs of 620 x 460, random but smooth like photographs; their path."""
    import cv2
    import numpy as np

    random, split = np.random.default_rng(0), Path(folder) / "train"
    for i, kind in product(range(4 if tiny else 200), ("hazy", "GT")):
        image = cv2.resize(random.integers(0, 256, (58, 78, 3), np.uint8), (620, 460), interpolation=cv2.INTER_CUBIC)
        (split / kind).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(split / kind / f"{i:03}.png"), image)
    return str(split)


def said(*command):
    """What another benchmark prints."""
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no message"])[-1])
    return {"text": done.stdout.strip().splitlines()}


PARTS = {
    "device": device_part,
    "tests": tests_part,
    "training": training_part,
    "inference": inference_part,
    "loader": loader_part,
    "labelling": labelling_part,
}

if __name__ == "__main__":
    main()
