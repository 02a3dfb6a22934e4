"""Lay a raw release out as a data set: links <to>/<split>/hazy|GT/NAME. RELEASES is the table of known ones.

Whether a file is hazy or clear shows in its name (01_hazy.png, 01_GT.png) or in a folder above it (hazy, GT, ...). Two
such folders, at any depth, belong together if they lie beside each other; or all files lie in one folder.
"""

import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from .images import image_size, is_image, read_image, write_image
from .listing import walk


@dataclass(frozen=True)
class Release:
    """How a release names its images.

    hazy: pattern of a hazy image's stem; its first group is the scene. clear: the clear image's stem, {} is the scene.
    last: how many of the last scenes are for testing where no folder names a split, as in the NTIRE challenges.
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
SIDES = {  # of a pair, by folders in small letters
    **dict.fromkeys(("hazy", "haze", "input", "in", "its_haze", "ots", "synthetic"), "hazy"),
    **dict.fromkeys(("gt", "clear", "target", "clean", "its_clear", "clear_images", "original"), "clear"),
}
ENDS = {"hazy": "hazy", "gt": "clear"}  # of names
SPLITS = {  # by words in the names of folders
    **dict.fromkeys(("train", "training", "its", "ots"), "train"),
    **dict.fromkeys(("val", "validation"), "val"),
    **dict.fromkeys(("test", "testing", "sots", "hsts", "nyuhaze500"), "test"),
}
LOOKED_FOR = (
    "images in folders hazy, haze, input or IN beside GT, gt, clear or target, named alike or as RESIDE (1_1_0.9.png, "
    "1.png) and Haze4K, and 01_hazy.png with 01_GT.png as O-HAZE, I-HAZE, NH-HAZE and Dense-Haze"
)
BORDER = 10  # pixels a side by which SOTS indoor's clear images exceed the hazy ones: the literature crops them


@dataclass
class RawPair:
    """scene: what both names share. split: None where no folder names it."""

    hazy: Path
    clear: Path
    release: Release
    scene: str
    split: str | None


def lay_out(roots, to):
    """Lay out the pairs below some folders under `to`; returns a summary, as lines of text.

    Raises ValueError, before anything is written, if there are no pairs, two would get one name, or `to` is not empty.
    """
    for root in roots:
        if not root.is_dir():
            raise ValueError(f"--from {root} is not a folder: unpack the archives, and name the folder")
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise ValueError(f"--to {to} is not empty: choose an empty place, or move it away")
    pairs, alone = find_pairs(roots)
    plan = plan_files(pairs, to)
    for target, (source, cropped) in tqdm(plan.items(), desc=str(to), unit="file", delay=2, disable=None):
        target.parent.mkdir(parents=True, exist_ok=True)
        if cropped:
            write_image(target, read_image(source)[BORDER:-BORDER, BORDER:-BORDER])
        else:
            target.symlink_to(source.resolve())
    lines = [f"{to}:"]
    for split in sorted({pair.split for pair in pairs}):
        named = Counter(pair.release.name for pair in pairs if pair.split == split)
        kinds = "; ".join(f"{number:,} {name}" for name, number in named.items())
        lines.append(f"  {split}: {named.total():,} pairs ({kinds})")
    if num_cropped := sum(cropped for _, cropped in plan.values()):
        lines.append(f"  {num_cropped:,} clear images written without their border of {BORDER} pixels")
    if alone:
        lines.append(f"  {len(alone):,} hazy images without a clear one are left out, first {alone[0]}")
    return "\n".join(lines)


def plan_files(pairs, to):
    """{target: (source, whether it loses its border of BORDER pixels)} of both sides.

    Raises ValueError where two images would get one name.
    """
    plan = {}
    for pair in tqdm(pairs, desc="sizes", unit="pair", delay=2, disable=None):
        cropped = False
        with suppress(ValueError):  # an image that cannot be read: a check of the set names it
            hazy, clear = (image_size(path, None) for path in (pair.hazy, pair.clear))
            cropped = all(a + 2 * BORDER == b for a, b in zip(hazy, clear, strict=True))
        clear_name = pair.hazy.stem + (".png" if cropped else pair.clear.suffix)
        files = {f"hazy/{pair.hazy.name}": (pair.hazy, False), f"GT/{clear_name}": (pair.clear, cropped)}
        for name, file in files.items():
            target = to / pair.split / name
            if plan.setdefault(target, file) != file:
                both = f"{plan[target][0]} and {file[0]}"
                raise ValueError(f"{both} would both become {target}: lay them out into two sets")
    return plan


def find_pairs(roots):
    """Find the RawPairs below some folders, with their splits, and the hazy images without a clear one.

    Raises ValueError if there are no pairs.
    """
    pairs, alone = [], []
    for root in roots:
        places = {path: place(path, root) for path in sorted(walk(root)) if is_image(path)}
        clear = {(base, path.stem.lower()): path for path in places for base in places[path].get("clear", ())}
        for path in places:
            if bases := places[path].get("hazy"):
                pair = find_pair(path, bases, clear, root)
                (pairs if pair else alone).append(pair or path)
    if not pairs:
        raise ValueError(f"--from {', '.join(map(str, roots))} has no pairs: looked for {LOOKED_FOR}")
    choose_splits(pairs)
    return pairs, alone


def place(path, root):
    """{side: the folders, as tuples, that may hold both sides}; empty where neither name nor folder gives the side."""
    parts = path.relative_to(root).parts[:-1]
    sides = [SIDES.get(part.lower()) for part in parts]
    named = [i for i, side in enumerate(sides) if side]
    side = ENDS.get(re.split(r"[_-]", path.stem.lower())[-1]) or (sides[named[-1]] if named else None)
    bases = []
    while named and sides[named[-1]] == side:  # clear/clear_images: above either
        bases.append(parts[: named.pop()])
    return {side: bases or [parts]} if side else {}


def find_pair(path, bases, clear, root):
    """The RawPair of a hazy image, or None. clear: {(base, stem): path}."""
    for release in RELEASES:
        named = re.fullmatch(release.hazy, path.stem.lower())
        for base in bases if named else ():
            partner = clear.get((base, release.clear.format(named[1])))
            if partner:
                return RawPair(path, partner, release, named[1], find_split(path, root))
    return None


def find_split(path, root):
    """The split of the nearest folder that names one, or None. In RAW's name and below it, words count."""
    *above, own = root.resolve().parts[-3:]
    folders = [re.findall(r"[a-z0-9]+", part.lower()) for part in (own, *path.relative_to(root).parts[:-1])]
    words = [[part.lower()] for part in above] + folders
    return next((SPLITS[word] for part in reversed(words) for word in part if word in SPLITS), None)


def choose_splits(pairs):
    """Give every pair a split. A scene without one is for training, but a release's last ones are for testing."""
    scenes = {}
    for pair in pairs:
        scenes.setdefault((pair.release, pair.hazy.parent), set()).add(pair.scene.zfill(9))
    for pair in pairs:
        last = pair.release.last and sorted(scenes[pair.release, pair.hazy.parent])[-pair.release.last :]
        pair.split = pair.split or ("test" if last and pair.scene.zfill(9) in last else "train")
