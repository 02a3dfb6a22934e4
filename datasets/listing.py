"""The image files of a folder as arrays, not as lists of objects.

The names of 200,000 images take 12 MB, which the processes that load data share.
"""

import os
from array import array
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from tqdm import tqdm

from .images import has_image_name, image_size, left_out

LAYOUT = "expected <root>/<split>/hazy/NAME and <root>/<split>/GT/NAME with the same names"
SOURCE = "set data.root, or get the set from the links at github.com/IDKiro/DehazeFormer"


@dataclass(frozen=True)
class Listing:
    """The image files of a folder, in the order of their names.

    names: N bytes, UTF-8. stamps: N x 2 int64, size in bytes and time of modification in ns: a changed file has others.
    """

    folder: Path
    names: np.ndarray
    stamps: np.ndarray

    def __len__(self):
        return len(self.names)

    def name(self, index):
        return os.fsdecode(self.names[index])

    def all_names(self):
        """The names as strings, made anew at every call."""
        return [os.fsdecode(name) for name in self.names]

    def path(self, index):
        return self.folder / self.name(index)

    def take(self, indices):
        return Listing(self.folder, self.names[indices], self.stamps[indices])


def list_images(folder, side):
    """The Listing of <folder>/<side>, where folder is a split of a data set. Raises ValueError as `list_folder`."""
    root, path = Path(folder).parent, Path(folder) / side
    if not root.is_dir():
        raise ValueError(f"data set folder {root} does not exist: {SOURCE}; {LAYOUT}")
    if not path.is_dir():
        raise ValueError(f"no folder {path}: {LAYOUT}")
    return list_folder(path)


def list_folder(folder):
    """The Listing of a folder's images; prints a note that counts the files it leaves out, hidden ones apart.

    Raises ValueError naming the folder when it holds no images.
    """
    names, stamps, others = [], array("q"), []
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                found = has_image_name(entry.name) and entry.is_file() and entry.stat()
            except OSError:  # a link to itself
                found = False
            if found:
                names.append(os.fsencode(entry.name))
                stamps.extend((found.st_size, found.st_mtime_ns))
            elif not entry.name.startswith("."):
                others += [Path(entry.path), *Path(entry.path).rglob("*")]
    others = left_out(others)
    if not names:
        raise ValueError(f"no images in {folder}{others and f', {others}'}: {LAYOUT}")
    if others:
        print(f"note: {folder}: {others}")
    names = np.array(names, "S")
    order = names.argsort()
    return Listing(Path(folder), names[order], np.array(stamps, np.int64).reshape(-1, 2)[order])


def read_sizes(listing, max_pixels):
    """(height, width) of every image, N x 2 int32, from the files' headers.

    Raises ValueError naming the first file that is not an image or has more than `max_pixels` pixels, and their number.
    """

    def read(index):
        try:
            return image_size(listing.path(index), max_pixels), ""
        except ValueError as error:
            return (0, 0), str(error)

    def read_some(start):
        return [read(index) for index in range(start, min(start + 64, len(listing)))]

    with ThreadPoolExecutor(8) as pool:
        found = chain.from_iterable(pool.map(read_some, range(0, len(listing), 64)))
        sizes, problems = zip(*tqdm(found, str(listing.folder), len(listing), delay=2, disable=None), strict=True)
    problems = list(filter(None, problems))
    if problems:
        rest = f" ({len(problems)} such files)" if len(problems) > 1 else ""
        raise ValueError(f"{problems[0]}{rest}: replace it, or remove the pair")
    return np.array(sizes, np.int32)
