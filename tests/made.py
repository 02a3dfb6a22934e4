"""Tiny data sets and networks, made on the spot."""

import csv
import struct
import zlib

import cv2
import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from datasets.domains import stand_in_text
from datasets.images import write_image
from models import build_model, describe
from utils import checkpoint

TEXT_FACTS = {  # of a checkpoint trained on stand-in text
    "encoder": "stand-in",
    "weights": "none",
    "source": "none",
    "zero_shot": "none",
    "beta2": 0.0,
    "beta3": 0.0,
    "classes": ["indoor", "outdoor"],
    "prompts": ["a photo of a {class}"],
    "labels": "soft",
}


def picture(seed=0, height=24, width=32, dtype=np.uint8):
    """Noise, H x W x 3."""
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, (height, width, 3), dtype, endpoint=True)


def encoded(ending=".png", image=None):
    """The bytes of an image file."""
    return cv2.imencode(ending, picture() if image is None else image)[1].tobytes()


def bomb(width, height):
    """A PNG whose header promises width x height pixels."""
    data = encoded()
    header = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]


def make_pairs(folder, names, size=(24, 32), seed=0):
    """Write smooth pairs and their domains into a split's folder. size: height and width in pixels."""
    random = np.random.default_rng(seed)
    for name in names:
        clear = cv2.resize(random.random((6, 6, 3)), size[::-1], interpolation=cv2.INTER_LINEAR)
        for side, image in (("GT", clear), ("hazy", 0.5 * clear + 0.4)):
            write_image(folder / side / name, (255 * image).astype(np.uint8))
    write_labels(folder, names)


def write_labels(folder, names):
    """Write domains.csv: every second image is outdoor."""
    with open(folder / "domains.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("name", "domain"), *((name, label(i)) for i, name in enumerate(names))])


class Plain(torch.nn.Conv2d):
    """A network without BatchNorm, whose statistics each process, or part of a batch, has of its own share."""

    def __init__(self):
        torch.manual_seed(0)
        super().__init__(3, 3, 3, padding=1)

    def forward(self, hazy, prob):
        return super().forward(hazy)


def label(number):
    return ("indoor", "outdoor")[number % 2]


def make_network(size="n", fusion="calip", merge="concat", window=None, text=None):
    """A network in evaluation mode whose random weights and BatchNorm statistics are unlike a fresh network's."""
    torch.manual_seed(0)
    text = torch.from_numpy(stand_in_text(2)) if text is None else text
    network = build_model(size, fusion, merge, text, window)
    for norm in (module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)):
        for values in (norm.weight.data, norm.running_var):
            values.uniform_(0.5, 1.5)
        for values in (norm.bias.data, norm.running_mean):
            values.normal_(0, 0.1)
    return network.eval()


def tensor_sizes(function):
    """The numbers of elements of all tensors that operations return while function() runs."""
    sizes = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
            out = operation(*args, **(kwargs or {}))
            sizes.extend(t.numel() for t in (out if isinstance(out, tuple) else (out,)) if torch.is_tensor(t))
            return out

    with Watch():
        function()
    return sizes


def save_network(path, fusion="calip", facts=(), settings=None, **options):
    """Write the checkpoint of a `make_network`. facts: what differs from TEXT_FACTS. Returns the network."""
    network = make_network(fusion=fusion, **options)
    text = None if fusion == "none" else {**TEXT_FACTS, **dict(facts)}
    parts = {"network": describe(network), "ema": None, "text": text, "settings": settings or {}}
    checkpoint.save(path, {**parts, "step": 7, "chosen": "best"})
    return network
