"""The photographs that scikit-image ships, over invented depth: natural textures that no renderer has.

All are in the public domain or CC0 (notes in skimage.data), and none belongs to a benchmark of dehazing.
"""

import cv2
import numpy as np

from . import textures

FARTHEST = (4.0, 40.0, 200.0)  # metres


def photograph(rng, size):
    """A part of a photograph on bent, tilted layers. Returns clear, size x 3 in [0, 1], and depth, size, in metres.

    The depth is not the picture's: it teaches what natural surfaces look like through haze, not how far they are. Its
    edges follow the picture's: a layer holds the parts brighter, or darker, than some grey.
    """
    picture = textures.picture(rng, size)
    y, x = np.mgrid[-1 : 1 : size[0] * 1j, -1 : 1 : size[1] * 1j]
    depth = 0.5 * textures.noise(rng, size, 4, 2) - rng.uniform(0, 0.6) * y + rng.uniform(-0.4, 0.4) * x
    grey = cv2.GaussianBlur(picture.mean(axis=2), (0, 0), 1.5) * rng.choice([-1, 1])
    for _ in range(rng.integers(0, 3)):
        depth = depth + rng.uniform(0.3, 1) * (grey > np.quantile(grey, rng.uniform(0.2, 0.8)))
    depth = 0.1 + 0.9 * (depth - depth.min()) / np.ptp(depth)
    return picture, np.float32(depth * rng.choice(FARTHEST))
