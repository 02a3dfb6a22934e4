"""Whether a data set can be trusted: what its splits hold, and each pair or image with which something is wrong.

Start reading at `check`. Every file is read once, by threads, for its fingerprint and its checks.
"""

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from .duplicates import ClearImages, sketch
from .fingerprint import combine, entry
from .images import file_format, image_size, read_small
from .known import known_set
from .pair_checks import check_pair
from .pairs import LAYOUT, find_partners, list_images

SIDE = 800  # pixels; larger images are shrunk to it before they are checked
CHUNK = 16  # pairs of one task of a thread

KINDS = {  # of defects, in words, in the order in which they are told
    "alone": "images without a partner",
    "unreadable": "images that cannot be read",
    "unequal": "pairs of unequal sizes",
    "leaked": "clear images in two splits",
    "repeated": "clear images twice in one split, under names that do not say the same scene",
    "unrelated": "pairs of two different scenes",
    "shifted": "pairs that are not aligned",
    "swapped": "hazy images that are clearer than their clear ones",
    "identical": "pairs without haze",
    "border": "images with a white border",
}


@dataclass(frozen=True)
class Defect:
    """kind: of KINDS. name: <split>/NAME of the hazy image. paths: of the images to look at. says: what is wrong."""

    kind: str
    name: str
    paths: tuple
    says: str


@dataclass
class Split:
    """What a split holds. sizes, formats, bits: how many images have each (height, width), format and bit depth."""

    name: str
    num_pairs: int = 0
    sizes: Counter = field(default_factory=Counter)
    formats: Counter = field(default_factory=Counter)
    bits: Counter = field(default_factory=Counter)
    fingerprint: str = ""


@dataclass(frozen=True)
class Facts:
    """What one pair gives. entries: for the fingerprint. digest, sketch: of the clear image."""

    entries: tuple = ()
    size: tuple = ()
    formats: tuple = ()
    digest: str = ""
    sketch: np.ndarray | None = None
    defects: tuple = ()


def find_splits(root):
    """Names of a folder's splits, train first and test last. Raises ValueError where there are none."""
    root = Path(root)
    if not root.is_dir():
        raise ValueError(f"data set folder {root} does not exist: {LAYOUT}")
    names = [path.parent.name for path in root.glob("*/hazy") if (path.parent / "GT").is_dir()]
    if not names:
        raise ValueError(f"{root} has no splits: {LAYOUT}; a raw release is laid out by --from RAW --to FOLDER")
    return sorted(names, key=lambda name: (name == "test", name != "train", name))


def check(root, names, max_pixels=200_000_000):
    """The Splits of those names, the Known set or None, and the Defects in the order of KINDS.

    Raises ValueError naming a folder that is missing or holds no images.
    """
    clear_images, splits, defects = ClearImages(), [], []
    for name in names:
        split, found = check_split(Path(root) / name, clear_images, max_pixels)
        splits.append(split)
        defects += found
    for (split, name, path), (_, other, other_path), exact in clear_images.duplicates(partial(read_small, side=SIDE)):
        kind = "repeated" if path.parent == other_path.parent else "leaked"
        how = "is the same file as" if exact else "shows the same picture as"
        place = f"{other_path.parent.parent.name}/{other}"
        defects.append(Defect(kind, f"{split}/{name}", (path, other_path), f"its clear image {how} that of {place}"))
    numbers = {split.name: split.num_pairs for split in splits}
    sizes = set().union(*(split.sizes for split in splits))
    known = known_set(Path(root).resolve().name, numbers.get("train"), numbers.get("test"), sizes)
    defects = [defect for defect in defects if known is None or defect.kind not in known.allowed]
    return splits, known, sorted(defects, key=lambda defect: list(KINDS).index(defect.kind))


def check_split(folder, clear_images, max_pixels):
    """The Split of a folder and its Defects. clear_images: takes in its clear images."""
    hazy, clear = (list_images(folder, side) for side in ("hazy", "GT"))
    partners = find_partners(hazy, clear)
    lonely = [hazy.path(i) for i in np.flatnonzero(partners < 0)]
    lonely += [clear.path(i) for i in np.setdiff1d(np.arange(len(clear)), partners)]
    defects = [Defect("alone", f"{folder.name}/{p.parent.name}/{p.name}", (p,), "it has no partner") for p in lonely]
    pairs = [(hazy.path(i), clear.path(partner)) for i, partner in enumerate(partners) if partner >= 0]
    split, entries = Split(folder.name, len(pairs)), []
    for (first, second), facts in zip(pairs, examine(pairs, clear_images, max_pixels, folder), strict=True):
        entries += facts.entries
        split.formats.update(kind for kind, _ in facts.formats)
        split.bits.update(bits for _, bits in facts.formats)
        split.sizes.update([facts.size] if facts.size else [])
        if facts.digest:
            clear_images.add(facts.digest, (folder.name, first.name, second), facts.sketch)
        name = f"{folder.name}/{first.name}"
        defects += [Defect(kind, name, (first, second), says) for kind, says in facts.defects]
    split.fingerprint = combine(entries)
    return split, defects


def examine(pairs, clear_images, max_pixels, title):
    """Yield the Facts of each pair of paths, with a progress bar; several at a time are read."""
    chunks = [pairs[start : start + CHUNK] for start in range(0, len(pairs), CHUNK)]
    pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)))  # decoding and transforms release Python's lock
    try:
        with tqdm(total=len(pairs), desc=str(title), unit="pair", disable=None) as bar:
            for chunk in pool.map(lambda chunk: [look(*pair, clear_images, max_pixels) for pair in chunk], chunks):
                bar.update(len(chunk))
                yield from chunk
    finally:
        pool.shutdown(cancel_futures=True)


def look(hazy_path, clear_path, clear_images, max_pixels):
    """The Facts of one pair, with defects as (kind, what is wrong)."""
    paths, contents, sizes = (hazy_path, clear_path), [], []
    try:
        for path in paths:
            sizes.append(image_size(path, max_pixels))
            contents.append(path.read_bytes())
        entries = tuple(entry(path.parent.name, path.name, data) for path, data in zip(paths, contents, strict=True))
        facts = Facts(entries, sizes[0], tuple(map(file_format, contents)))
        hazy, clear = map(read_small, paths, (SIDE, SIDE), contents)
    except (ValueError, OSError) as error:
        return Facts(defects=(("unreadable", f"{error}"),))
    digest = entries[1].rsplit("\0", 1)[1]
    facts = replace(facts, digest=digest, sketch=None if digest in clear_images else sketch(clear))
    if sizes[0] != sizes[1]:
        (h1, w1), (h2, w2) = sizes
        return replace(facts, defects=(("unequal", f"hazy is {w1} x {h1}, clear {w2} x {h2}"),))
    return replace(facts, defects=tuple(check_pair(hazy, clear, max(sizes[0]) / max(hazy.shape[:2]))))
