"""The images of a folder as arrays, and an index of their sizes.

Arrays, not lists of objects: 200,000 images take 12 MB, and the processes that load data share them. The index,
<split>/.hazy-sizes.npz beside the folder <split>/hazy, spares a large set the reading of every header at every start.
"""

import io
import os
import stat
import zipfile
from array import array
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from utils.files import write_bytes

from .images import has_image_name, image_size

INDEXED = 5000  # images from which an index is kept: fewer headers are read in no time
CHUNK = 256  # images that are read at a time


@dataclass(frozen=True)
class Listing:
    """The image files of a folder, in the order of their names.

    names: N bytes, UTF-8. stamps: N x 2 int64, size in bytes and time of modification in ns, by which a changed file is
    known.
    """

    folder: Path
    names: np.ndarray
    stamps: np.ndarray

    def __len__(self):
        return len(self.names)

    def name(self, index):
        return os.fsdecode(self.names[index])

    def all_names(self):
        """The names as text, made anew at every call."""
        return [os.fsdecode(name) for name in self.names]

    def path(self, index):
        return self.folder / self.name(index)

    def take(self, indices):
        return Listing(self.folder, self.names[indices], self.stamps[indices])


def list_folder(folder):
    """The Listing of a folder's images. Hidden files, dangling links and other endings are left out."""
    names, stamps = [], array("q")
    with os.scandir(folder) as entries:
        for entry in entries:
            if not has_image_name(entry.name):
                continue
            try:
                found = entry.stat()
            except OSError:  # a link that leads nowhere, or to itself
                continue
            if stat.S_ISREG(found.st_mode):
                names.append(os.fsencode(entry.name))
                stamps.extend((found.st_size, found.st_mtime_ns))
    names = np.array(names, "S")
    order = names.argsort()
    return Listing(Path(folder), names[order], np.array(stamps, np.int64).reshape(-1, 2)[order])


def sizes_of(listing, max_pixels):
    """(height, width) of every image, N x 2 int32: from the index where the file is unchanged, else from its header.

    Raises ValueError naming the first file that is no image or has more than `max_pixels` pixels, and their number.
    """
    index = listing.folder.with_name(f".{listing.folder.name}-sizes.npz")
    sizes = read_index(index, listing)
    sizes[sizes.prod(1, dtype=np.int64) > max_pixels] = 0  # read again, and refused by name
    unknown = np.flatnonzero(sizes[:, 0] == 0)
    problems = read_headers(listing, unknown, sizes, max_pixels)
    if problems:
        rest = f" ({len(problems)} such files)" if len(problems) > 1 else ""
        raise ValueError(f"{problems[0]}{rest}: replace it, or remove the pair")
    if len(unknown) and len(listing) >= INDEXED:
        write_index(index, listing, sizes)
    return sizes


def read_headers(listing, indices, sizes, max_pixels):
    """Put the sizes of some images into their rows of `sizes`; returns what is wrong with the others.

    Other processes read what is more than one chunk: threads wait for Python's lock at every file that they open.
    """
    chunks = [indices[start : start + CHUNK] for start in range(0, len(indices), CHUNK)]
    found = []
    workers = min(8, len(os.sched_getaffinity(0)), max(len(chunks) - 1, 0))
    headers = DataLoader(
        Headers(listing, chunks, max_pixels),
        batch_size=None,
        collate_fn=list,
        num_workers=workers,
        generator=torch.Generator(),  # torch's own is left alone
    )
    with tqdm(total=len(indices), desc=str(listing.folder), delay=2, disable=None) as bar:  # from two seconds on
        for chunk, (read, problems) in zip(chunks, headers, strict=True):
            sizes[chunk] = read
            found += problems
            bar.update(len(chunk))
    return found


class Headers(Dataset):
    """The sizes of a listing's images by chunks of indices, and what is wrong with those that have 0."""

    def __init__(self, listing, chunks, max_pixels):
        self.listing, self.chunks, self.max_pixels = listing, chunks, max_pixels

    def __len__(self):
        return len(self.chunks)

    def __getitem__(self, index):
        """Returns sizes, C x 2 int32, and a list of texts."""
        sizes, problems = np.zeros((len(self.chunks[index]), 2), np.int32), []
        for row, i in enumerate(self.chunks[index]):
            try:
                sizes[row] = image_size(self.listing.path(i), self.max_pixels)
            except ValueError as error:
                problems.append(str(error))
        return sizes, problems


def read_index(path, listing):
    """The sizes that the index has of a listing's images, N x 2 int32; 0 where it has none of that name and stamp."""
    sizes = np.zeros((len(listing), 2), np.int32)
    if len(listing) < INDEXED or not path.is_file():
        return sizes
    try:
        with np.load(path, allow_pickle=False) as stored:
            _, ours, theirs = np.intersect1d(listing.names, stored["names"], assume_unique=True, return_indices=True)
            same = (listing.stamps[ours] == stored["stamps"][theirs]).all(1)
            sizes[ours[same]] = stored["sizes"][theirs[same]]
    except (OSError, ValueError, KeyError, IndexError, zipfile.BadZipFile):  # of a broken file, which is written anew
        sizes[:] = 0
    return sizes


def write_index(path, listing, sizes):
    """Keep the sizes for the next time, where the place can be written."""
    content = io.BytesIO()
    np.savez(content, names=listing.names, stamps=listing.stamps, sizes=sizes)
    with suppress(OSError):  # a read-only set: its headers are read at every start
        write_bytes(path, content.getvalue())
