"""The image files of folders: their names, sizes in bytes, and sizes in pixels."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from utils.files import sha256

from .images import has_image_name, image_size, note_left_out

LAYOUT = "expected <root>/<split>/hazy/NAME and <root>/<split>/GT/NAME with the same names"
SOURCE = "set data.root, or get the set from the links at github.com/IDKiro/DehazeFormer"


@dataclass(frozen=True)
class Listing:
    """The image files of a folder, in the order of their names.

    names: N strings. stamps: N x 2 int64, size in bytes and time of modification in ns: a changed file has others.
    """

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
    root, path = Path(folder).parent, Path(folder) / side
    if not root.is_dir():
        raise ValueError(f"data set folder {root} does not exist: {SOURCE}; {LAYOUT}")
    if not path.is_dir():
        raise ValueError(f"no folder {path}: {LAYOUT}")
    return list_folder(path)


def list_folder(folder):
    """The Listing of a folder's images; a note counts what is left out. Raises ValueError if there are none."""
    names, stamps, others = [], [], []
    for entry in sorted(os.scandir(folder), key=lambda entry: os.fsencode(entry.name)):
        if has_image_name(entry.name) and os.path.isfile(entry):
            names.append(entry.name)
            stamps.append((entry.stat().st_size, entry.stat().st_mtime_ns))
        elif not entry.name.startswith("."):
            others += [Path(entry.path), *Path(entry.path).rglob("*")]
    note_left_out(folder, others)
    if not names:
        raise ValueError(f"no images in {folder}: {LAYOUT}")
    return Listing(Path(folder), names, np.array(stamps, np.int64))


def read_sizes(listing, max_pixels):
    """(height, width) of every image, N x 2 int32, from the files' headers.

    Raises ValueError naming the first file that is not an image or has more than `max_pixels` pixels, and their number.
    """
    problems = []

    def read(index):
        try:
            return image_size(listing.path(index), max_pixels)
        except ValueError as error:
            problems.append(str(error))
            return 0, 0

    with ThreadPoolExecutor(8) as pool:
        found = pool.map(read, range(len(listing)))
        sizes = list(tqdm(found, str(listing.folder), len(listing), delay=2, disable=None))
    if problems:
        raise ValueError(f"{min(problems)} ({len(problems)} in all): replace it, or remove the pair")
    return np.array(sizes, np.int32)


def fingerprint(hazy, clear):
    """16 hexadecimal digits of the names and contents of a split's images, from the Listings of both sides.

    The same for every copy of a split. Reads every file: about a second a gigabyte on two cores, and the disk's time.
    """

    def entry(path):
        return f"{path.parent.name}/{path.name}\0{path.stat().st_size}\0{sha256(path)}\n"

    with ThreadPoolExecutor(8) as pool:  # hashlib and reading leave the other threads alone
        entries = pool.map(entry, [side.path(i) for side in (hazy, clear) for i in range(len(side))])
        return hashlib.sha256("".join(sorted(entries)).encode()).hexdigest()[:16]


def walk(root):
    """Every file below a folder but in hidden folders; linked folders are entered, each folder once."""
    seen = set()
    for folder, subfolders, files in os.walk(root, followlinks=True):
        seen.add(os.path.realpath(folder))
        real = {name: os.path.realpath(os.path.join(folder, name)) for name in sorted(subfolders)}
        subfolders[:] = [name for name in real if name[0] != "." and real[name] not in seen]
        yield from (Path(folder) / name for name in files)
