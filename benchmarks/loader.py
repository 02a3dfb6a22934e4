"""The training loader against decoding alone: what crops, turns, tensors and batches cost beside reading the files.

    python benchmarks/loader.py data/RESIDE-6K/train                        2 worker processes, crop 256, batch 16
    python benchmarks/loader.py DATA --workers 8 --images 2000

Pairs a second, medians over interleaved passes. A GPU is starved where it trains faster than that; train.py logs the
share of the time that it waited for data as data_wait.
"""

import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import cv2  # noqa: E402
import numpy as np  # noqa: E402
from torch.utils.data import DataLoader, Dataset  # noqa: E402

from benchmarks.measure import machine, timed  # noqa: E402
from datasets.pairs import Pairs, TrainingSamples  # noqa: E402
from utils.script import Parser, run  # noqa: E402


def main(argv=None):
    parser = Parser(__doc__)
    parser.add_argument("data", type=Path, help="folder of a split")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--crop", type=int, default=256, help="pixels")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--images", type=int, default=160, help="pairs a pass")
    parser.add_argument("--repetitions", type=int, default=5)
    args = parser.parse_args(argv)

    pairs = Pairs(args.data.parent, args.data.name)
    samples = TrainingSamples(pairs, np.zeros((len(pairs), 2), np.float32), seed=1, crop=args.crop)
    drawn = [(position % len(pairs), position) for position in range(args.images)]
    batches = [drawn[first : first + args.batch] for first in range(0, len(drawn), args.batch)]
    sets = {"decoding alone": Decoding(pairs), "loader": samples}
    rates = {name: [] for name in sets}
    for repetition in range(args.repetitions + 1):
        for name, dataset in sets.items():
            rate = args.images / one_pass(dataset, batches, args.workers)
            if repetition:  # the first fills the system's file cache
                rates[name].append(rate)

    print(f"{args.data}, {args.workers} workers, crop {args.crop}, {args.images} pairs a pass")
    print(f"OpenCV {cv2.__version__}, {machine()}")
    alone = statistics.median(rates["decoding alone"])
    for name, values in rates.items():
        print(f"{name:16}{statistics.median(values):8.1f} pairs/s{statistics.median(values) / alone:8.0%}")


class Decoding(Dataset):
    """Reads a pair and gives its index only."""

    def __init__(self, pairs):
        self.pairs = pairs

    def __getitem__(self, sample):
        self.pairs.read(sample[0])
        return sample[0]


def one_pass(dataset, batches, workers):
    """Seconds from the first batch asked for to the last one there; the processes' start is left out."""
    loader = iter(DataLoader(dataset, batch_sampler=[*batches[:1], *batches], num_workers=workers))
    next(loader)
    return timed(lambda: all(batch is not None for batch in loader))


if __name__ == "__main__":
    run(main)
