"""Work on a map band by band of rows: on a CPU, bands so small that all their wide intermediates stay in the cache.

Every core takes one band at a time and runs all operations on it alone. No operation is shared between cores, so none
waits for the slowest core, and a band's memory is used again for the next band.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Barrier

import torch
from torch.nn import functional as F

from .padding import reflect_pad

BAND_BYTES = 2**21  # of a band's widest intermediate


@torch.no_grad()
def over_bands(function, x, widest, channels=None, dtype=None, out=None):
    """function(rows) for every band of rows of a map x, joined; written into `out` where that is given.

    widest: the most channels that any of the function's intermediates has. channels, dtype: of its results, if not x's.
    On CUDA, and where one band suffices, function is called once with all rows.
    """
    batch, own_channels, height, width = x.shape
    num_rows = max(BAND_BYTES // (batch * width * widest * x.element_size()), 4)
    if x.is_cuda or num_rows >= height:
        return function(slice(0, height))
    if out is None:
        shape = (batch, channels or own_channels, height, width)
        out = torch.empty(shape, dtype=dtype or x.dtype, memory_format=torch.channels_last)
    num_threads, inference = torch.get_num_threads(), torch.is_inference_mode_enabled()
    num_bands = -(-height // num_rows // num_threads) * num_threads  # the same number for every thread
    num_rows = -(-height // num_bands)

    def band(top):
        rows = slice(top, min(top + num_rows, height))
        with torch.inference_mode(inference), torch.no_grad():  # modes belong to threads
            out[:, :, rows] = function(rows)

    run = workers(num_threads).map if num_threads > 1 else map
    for _ in run(band, range(0, height, num_rows)):
        pass
    return out


@cache
def workers(num_threads):
    """A pool of threads in each of which torch uses one thread."""
    pool, ready = ThreadPoolExecutor(num_threads), Barrier(num_threads + 1)

    def begin():
        torch.set_num_threads(1)
        ready.wait()

    for _ in range(num_threads):
        pool.submit(begin)
    ready.wait()
    torch.set_num_threads(num_threads)  # the workers' calls were heard by threads that others may start later
    return pool


def window(x, rows, margin):
    """The rows of a map with `margin` pixels more on every side, reflected at the map's edges."""
    if x.is_cuda:  # all rows
        return reflect_pad(x, margin)
    top, bottom, height = rows.start - margin, rows.stop + margin, x.shape[2]
    part = x[:, :, max(top, 0) : min(bottom, height)]
    return F.pad(part, (margin, margin, max(-top, 0), max(bottom - height, 0)), "reflect")
