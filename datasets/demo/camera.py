"""What a camera makes of a scene: levels, brightness, colours, sharpness, noise, compression."""

import cv2
import numpy as np

# Ranges: the share of the scene's darkest light that is taken off; the picture's mean, reached by a gamma; a factor on
# the saturation; by how much red gains and blue loses. balance: how far the picture's mean is brought to grey, 1 fully.
INDOORS = {"black": (0.6, 1.05), "mean": (0.2, 0.5), "saturation": (0.3, 1.0), "warmth": (0.0, 0.25), "balance": 0.7}
OUTDOORS = {"black": (-0.5, 1.0), "mean": (0.3, 0.6), "saturation": (0.15, 0.8), "warmth": (-0.1, 0.1), "balance": 0.3}
GARDENS = OUTDOORS | {"mean": (0.15, 0.45), "balance": 0.7}


def develop(rng, scene, black, mean, saturation, warmth, balance):
    """A photograph of a scene, H x W x 3 in [0, 1], as cameras make it by themselves; ranges are (low, high)."""
    darkest, brightest = np.percentile(scene, [0.5, 99.5])
    offset = darkest * rng.uniform(*black)
    picture = np.clip((scene - offset) / (brightest - offset) * rng.uniform(0.85, 1.25), 0, 1)
    gamma = np.log(rng.uniform(*mean)) / np.log(np.clip(picture.mean(), 0.05, 0.95))
    picture = picture ** np.clip(gamma, 0.6, 2.2)
    grey = picture.mean(axis=2, keepdims=True)
    picture = grey + (picture - grey) * rng.uniform(*saturation)
    warm = rng.uniform(*warmth)
    light = np.exp(rng.normal(0, [0.05, 0.02, 0.05]) + [warm, -0.2 * warm, -0.8 * warm])
    picture = picture * light / picture.mean(axis=(0, 1)) ** balance
    picture = np.clip(picture * grey.mean() / picture.mean(), 0, 1)
    picture += rng.uniform(-0.6, 0.8) * (picture - cv2.GaussianBlur(picture, (0, 0), 1.0))  # soft to sharpened
    picture += rng.uniform(0, 0.02) * rng.standard_normal(picture.shape) * (1 - 0.5 * picture)
    return np.clip(picture, 0, 1).astype(np.float32)


def compress(rng, picture, quality=(45, 98)):
    """The picture, H x W x 3 uint8, after JPEG at a random quality."""
    options = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(*quality))]
    return cv2.imdecode(cv2.imencode(".jpg", picture, options)[1], cv2.IMREAD_COLOR)
