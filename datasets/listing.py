"""The image files of folders: their names, sizes in bytes, and sizes in pixels."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from utils.files import sha256

from .images import image_size, is_image, note_left_out

LAYOUT = "expected <root>/<split>/hazy/NAME and <root>/<split>/GT/NAME with the same names"


@dataclass(frozen=True)
class Listing:
    """N image files of a folder, sorted by name. stamps: N x 2 int64, size in bytes and time of modification in ns."""

    folder: Path
    names: list
    stamps: np.ndarray

    def __len__(self):
        return len(self.names)

    def path(self, index):
        return self.folder / self.names[index]

    def take(self, indices):
        return Listing(self.folder, [self.names[i] for i in indices], self.stamps[indices])


def list_images(folder, side):
    """The Listing of <folder>/<side>, where folder is a split of a data set. Raises ValueError as `list_folder`."""
    root = Path(folder).parent
    if not root.is_dir():
        source = "set data.root, or get the set from the links at github.com/IDKiro/DehazeFormer"
        raise ValueError(f"data set folder {root} does not exist: {source}; {LAYOUT}")
    return list_folder(Path(folder) / side)


def list_folder(folder):
    """The Listing of a folder's images; a note counts other files. Raises ValueError for a folder without images."""
    images, others = [], []
    entries = os.scandir(folder) if folder.is_dir() else []
    for entry in sorted(entries, key=lambda entry: os.fsencode(entry.name)):
        if is_image(entry):
            images.append(entry)
        elif entry.name[0] != ".":
            others += [Path(entry), *Path(entry).rglob("*")]
    note_left_out(folder, others)
    if not images:
        raise ValueError(f"no images in {folder}: {LAYOUT}")
    stamps = [(image.stat().st_size, image.stat().st_mtime_ns) for image in images]
    return Listing(folder, [image.name for image in images], np.array(stamps, np.int64))


def read_sizes(listing, max_pixels):
    """(height, width) of every image, from its header. Raises ValueError as `image_size`, and tells of how many."""

    def read(index):
        try:
            return image_size(listing.path(index), max_pixels)
        except ValueError as error:
            return error

    with ThreadPoolExecutor(8) as pool:
        found = pool.map(read, range(len(listing)))
        sizes = list(tqdm(found, str(listing.folder), len(listing), delay=2, disable=None))
    if problems := [size for size in sizes if isinstance(size, ValueError)]:
        raise ValueError(f"{problems[0]} ({len(problems)} in all): replace it, or remove the pair")
    return sizes


def fingerprint(hazy, clear):
    """16 hexadecimal digits of the names and contents of both sides' images, the same for every copy of a split."""
    paths = [side.path(i) for side in (hazy, clear) for i in range(len(side))]
    with ThreadPoolExecutor(8) as pool:  # hashlib and reading leave the other threads alone
        found = zip(paths, pool.map(sha256, paths), strict=True)
        entries = sorted(f"{path.parent.name}/{path.name}\0{path.stat().st_size}\0{digest}\n" for path, digest in found)
    return hashlib.sha256("".join(entries).encode()).hexdigest()[:16]


def walk(root):
    """Every file below a folder but in hidden folders; linked folders are entered, each folder once."""
    seen = set()
    for folder, subfolders, files in os.walk(root, followlinks=True):
        seen.add(os.path.realpath(folder))
        real = {name: os.path.realpath(os.path.join(folder, name)) for name in sorted(subfolders)}
        subfolders[:] = [name for name in real if name[0] != "." and real[name] not in seen]
        yield from (Path(folder) / name for name in files)
