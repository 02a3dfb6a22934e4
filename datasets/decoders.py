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

FORMATS = {"PNG": "PNG", "JPEG": "JPEG", "MPO": "JPEG", "BMP": "BMP", "WEBP": "WEBP"}  # Pillow's name: ours
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # first bytes of a TIFF or BigTIFF
GREY, COLOUR = ("1", "L", "LA", "I;16"), ("P", "PA", "RGB", "RGBA")  # Pillow's modes
EIGHT_BIT = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
TO_RGB = {2: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGBA}  # by OpenCV's channels; 2: dimensions
FRAMES = (b"\xc0", b"\xc1", b"\xc2")  # of a JPEG: baseline, extended, progressive
ORIENTATION = 274  # tag of EXIF and TIFF
REACH = 2**16  # last bytes of a PNG file in which EXIF data is looked for

cv2.setNumThreads(0)  # images are decoded in parallel by processes

# Pillow's limit of pixels would come before data.max_pixels. Odd headers are reported by what is raised.
Image.MAX_IMAGE_PIXELS = None
warnings.filterwarnings("ignore", module=r"PIL\.")
for name in ("PIL", "tifffile"):
    logging.getLogger(name).setLevel(logging.CRITICAL + 1)


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


def is_ordinary(content):
    """Whether an image file's bytes are surely 8-bit grey or RGB, upright and alone: most of a data set.

    `read_header` would say the same, but Pillow takes a tenth of the time that such a file is decoded in.
    """
    if content[:4] == b"\x89PNG":
        head, tail = content[33 : content.find(b"IDAT", 33)], content[-REACH:]
        return content[24:26] in (b"\x08\0", b"\x08\2") and not re.search(b"acTL|tRNS|eXIf", head + tail)
    if content[:4] == b"RIFF":
        return content[8:16] in (b"WEBPVP8 ", b"WEBPVP8L")  # WEBPVP8X may be turned, or move
    place = 2 if content[:2] == b"\xff\xd8" else len(content)
    while content[place : place + 1] == b"\xff" and content[place + 1 : place + 2] not in (*FRAMES, b"\xe1"):  # EXIF
        place += 2 + int.from_bytes(content[place + 2 : place + 4], "big")
    frame = content[place : place + 10]  # marker, length, bits, height, width, channels
    return len(frame) == 10 and frame[1:2] in FRAMES and frame[4] == 8 and frame[9] in (1, 3)


def read_header(file):
    """The Header of an opened image file.

    Raises ValueError for a kind that is not supported. Of a broken file, Pillow and tifffile raise anything.
    """
    start = file.read(4)
    file.seek(0)
    if not start:
        raise ValueError("it is empty")
    if start in TIFF:
        return tiff_header(tifffile.TiffFile(file))
    image = Image.open(file)
    layout, transparent = str(image.tile), "transparency" in image.info
    deep = image.format == "PNG" and ";16" in layout
    refuse(
        {
            f"{image.format} files": image.format not in FORMATS,
            # MPO: a phone's JPEG, with small previews behind it
            "animations": getattr(image, "n_frames", 1) > 1 and image.format != "MPO",
            f"{image.mode} colours": image.mode not in GREY + COLOUR,
            "16 bits with one transparent colour": deep and transparent,
        }
    )
    if deep:
        decode = partial(decode_opencv, cv2.IMREAD_UNCHANGED)
    elif image.mode in ("L", "RGB") and not transparent and "BGR;1" not in layout:  # BGR;15, BGR;16: bits a pixel
        decode = decode_ordinary
    else:
        decode = decode_pillow
    orientation, exif = read_exif(image.info.get("exif") or (trailing_exif(file) if image.format == "PNG" else None))
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
    """The Header of a TIFF file, by its tags: of one image, behind which reduced copies and masks may lie."""
    page, bits, planes = tiff.pages[0], tiff.pages[0].bitspersample, tiff.pages[0].planarconfig == 2
    colours, compression = PHOTOMETRIC(page.photometric), COMPRESSION(page.compression)
    white, palette = colours == PHOTOMETRIC.MINISWHITE, colours == PHOTOMETRIC.PALETTE
    jpeg = colours == PHOTOMETRIC.YCBCR and compression == COMPRESSION.JPEG  # libtiff makes it RGB
    channels = 3 if colours == PHOTOMETRIC.RGB or jpeg else 1
    extra = page.samplesperpixel - channels
    plain = not (planes or white or channels == extra == 1)  # OpenCV reads it exactly in 16 bits
    known = channels == 3 or white or palette or colours == PHOTOMETRIC.MINISBLACK
    refuse(
        {
            "several images": page.is_reduced or any(not (p.is_reduced or p.is_mask) for p in tiff.pages[1:]),
            f"{colours.name} colours": not known,
            f"{bits}-bit {page.dtype} samples": bits not in ((1, 2, 4, 8) if palette else (1, 2, 4, 8, 16))
            or page.sampleformat != SAMPLEFORMAT.UINT,
            f"{page.samplesperpixel} channels": extra not in (0, 1) or palette and extra,
            "palettes of 8 bits": palette and page.colormap.max() < 256,  # readers disagree on them
            "colours multiplied by alpha": EXTRASAMPLE.ASSOCALPHA in page.extrasamples,
            "planes of grey": planes and channels == 1 and bits < 16,  # Pillow mistakes them
            f"{compression.name} files of this layout": bits == 16
            and not plain
            and compression not in tifffile.TIFF.DECOMPRESSORS,
        }
    )
    orientation = page.tags.valueof(ORIENTATION, 1)
    if bits < 16:  # Pillow and OpenCV put a TIFF upright, tifffile does not
        decode = decode_pillow
    else:
        opencv, rare = partial(decode_opencv, cv2.IMREAD_UNCHANGED), partial(decode_upright, decode_tiff, orientation)
        decode = opencv if plain else rare
    size = page.shaped[2:4][:: -1 if orientation > 4 else 1]
    return Header("TIFF", size, max(bits, 8), channels == 1 and not palette, decode, page.tags.valueof(34675))


def refuse(problems):
    """Raise ValueError for the first of {what is not supported: whether the file has it} that it has."""
    for problem, found in problems.items():
        if found:
            raise ValueError(f"{problem} are not supported: save it as an 8- or 16-bit PNG")


def trailing_exif(file):
    """EXIF data after a PNG file's pixels; Pillow would decode the pixels to find it."""
    file.seek(max(file.seek(0, os.SEEK_END) - REACH, 0))
    found = re.search(rb"eXIf((II\*\0|MM\0\*).*)", file.read(), re.DOTALL)
    return found and found[1]


def read_exif(data):
    """EXIF's orientation, 1 to 8, and the data that says upright; 1 and None where it is broken or missing."""
    try:
        exif = Image.Exif()
        exif.load(data)
        orientation = exif.get(ORIENTATION, 1)
        if ORIENTATION in exif:
            exif[ORIENTATION] = 1
        return orientation if orientation in range(1, 9) else 1, exif.tobytes() if len(exif) else None
    except Exception:  # cameras and editors break it in many ways, and the picture is worth more
        return 1, None


def decode_upright(decode, orientation, content):
    image = decode(content)
    image = image.swapaxes(0, 1) if orientation > 4 else image
    down, across = (-1 if orientation in turned else 1 for turned in ((3, 4, 7, 8), (2, 3, 6, 7)))
    return image[::down, ::across]


def decode_ordinary(content):
    return decode_opencv(EIGHT_BIT, content)


def decode_opencv(flags, content):
    with SILENCE:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    if image is None:
        raise ValueError("it is damaged, or of a rare kind")
    return image if flags == EIGHT_BIT else cv2.cvtColor(image, TO_RGB[image.shape[2] if image.ndim == 3 else 2])


def decode_pillow(content):
    """8 bits: palettes, 1 to 4 bits, alpha, a transparent colour, BMPs of 16 bits a pixel, TIFFs."""
    with SILENCE, Image.open(io.BytesIO(content)) as image:
        return np.array(image.convert("RGBA" if image.has_transparency_data else "RGB"))


def decode_tiff(content):
    """16 bits: TIFFs in planes, of grey with alpha, or with white as 0."""
    with tifffile.TiffFile(io.BytesIO(content)) as tiff:
        page = tiff.pages[0]
        planes = page.asarray(squeeze=False)[:, 0]  # S x H x W x C, S or C is 1
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
                self.error = os.dup(2)
                with open(os.devnull, "w") as null:
                    os.dup2(null.fileno(), 2)

    def __exit__(self, *_):
        with self.lock:
            self.inside -= 1
            if self.inside == 0:
                os.dup2(self.error, 2)
                os.close(self.error)


SILENCE = Silence()
