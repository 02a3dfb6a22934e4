"""What an image file is and how it is decoded exactly; every other kind is refused by name. Start at `read_header`.

OpenCV decodes what data sets are made of, Pillow the rarer kinds of 8 bits, tifffile the rarer TIFFs of 16 bits.
"""

import io
import logging
import os
import re
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import tifffile
from PIL import Image
from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC, SAMPLEFORMAT

FORMATS = {"PNG": "PNG", "JPEG": "JPEG", "MPO": "JPEG", "BMP": "BMP", "WEBP": "WEBP"}  # Pillow's names: ours
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # first bytes of a TIFF or BigTIFF
GREY = ("1", "L", "LA", "I;16")  # Pillow's modes
COLOUR = ("P", "PA", "RGB", "RGBA")
REMEDY = "save it as an 8- or 16-bit PNG"

cv2.setNumThreads(0)  # images are decoded in parallel by processes

# Pillow's limit of pixels would come before data.max_pixels. Odd headers are reported by what is raised.
Image.MAX_IMAGE_PIXELS = None
warnings.filterwarnings("ignore", module=r"PIL\.")
for reader in ("PIL", "tifffile"):
    logging.getLogger(reader).setLevel(logging.CRITICAL + 1)


@dataclass(frozen=True)
class Header:
    """An image file's kind, known before its pixels are decoded.

    format: PNG, JPEG, BMP, WEBP or TIFF. size: (height, width), upright. bits: 8 or 16 a channel. decode: from the
    file's bytes to upright H x W x 3 RGB or H x W x 4 RGBA, uint8 or uint16. icc_profile, exif: bytes, or None.
    """

    format: str
    size: tuple
    bits: int
    grey: bool
    decode: Callable
    icc_profile: bytes | None = None
    exif: bytes | None = None


def read_header(file):
    """The Header of an opened image file.

    Raises ValueError for a kind that is not supported. For a broken header, Pillow and tifffile raise all sorts.
    """
    start = file.read(4)
    file.seek(0)
    if not start:
        raise ValueError("it is empty")
    if start in TIFF:
        return tiff_header(tifffile.TiffFile(file))
    image = Image.open(file)
    layout, frames = str(image.tile), getattr(image, "n_frames", 1)
    deep, transparent = image.format == "PNG" and ";16" in layout, "transparency" in image.info
    refuse(
        {
            f"{image.format} files": image.format not in FORMATS,
            "animations": frames > 1 and image.format != "MPO",  # MPO: a phone's JPEG, with small previews behind it
            f"{image.mode} colours": image.mode not in GREY + COLOUR,
            "16 bits with one transparent colour": deep and transparent,
        }
    )
    if deep:
        decode = decode_16_bit
    elif image.mode in ("L", "RGB") and not transparent and "BGR;1" not in layout:  # BGR;15, BGR;16: bits a pixel
        decode = decode_8_bit
    else:
        decode = decode_rare_8_bit
    exif = image.info.get("exif") or (trailing_exif(file) if image.format == "PNG" else None)
    orientation = read_orientation(exif)
    return Header(
        FORMATS[image.format],
        image.size if orientation > 4 else image.size[::-1],
        16 if deep else 8,
        image.mode in GREY or "LA;16" in layout,
        partial(decode_upright, decode, orientation),
        image.info.get("icc_profile"),
        exif,
    )


def tiff_header(tiff):
    """The Header of a TIFF file of one image, by its tags; reduced copies and masks may follow the image."""
    page, bits = tiff.pages[0], tiff.pages[0].bitspersample
    channels = 3 if page.photometric in (PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR) else 1
    extra, palette = page.samplesperpixel - channels, page.photometric == PHOTOMETRIC.PALETTE
    plain = page.planarconfig == 1 and extra in (0, channels // 3) and page.photometric != PHOTOMETRIC.MINISWHITE
    known = (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.RGB)
    jpeg = page.photometric == PHOTOMETRIC.YCBCR and page.compression == COMPRESSION.JPEG  # libtiff makes it RGB
    refuse(
        {
            "several images": page.is_reduced or any(not (p.is_reduced or p.is_mask) for p in tiff.pages[1:]),
            f"{name(page.photometric)} colours": not (page.photometric in known or jpeg or palette and bits <= 8),
            f"{bits}-bit samples of type {page.dtype}": bits not in (1, 2, 4, 8, 16)
            or page.sampleformat != SAMPLEFORMAT.UINT,
            f"{page.samplesperpixel} channels": extra not in (0, 1) or palette and extra,
            "palettes of 8 bits": palette and page.colormap.max() < 256,  # readers disagree on them
            "planes of grey": page.planarconfig == 2 and channels == 1 and bits < 16,  # Pillow mistakes them
            "colours multiplied by alpha": EXTRASAMPLE.ASSOCALPHA in page.extrasamples,
            f"{name(page.compression)} compression of this layout": bits == 16
            and not plain
            and page.compression not in tifffile.TIFF.DECOMPRESSORS,
        }
    )
    orientation = page.tags.valueof(274, 1)
    if bits < 16:
        decode = decode_rare_8_bit
    else:  # Pillow and OpenCV put a TIFF upright, tifffile does not
        decode = decode_16_bit if plain else partial(decode_upright, decode_rare_tiff, orientation)
    size = page.shaped[2:4][:: -1 if orientation > 4 else 1]
    return Header("TIFF", size, max(bits, 8), channels == 1 and not palette, decode, page.tags.valueof(34675))


def refuse(problems):
    """Raise ValueError for the first problem that there is: {what is not supported: whether it is there}."""
    for problem, found in problems.items():
        if found:
            raise ValueError(f"{problem} are not supported: {REMEDY}")


def name(tag):
    return getattr(tag, "name", tag)


def trailing_exif(file, reach=2**16):
    """EXIF data after a PNG file's pixels, within its last `reach` bytes; Pillow would decode the pixels to find it."""
    file.seek(max(file.seek(0, os.SEEK_END) - reach, 0))
    found = re.search(rb"eXIf((II\*\0|MM\0\*).*)", file.read(), re.DOTALL)
    return found and found[1]


def read_orientation(exif):
    """EXIF's orientation, 1 to 8; 1 where the data is broken: the picture is worth more."""
    try:
        known = Image.Exif()
        known.load(exif)
        return known[274] if known[274] in range(1, 9) else 1
    except Exception:  # cameras and editors break it in many ways
        return 1


def decode_upright(decode, orientation, content):
    image = decode(content)
    image = image.swapaxes(0, 1) if orientation > 4 else image
    down, across = (-1 if orientation in turned else 1 for turned in ((3, 4, 7, 8), (2, 3, 6, 7)))
    return image[::down, ::across]


def decode_8_bit(content):
    return decode_opencv(content, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)


def decode_16_bit(content):
    image = decode_opencv(content, cv2.IMREAD_UNCHANGED)
    if image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    return cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA if image.shape[2] == 4 else cv2.COLOR_BGR2RGB)


def decode_opencv(content, flags):
    with SILENCE:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    if image is None:
        raise ValueError("it is damaged")
    return image


def decode_rare_8_bit(content):
    """By Pillow: palettes, 1 to 4 bits, alpha, one transparent colour, 16 bits a pixel of BMP, TIFF."""
    with SILENCE, Image.open(io.BytesIO(content)) as image:
        return np.array(image.convert("RGBA" if image.has_transparency_data else "RGB"))


def decode_rare_tiff(content):
    """By tifffile: 16 bits in planes, grey with alpha, or white as 0."""
    with tifffile.TiffFile(io.BytesIO(content)) as tiff:
        page = tiff.pages[0]
        planes = page.asarray(squeeze=False)[:, 0]  # S x H x W x C: either S or C is 1
    image = np.moveaxis(planes, 0, 2).reshape(*planes.shape[1:3], -1).astype(np.uint16)
    if page.photometric == PHOTOMETRIC.MINISWHITE:
        image[:, :, 0] ^= 0xFFFF
    return image if image.shape[2] > 2 else image[:, :, [0, 0, 0, 1][: image.shape[2] + 2]]


class Silence:
    """A context in which codecs cannot write to standard error: what is wrong is raised. Threads may share it."""

    def __init__(self):
        self.lock, self.inside = threading.Lock(), 0

    def __enter__(self):
        with self.lock:
            self.inside += 1
            if self.inside == 1:
                self.error, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, 2)
                os.close(null)

    def __exit__(self, *_):
        with self.lock:
            self.inside -= 1
            if self.inside == 0:
                os.dup2(self.error, 2)
                os.close(self.error)


SILENCE = Silence()
