"""A raw release laid out as a data set: <to>/<split>/hazy|GT/NAME, links where the file system has them."""

import csv
import io
import os
import shutil
from collections import Counter
from contextlib import suppress

from tqdm import tqdm

from utils.files import write_bytes

from .images import image_size, read_image, write_image
from .photo_files import walk
from .raw import find_pairs

BORDER = 10  # pixels a side by which SOTS indoor's clear images exceed the hazy ones: the literature crops them
BESIDE = ("domains.csv", "domains.npz", "domains.png", "data_report.html")  # files of ours in a laid out set


def lay_out(roots, to, domains=False):
    """Lay the pairs below some folders out under `to`; returns in words what was laid out.

    Run again it adds only what is missing. Raises ValueError before anything is written, where there are no pairs,
    where two would get one name, and where `to` has other content.
    """
    for root in roots:
        if to.resolve().is_relative_to(root.resolve()):
            raise ValueError(f"--to {to} lies in {root}, of which nothing is changed: choose a place elsewhere")
    pairs, alone = find_pairs(roots)
    plan = plan_files(pairs, to)
    tables = domain_tables(pairs, to) if domains else {}
    refuse_other(plan, tables, to)
    kinds = Counter()
    for target, (source, cropped) in tqdm(plan.items(), desc=str(to), unit="file", delay=2, disable=None):
        if not os.path.lexists(target):
            put(target, source, cropped)
        kinds[cropped, target.is_symlink()] += 1
    for path, text in tables.items():
        write_bytes(path, text)
    return describe(pairs, alone, kinds, tables, to)


def plan_files(pairs, to):
    """{target: (source, whether it loses its border of BORDER pixels)} of both sides.

    Raises ValueError where two images would get one name.
    """
    plan = {}
    for pair in tqdm(pairs, desc="sizes", unit="pair", delay=2, disable=None):
        cropped = has_border(pair)
        ending = ".png" if cropped else pair.clear.suffix
        for side, name, entry in (
            ("hazy", pair.hazy.name, (pair.hazy, False)),
            ("GT", pair.hazy.stem + ending, (pair.clear, cropped)),
        ):
            target = to / pair.split / side / name
            if plan.setdefault(target, entry) != entry:
                raise ValueError(
                    f"{plan[target][0]} and {entry[0]} would both become {target}: lay them out into two sets"
                )
    return plan


def has_border(pair):
    """Whether the clear image is larger than the hazy one by BORDER pixels a side."""
    with suppress(ValueError):  # of an image that cannot be read: a check of the set names it
        hazy, clear = (image_size(path, 2**40) for path in (pair.hazy, pair.clear))
        return all(a + 2 * BORDER == b for a, b in zip(hazy, clear, strict=True))
    return False


def refuse_other(plan, tables, to):
    """Raise ValueError naming the first file below `to` that is not of the plan, or is another file of its name."""
    if not os.path.lexists(to):
        return
    if not to.is_dir():
        raise ValueError(f"--to {to} is a file: name a folder")
    for path in sorted(walk(to)):
        if path.name.startswith(".") or (path.name in BESIDE and path not in tables):
            continue
        ours = path.read_bytes() == tables[path] if path in tables else path in plan and same(path, *plan[path])
        if not ours:
            raise ValueError(f"--to {to} has other content, first {path}: choose an empty place, or move it away")


def same(target, source, cropped):
    """Whether a file is the one that `put` would make; a copy is known by its source's time of modification."""
    if target.is_symlink():
        return not cropped and os.path.realpath(target) == os.path.realpath(source)
    found, origin = target.stat(), source.stat()
    return abs(found.st_mtime - origin.st_mtime) < 2.1 and (cropped or found.st_size == origin.st_size)


def put(target, source, cropped):
    """Make one file of the set: a link, else a copy; or the image without its border."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if not cropped:
        with suppress(OSError, NotImplementedError):  # a file system without links
            target.symlink_to(source.resolve())
            return
    aside = target.with_name(f".{target.stem}.tmp{target.suffix}")
    try:
        if cropped:
            write_image(aside, read_image(source)[BORDER:-BORDER, BORDER:-BORDER])
            shutil.copystat(source, aside)
        else:
            shutil.copy2(source, aside)
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)


def domain_tables(pairs, to):
    """{path: content} of each split's domains.csv. Raises ValueError where nothing tells any domain."""
    rows = {}
    for pair in pairs:
        if pair.domain:
            rows.setdefault(pair.split, []).append((pair.hazy.name, pair.domain))
    if not rows:
        raise ValueError("--domains: no name tells indoor or outdoor (ITS, OTS, SOTS/indoor, ...): leave it out")
    tables = {}
    for split, lines in rows.items():
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([("name", "domain"), *sorted(lines)])
        tables[to / split / "domains.csv"] = text.getvalue().encode()
    return tables


def describe(pairs, alone, kinds, tables, to):
    """In words, what was laid out."""
    lines = [f"{to}:"]
    for split in sorted({pair.split for pair in pairs}):
        named = Counter((pair.release.name, pair.domain) for pair in pairs if pair.split == split)
        parts = [f"{number:,} {domain or ''} {name}".replace("  ", " ") for (name, domain), number in named.items()]
        lines.append(f"  {split}: {sum(named.values()):,} pairs ({'; '.join(parts)})")
    links = sum(number for (_, link), number in kinds.items() if link)
    cropped = sum(number for (crop, _), number in kinds.items() if crop)
    copies = sum(kinds.values()) - links - cropped
    lines.append(f"  {links:,} links" + (f", {copies:,} copies" if copies else ""))
    if cropped:
        lines.append(f"  {cropped:,} clear images written without their border of {BORDER} pixels")
    if alone:
        lines.append(f"  {len(alone):,} hazy images without a clear one are left out, first {alone[0]}")
    for path in tables:
        unknown = sum(pair.split == path.parent.name and not pair.domain for pair in pairs)
        lines.append(f"  {path}" + (f", without {unknown:,} images whose domain nothing tells" if unknown else ""))
    return "\n".join(lines)
