"""Haze at random: of a scene's depth (H x W, metres), its optical depth (H x W) and airlight (RGB)."""

import cv2
import numpy as np

from . import textures


def indoor_haze(rng, depth):
    """As in RESIDE's indoor set: beta 0.6 to 1.8 over the room's depth, airlight 0.7 to 1."""
    return rng.uniform(0.6, 1.8) * depth / depth.max() * _strength(rng), _airlight(rng, 0.7)


def outdoor_haze(rng, depth):
    """Mostly as in RESIDE's outdoor set: beta 0.04 to 0.2 over a network's estimate of depth, which hardly spans more
    than 2 to 5 and puts the sky anywhere among the rest. Else true haze over true depth, as far as can be seen."""
    if rng.random() < 0.75:
        order = np.log(depth)
        order = (order - order.min()) / np.ptp(order)
        order = np.where(depth < 0.98 * depth.max(), order, rng.uniform(0.2, 1))
        order = cv2.GaussianBlur(np.float32(order), (0, 0), rng.uniform(1, 6))
        estimate = rng.uniform(1.8, 2.9) + rng.uniform(0.3, 2) * order + 0.3 * textures.noise(rng, depth.shape, 4, 2)
        optical = rng.uniform(0.06, 0.2) * np.maximum(estimate, 1)
    else:
        farthest = rng.uniform(60, 400)
        optical = rng.uniform(0.04, 0.2) / 20 * farthest * (1 - np.exp(-depth / farthest))
    return optical * _strength(rng), _airlight(rng, 0.8)


def _strength(rng):
    """A factor on the haze: one picture in seven has none, one has little, so that clear pictures are left alone."""
    kind = rng.integers(7)
    return 0.0 if kind == 0 else rng.uniform(0, 0.6) if kind == 1 else 1.0


def _airlight(rng, darkest):
    return np.clip(rng.uniform(darkest, 1) * (1 + rng.normal(0, 0.015, 3)), 0, 1)
