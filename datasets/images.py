"""Image files: the one place where channel order and value range change."""

import io
import logging
import os
import struct
import threading
import warnings
import zlib
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from utils.files import write_bytes

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
HEADER_ERRORS = (OSError, UnidentifiedImageError, ValueError, SyntaxError, TypeError, struct.error)  # of Pillow
REDUCED = {  # how OpenCV decodes an image to be shrunk at least so much
    8: cv2.IMREAD_REDUCED_COLOR_8,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    0: cv2.IMREAD_COLOR,
}

cv2.setNumThreads(0)  # images are decoded in parallel by processes

# Pillow reads headers only. Its own limit of pixels would come before data.max_pixels, and what it says of odd headers
# is said in the error where it matters.
Image.MAX_IMAGE_PIXELS = None
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").setLevel(logging.CRITICAL)


class Silence:
    """A context in which codecs cannot write to standard error, as some do by themselves; what is wrong is raised.

    Threads may be in it together.
    """

    def __init__(self):
        self.lock, self.inside = threading.Lock(), 0

    def __enter__(self):
        with self.lock:
            self.inside += 1
            if self.inside == 1:
                self.error = os.dup(2)
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, 2)
                os.close(null)

    def __exit__(self, *_):
        with self.lock:
            self.inside -= 1
            if self.inside == 0:
                os.dup2(self.error, 2)
                os.close(self.error)


SILENCE = Silence()


def has_image_name(name):
    return name.lower().endswith(ENDINGS) and not name.startswith(".")


def is_image(path):
    return has_image_name(path.name) and path.is_file()


def left_out(paths):
    """In words, how many of the files are left out, with their endings; nothing where there are none.

    Images among them lie in subfolders, or are links to nothing.
    """
    endings = Counter(path.suffix.lower() or "no ending" for path in paths if path.name[0] != "." and not path.is_dir())
    named = ", ".join(f"{count} {ending}" for ending, count in endings.most_common(5))
    more = ", ..." if len(endings) > 5 else ""
    return named and f"files left out, of other kinds or in subfolders: {named}{more}"


def read_image(path):
    """Read an image file as H x W x 3 RGB, uint8 or uint16; grey becomes RGB, alpha is dropped, EXIF turns are made.

    Raises ValueError naming the file when it cannot be decoded.
    """
    try:
        data = np.frombuffer(Path(path).read_bytes(), np.uint8)
        with SILENCE:
            image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH) if data.size else None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except cv2.error:
        image = None
    if image is None or image.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"{path} cannot be decoded: replace it, or remove it from the data set")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def read_small(path, side, content=None):
    """An image as 8-bit H x W x 3 RGB, shrunk to at most `side` pixels a side. content: the file's bytes, where known.

    A JPEG is decoded at a half, a quarter or an eighth where that is enough. Raises ValueError naming the file when it
    cannot be decoded.
    """
    content = Path(path).read_bytes() if content is None else content
    try:
        with Image.open(io.BytesIO(content)) as header:
            shrink = max(header.size) / side
        kind = next(flag for least, flag in REDUCED.items() if shrink >= least)
        with SILENCE:
            image = cv2.imdecode(np.frombuffer(content, np.uint8), kind)
    except (cv2.error, *HEADER_ERRORS):
        image = None
    if image is None:
        raise ValueError(f"{path} cannot be decoded")
    shrink = max(image.shape[:2]) / side
    if shrink > 1:
        size = [max(round(length / shrink), 1) for length in image.shape[1::-1]]
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def file_format(content):
    """Format and bits a channel of an image file's bytes, such as ("PNG", 16)."""
    with Image.open(io.BytesIO(content)) as image:
        if image.format == "PNG":
            return "PNG", content[24]  # Pillow's mode does not tell 16-bit RGB
        return image.format, max(image.tag_v2.get(258, (8,))) if image.format == "TIFF" else 8


def write_image(path, image):
    """Write H x W x 3 RGB, uint8 or uint16; the file is written aside and moved into place."""
    done, data = cv2.imencode(Path(path).suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not done:
        raise ValueError(f"{path} cannot be written: {Path(path).suffix} does not hold {image.dtype} images")
    write_bytes(path, data.tobytes())


def image_size(path, max_pixels):
    """(height, width) from the header alone, as `read_image` will return it.

    Raises ValueError naming the file when it is no image or has more than `max_pixels` pixels.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = width != height and orientation(path, image) >= 5  # the sides are exchanged
    except HEADER_ERRORS as error:
        reason = "is empty" if path.is_file() and path.stat().st_size == 0 else f"is no readable image ({error})"
        raise ValueError(f"{path} {reason}") from None
    if width * height > max_pixels:
        raise ValueError(f"{path} has {width} x {height} pixels, more than data.max_pixels={max_pixels}")
    return (width, height) if turned else (height, width)


def orientation(path, image):
    """EXIF's orientation of an opened image, as OpenCV sees it; 1 where there is none."""
    if image.format == "TIFF":  # Pillow's size is turned already
        return 1
    exif = Image.Exif()
    exif.load(image.info.get("exif") or (trailing_exif(path) if image.format == "PNG" else None))
    return exif.get(274, 1)


def trailing_exif(path, reach=2**16):
    """The EXIF data that follows a PNG file's pixels, within its last `reach` bytes: Pillow would decode the pixels."""
    with open(path, "rb") as file:
        file.seek(max(os.path.getsize(path) - reach, 0))
        tail = file.read()
    start = tail.rfind(b"eXIf")
    end = start + 4 + int.from_bytes(tail[start - 4 : start], "big")
    whole = start >= 4 and zlib.crc32(tail[start:end]) == int.from_bytes(tail[end : end + 4], "big")
    return tail[start + 4 : end] if whole else b""


def to_tensor(image):
    """H x W x 3, uint8 or uint16, to 3 x H x W float32 in [-1, 1]."""
    scale = np.float32(2 / np.iinfo(image.dtype).max)
    return torch.from_numpy(image.transpose(2, 0, 1) * scale - np.float32(1))


def to_bytes(image):
    """H x W x 3 uint8 to 3 x H x W uint8, for `to_floats` on another device; of uint16, what `to_tensor` returns."""
    if image.dtype != np.uint8:
        return to_tensor(image)
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def to_floats(image):
    """What `to_tensor` returns, bit for bit, of what `to_bytes` returns, in batches too."""
    return image if image.dtype != torch.uint8 else image.float() * (2 / 255) - 1


def to_image(tensor, dtype=np.uint8):
    """3 x H x W in [-1, 1] (clamped) to H x W x 3, rounded to uint8 or uint16."""
    top = np.iinfo(dtype).max
    scaled = (tensor.detach().float().cpu().clamp(-1, 1) * 0.5 + 0.5) * top
    return np.ascontiguousarray(scaled.round().numpy().transpose(1, 2, 0).astype(dtype))
