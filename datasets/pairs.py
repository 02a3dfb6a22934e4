"""Folders of image pairs, <root>/<split>/hazy/NAME and <root>/<split>/GT/NAME, checked when they are opened."""

import copy
import hashlib
import os
import re
from collections import Counter
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

from .augment import augment, centre_crop, thin
from .images import left_out, read_image, to_bytes, to_tensor
from .listing import list_folder, sizes_of

NUM_ENDS = 1000  # files whose last bytes tell that their pixels have changed

LAYOUT = "expected <root>/<split>/hazy/NAME and <root>/<split>/GT/NAME with the same names"

SOURCE = "set data.root, or get the set from the links at github.com/IDKiro/DehazeFormer"


class Pairs:
    """The matched and checked pairs of one split, in the order of their hazy files' names.

    hazy, clear: Listings of N images each. sizes: N x 2, (height, width).
    Raises ValueError naming what is missing or unequal, and how many.
    """

    def __init__(self, root, split, max_pixels=200_000_000):
        self.folder = Path(root) / split
        hazy, clear = (list_images(self.folder, side) for side in ("hazy", "GT"))
        self.hazy, self.clear = hazy, clear.take(match(self.folder, hazy, clear))
        self.sizes = sizes_of(self.hazy, max_pixels)
        refuse_unequal(self, sizes_of(self.clear, max_pixels))

    def __len__(self):
        return len(self.hazy)

    @property
    def names(self):
        """The hazy files' names, made anew at every call."""
        return self.hazy.all_names()

    def read(self, index):
        """The hazy and the clear image, H x W x 3 of one size.

        Raises ValueError when they cannot be read, or have not the size that was read from their headers.
        """
        paths = self.hazy.path(index), self.clear.path(index)
        images = [read_image(path) for path in paths]
        for image, path in zip(images, paths, strict=True):
            if image.shape[:2] != tuple(self.sizes[index]):
                raise ValueError(f"{path} has not the size that its header says, or has changed: replace it")
        return images

    def subset(self, indices):
        """Some of the pairs."""
        some = copy.copy(self)
        some.hazy, some.clear, some.sizes = self.hazy.take(indices), self.clear.take(indices), self.sizes[indices]
        return some

    def fingerprint(self):
        """A hash of all files' sizes and of some files' ends, where a PNG has the checksum of its pixels.

        Times of modification would need no reading, but do not survive a copy to another disk.
        """
        digest = hashlib.sha256()
        for side in (self.hazy, self.clear):
            digest.update(side.stamps[:, 0].tobytes())
            for i in range(0, len(side), len(side) // NUM_ENDS + 1):
                with open(side.path(i), "rb") as file:
                    file.seek(max(side.stamps[i, 0] - 4096, 0))
                    digest.update(file.read())
        return digest.hexdigest()


class TrainingSamples(Dataset):
    """Augmented crops of pairs, fetched by (image, position): the same position always gives the same sample."""

    def __init__(
        self, pairs, prob, seed, crop, edge_decay=0.0, flip=True, rotate=False, haze_strength=None, unknown=0.0
    ):
        """prob: N x K array for the N pairs; haze_strength as in `thin`, None: as it is; unknown: the share of samples
        that get every class equally instead; the rest as in `augment`."""
        self.pairs, self.prob, self.seed, self.haze_strength, self.unknown = pairs, prob, seed, haze_strength, unknown
        self.crop, self.edge_decay, self.flip, self.rotate = crop, edge_decay, flip, rotate

    def __getitem__(self, sample):
        """Returns hazy and clear (3 x crop x crop; of `to_bytes`, but of `to_tensor` where haze is thinned), prob (K)
        and name."""
        index, position = sample
        rng = np.random.default_rng((self.seed, 2, position))
        images = augment(self.pairs.read(index), rng, self.crop, self.edge_decay, self.flip, self.rotate)
        hazy, clear = map(to_tensor if self.haze_strength else to_bytes, images)
        hazy = thin(hazy, clear, rng, self.haze_strength) if self.haze_strength else hazy
        prob = self.prob[index]
        return {
            "hazy": hazy,
            "clear": clear,
            "prob": np.full_like(prob, 1 / len(prob)) if rng.random() < self.unknown else prob,
            "name": self.pairs.hazy.name(index),
        }


class EvaluationSamples(Dataset):
    """Whole images, or their centre crops, fetched by index."""

    def __init__(self, pairs, prob, crop=None):
        self.pairs, self.prob, self.crop = pairs, prob, crop

    def __len__(self):
        return len(self.pairs)

    @property
    def sizes(self):
        """(height, width) of every sample."""
        return np.minimum(self.pairs.sizes, self.crop or 2**30).tolist()

    def __getitem__(self, index):
        """Returns hazy and clear (3 x H x W, of `to_bytes`), prob (K) and index."""
        images = self.pairs.read(index)
        if self.crop:
            images = [centre_crop(image, self.crop) for image in images]
        return {
            "hazy": to_bytes(images[0]),
            "clear": to_bytes(images[1]),
            "prob": self.prob[index],
            "index": index,
        }


def list_images(folder, side):
    """The image files of <folder>/<side> by name; <folder> is a split of a data set."""
    path = folder / side
    if not folder.parent.is_dir():
        raise ValueError(f"data set folder {folder.parent} does not exist: {SOURCE}; {LAYOUT}")
    if not path.is_dir():
        raise ValueError(f"no folder {path}: {LAYOUT}")
    found = list_folder(path)
    others = map(os.fsdecode, set(os.listdir(os.fsencode(path))) - set(found.names.tolist()))
    others = [path / name for name in others if name[0] != "."]
    others = left_out(file for entry in others for file in (entry, *entry.rglob("*")))
    if not len(found):
        raise ValueError(f"no images in {path}{others and f', {others}'}: {LAYOUT}")
    if others:
        print(f"note: {path}: {others}")
    for name in found.names:
        try:
            name.decode()
        except UnicodeDecodeError:
            raise ValueError(f"{path / os.fsdecode(name)} has a name that is no valid text: rename it") from None
    return found


def match(folder, hazy, clear):
    """The index in `clear` of each hazy image's partner. Raises ValueError naming an image without one."""
    partners = find_partners(hazy, clear)
    alone, alone_clear = hazy.take(partners < 0), clear.take(np.setdiff1d(np.arange(len(clear)), partners))
    for listing, side, other in ((alone, "hazy", "GT"), (alone_clear, "GT", "hazy")):
        if len(listing):
            raise ValueError(
                f"{folder / side}: {count(listing)} without a partner in {other}, first {listing.name(0)}: {LAYOUT}"
            )
    return partners


def find_partners(hazy, clear):
    """The index in `clear` of each hazy image's partner, N; -1 for one without.

    The partner has the image's name, or its stem where the endings differ and the stem is there once on each side.
    """
    if np.array_equal(hazy.names, clear.names):
        return np.arange(len(hazy))
    hazy_names, clear_names = ([os.path.splitext(name) for name in listing.all_names()] for listing in (hazy, clear))
    by_name = {name: i for i, name in enumerate(clear_names)}
    stems_hazy, stems_clear = (Counter(stem for stem, _ in names) for names in (hazy_names, clear_names))
    by_stem = {stem: i for i, (stem, _) in enumerate(clear_names) if stems_hazy[stem] == stems_clear[stem] == 1}
    return np.array([by_name.get(name, by_stem.get(name[0], -1)) for name in hazy_names])


def refuse_unequal(pairs, sizes_clear):
    """Raise ValueError naming the first pair whose images differ in size, and how many do."""
    unequal = np.flatnonzero((pairs.sizes != sizes_clear).any(1))
    if len(unequal):
        i = unequal[0]
        (h1, w1), (h2, w2) = pairs.sizes[i], sizes_clear[i]
        raise ValueError(
            f"{count(unequal)} of unequal size, first {pairs.hazy.path(i)} ({w1} x {h1}) and {pairs.clear.path(i)} "
            f"({w2} x {h2}): crop or resize them to one size"
        )


def count(names):
    return f"{len(names)} image{'s' if len(names) > 1 else ''}"


def hold_out(names, share, seed):
    """Split pairs into those to train on and those held out for validation, as two sorted lists of indices.

    Images of one scene stay together. About `share` of the images, at least one and at most all but one scene's, are
    held out, chosen by the seed.
    """
    scenes = {}
    for index, name in enumerate(names):
        scenes.setdefault(scene(name), []).append(index)
    if len(scenes) < 2:
        raise ValueError(f"{len(names)} pairs of one scene cannot be split: give data.val a split folder of its own")
    held = []
    for place in np.random.default_rng((seed, 3)).permutation(len(scenes))[:-1]:
        held += list(scenes.values())[place]
        if len(held) >= share * len(names):
            break
    return sorted(set(range(len(names))) - set(held)), sorted(held)


def scene(name):
    """What an image's name says of its scene: RESIDE's names begin with SCENE_; another name is its own scene."""
    number = re.match(r"\d+(?=_)", name)
    return number.group() if number else name
