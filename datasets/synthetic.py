"""Haze by the atmospheric scattering model, and pairs made with it: generated scenes of two domains with depth."""

import csv
import io
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from utils.files import write_bytes

from .batches import num_cores
from .demo import DOMAINS, compress, develop
from .images import write_image

WIDTH = 224  # of the demo's images, pixels; the height is 5/7 of it
ENLARGEMENT = (1.0, 2.4)  # of the drawn scene: photographs at full size have softer edges than drawings
SPLITS = ("train", "test")
NUM_TEST = 40  # pairs


def add_haze(clear, depth, beta, airlight):
    """Haze a picture: I = J t + A (1 - t), t = exp(-beta d) (Koschmieder; Narasimhan and Nayar, IJCV 2002).

    clear: J, H x W x 3 in [0, 1]. depth: d, H x W, metres. beta: scattering, 1 / metre. airlight: A, a number or three
    (RGB), in [0, 1]. Returns I, H x W x 3 float32 in [0, 1].
    Raises ValueError when shapes or ranges do not fit.
    """
    clear, depth, airlight = (np.asarray(value, np.float32) for value in (clear, depth, airlight))
    if clear.ndim != 3 or clear.shape[2] != 3 or depth.shape != clear.shape[:2]:
        raise ValueError(f"clear must be H x W x 3 and depth H x W, got {clear.shape} and {depth.shape}")
    if clear.min() < 0 or clear.max() > 1 or airlight.min() < 0 or airlight.max() > 1:
        raise ValueError("clear and airlight must be in [0, 1]")
    if airlight.shape not in ((), (1,), (3,)) or not beta >= 0 or not depth.min() >= 0:
        raise ValueError("airlight must be one number or three, beta and depth at least 0")
    transmission = np.exp(-np.float32(beta) * depth)[..., None]
    return clear * transmission + airlight * (1 - transmission)


def demo_pair(split, number, width=WIDTH, seed=0):
    """The scene of that number: name, domain, hazy and clear, H x width x 3 uint8. A function of its arguments.

    The hazy image has a sensor's noise, and most of them have been through JPEG, as most photographs have.
    """
    rng = np.random.default_rng((seed, SPLITS.index(split), number))
    name = list(DOMAINS)[number % 2]
    kind = DOMAINS[name][number // 2 % len(DOMAINS[name])]
    size, enlargement = (width * 5 // 7, width), rng.uniform(*ENLARGEMENT) * (width / WIDTH) ** 0.4
    clear, depth = kind.scene(rng, tuple(round(side / enlargement) for side in size))
    clear, depth = (cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR) for image in (clear, depth))
    clear = develop(rng, clear, **kind.camera)
    optical_depth, airlight, gamma = kind.haze(rng, depth)
    while split == "test" and optical_depth.max() < 0.2:  # nothing to see, and perhaps an infinite PSNR
        optical_depth, airlight, gamma = kind.haze(rng, depth)
    exposure = rng.uniform(0.45, 1) if rng.random() < 0.35 else 1.0
    light = exposure * np.exp(rng.normal(*kind.blue) * np.array([-1, 0, 1]))  # falls on the scene and on the haze
    clear, airlight = (np.clip(value * light, 0, 1) for value in (clear, airlight))
    hazy = add_haze(clear**gamma, optical_depth, 1.0, airlight**gamma) ** (1 / gamma)
    hazy = np.clip(hazy + rng.uniform(0, 0.02) * rng.standard_normal(hazy.shape), 0, 1)
    hazy, clear = (np.uint8(np.rint(image * 255)) for image in (hazy, clear))
    hazy = compress(rng, hazy) if rng.random() < 0.7 else hazy
    return f"{number:05}.png", name, hazy, clear


def make_demo(root, num_train, width=WIDTH, seed=0):
    """Make the demo's splits under a folder, in DehazeFormer's layout with known labels in domains.csv.

    num_train: training pairs, half of them indoor. width: of the images, pixels.
    A split that has domains.csv is complete, and kept: that file is written last.
    """
    for split, num_pairs in zip(SPLITS, (num_train, NUM_TEST), strict=True):
        folder = Path(root) / split
        table = folder / "domains.csv"
        if table.exists():
            continue
        with ProcessPoolExecutor(num_cores()) as pool:
            made = pool.map(partial(make_pair, folder, split, width=width, seed=seed), range(num_pairs))
            rows = list(tqdm(made, f"making {folder}", num_pairs, unit="pair", disable=None))
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([("name", "domain"), *rows])
        write_bytes(table, text.getvalue().encode())


def make_pair(folder, split, number, width, seed):
    """Write one pair of the demo; returns its name and domain."""
    name, domain, hazy, clear = demo_pair(split, number, width, seed)
    write_image(folder / "hazy" / name, hazy)
    write_image(folder / "GT" / name, clear)
    return name, domain
