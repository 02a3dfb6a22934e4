"""The image files of folders: their names, sizes in bytes, and sizes in pixels."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from .images import has_image_name, image_size, left_out

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
    """The Listing of a folder's images; prints a note that counts the files it leaves out, hidden ones apart.

    Raises ValueError naming the folder when it holds no images.
    """
    names, stamps, others = [], [], []
    for entry in sorted(os.scandir(folder), key=lambda entry: os.fsencode(entry.name)):
        if has_image_name(entry.name) and os.path.isfile(entry):
            names.append(entry.name)
            stamps.append((entry.stat().st_size, entry.stat().st_mtime_ns))
        elif not entry.name.startswith("."):
            others += [Path(entry.path), *Path(entry.path).rglob("*")]
    others = left_out(others)
    if not names:
        raise ValueError(f"no images in {folder}{others and f', {others}'}: {LAYOUT}")
    if others:
        print(f"note: {folder}: {others}")
    return Listing(Path(folder), names, np.array(stamps, np.int64))


def read_sizes(listing, max_pixels):
    """(height, width) of every image, N x 2 int32, from the files' headers.

    Raises ValueError naming the first file that is not an image or has more than `max_pixels` pixels, and their number.
    """

    def read(index):
        try:
            return image_size(listing.path(index), max_pixels), ""
        except ValueError as error:
            return (0, 0), str(error)

    with ThreadPoolExecutor(8) as pool:
        found = pool.map(read, range(len(listing)))
        sizes, problems = zip(*tqdm(found, str(listing.folder), len(listing), delay=2, disable=None), strict=True)
    problems = list(filter(None, problems))
    if problems:
        rest = f" ({len(problems)} such files)" if len(problems) > 1 else ""
        raise ValueError(f"{problems[0]}{rest}: replace it, or remove the pair")
    return np.array(sizes, np.int32)


def walk(root):
    """Every file below a folder but in hidden folders; linked folders are entered, each folder once."""
    seen = set()
    for folder, subfolders, files in os.walk(root, followlinks=True):
        seen.add(os.path.realpath(folder))
        real = {name: os.path.realpath(os.path.join(folder, name)) for name in sorted(subfolders)}
        subfolders[:] = [name for name in real if name[0] != "." and real[name] not in seen]
        yield from (Path(folder) / name for name in files)
