"""Haze by the atmospheric scattering model, and the demo: generated scenes of two domains with known depth."""

import csv
import io
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from .demo import landscape, room, street
from .images import replace_file, write_image

SIZE = (160, 224)  # of the demo's images, pixels
SCENES = {"train": 160, "test": 40}  # pairs a split; half of them indoor


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


def indoor_haze(rng, depth):
    """Scattering (1 / metre) and airlight as in RESIDE's indoor set: beta 0.6 to 1.8 over the room's depth, grey."""
    return rng.uniform(0.6, 1.8) / depth.max(), np.full(3, rng.uniform(0.7, 1.0))


def outdoor_haze(rng, depth):
    """Scattering (1 / metre) and airlight as in RESIDE's outdoor set: beta 0.04 to 0.2, here over 20 m (a visibility
    of 2000 to 400 m), bright, and up to a tenth bluer than grey, as the sky that lights it."""
    blue = rng.uniform(0, 0.1)
    return rng.uniform(0.04, 0.2) / 20, rng.uniform(0.8, 1.0) * np.array([1 - blue, 1 - blue / 2, 1.0])


DOMAINS = {"indoor": ((room,), indoor_haze), "outdoor": ((street, landscape), outdoor_haze)}


def demo_pair(split, number, seed=0):
    """The demo's scene of that number: name, domain, hazy and clear (SIZE x 3 uint8). A function of its arguments."""
    rng = np.random.default_rng((seed, list(SCENES).index(split), number))
    domain = list(DOMAINS)[number % 2]
    scenes, haze = DOMAINS[domain]
    clear, depth = scenes[number // 2 % len(scenes)](rng, SIZE)
    beta, airlight = haze(rng, depth)
    hazy = add_haze(clear, depth, beta, airlight)
    name = f"{number:04}_{airlight.max():.2f}_{beta:.3f}.png"
    return name, domain, *(np.uint8(np.rint(image * 255)) for image in (hazy, clear))


def make_demo(root, seed=0):
    """Make the demo's splits under a folder, in DehazeFormer's layout with known labels in domains.csv.

    A split whose domains.csv is there is left as it is: that file is written last.
    """
    for split, num_pairs in SCENES.items():
        folder = Path(root) / split
        table = folder / "domains.csv"
        if table.exists():
            continue
        with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            made = pool.map(partial(make_pair, folder, split, seed=seed), range(num_pairs))
            rows = list(tqdm(made, f"making {folder}", num_pairs, unit="pair", disable=None))
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([("name", "domain"), *rows])
        replace_file(table, text.getvalue().encode())


def make_pair(folder, split, number, seed):
    """Write one pair of the demo; returns its name and domain."""
    name, domain, hazy, clear = demo_pair(split, number, seed)
    write_image(folder / "hazy" / name, hazy)
    write_image(folder / "GT" / name, clear)
    return name, domain
