"""The score that a user gets without training: the dark channel prior on a split, in the project's protocol.

    python -m benchmarks.dark_channel configs/demo.yaml
    python -m benchmarks.dark_channel configs/reside6k_s.yaml data.root=/data/RESIDE-6K

He, Sun and Tang, CVPR 2009: patch 15, omega 0.95, t0 0.1, airlight of the brightest among the 0.1 % haziest pixels; the
transmission is refined by a guided filter (TPAMI 2013), radius 60, epsilon 1e-4, instead of matting.
Writes results/<run>-images/dark_channel/ and lets test.py score it: results/<run>_dark_channel-<split>/.
"""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from datasets.images import read_image, write_image
from datasets.pairs import open_split
from utils.config import load_config
from utils.results import image_names
from utils.script import config_parser, run

TEST = Path(__file__).resolve().parent.parent / "test.py"
PATCH, OMEGA, T0, RADIUS, EPSILON = 15, 0.95, 0.1, 60, 1e-4


def main(argv=None):
    args = config_parser(__doc__).parse_args(argv)
    config = load_config(args.config, args.overrides)
    pairs = open_split(config.data, config.data.test)
    folder = Path("results") / f"{config.run}-images" / "dark_channel"
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(tqdm(image_names(pairs.names))):
        image = read_image(pairs.hazy.path(i))
        output = dehaze(image / np.float32(np.iinfo(image.dtype).max))
        write_image(folder / name, (output.clip(0, 1) * 255).round().astype(np.uint8))
    settings = [*args.overrides, f"test.outputs={folder}", f"run={config.run}_dark_channel"]
    return subprocess.run([sys.executable, TEST, args.config, *settings]).returncode


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
