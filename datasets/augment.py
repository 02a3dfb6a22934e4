"""Random crops, flips and turns of an image pair, as in the DehazeFormer family, and thinner haze."""

import numpy as np


def augment(images, rng, crop, edge_decay=0.0, flip=True, rotate=False):
    """Cut the same random square out of every image, then flip and turn them alike.

    images: H x W x C arrays of one size; smaller ones than the crop are extended by reflection. crop: side in pixels.
    edge_decay: crop / side * edge_decay is the probability that the crop is pushed to one of the two edges of that
    side, which uniform crops rarely reach. Returns a list of crop x crop x C arrays (views).
    """
    images = [extend(image, crop) for image in images]
    top, left = (offset(side, crop, edge_decay, rng) for side in images[0].shape[:2])
    images = [image[top : top + crop, left : left + crop] for image in images]
    if flip and rng.random() < 0.5:
        images = [image[:, ::-1] for image in images]
    if rotate:
        turns = int(rng.integers(4))
        images = [np.rot90(image, turns) for image in images]
    return images


def offset(side, crop, edge_decay, rng):
    last = side - crop
    if rng.random() < crop / side * edge_decay:
        return last * int(rng.integers(2))
    return int(rng.integers(last + 1))


def thin(hazy, clear, rng, strength):
    """Thinner haze of the same airlight: J + s (I - J), which has the transmission 1 - s (1 - t) in place of t.

    hazy, clear: I and J, of one shape and linear scale. strength: (low, high) of s within [0, 1]; at 0 all is clear.
    """
    return clear + rng.uniform(*strength) * (hazy - clear)


def centre_crop(image, crop):
    """The central crop x crop pixels of H x W x C; a smaller side is kept whole."""
    height, width = image.shape[:2]
    top, left = max(height - crop, 0) // 2, max(width - crop, 0) // 2
    return image[top : top + crop, left : left + crop]


def extend(image, side):
    """Extend H x W x C by reflection, repeated as needed, to at least `side` pixels each way."""
    height, width = image.shape[:2]
    missing = [(0, max(side - height, 0)), (0, max(side - width, 0)), (0, 0)]
    return np.pad(image, missing, mode="reflect") if height < side or width < side else image
