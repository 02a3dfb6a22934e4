"""Random haze for a scene: from depth (H x W, metres) to optical depth (H x W), airlight (RGB in [0, 1]) and gamma.

gamma: the power of pixel values that light adds up in. Sets of synthetic haze add the pixel values themselves (1); in
the world light adds up before a camera's tone curve (about 2.2).

RESIDE's haze is a nearly even veil. In real photographs it varies within the picture, from none in the foreground to
dense behind. A network that has only seen veils leaves such photographs as they are, so both kinds are drawn.
"""

import cv2
import numpy as np

from . import textures

GAMMAS = (1.0, 2.2)


def room_haze(rng, depth):
    """RESIDE's indoor haze (beta 0.6 to 1.8 over the room's depth), or smoke that varies within the room."""
    if rng.random() < 0.55:
        return rng.uniform(0.6, 1.8) * depth / depth.max() * _strength(rng), _airlight(rng, 0.7), 1.0
    return varied_haze(rng, depth, (0.7, 2.6)) * _strength(rng), _airlight(rng, 0.45, 0.02), rng.choice(GAMMAS)


def open_haze(rng, depth):
    """A veil as in RESIDE's outdoor set, haze over the true depth, or haze that varies within the picture."""
    kind = rng.random()
    if kind < 0.3:
        return veil(rng, depth) * _strength(rng), _airlight(rng, 0.8), 1.0
    if kind < 0.5:
        farthest = rng.uniform(60, 400)
        optical = rng.uniform(0.04, 0.2) / 20 * farthest * (1 - np.exp(-depth / farthest))
    else:
        optical = varied_haze(rng, depth, (0.7, 3.2))
    return optical * _strength(rng), _airlight(rng, 0.6), rng.choice(GAMMAS)


def smoke(rng, depth):
    """Smoke that varies within the picture; every other time it is bluish, blue over red 1.18 in the mean.

    It is thin enough for some light of the scene to come through: nothing else tells bluish smoke from a sky.
    """
    blue = abs(rng.normal(0.08, 0.05)) if rng.random() < 0.5 else 0.0
    return varied_haze(rng, depth, (0.5, 2.2)) * _strength(rng), _airlight(rng, 0.4, blue), rng.choice(GAMMAS)


def veil(rng, depth):
    """Beta 0.04 to 0.2 over a network's estimate of depth: it spans little more than 2 to 5, the sky anywhere in it."""
    order = _unit(np.log(depth))
    order = np.where(depth < 0.98 * depth.max(), order, rng.uniform(0.2, 1))
    order = cv2.GaussianBlur(np.float32(order), (0, 0), rng.uniform(1, 6))
    estimate = rng.uniform(1.8, 2.9) + rng.uniform(0.3, 2) * order + 0.3 * textures.noise(rng, depth.shape, 4, 2)
    return rng.uniform(0.06, 0.2) * np.maximum(estimate, 1)


def varied_haze(rng, depth, densest):
    """From no haze at all to thick haze within one picture: along depth, height and a random field.

    Up to half of the picture's range is clear. densest: range of the greatest optical depth (3.2: 4 % of the light).
    """
    height = np.linspace(1, 0, depth.shape[0])[:, None] + np.zeros(depth.shape)
    mix = rng.dirichlet([1.2, 0.6, 0.9])
    far = _unit(np.log(depth))
    if rng.random() < 0.5:  # else dense haze would always hide a bright sky
        far = np.where(depth < 0.98 * depth.max(), far, rng.uniform(0, 1))
    order = mix[0] * far + mix[1] * height + mix[2] * _unit(textures.noise(rng, depth.shape, 3, 3))
    share = np.linspace(0, 1, 33)  # by rank, half of the pixels lie behind the middle: in a street few do by distance
    rank, weight = np.interp(order, np.quantile(order, share), share), rng.uniform()
    order = weight * rank + (1 - weight) * _unit(order)
    clear = rng.uniform(0, 0.5)
    order = np.clip((order - clear) / (1 - clear), 0, 1) ** rng.uniform(0.6, 1.8)
    return cv2.GaussianBlur(np.float32(order), (0, 0), rng.uniform(0.3, 2)) * rng.uniform(*densest)


def _unit(values):
    """Shift and scale an array to [0, 1]."""
    return (values - values.min()) / np.ptp(values)


def _strength(rng):
    """A factor on the haze: in three of nine pictures none, so that clear ones stay as they are; in one little."""
    kind = rng.integers(9)
    return 0.0 if kind < 3 else rng.uniform(0, 0.6) if kind == 3 else 1.0


def _airlight(rng, darkest, blue=0.0):
    """A grey from `darkest` to 1, tinted by `blue` from red to blue and a little in each channel."""
    return np.clip(rng.uniform(darkest, 1) * np.exp(blue * np.array([-1, 0, 1]) + rng.normal(0, 0.015, 3)), 0, 1)
