"""The rules by which the reference numbers in tests/data were made."""

import gzip
import json
import zlib
from pathlib import Path

import numpy as np
import torch

DATA = Path(__file__).parent / "data"
LAYOUT = json.loads(gzip.decompress((DATA / "published_layout.json.gz").read_bytes()))
OUTPUTS = np.load(DATA / "published_outputs.npz")


def rng(key):
    return np.random.default_rng(zlib.crc32(key.encode()))


def published_tensor(name, shape):
    kind = name.rsplit(".", 1)[-1]
    random = rng(name)
    normal = random.standard_normal(shape)
    if kind == "num_batches_tracked":
        return torch.zeros(shape, dtype=torch.int64)
    if kind == "running_var":
        value = 1 + 0.5 * random.random(shape)
    elif kind == "running_mean":
        value = 0.1 * normal
    elif kind == "bias":
        value = 0.05 * normal
    elif len(shape) == 1:
        value = 1 + 0.1 * normal
    else:
        value = 0.6 * normal / np.sqrt(np.prod(shape[1:]))
    return torch.as_tensor(value)


def published_state(system):
    return {name: published_tensor(name, shape) for name, shape in LAYOUT[system]}


def image(num, height, width):
    return torch.from_numpy(rng(f"image{num}x{height}x{width}").random((num, 3, height, width)) * 2 - 1)


def text(num):
    vectors = rng(f"text{num}").standard_normal((num, 1, 512))[:, 0]
    return torch.from_numpy(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def metric_pair(height, width):
    """Prediction and target, 1 x 3 x H x W in [0, 1]."""
    y, x = np.mgrid[0:height, 0:width] / 37.0
    target = np.stack([0.5 + 0.4 * np.sin(x + c) * np.cos(y * (1 + 0.3 * c)) for c in range(3)], -1)
    random = rng(f"metric{height}x{width}")
    target = np.clip(target + 0.05 * random.standard_normal(target.shape), 0, 1)
    output = np.clip(0.9 * target + 0.06 + 0.04 * random.standard_normal(target.shape), 0, 1)
    return tuple(torch.from_numpy(image.transpose(2, 0, 1)[None]) for image in (output, target))
