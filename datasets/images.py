"""Image files to arrays, all by `load`, and back; the one place where the value range changes."""

import io
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import UnidentifiedImageError

from utils.files import first_line, write_bytes

from .decoders import decode, read_header

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


def is_image(path):
    """Whether a Path, or an entry of os.scandir, is an image file by its name."""
    return path.name.lower().endswith(ENDINGS) and path.name[0] != "." and path.is_file()


def note_left_out(place, paths):
    """Print a note that counts, by ending, files that are not read; images among them lie in subfolders."""
    endings = Counter(path.suffix.lower() or "no ending" for path in paths if path.name[0] != "." and not path.is_dir())
    if endings:
        named = ", ".join(f"{count} {ending}" for ending, count in endings.most_common(5))
        print(f"note: {place}: files left out, of other kinds or in subfolders: {named}")


@contextmanager
def naming(path):
    """Turn what goes wrong in reading an image file into a ValueError of one line that names it."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # a broken file fails in many ways
        unknown = isinstance(error, UnidentifiedImageError)
        reason = "it is not an image, or it is damaged" if unknown else first_line(error)
        raise ValueError(f"{path} cannot be read: {reason}") from None


def load(path, max_pixels=None):
    """The Header of an image file, and its upright pixels: H x W x 3 RGB or H x W x 4 RGBA, uint8 or uint16.

    Raises ValueError naming the file when it cannot be decoded exactly, or has more than `max_pixels` pixels.
    """
    with naming(path):
        content = Path(path).read_bytes()
        header = sized_header(io.BytesIO(content), max_pixels)
        image = decode(header, content)
        if (*image.shape[:2], image.itemsize * 8) != (*header.size, header.bits):
            raise ValueError("its pixels are not what its header says")
    return header, image


def read_image(path, max_pixels=None):
    """Read an image file as H x W x 3 RGB, uint8 or uint16: grey becomes RGB, alpha is dropped. Raises as `load`."""
    return np.ascontiguousarray(load(path, max_pixels)[1][:, :, :3])


def image_size(path, max_pixels):
    """(height, width) from the header alone, as `read_image` returns it. Raises as `load`."""
    with naming(path), open(path, "rb") as file:
        return sized_header(file, max_pixels).size


def sized_header(file, max_pixels):
    header = read_header(file)
    height, width = header.size
    if max_pixels is not None and height * width > max_pixels:
        raise ValueError(f"{width} x {height} pixels, more than data.max_pixels={max_pixels} (--max-pixels)")
    return header


def to_8_bit(image):
    return (image >> 8).astype(np.uint8) if image.dtype == np.uint16 else image


def shrink(image, side):
    """An image of H x W x 3 in 8 bits, with at most `side` pixels a side."""
    image, factor = to_8_bit(image), max(image.shape[:2]) / side
    size = [max(round(length / factor), 1) for length in image.shape[1::-1]]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA) if factor > 1 else image


def write_image(path, image):
    """Write H x W x 3 RGB, uint8 or uint16; the file is written aside and moved into place."""
    write_bytes(path, cv2.imencode(Path(path).suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes())


def to_tensor(image):
    """H x W x 3, uint8 or uint16, to 3 x H x W float32 in [-1, 1]."""
    scale = np.float32(2 / np.iinfo(image.dtype).max)
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)) * scale - np.float32(1))


def to_image(tensor, dtype=np.uint8):
    """3 x H x W in [-1, 1] (clamped) to H x W x 3, rounded to uint8 or uint16."""
    top = np.iinfo(dtype).max
    scaled = (tensor.detach().float().cpu().clamp(-1, 1) * 0.5 + 0.5) * top
    return np.ascontiguousarray(scaled.round().numpy().transpose(1, 2, 0).astype(dtype))
