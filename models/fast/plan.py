"""How the inference form goes through a frame: the height of its bands, and what it keeps, for the memory there is."""

import ctypes
from dataclasses import dataclass

import torch

from .rows import Rows

BAND_BYTES = 2**23  # of the widest intermediate of a band, 4 times the stage's channels, on a CPU
BAND_ROWS = 16  # at least, where the memory allows it: bands copy what their neighbours share
FEW_ROWS = {"cpu": 4, "cuda": 64}  # lower bands cost more than to make the first stage's map twice (CUDA: a guess)

# Memory, measured with a margin; numbers are of the maps' type, one a pixel and channel of the first stage.
# Whether the first stage's map is kept: numbers a pixel of the frame at most, and while that map is made.
MAPS = {True: (1.75, 1.0), False: (1.5, 1.5)}
BAND = {"cpu": 28, "cuda": 20}  # numbers a pixel of a band
# Numbers a column: the rows around a band, and what the allocator keeps; the second where free pages are given back.
HALO = {"cpu": (300, 150), "cuda": (100, 100)}
UNTIDIED = 1.5  # times the bytes of what makes the text's maps, where free pages are not given back
LIBRARIES = 25e6  # bytes that their first use takes


@dataclass(frozen=True)
class Plan:
    """rows: the bands. keeps: whether the first stage's map is kept for its join, or made again.

    tidies: whether free pages are given back to the system after every stage. memory: bytes there are; None: enough.
    """

    rows: Rows
    keeps: bool = True
    tidies: bool = False
    memory: int | None = None

    def tidy(self):
        if self.tidies:
            give_back()


def plan(shape, device, channels, dtype, memory, entrance=0, making=0):
    """The Plan for maps of B x channels x H x W.

    shape: B, H and W. memory: the bytes there are; None: as is fastest. entrance: bytes a pixel that making the first
    stage's map takes beside it; making: those that the text's maps take before it. Less memory has free pages given
    back and lower bands, then makes the first stage's map a second time, then leaves cores out. Raises ValueError with
    the sizes where it does not suffice.
    """
    batch, height, width = shape
    number = batch * channels * dtype.itemsize
    row = number * width
    if device.type == "cuda":
        most, num_workers = height, 1
    else:
        most, num_workers = max(BAND_BYTES // (4 * row), BAND_ROWS), torch.get_num_threads()
    if memory is None:
        return Plan(Rows(most, num_workers))
    while True:
        band_row = BAND[device.type] * row * num_workers
        for keeps, tidies, least in ((True, False, most), (True, True, FEW_ROWS[device.type]), (False, True, 1)):
            maps, at_entrance = MAPS[keeps]
            before = (at_entrance - 1) * number + making * batch * (1 if tidies else UNTIDIED)
            pixel = max(maps * number, at_entrance * number + entrance * batch, before)
            fixed = pixel * height * width + HALO[device.type][tidies] * row * num_workers + LIBRARIES
            if memory >= fixed + min(least, height) * band_row:
                rows = Rows(min(most, int((memory - fixed) / band_row)), num_workers)
                return Plan(rows, keeps, tidies, memory)
        if num_workers == 1:
            break
        num_workers //= 2
    raise too_little(shape, fixed + band_row, memory)


def too_little(shape, needed, memory):
    """The ValueError for an image whose shape ends with H and W. needed, memory: bytes."""
    height, width = shape[-2:]
    return ValueError(
        f"{width} x {height} pixels need {needed / 1e9:.2f} GB, and {max(memory, 0) / 1e9:.2f} GB are free: "
        "allow more memory, or make the image smaller"
    )


def give_back():
    """Give free pages back to the system: the C library keeps them in pieces that other maps cannot use."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it
    if trim:
        trim(0)
