"""How fast clip_text.py labels images, against its encoder alone.

    python -m benchmarks.label DATA            DATA: a split's folder with images in hazy/, such as data/RESIDE-6K/train
    python -m benchmarks.label DATA --encoder ViT-L-14-quickgelu --batch 32

The encoder has random weights: they change no time. "alone" encodes images that are ready in memory as tensors;
"labelling" reads, decodes and preprocesses them in threads, too. The two take turns in one run.
"""

import argparse
import statistics
import time
from pathlib import Path

import torch

from benchmarks.measure import machine, timed
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
    args = parser.parse_args()
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


def prepare(args):
    config = Config(data=Data(workers=args.workers), text=Text(batch=args.batch))
    encoder = build_encoder(args.encoder, None).to(pick_device(args.device)).eval().requires_grad_(False)
    zero_shot = ZeroShot(encoder, config.text.classes, config.text.prompts)
    images = list_images(Path(args.data), "hazy")
    return zero_shot, [images.path(i) for i in range(len(images))], config


if __name__ == "__main__":
    main()
