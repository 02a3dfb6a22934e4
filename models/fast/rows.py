"""The executor of the inference form: work on maps in bands of rows, in place.

On a CPU every core owns a run of rows and goes through it in bands so low that their wide intermediates stay in its
cache. A band's operations run on that core alone, so no operation waits for the slowest core. Rows of a derived map
that two bands need are made once and kept. On CUDA a band is the whole frame, or as many rows as the memory allows.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Barrier

import torch
from torch.nn import functional as F

from .padding import reflect_pad


class Rows:
    """Bands of at most `most` rows, shared by `num_workers` cores."""

    def __init__(self, most, num_workers=1):
        self.most, self.num_workers = most, num_workers

    def each(self, height, function):
        """[function(start, stop) for every band of a frame], from top to bottom."""

        def work(start, stop):
            return [function(*band) for band in self.bands(start, stop)]

        return sum(self.share(work, self.runs(height)), [])

    def fill(self, height, function, make):
        """The map of which function(start, stop) returns rows. make(): the map to write to if there are many bands."""
        if self.most >= height:
            return function(0, height)
        out = make()

        def write(start, stop):
            out[:, :, start:stop] = function(start, stop)

        self.each(height, write)
        return out

    def update(self, x, derive, margin, use, radius):
        """Change a map in place by a derived map, of which only the rows around a band exist at a time.

        x: B x C x H x W. derive(window): rows of the derived map, from those of x with `margin` more on every side.
        use(window, part): changes `part`, a band of x; the window is of the derived map, with `radius` >= `margin`.
        Returns the results of `use`, from top to bottom.
        """
        height = x.shape[2]
        runs = self.runs(height, radius)

        def rows(start, stop):
            return derive(Window.of(x, start, stop, margin))

        # Rows on both sides of a border between runs come first: later, x has changed on the other side.
        borders = [start for start, _ in runs[1:]]
        halves = [half for border in borders for half in ((border - radius, border), (border, border + radius))]
        halves = self.share(rows, halves)
        ready = {border: torch.cat(halves[2 * i : 2 * i + 2], dim=2) for i, border in enumerate(borders)}

        def work(start, stop):
            results = []
            kept = [ready[start]] if start else []  # of the derived map, from `radius` rows above the band
            made = start + radius if start else 0
            inner = stop - radius if stop < height else height
            for first, last in self.bands(start, stop):
                above, below = min(radius, first), min(radius, height - last)
                need = last + below
                if made < min(need, inner):
                    kept.append(rows(made, min(need, inner)))
                    made = min(need, inner)
                if made < need:
                    kept.append(ready[stop][:, :, made - inner :])
                    made = stop + radius
                derived = torch.cat(kept, dim=2) if len(kept) > 1 else kept[0]
                window = Window(derived[:, :, : above + need - first], radius, above, below)
                results.append(use(window, x[:, :, first:last]))
                kept = [derived[:, :, above + last - first - min(radius, last) :]]
            return results

        return sum(self.share(work, runs), [])

    def bands(self, start, stop):
        """(start, stop) of bands of nearly equal height."""
        return pieces(start, stop, -(-(stop - start) // self.most))

    def runs(self, height, least=1):
        """(start, stop) of a run of rows for every core, of `least` rows and more."""
        return pieces(0, height, 1 if self.most >= height else max(min(self.num_workers, height // least), 1))

    def share(self, work, runs):
        """[work(start, stop) for every run], each on a core of its own."""
        if len(runs) < 2:
            return [work(*run) for run in runs]
        inference = torch.is_inference_mode_enabled()

        def on_worker(run):
            with torch.inference_mode(inference), torch.no_grad():  # modes belong to threads
                return work(*run)

        return list(workers(self.num_workers).map(on_worker, runs))


class Window:
    """Rows of a map, with `margin` rows above and below, or `above` and `below` where the frame has no more."""

    def __init__(self, rows, margin, above, below):
        self.rows, self.margin, self.above, self.below = rows, margin, above, below

    @classmethod
    def of(cls, x, start, stop, margin):
        """The window around rows start to stop of x."""
        above, below = min(margin, start), min(margin, x.shape[2] - stop)
        return cls(x[:, :, start - above : stop + below], margin, above, below)

    def padded(self):
        """With `margin` more pixels on all four sides: rows that the frame lacks, and columns, are reflections."""
        margin = self.margin
        if not margin:
            return self.rows
        if self.rows.is_cuda:  # torch's padding would return NCHW
            y = reflect_pad(self.rows, margin)
            return y[:, :, self.above : y.shape[2] - self.below]
        return F.pad(self.rows, (margin, margin, margin - self.above, margin - self.below), "reflect")

    def inner(self, y):
        """A map of the size of `rows`, without the margin."""
        return y[:, :, self.above : y.shape[2] - self.below]


def new_map(x, channels, dtype=None):
    """An empty map of x's size and, unless another is given, of its type."""
    shape = x.shape[0], channels, *x.shape[2:]
    return torch.empty(shape, dtype=dtype or x.dtype, device=x.device, memory_format=torch.channels_last)


def pieces(start, stop, num):
    """(start, stop) of `num` pieces of nearly equal length."""
    cuts = [start + (stop - start) * i // num for i in range(num + 1)]
    return list(zip(cuts[:-1], cuts[1:], strict=True))


@cache
def workers(num_threads):
    """A pool of threads in each of which torch uses one thread."""
    pool, ready = ThreadPoolExecutor(num_threads), Barrier(num_threads + 1)
    before = torch.get_num_threads()

    def begin():
        torch.set_num_threads(1)
        ready.wait()

    for _ in range(num_threads):
        pool.submit(begin)
    ready.wait()
    torch.set_num_threads(before)  # the workers' calls also changed the default for threads started later: restore it
    return pool
