"""The score that a user gets without training: the dark channel prior on a split, in the project's protocol.

    python -m benchmarks.dark_channel configs/demo.yaml
    python -m benchmarks.dark_channel configs/reside6k_s.yaml data.root=/data/RESIDE-6K

He, Sun and Tang, CVPR 2009: patch 15, omega 0.95, t0 0.1, airlight of the brightest among the 0.1 % haziest pixels; the
transmission is refined by a guided filter (TPAMI 2013), radius 60, epsilon 1e-4, instead of matting.
Writes results/<run>_dark_channel-<split>/metrics.json and results.csv, as test.py does.
"""

import cv2
import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from datasets.batches import Batches
from datasets.labels import read_labels
from datasets.pairs import EvaluationSamples, Pairs
from utils.config import load_config
from utils.evaluate import evaluate
from utils.metrics import PROTOCOL
from utils.results import environment, results_folder, score_table, summarise, write_results
from utils.script import config_parser, run
from utils.settings import to_plain

PATCH, OMEGA, T0, RADIUS, EPSILON = 15, 0.95, 0.1, 60, 1e-4


def main(argv=None):
    args = config_parser(__doc__).parse_args(argv)
    config, device = load_config(args.config, args.overrides), torch.device("cpu")
    pairs = Pairs(config.data.folder, config.data.test, config.data.max_pixels)
    labels = read_labels(pairs.folder, config.text.classes)
    samples = EvaluationSamples(pairs, np.zeros((len(pairs), 1), np.float32))
    rows = evaluate(DarkChannel(), Batches(samples, [[i] for i in range(len(pairs))], device, 0), device, progress=tqdm)
    for row in rows:
        name = pairs.names[row["index"]]
        row |= {"name": name, "domain": labels.get(name, "unlabelled")}
    metrics = {**summarise(rows), "protocol": PROTOCOL, "notes": ["dark channel prior, nothing trained"]}
    metrics |= {"settings": to_plain(config), "trained_with": None, "environment": environment(device)}
    folder = results_folder(f"{config.run}_dark_channel", config.data.test)
    write_results(folder, metrics, rows)
    print(score_table(metrics), f"results: {folder}", sep="\n")


class DarkChannel(nn.Module):
    """The prior in the place of a network."""

    def forward(self, hazy, prob=None):
        """hazy: B x 3 x H x W in [-1, 1]; returns the same. prob is not used."""
        images = hazy.permute(0, 2, 3, 1).numpy() * 0.5 + 0.5
        clear = np.stack([dehaze(image) for image in images])
        return torch.from_numpy(clear).permute(0, 3, 1, 2) * 2 - 1


def dehaze(hazy):
    """H x W x 3 float32 in [0, 1], linear in the file's values, to the same, not clamped."""
    dark = dark_channel(hazy)
    haziest = np.argsort(dark, axis=None)[-max(dark.size // 1000, 1) :]
    candidates = hazy.reshape(-1, 3)[haziest]
    airlight = candidates[candidates.sum(1).argmax()]
    transmission = 1 - OMEGA * dark_channel(hazy / np.maximum(airlight, 1e-3))
    transmission = guided(cv2.cvtColor(hazy, cv2.COLOR_RGB2GRAY), transmission)
    return (hazy - airlight) / np.maximum(transmission, T0)[..., None] + airlight


def dark_channel(image):
    """The least value of any channel within a patch: H x W."""
    return cv2.erode(image.min(axis=2), np.ones((PATCH, PATCH)))


def guided(guide, image):
    """Smooth H x W `image` along the edges of H x W `guide`: locally a linear function of it."""

    def mean(values):
        return cv2.blur(values, (2 * RADIUS + 1, 2 * RADIUS + 1))

    mean_guide, mean_image = mean(guide), mean(image)
    slope = (mean(guide * image) - mean_guide * mean_image) / (mean(guide * guide) - mean_guide**2 + EPSILON)
    return mean(slope) * guide + mean(mean_image - slope * mean_guide)


if __name__ == "__main__":
    run(main)
