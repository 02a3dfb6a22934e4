"""Bands of rows: the inference form goes through large maps in place, a band at a time, on every core.

On a CPU every core owns a run of rows and goes through it in bands so low that their wide intermediates stay in its
cache. A band's operations run on that core alone, so no operation waits for the slowest core. Rows of a derived map
that two bands need are made once and kept. On CUDA a band is the whole frame, or as many rows as the memory allows.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Barrier

import torch
from torch.nn import functional as F

from . import kernels

BAND_BYTES = 2**23  # of a band's widest intermediate, 4 times the stage's channels, on a CPU
BAND_ROWS = 16  # at least, if the memory allows it: bands copy the rows around them
FEW_ROWS = 4  # to lower bands, fewer cores are preferred

# Memory, measured with a margin, in numbers of the maps' type a channel of the first stage.
MAPS = 1.75  # a pixel of the frame: the maps of all resolutions that live at a time
BAND = {"cpu": 28, "cuda": 20}  # a pixel of a band
HALO = {"cpu": 300, "cuda": 100}  # a column: the rows around a band, and what the allocator keeps
LIBRARIES = 25e6  # bytes that their first use takes


class Bands:
    """Bands of at most `max_rows` rows, shared by `num_workers` cores."""

    def __init__(self, max_rows, num_workers=1):
        self.max_rows, self.num_workers = max_rows, num_workers

    @classmethod
    def within(cls, memory, shape, device, channels, dtype):
        """The fastest bands for maps of B x channels x H x W that fit into `memory`, bytes; None: any memory.

        shape: B, H, W. Raises ValueError naming the sizes where not even bands of one row fit.
        """
        batch, height, width = shape
        row = batch * channels * dtype.itemsize * width  # bytes
        most, num_workers = height, 1
        if device.type == "cpu":
            most, num_workers = max(BAND_BYTES // (4 * row), BAND_ROWS), torch.get_num_threads()
        if memory is None:
            return cls(most, num_workers)
        free = memory - LIBRARIES - MAPS * row * height
        halo, band_row = HALO[device.type] * row, BAND[device.type] * row
        if free < halo + band_row:
            needed = (memory - free + halo + band_row) / 1e9
            raise ValueError(
                f"{width} x {height} pixels need {needed:.2f} GB, and {max(memory, 0) / 1e9:.2f} GB are free: allow "
                "more memory, or make the image smaller"
            )
        num_workers = min(num_workers, max(int(free / (halo + FEW_ROWS * band_row)), 1))
        return cls(min(most, int((free / num_workers - halo) / band_row)), num_workers)

    def each(self, height, function):
        """[function(start, stop) for every band of a frame], from top to bottom."""

        def work(start, stop):
            return [function(*band) for band in self.split(start, stop)]

        return sum(self.share(work, self.runs(height)), [])

    def fill(self, height, function, make):
        """The map whose rows function(start, stop) returns; make(): an empty one, called if there are several bands."""
        if self.max_rows >= height:
            return function(0, height)
        out = make()

        def write(start, stop):
            out[:, :, start:stop] = function(start, stop)

        self.each(height, write)
        return out

    def update(self, x, derive, margin, use, radius):
        """Change a map in place by means of a derived map, which exists only around the bands at work.

        x: B x C x H x W. derive(band): rows of the derived map, from a Band of x with `margin` more rows on each side.
        use(band, part): changes `part`, the band's rows of x; `band` is of the derived map, with `radius` >= `margin`.
        Returns the results of `use`, from top to bottom.
        """
        height, runs = x.shape[2], self.runs(x.shape[2], radius)

        def derived_rows(start, stop):
            return derive(Band.of(x, start, stop, margin))

        # Rows on both sides of a border between runs come first: later, x has changed on the other side.
        borders = [start for start, _ in runs[1:]]
        halves = [half for border in borders for half in ((border - radius, border), (border, border + radius))]
        halves = self.share(derived_rows, halves)
        ready = {border: torch.cat(halves[2 * i : 2 * i + 2], dim=2) for i, border in enumerate(borders)}

        def work(start, stop):
            results = []
            # Rows of the derived map, from `radius` above the band; `made` is the first that is missing.
            kept, made = ([ready[start]], start + radius) if start else ([], 0)
            inner = stop if stop == height else stop - radius  # from here on they are ready
            for first, last in self.split(start, stop):
                above, below = min(radius, first), min(radius, height - last)
                needed = last + below
                if made < min(needed, inner):
                    kept.append(derived_rows(made, min(needed, inner)))
                if needed > inner:
                    kept.append(ready[stop][:, :, max(made - inner, 0) : needed - inner])
                derived = torch.cat(kept, dim=2) if len(kept) > 1 else kept[0]
                results.append(use(Band(derived, radius, above, below), x[:, :, first:last]))
                kept, made = [derived[:, :, above + last - first - min(radius, last) :]], needed
            return results

        return sum(self.share(work, runs), [])

    def split(self, start, stop):
        """(start, stop) of bands of nearly equal height."""
        return pieces(start, stop, -(-(stop - start) // self.max_rows))

    def runs(self, height, least=1):
        """(start, stop) of a run of at least `least` rows for every core."""
        return pieces(0, height, 1 if self.max_rows >= height else max(min(self.num_workers, height // least), 1))

    def share(self, work, runs):
        """[work(start, stop) for every run], each on a core of its own."""
        if len(runs) < 2:
            return [work(*run) for run in runs]
        inference = torch.is_inference_mode_enabled()

        def on_worker(run):
            with torch.inference_mode(inference), torch.no_grad():  # modes belong to threads
                return work(*run)

        return list(workers(self.num_workers).map(on_worker, runs))


class Band:
    """A band of rows and its halo: `margin` rows on either side, fewer at the frame's edges (`above`, `below`)."""

    def __init__(self, rows, margin, above, below):
        self.rows, self.margin, self.above, self.below = rows, margin, above, below

    @classmethod
    def of(cls, x, start, stop, margin):
        """The band of rows start to stop of a map."""
        above, below = min(margin, start), min(margin, x.shape[2] - stop)
        return cls(x[:, :, start - above : stop + below], margin, above, below)

    def padded(self):
        """Rows and columns with `margin` more pixels on all sides; beyond the frame they are reflections."""
        margin = self.margin
        if not margin:
            return self.rows
        if kernels.run_on(self.rows):  # torch's padding would return NCHW
            from .kernels.pad import reflect_pad

            return self.inner(reflect_pad(self.rows, margin))
        return F.pad(self.rows, (margin, margin, margin - self.above, margin - self.below), "reflect")

    def inner(self, y):
        """The rows of a map without the part of the halo that lies within the frame."""
        return y[:, :, self.above : y.shape[2] - self.below]


def pieces(start, stop, num):
    """(start, stop) of `num` pieces of nearly equal length."""
    cuts = [start + (stop - start) * i // num for i in range(num + 1)]
    return list(zip(cuts[:-1], cuts[1:], strict=True))


@cache
def workers(num_threads):
    """A pool of threads in each of which torch uses one thread."""
    pool = ThreadPoolExecutor(num_threads, initializer=torch.set_num_threads, initargs=(1,))
    before, all_started = torch.get_num_threads(), Barrier(num_threads)
    list(pool.map(lambda _: all_started.wait(), range(num_threads)))
    torch.set_num_threads(before)  # the workers' calls also changed the default for threads started later: restore it
    return pool
