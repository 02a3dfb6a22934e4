"""Folders of image pairs, <root>/<split>/hazy/NAME and <root>/<split>/GT/NAME, and samples made of them."""

import copy
import os
import re
from collections import Counter
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from .augment import augment, centre_crop, thin
from .images import read_image, to_tensor
from .listing import list_folder, list_images, read_sizes
from .synthetic import make_demo


def root_of(data):
    """The folder of the `data` settings' set. Without data.root its scenes are rendered, once."""
    if data.root is None:
        make_demo(data.folder, data.scenes, data.scene_width)
    return Path(data.folder)


def split_folders(data):
    """The folders that the `data` settings name: to train on, to test on and, if it is one, to validate on."""
    validation = [data.val] if isinstance(data.val, str) and data.val != "test-crop" else []
    return [root_of(data) / name for name in dict.fromkeys([data.train, data.test, *validation])]


def open_split(data, split):
    """The Pairs of one split of the `data` settings."""
    return Pairs(root_of(data), split, data.max_pixels)


class Pairs:
    """The matched pairs of one split, in the order of their hazy files' names.

    hazy, clear: Listings of N images each. input: what the network is given, `hazy` unless it was replaced.
    Raises ValueError naming an image without a partner, and how many there are.
    """

    def __init__(self, root, split, max_pixels=200_000_000):
        self.folder, self.max_pixels = Path(root) / split, max_pixels
        self.input = self.hazy = list_images(self.folder, "hazy")
        self.clear = partners(self.hazy, list_images(self.folder, "GT"))

    def __len__(self):
        return len(self.hazy)

    @property
    def names(self):
        return self.hazy.names

    @cached_property
    def sizes(self):
        """(height, width) of every pair, read once from the headers of both sides.

        Training leaves it out and checks each pair as it is read, so that a large set opens in seconds.
        Raises ValueError naming the first image that is unreadable or too large, or pair of unequal size.
        """
        sizes, clear_sizes = (read_sizes(listing, self.max_pixels) for listing in (self.input, self.clear))
        for index, both in enumerate(zip(sizes, clear_sizes, strict=True)):
            self.refuse_unequal(index, *both)
        return sizes

    def read(self, index):
        """The input and the clear image, H x W x 3, uint8 or uint16. Raises ValueError, also if their sizes differ."""
        images = [read_image(listing.path(index), self.max_pixels) for listing in (self.input, self.clear)]
        self.refuse_unequal(index, *(image.shape[:2] for image in images))
        return images

    def refuse_unequal(self, index, size, clear_size):
        if size != clear_size:
            (h1, w1), (h2, w2) = size, clear_size
            both = f"{self.input.path(index)} ({w1} x {h1}) and {self.clear.path(index)} ({w2} x {h2})"
            raise ValueError(f"{both} are of unequal size: crop or resize them to one size")

    def replaced(self, **listings):
        """A copy with other Listings of `hazy`, `input` or `clear`."""
        other = copy.copy(self)
        vars(other).pop("sizes", None)
        vars(other).update(listings)
        return other

    def subset(self, indices):
        """Some of the pairs."""
        return self.replaced(**{side: getattr(self, side).take(indices) for side in ("hazy", "input", "clear")})


def partners(listing, others):
    """The images of `others` in the order of their partners in `listing`. Raises ValueError as `Pairs`."""
    found = match(listing.names, others.names)
    extra = np.setdiff1d(np.arange(len(others)), found)
    for side, other, alone in ((listing, others, np.flatnonzero(found < 0)), (others, listing, extra)):
        if len(alone):
            which = f"{len(alone)} without a partner in {other.folder}, first {side.names[alone[0]]}"
            raise ValueError(f"{side.folder}: {which}: the two names must be equal, or their stems")
    return others.take(found)


def match(names, others):
    """The index in `others` of each name's partner, N; -1 for a name without one.

    A partner has the same name, or that name and an ending after it; or the same stem, where each side has it once.
    """
    stems, other_stems = ([os.path.splitext(name)[0] for name in side] for side in (names, others))
    count, other_count = Counter(stems), Counter(other_stems)
    by_stem = {stem: i for i, stem in enumerate(other_stems) if other_count[stem] == 1}
    by_name = by_stem | {name: i for i, name in enumerate(others)}
    same_stem = [by_stem.get(stem, -1) if count[stem] == 1 else -1 for stem in stems]
    return np.array([by_name.get(name, other) for name, other in zip(names, same_stem, strict=True)])


def hold_out(names, share, seed):
    """Sorted indices of the pairs to train on, and of those held out: whole scenes, about `share` of the images."""
    scenes = {}
    for index, name in enumerate(names):
        scene = re.sub(r"^(\d+)_.*", r"\1", name)  # RESIDE's names begin with SCENE_; another name is its own scene
        scenes.setdefault(scene, []).append(index)
    if len(scenes) < 2:
        raise ValueError(f"{len(names)} pairs of one scene cannot be split: give data.val a split folder of its own")
    groups, held = list(scenes.values()), []
    for place in np.random.default_rng((seed, 3)).permutation(len(groups))[:-1]:
        held += groups[place]
        if len(held) >= share * len(names):
            break
    return sorted(set(range(len(names))) - set(held)), sorted(held)


class TrainingSamples(Dataset):
    """Augmented crops of N pairs, fetched by (image, position): the same position always gives the same sample.

    prob: N x K. crop to rotate: as in `augment`. haze_strength: as in `thin`; None: the haze stays. unknown: the share
    of samples whose domain is hidden: uniform probabilities.
    """

    def __init__(self, pairs, prob, seed, crop, edge_decay=0, flip=True, rotate=False, haze_strength=None, unknown=0):
        self.pairs, self.prob, self.seed, self.haze_strength, self.unknown = pairs, prob, seed, haze_strength, unknown
        self.augmentation = crop, edge_decay, flip, rotate

    def __getitem__(self, sample):
        """Returns hazy and clear (3 x crop x crop in [-1, 1]), prob (K) and name."""
        index, position = sample
        rng = np.random.default_rng((self.seed, 2, position))
        hazy, clear = map(to_tensor, augment(self.pairs.read(index), rng, *self.augmentation))
        prob = self.prob[index]
        return {
            "hazy": thin(hazy, clear, rng, self.haze_strength) if self.haze_strength else hazy,
            "clear": clear,
            "prob": np.full_like(prob, 1 / len(prob)) if rng.random() < self.unknown else prob,
            "name": self.pairs.names[index],
        }


class EvaluationSamples(Dataset):
    """Whole images, or centre crops, fetched by index. sizes: each one's (height, width). Raises as `Pairs.sizes`."""

    def __init__(self, pairs, prob, crop=None):
        self.pairs, self.prob, self.crop = pairs, prob, crop or 2**30
        self.sizes = np.minimum(pairs.sizes, self.crop).tolist()

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, index):
        """Returns hazy and clear (3 x H x W in [-1, 1]), prob (K) and index."""
        hazy, clear = (to_tensor(centre_crop(image, self.crop)) for image in self.pairs.read(index))
        return {"hazy": hazy, "clear": clear, "prob": self.prob[index], "index": index}


class Outputs(torch.nn.Module):
    """Another method's images for the pairs of a split, called like a network.

    Raises ValueError naming images that are missing, belong to no pair (see `match`), or differ in size.
    """

    def __init__(self, folder, pairs):
        super().__init__()
        if not Path(folder).is_dir():
            raise ValueError(f"test.outputs={folder} is not a folder")
        self.pairs = pairs.replaced(input=partners(pairs.hazy, list_folder(Path(folder))))
        _ = self.pairs.sizes  # read here, so that a mistake shows before any work

    def forward(self, hazy, index):
        """hazy: B x 3 x H x W. index: B x 1. Returns B x 3 x H x W in [-1, 1], the centre where hazy is the centre."""
        images = [read_image(self.pairs.input.path(i), self.pairs.max_pixels) for i in index[:, 0].int().tolist()]
        return torch.stack([to_tensor(centre_crop(image, max(hazy.shape[2:]))) for image in images]).to(hazy)
