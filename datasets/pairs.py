"""Folders of image pairs, <root>/<split>/hazy/NAME and <root>/<split>/GT/NAME, matched when they are opened."""

import copy
import hashlib
import os
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import numpy as np

from utils.files import sha256

from .images import read_image
from .listing import list_images, read_sizes
from .synthetic import make_demo


def root_of(data):
    """The folder of the `data` settings' set. Without data.root its scenes are rendered, once."""
    if data.root is None:
        make_demo(data.folder, data.scenes)
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

    hazy, clear: Listings of N images each. input: what the network is given, `hazy` unless it is replaced.
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
        """(height, width) of every pair, N x 2 int32, read once from the headers of both sides.

        Training needs none of them: it checks a pair when it reads it, so that a large set opens in seconds.
        Raises ValueError naming the first image that is unreadable or too large, or pair of unequal size.
        """
        both = [read_sizes(listing, self.max_pixels) for listing in (self.input, self.clear)]
        unequal = np.flatnonzero((both[0] != both[1]).any(1))
        if len(unequal):
            self.refuse_unequal(unequal[0], *(sizes[unequal[0]] for sizes in both), len(unequal))
        return both[0]

    def read(self, index):
        """The input and the clear image, H x W x 3 of one size, uint8 or uint16.

        Raises ValueError naming what cannot be read, is too large or of unequal size.
        """
        images = [read_image(listing.path(index), self.max_pixels) for listing in (self.input, self.clear)]
        if images[0].shape != images[1].shape:
            self.refuse_unequal(index, *(image.shape[:2] for image in images))
        return images

    def refuse_unequal(self, index, size, clear_size, num=1):
        (h1, w1), (h2, w2) = size, clear_size
        more = f" ({num} such pairs)" if num > 1 else ""
        raise ValueError(
            f"{self.input.path(index)} ({w1} x {h1}) and {self.clear.path(index)} ({w2} x {h2}) are of unequal size"
            f"{more}: crop or resize them to one size"
        )

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
    """The images of `others` in the order of their partners in `listing`.

    Raises ValueError naming an image on either side without a partner, and how many there are.
    """
    found = match(listing.names, others.names)
    extra = np.setdiff1d(np.arange(len(others)), found)
    for side, other, alone in ((listing, others, np.flatnonzero(found < 0)), (others, listing, extra)):
        if len(alone):
            count = f"{len(alone)} image{'s' if len(alone) > 1 else ''}"
            raise ValueError(
                f"{side.folder}: {count} without a partner in {other.folder}, first {side.names[alone[0]]}: "
                "the two names must be equal, or their stems"
            )
    return others.take(found)


def match(names, others):
    """The index in `others` of each name's partner, N; -1 for a name without one.

    A partner has the same name, or that name and an ending after it; or the same stem, where each side has it once.
    """
    stems, other_stems = ([os.path.splitext(name)[0] for name in side] for side in (names, others))
    count, other_count = Counter(stems), Counter(other_stems)
    by_name = {name: i for i, name in enumerate(others)}
    by_stem = {stem: i for i, stem in enumerate(other_stems) if other_count[stem] == 1}
    found = []
    for name, stem in zip(names, stems, strict=True):
        same_stem = by_stem.get(stem, -1) if count[stem] == 1 else -1
        found.append(by_name.get(name, by_stem.get(name, same_stem)))
    return np.array(found)


def hold_out(names, share, seed):
    """Split pairs into those to train on and those held out for validation, as two sorted lists of indices.

    Images of one scene stay together. About `share` of the images, at least one and at most all but one scene's, are
    held out, chosen by the seed.
    """
    scenes = {}
    for index, name in enumerate(names):
        number = re.match(r"\d+(?=_)", name)  # RESIDE's names begin with SCENE_; another name is its own scene
        scenes.setdefault(number.group() if number else name, []).append(index)
    if len(scenes) < 2:
        raise ValueError(f"{len(names)} pairs of one scene cannot be split: give data.val a split folder of its own")
    groups, held = list(scenes.values()), []
    for place in np.random.default_rng((seed, 3)).permutation(len(groups))[:-1]:
        held += groups[place]
        if len(held) >= share * len(names):
            break
    return sorted(set(range(len(names))) - set(held)), sorted(held)


def fingerprint(pairs):
    """16 hexadecimal digits of the names and contents of all images of a Pairs, hazy and clear.

    The same for every copy of a split, wherever it lies and whether its files are links. Reads every file: about a
    second a gigabyte on two cores, once the disk has given it.
    """
    files = [side.path(i) for side in (pairs.hazy, pairs.clear) for i in range(len(side))]
    with ThreadPoolExecutor(8) as pool:  # hashlib and reading leave the other threads alone
        return combine(pool.map(fingerprint_entry, files))


def fingerprint_entry(path):
    """What the fingerprint takes in of one file."""
    return f"{path.parent.name}/{path.name}\0{path.stat().st_size}\0{sha256(path)}\n"


def combine(entries):
    """The fingerprint of entries in any order."""
    return hashlib.sha256("".join(sorted(entries)).encode()).hexdigest()[:16]
