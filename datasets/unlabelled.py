"""Images on their way to an encoder: read, checked and preprocessed one at a time."""

import numpy as np
from torch.utils.data import Dataset

from .images import image_size, read_image


class UnlabelledImages(Dataset):
    """Preprocessed images by index."""

    def __init__(self, paths, preprocess, max_pixels):
        """preprocess: from H x W x 3 uint8 RGB. max_pixels: an image with more is not decoded."""
        self.paths, self.preprocess, self.max_pixels = paths, preprocess, max_pixels

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        """Returns the preprocessed image and "", or None and what is wrong with the file.

        A text and no exception, since a worker process would make a traceback of it.
        """
        path = self.paths[index]
        try:
            image_size(path, self.max_pixels)
            return self.preprocess(eight_bit(read_image(path))), ""
        except ValueError as error:
            return None, str(error)


def eight_bit(image):
    """uint8 or uint16 to uint8, by the high byte."""
    return (image >> 8).astype(np.uint8) if image.dtype == np.uint16 else image


def stamp(path):
    """(size in bytes, time of modification in ns), by which a changed file is known."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns
