"""Lay a raw release out as a data set: links <to>/<split>/hazy|GT/NAME. RELEASES is the table of known ones.

Whether a file is hazy or clear shows in its name (01_hazy.png, 01_GT.png) or in a folder above it (hazy, GT, ...). Two
such folders, at any depth, belong together if they lie beside each other; or all files lie in one folder.
"""

import re
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass

from tqdm import tqdm

from .images import image_size, is_image, read_image, write_image
from .listing import walk


@dataclass(frozen=True)
class Release:
    """How a release names its images.

    hazy: pattern of a hazy image's stem; its first group is the scene. clear: the clear image's stem, {} is the scene.
    last: how many of the last scenes are for testing where no folder names a split, as in the NTIRE challenges.
    """

    hazy: str
    clear: str
    last: int = 0


RELEASES = (
    Release(r"(.+)", "{}"),  # pairs of one name
    # ITS 1_1_0.90179.png, OTS and SOTS outdoor 0025_0.8_0.1.jpg, SOTS indoor 1400_1.png, Haze4K 1_0.8_1.2.png
    Release(r"(\d+)(?:_\d+(?:\.\d+)?){1,2}", "{}"),
    Release(r"(\d+)_outdoor_hazy", "{}_outdoor_gt", last=5),  # O-HAZE
    Release(r"(\d+)_indoor_hazy", "{}_indoor_gt", last=5),  # I-HAZE
    Release(r"(\d+)_hazy", "{}_gt", last=5),  # NH-HAZE, Dense-Haze
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
LOOKED_FOR = "folders hazy, haze, input or IN beside GT, clear or target; names as RESIDE's, or 01_hazy.png, 01_GT.png"
BORDER = 10  # pixels a side by which SOTS indoor's clear images exceed the hazy ones: the literature crops them


def lay_out(roots, to):
    """Lay out the pairs below some folders under `to`; returns a summary, as lines of text.

    Raises ValueError, before anything is written, if there are no pairs, two would get one name, or `to` is not empty.
    """
    if missing := [root for root in roots if not root.is_dir()]:
        raise ValueError(f"--from {missing[0]} is not a folder: unpack the archives, and name the folder")
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
    numbers = Counter(split for _, _, split in pairs)
    lines = [f"{to}:", *(f"  {split}: {number:,} pairs" for split, number in sorted(numbers.items()))]
    if num_cropped := sum(cropped for _, cropped in plan.values()):
        lines.append(f"  {num_cropped:,} clear images written without their border of {BORDER} pixels")
    if alone:
        lines.append(f"  {len(alone):,} hazy images without a clear one are left out, first {alone[0]}")
    return "\n".join(lines)


def plan_files(pairs, to):
    """{target: (source, whether it loses its border)} of both sides. Raises ValueError where two would get one name."""
    plan = {}
    for hazy, clear, split in tqdm(pairs, desc="sizes", unit="pair", delay=2, disable=None):
        cropped = False
        with suppress(ValueError):  # an image that cannot be read: a check of the set names it
            sizes = zip(image_size(hazy, None), image_size(clear, None), strict=True)
            cropped = all(inner + 2 * BORDER == outer for inner, outer in sizes)
        clear_name = hazy.stem + (".png" if cropped else clear.suffix)
        for name, file in {f"hazy/{hazy.name}": (hazy, False), f"GT/{clear_name}": (clear, cropped)}.items():
            target = to / split / name
            other = plan.setdefault(target, file)
            if other != file:
                raise ValueError(f"{other[0]} and {file[0]} would both become {target}: lay them out into two sets")
    return plan


def find_pairs(roots):
    """The (hazy, clear, split) below some folders, and the hazy images without a clear one.

    Where no folder names a split, a scene is for training, but a release's last ones are for testing.
    """
    found, alone, scenes = [], [], defaultdict(set)
    for root in roots:
        places = {path: place(path, root) for path in sorted(walk(root)) if is_image(path)}
        clear = {(base, path.stem.lower()): path for path in places for base in places[path].get("clear", ())}
        for path in places:
            if bases := places[path].get("hazy"):
                partner, release, scene = find_partner(path, bases, clear)
                if partner:
                    group = release, path.parent
                    found.append((path, partner, group, scene, find_split(path, root)))
                    scenes[group].add(scene)
                else:
                    alone.append(path)
    if not found:
        raise ValueError(f"--from {', '.join(map(str, roots))} has no pairs: looked for {LOOKED_FOR}")
    last = {(group, scene) for group in scenes for scene in sorted(scenes[group], reverse=True)[: group[0].last]}
    pairs = [(*both, split or ("test" if (group, scene) in last else "train")) for *both, group, scene, split in found]
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


def find_partner(path, bases, clear):
    """The clear image of a hazy one, the Release and the scene, or three None. clear: {(base, stem): path}."""
    for release in RELEASES:
        named = re.fullmatch(release.hazy, path.stem.lower())
        for base in bases if named else ():
            partner = clear.get((base, release.clear.format(named[1])))
            if partner:
                return partner, release, named[1].zfill(9)  # zeros: sorted as numbers
    return None, None, None


def find_split(path, root):
    """The split that the nearest folder names, or None. In RAW's name and below it, words count."""
    *above, own = root.resolve().parts[-2:]
    below = "/".join((own, *path.relative_to(root).parts[:-1]))
    words = [part.lower() for part in above] + re.findall(r"[a-z0-9]+", below.lower())
    return next((SPLITS[word] for word in reversed(words) if word in SPLITS), None)
