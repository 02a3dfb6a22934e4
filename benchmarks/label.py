"""How fast and in how much memory clip_text.py labels images, against its encoder alone.

    python -m benchmarks.label DATA            DATA: a split's folder with images in hazy/, such as data/RESIDE-6K/train
    python -m benchmarks.label DATA --encoder ViT-L-14-quickgelu --batch 32
    python -m benchmarks.label DATA --memory   peak memory at the number of images there are and at ten times as many

The encoder has random weights: they change no time. "alone" has the images ready in memory as tensors; "labelling"
reads, decodes and preprocesses them in threads, and encodes them. In one run, in turn.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.measure import machine, peak_memory, timed
from clip_text import encode
from datasets.images import read_image
from datasets.listing import list_images
from models.clip import ZeroShot, build_encoder
from utils.distributed import pick_device
from utils.settings import Config, Data, Text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder of a split")
    parser.add_argument("--encoder", default="ViT-B-32-quickgelu", help="open_clip architecture")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--batch", type=int, default=Text.batch, help="images a batch")
    parser.add_argument("--workers", type=int, default=2, help="threads that decode")
    parser.add_argument("--repeats", type=int, default=5, help="passes over the images, each way")
    parser.add_argument("--memory", action="store_true", help="measure memory, not time")
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)  # label so many times and print the peak
    args = parser.parse_args()
    if args.peak:
        print(peak(args))
    elif args.memory:
        compare_memory(args)
    else:
        compare_speed(args)


def compare_speed(args):
    zero_shot, paths, config = prepare(args)
    start = time.perf_counter()
    ready = torch.stack([zero_shot.preprocess(read_image(path)) for path in paths])
    reading = (time.perf_counter() - start) / len(paths)

    def alone():
        for batch in ready.split(args.batch):
            zero_shot.prob(batch).cpu()

    def labelling():
        list(encode(paths, lambda: zero_shot, config))

    rates = {alone: [], labelling: []}
    alone()
    for _ in range(args.repeats):
        for way, found in rates.items():
            found.append(len(paths) / timed(way, zero_shot.device))
    ratios = [b / a for a, b in zip(*rates.values(), strict=True)]
    for way, found in rates.items():
        print(f"{way.__name__:10} {statistics.median(found):8.1f} images/s  ({min(found):.1f} to {max(found):.1f})")
    print(f"ratio      {statistics.median(ratios):8.3f}           ({min(ratios):.3f} to {max(ratios):.3f})")
    print(f"reading    {1000 * reading:8.1f} ms an image on one core")
    print(f"RESIDE-6K  {7000 / statistics.median(rates[labelling]):8.0f} s for its 7,000 images at that rate")
    print(f"{args.encoder}, {len(paths)} images, batch {args.batch}, {args.workers} readers, n = {args.repeats}")
    print(machine(zero_shot.device))


def compare_memory(args):
    """Peaks of fresh processes at the number of images there are, and at ten times as many."""
    num, peaks = len(list_images(Path(args.data), "hazy")), []
    for times in (1, 10):
        command = [sys.executable, "-m", "benchmarks.label", args.data, "--peak", str(times), "--encoder", args.encoder]
        command += ["--device", args.device, "--batch", str(args.batch), "--workers", str(args.workers)]
        peaks.append(int(subprocess.check_output(command, text=True)))
        print(f"{num * times:7,} images: peak {peaks[-1]} MiB", flush=True)
    print(f"growth: {peaks[1] - peaks[0]} MiB")


def peak(args):
    """Label every image --peak times under different names; the peak memory of this process, MiB."""
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "hazy").mkdir()
        images = list_images(Path(args.data), "hazy")
        for i in range(len(images)):
            for number in range(args.peak):
                (Path(scratch) / "hazy" / f"{number}_{images.name(i)}").symlink_to(images.path(i).resolve())
        args.data = scratch
        zero_shot, paths, config = prepare(args)
        list(encode(paths, lambda: zero_shot, config))
    return peak_memory() // 2**20


def prepare(args):
    config = Config(data=Data(workers=args.workers), text=Text(batch=args.batch))
    encoder = build_encoder(args.encoder, None).to(pick_device(args.device)).eval().requires_grad_(False)
    zero_shot = ZeroShot(encoder, config.text.classes, config.text.prompts)
    images = list_images(Path(args.data), "hazy")
    return zero_shot, [images.path(i) for i in range(len(images))], config


if __name__ == "__main__":
    main()
