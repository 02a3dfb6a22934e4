"""Folders of image pairs, <root>/<split>/hazy/NAME and <root>/<split>/GT/NAME, checked when they are opened."""

import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

from .augment import augment, centre_crop, thin
from .images import image_size, is_image, read_image, to_tensor

LAYOUT = "expected <root>/<split>/hazy/NAME and <root>/<split>/GT/NAME with the same names"

SOURCE = "set data.root, or get the set from the links at github.com/IDKiro/DehazeFormer"


class Pairs:
    """The matched and checked pairs of one split, in the order of their names.

    names: list of str (the hazy file's). hazy, clear: lists of Path. sizes: list of (height, width).
    Raises ValueError naming what is missing or unequal, and how many.
    """

    def __init__(self, root, split, max_pixels=200_000_000):
        self.folder = Path(root) / split
        hazy, clear = (list_images(self.folder, side) for side in ("hazy", "GT"))
        self.hazy, self.clear = match(self.folder, hazy, clear)
        self.names = [path.name for path in self.hazy]
        self.sizes = check_sizes(self.hazy, self.clear, max_pixels)

    def __len__(self):
        return len(self.names)

    def read(self, index):
        """The hazy and the clear image, H x W x 3 of one size.

        Raises ValueError when they cannot be read, or have not the size that was read from their headers.
        """
        images = [read_image(path) for path in (self.hazy[index], self.clear[index])]
        for image, path in zip(images, (self.hazy[index], self.clear[index]), strict=True):
            if image.shape[:2] != tuple(self.sizes[index]):
                raise ValueError(f"{path} has not the size that its header says, or has changed: replace it")
        return images


class TrainingSamples(Dataset):
    """Augmented crops of pairs, fetched by (image, position): the same position always gives the same sample."""

    def __init__(self, pairs, prob, seed, crop, edge_decay=0.0, flip=True, rotate=False, haze_strength=None):
        """prob: N x K array for the N pairs; haze_strength as in `thin`, None: as it is; the rest as in `augment`."""
        self.pairs, self.prob, self.seed, self.haze_strength = pairs, prob, seed, haze_strength
        self.crop, self.edge_decay, self.flip, self.rotate = crop, edge_decay, flip, rotate

    def __getitem__(self, sample):
        """Returns hazy and clear (3 x crop x crop in [-1, 1]), prob (K) and name."""
        index, position = sample
        rng = np.random.default_rng((self.seed, 2, position))
        images = augment(self.pairs.read(index), rng, self.crop, self.edge_decay, self.flip, self.rotate)
        hazy, clear = map(to_tensor, images)
        return {
            "hazy": thin(hazy, clear, rng, self.haze_strength) if self.haze_strength else hazy,
            "clear": clear,
            "prob": self.prob[index],
            "name": self.pairs.names[index],
        }


class EvaluationSamples(Dataset):
    """Whole images, or their centre crops, fetched by index."""

    def __init__(self, pairs, prob, crop=None):
        self.pairs, self.prob, self.crop = pairs, prob, crop

    @property
    def sizes(self):
        """(height, width) of every sample."""
        crop = self.crop or 2**31
        return [(min(height, crop), min(width, crop)) for height, width in self.pairs.sizes]

    def __getitem__(self, index):
        """Returns hazy and clear (3 x H x W in [-1, 1]), prob (K) and index."""
        images = self.pairs.read(index)
        if self.crop:
            images = [centre_crop(image, self.crop) for image in images]
        return {
            "hazy": to_tensor(images[0]),
            "clear": to_tensor(images[1]),
            "prob": self.prob[index],
            "index": index,
        }


class Subset(Pairs):
    """Some pairs of a `Pairs`, by index."""

    def __init__(self, pairs, indices):
        self.folder = pairs.folder
        for name in ("names", "hazy", "clear", "sizes"):
            setattr(self, name, [getattr(pairs, name)[i] for i in indices])


def list_images(folder, side):
    """The image files of <folder>/<side> by name; <folder> is a split of a data set."""
    path = folder / side
    if not folder.parent.is_dir():
        raise ValueError(f"data set folder {folder.parent} does not exist: {SOURCE}; {LAYOUT}")
    if not path.is_dir():
        raise ValueError(f"no folder {path}: {LAYOUT}")
    found = sorted(entry for entry in path.iterdir() if is_image(entry))
    if not found:
        raise ValueError(f"no images in {path}: {LAYOUT}")
    nameless = [entry for entry in found if entry.name.encode(errors="ignore").decode() != entry.name]
    if nameless:
        raise ValueError(f"{nameless[0]} has a name that is no valid text: rename it")
    return found


def match(folder, hazy, clear):
    """Pair files by name, or by stem where the endings differ and the stem is there once on each side."""
    by_name = {path.name: path for path in clear}
    stems_hazy, stems_clear = (Counter(path.stem for path in paths) for paths in (hazy, clear))
    by_stem = {path.stem: path for path in clear if stems_hazy[path.stem] == stems_clear[path.stem] == 1}
    partners = [by_name.get(path.name) or by_stem.get(path.stem) for path in hazy]
    alone = [path.name for path, partner in zip(hazy, partners, strict=True) if partner is None]
    used = set(partners)
    alone_clear = [path.name for path in clear if path not in used]
    for names, side, other in ((alone, "hazy", "GT"), (alone_clear, "GT", "hazy")):
        if names:
            raise ValueError(
                f"{folder / side}: {count(names)} without a partner in {other}, first {names[0]}: {LAYOUT}"
            )
    return hazy, partners


def check_sizes(hazy, clear, max_pixels):
    """(height, width) of every pair, read from the headers; ValueError for unreadable files and unequal sizes."""
    with ThreadPoolExecutor(8) as pool:

        def sizes(paths):
            return list(pool.map(lambda path: try_size(path, max_pixels), paths))

        sizes_hazy, sizes_clear = sizes(hazy), sizes(clear)
    broken = [size for size in sizes_hazy + sizes_clear if isinstance(size, ValueError)]
    if broken:
        rest = f" ({len(broken)} such files)" if len(broken) > 1 else ""
        raise ValueError(f"{broken[0]}{rest}: replace it, or remove the pair")
    unequal = [i for i, size in enumerate(sizes_hazy) if size != sizes_clear[i]]
    if unequal:
        i = unequal[0]
        (h1, w1), (h2, w2) = sizes_hazy[i], sizes_clear[i]
        raise ValueError(
            f"{count(unequal)} of unequal size, first {hazy[i]} ({w1} x {h1}) and {clear[i]} ({w2} x {h2}): "
            "crop or resize them to one size"
        )
    return sizes_hazy


def try_size(path, max_pixels):
    try:
        return image_size(path, max_pixels)
    except ValueError as error:
        return error


def count(names):
    return f"{len(names)} image{'s' if len(names) > 1 else ''}"


def hold_out(names, share, seed):
    """Split pairs into those to train on and those held out for validation, as two sorted lists of indices.

    Images of one scene (RESIDE names begin with SCENE_) stay together. About `share` of the images, at least one and at
    most all but one scene's, are held out, chosen by the seed.
    """
    scenes = {}
    for index, name in enumerate(names):
        scene = re.match(r"\d+(?=_)", name)
        scenes.setdefault(scene.group() if scene else name, []).append(index)
    if len(scenes) < 2:
        raise ValueError(f"{len(names)} pairs of one scene cannot be split: give data.val a split folder of its own")
    held = []
    for place in np.random.default_rng((seed, 3)).permutation(len(scenes))[:-1]:
        held += list(scenes.values())[place]
        if len(held) >= share * len(names):
            break
    return sorted(set(range(len(names))) - set(held)), sorted(held)
