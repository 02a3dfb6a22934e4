"""Decode an image file exactly or refuse it by name: Pillow for 8 bits, OpenCV for 16, tifffile for a TIFF's tags."""

import io
import logging
import os
import threading
import warnings
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import cv2
import numpy as np
import tifffile
from PIL import Image
from tifffile import EXTRASAMPLE, PHOTOMETRIC, SAMPLEFORMAT

FORMATS = {"PNG": "PNG", "JPEG": "JPEG", "MPO": "JPEG", "BMP": "BMP", "WEBP": "WEBP"}  # MPO: a phone's, with previews
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # first bytes of a TIFF or BigTIFF
TIFF_GREY = (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE)
TIFF_CHANNELS = {  # by colours and bits: what Pillow reads exactly, and OpenCV in 16 bits
    PHOTOMETRIC.RGB: {8: (3, 4), 16: (3, 4)},
    PHOTOMETRIC.MINISBLACK: {1: (1,), 8: (1, 2), 16: (1,)},
    PHOTOMETRIC.MINISWHITE: {1: (1,), 8: (1,)},
    PHOTOMETRIC.PALETTE: {8: (1,)},
}
GREY, COLOUR = ("1", "L", "LA", "I;16"), ("P", "PA", "RGB", "RGBA")  # Pillow's modes
TO_RGB = {2: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGBA}  # by OpenCV's channels; 2: dimensions
ORIENTATION, ICC_PROFILE = 274, 34675  # tags of EXIF and TIFF
SILENT = threading.Lock()

cv2.setNumThreads(0)  # images are decoded in parallel by processes

# Pillow's limit of pixels would come before data.max_pixels. What is odd or broken is reported by what is raised.
Image.MAX_IMAGE_PIXELS = None
warnings.filterwarnings("ignore", module=r"PIL\.")
for name in ("PIL", "tifffile"):
    logging.getLogger(name).setLevel(logging.CRITICAL + 1)
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


@dataclass(frozen=True)
class Header:
    """An image file's kind, known before its pixels are decoded.

    format: PNG, JPEG, BMP, WEBP or TIFF. size: (height, width), upright. bits: 8 or 16 a channel. grey: of one colour
    channel. orientation: EXIF's, 1 to 8; 1 for TIFFs, which their decoders turn. exif: without its prefix.
    """

    format: str
    size: tuple
    bits: int
    grey: bool
    orientation: int = 1
    icc_profile: bytes | None = None
    exif: bytes | None = None


def read_header(file):
    """The Header of an opened image file. An unsupported kind raises ValueError, a broken file anything."""
    start = file.read(4)
    file.seek(0)
    if not start:
        raise ValueError("it is empty")
    if start in TIFF:
        return tiff_header(tifffile.TiffFile(file))
    image = Image.open(file)
    layout = str(image.tile)
    deep = image.format == "PNG" and ";16" in layout
    refuse(
        {
            f"{image.format} files": image.format not in FORMATS,
            "animations": getattr(image, "n_frames", 1) > 1 and image.format != "MPO",
            f"{image.mode} colours": image.mode not in GREY + COLOUR,
            "16 bits with one transparent colour": deep and "transparency" in image.info,
        }
    )
    orientation, exif = read_exif(image.info.get("exif"))
    size = image.size if orientation > 4 else image.size[::-1]
    grey, profile = image.mode in GREY or "LA;16" in layout, image.info.get("icc_profile")
    return Header(FORMATS[image.format], size, 16 if deep else 8, grey, orientation, profile, exif)


def tiff_header(tiff):
    """The Header of a TIFF file, by its tags: of one image, behind which reduced copies and masks may lie."""
    page = tiff.pages[0]
    colours, bits, channels = PHOTOMETRIC(page.photometric), page.bitspersample, page.samplesperpixel
    known = channels in TIFF_CHANNELS.get(colours, {}).get(bits, ()) and page.sampleformat == SAMPLEFORMAT.UINT
    refuse(
        {
            "several images": page.is_reduced or any(not (p.is_reduced or p.is_mask) for p in tiff.pages[1:]),
            f"{bits}-bit {page.dtype} {colours.name} files of {channels} channel(s)": not known,
            f"planes of {bits}-bit {colours.name}": page.planarconfig == 2 and (bits, channels) not in ((8, 3), (8, 4)),
            "palettes of 8 bits": page.colormap is not None and page.colormap.max() < 256,  # readers disagree on them
            "colours multiplied by alpha": EXTRASAMPLE.ASSOCALPHA in page.extrasamples,
        }
    )
    turned = page.tags.valueof(ORIENTATION, 1) > 4
    size = page.shaped[2:4][:: -1 if turned else 1]
    return Header("TIFF", size, max(bits, 8), colours in TIFF_GREY, icc_profile=page.tags.valueof(ICC_PROFILE))


def refuse(problems):
    """Raise ValueError for the first of {what is not supported: whether the file has it} that it has."""
    for problem, found in problems.items():
        if found:
            raise ValueError(f"{problem} are not supported: save it as an 8- or 16-bit PNG")


def read_exif(data):
    """EXIF's orientation, 1 to 8, and the data that says upright; 1 and None where it is broken or missing."""
    try:
        exif = Image.Exif()
        exif.load(data)
        orientation = exif.get(ORIENTATION, 1)
        if ORIENTATION in exif:
            exif[ORIENTATION] = 1
        kept = exif.tobytes().removeprefix(b"Exif\0\0") if len(exif) else None
        return orientation if orientation in range(1, 9) else 1, kept
    except Exception:  # cameras and editors break it in many ways, and the picture is worth more
        return 1, None


def decode(header, content):
    """The pixels of an image file's bytes, upright: H x W x 3 RGB or H x W x 4 RGBA, uint8 or uint16."""
    with silence() if header.bits == 16 or header.format == "TIFF" else nullcontext():
        image = decode_16_bits(content) if header.bits == 16 else decode_8_bits(content)
    image = image.swapaxes(0, 1) if header.orientation > 4 else image
    down, across = (-1 if header.orientation in turned else 1 for turned in ((3, 4, 7, 8), (2, 3, 6, 7)))
    return np.ascontiguousarray(image[::down, ::across])


def decode_8_bits(content):
    Image.open(io.BytesIO(content)).verify()  # a PNG's checksums, which decoding does not look at
    with Image.open(io.BytesIO(content)) as image:
        mode = "RGBA" if image.has_transparency_data else "RGB"
        return np.array(image if image.mode == mode else image.convert(mode))


def decode_16_bits(content):
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise ValueError("it is damaged, or of a rare kind")
    return cv2.cvtColor(image, TO_RGB[image.shape[2] if image.ndim == 3 else 2])


@contextmanager
def silence():
    """Keep libpng and libtiff from writing to standard error: what is wrong is raised. One thread at a time."""
    with SILENT, open(os.devnull, "w") as null:
        error = os.dup(2)
        os.dup2(null.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(error, 2)
            os.close(error)
