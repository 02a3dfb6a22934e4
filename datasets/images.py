"""Image files: the one place where channel order and value range change."""

import os
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")

cv2.setNumThreads(0)  # images are decoded in parallel by processes


def is_image(path):
    return path.suffix.lower() in ENDINGS and not path.name.startswith(".") and path.is_file()


def read_image(path):
    """Read an image file as H x W x 3 RGB, uint8 or uint16; grey becomes RGB, alpha is dropped, EXIF turns are made.

    Raises ValueError naming the file when it cannot be decoded.
    """
    try:
        data = np.frombuffer(Path(path).read_bytes(), np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH) if data.size else None
    except (OSError, cv2.error) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    if image is None or image.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"{path} cannot be decoded: replace it, or remove it from the data set")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def write_image(path, image):
    """Write H x W x 3 RGB, uint8 or uint16; the file is written aside and moved into place."""
    done, data = cv2.imencode(Path(path).suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not done:
        raise ValueError(f"{path} cannot be written: {Path(path).suffix} does not hold {image.dtype} images")
    replace_file(path, data.tobytes())


def replace_file(path, data):
    """Write bytes aside and move them into place; folders are made as needed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        aside.write_bytes(data)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def image_size(path, max_pixels):
    """(height, width) from the header alone, as `read_image` will return it.

    Raises ValueError naming the file when it is no image or has more than `max_pixels` pixels.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(274, 1) >= 5  # EXIF orientation: the sides are exchanged
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = "is empty" if path.is_file() and path.stat().st_size == 0 else f"is no readable image ({error})"
        raise ValueError(f"{path} {reason}") from None
    if width * height > max_pixels:
        raise ValueError(f"{path} has {width} x {height} pixels, more than data.max_pixels={max_pixels}")
    return (width, height) if turned else (height, width)


def to_tensor(image):
    """H x W x 3, uint8 or uint16, to 3 x H x W float32 in [-1, 1]."""
    scale = np.float32(2 / np.iinfo(image.dtype).max)
    return torch.from_numpy(image.transpose(2, 0, 1) * scale - np.float32(1))


def to_image(tensor, dtype=np.uint8):
    """3 x H x W in [-1, 1] (clamped) to H x W x 3, rounded to uint8 or uint16."""
    top = np.iinfo(dtype).max
    scaled = (tensor.detach().float().cpu().clamp(-1, 1) * 0.5 + 0.5) * top
    return np.ascontiguousarray(scaled.round().numpy().transpose(1, 2, 0).astype(dtype))
