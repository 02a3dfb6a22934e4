"""Images on their way to an encoder: read, checked and preprocessed."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from .images import image_size, read_image


def read_batches(paths, preprocess, max_pixels, size, threads, ahead):
    """Yield lists of `size` pairs, the last perhaps shorter: a preprocessed image and "", or None and the problem.

    preprocess: from H x W x 3 uint8 RGB. max_pixels: a larger image is not decoded. threads: number of readers
    (decoding and resizing release Python's lock). ahead: batches to read while the one yielded is in use.
    """

    def read(path):
        try:
            image_size(path, max_pixels)
            return preprocess(eight_bit(read_image(path))), ""
        except ValueError as error:
            return None, str(error)

    waiting = deque()
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(paths), size):
            waiting.append([pool.submit(read, path) for path in paths[start : start + size]])
            if len(waiting) > ahead:
                yield [image.result() for image in waiting.popleft()]
        while waiting:
            yield [image.result() for image in waiting.popleft()]


def eight_bit(image):
    """uint8 or uint16 to uint8, by the high byte."""
    return (image >> 8).astype(np.uint8) if image.dtype == np.uint16 else image


def stamp(path):
    """(size in bytes, time of modification in ns): differs when a file has changed."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns
