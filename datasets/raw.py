"""Pairs in the folders of a raw release: what belongs together, to which split, of which domain. RELEASES is the table.

A file's side is told by its name (01_hazy.png, 01_GT.png) or by a folder above it (hazy, GT, ...). Two sides belong
together where those folders, at any depth, lie beside each other, or all files in one folder.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from .images import is_image
from .photo_files import walk


@dataclass(frozen=True)
class Release:
    """How a release names its images. hazy: pattern of a stem, whose first group is the scene. clear: its clear one's.

    last: how many of the highest scenes are the test split where no folder names one, as in the NTIRE challenges.
    """

    name: str
    hazy: str
    clear: str
    last: int = 0


RELEASES = (
    Release("pairs of one name", r"(.+)", "{}"),
    # ITS 1_1_0.90179.png, OTS and SOTS outdoor 0025_0.8_0.1.jpg, SOTS indoor 1400_1.png, Haze4K 1_0.8_1.2.png
    Release("RESIDE or Haze4K", r"(\d+)(?:_\d+(?:\.\d+)?){1,2}", "{}"),
    Release("O-HAZE", r"(\d+)_outdoor_hazy", "{}_outdoor_gt", last=5),
    Release("I-HAZE", r"(\d+)_indoor_hazy", "{}_indoor_gt", last=5),
    Release("NH-HAZE or Dense-Haze", r"(\d+)_hazy", "{}_gt", last=5),
)
FOLDERS = {  # of images, in small letters
    "hazy": ("hazy", "haze", "input", "in", "its_haze", "ots", "synthetic"),
    "clear": ("gt", "clear", "target", "clean", "its_clear", "clear_images", "original"),
}
SIDES = {folder: side for side, folders in FOLDERS.items() for folder in folders}
ENDS = {"hazy": "hazy", "gt": "clear"}  # of names
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
ARCHIVES = {  # word in the name of a folder above: split, domain
    "its": ("train", "indoor"),
    "ots": ("train", "outdoor"),
    "sots": ("test", None),
    "hsts": ("test", "outdoor"),
    "nyuhaze500": ("test", "indoor"),
    "indoor": (None, "indoor"),
    "outdoor": (None, "outdoor"),
}
LOOKED_FOR = (
    "images in folders hazy, haze, input or IN beside GT, gt, clear or target, named alike or as RESIDE (1_1_0.9.png, "
    "1.png) and Haze4K, and 01_hazy.png with 01_GT.png as O-HAZE, I-HAZE, NH-HAZE and Dense-Haze"
)


@dataclass(frozen=True)
class RawPair:
    """scene: as the names tell it. split, domain: None where nothing tells them."""

    hazy: Path
    clear: Path
    release: Release
    scene: str
    split: str | None
    domain: str | None


def find_pairs(roots):
    """The RawPairs below some folders, with their splits, and the hazy images without a clear one.

    Raises ValueError where there are no pairs.
    """
    pairs, alone = [], []
    for root in roots:
        if not root.is_dir():
            raise ValueError(f"--from {root} is no folder: unpack the archives, and name the folder")
        images = sorted(path for path in walk(root) if is_image(path))
        places = {path: place(path, root) for path in images}
        clear = {(base, path.stem.lower()): path for path in images for base in places[path].get("clear", ())}
        for path in images:
            if bases := places[path].get("hazy"):
                pair = find_pair(path, bases, clear, root)
                (pairs if pair else alone).append(pair or path)
    if not pairs:
        raise ValueError(f"--from {', '.join(map(str, roots))} has no pairs: looked for {LOOKED_FOR}")
    return with_splits(pairs), alone


def place(path, root):
    """{side: the folders, as tuples, in which both sides may lie}; empty where nothing tells the side."""
    parts = path.relative_to(root).parts[:-1]
    sides = [SIDES.get(part.lower()) for part in parts]
    told = [i for i, side in enumerate(sides) if side]
    side = ENDS.get(re.split(r"[_-]", path.stem.lower())[-1]) or (sides[told[-1]] if told else None)
    bases = []
    while told and sides[told[-1]] == side:  # clear/clear_images: above either
        bases.append(parts[: told.pop()])
    return {side: bases or [parts]} if side else {}


def find_pair(path, bases, clear, root):
    """The RawPair of a hazy image, or None. clear: {(base, stem): path}."""
    for release in RELEASES:
        named = re.fullmatch(release.hazy, path.stem.lower())
        for base in bases if named else ():
            partner = clear.get((base, release.clear.format(named[1])))
            if partner:
                return RawPair(path, partner, release, named[1], *tell(path, root))
    return None


def tell(path, root):
    """The split and the domain, each None where nothing tells it: by the nearest folder above, then by the file's name.

    Words of a folder's name count. The folders above RAW count by their whole names, as does RAW's for its split.
    """
    *above, own = root.resolve().parts[-3:]
    folders = [(words_of(part), words_of(part)) for part in reversed(path.relative_to(root).parts[:-1])]
    folders += [([own.lower()], words_of(own)), *(([part.lower()], [part.lower()]) for part in reversed(above))]
    split = domain = None
    for names, words in folders:
        told = [ARCHIVES[word] for word in words if word in ARCHIVES]
        named = [SPLIT_NAMES[name] for name in names if name in SPLIT_NAMES]
        split = split or next(filter(None, (*named, *(one for one, _ in told))), None)
        domain = domain or next(filter(None, (one for _, one in told)), None)
    return split, domain or next((word for word in words_of(path.stem) if word in ("indoor", "outdoor")), None)


def words_of(name):
    return re.findall(r"[a-z0-9]+", name.lower())


def with_splits(pairs):
    """The pairs with a split each: what nothing tells is by the release's convention, or else to train on."""
    scenes = {}
    for pair in pairs:
        if pair.split is None:
            scenes.setdefault((pair.release, pair.hazy.parent), set()).add(pair.scene)
    tests = {
        (release, folder): set(sorted(found, key=lambda scene: scene.zfill(9))[-release.last :] if release.last else ())
        for (release, folder), found in scenes.items()
    }

    def split(pair):
        return "test" if pair.scene in tests[pair.release, pair.hazy.parent] else "train"

    return [pair if pair.split else replace(pair, split=split(pair)) for pair in pairs]
