"""People's own photographs: what comes back with them, written in the file format they came in.

8 bits a channel are written by Pillow, 16 bits into PNG by OpenCV, as Pillow has no 16-bit RGB; TIFF by tifffile.
"""

import io
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import tifffile
from PIL import Image

from utils.files import write_bytes

from .images import load


@dataclass(frozen=True)
class Photo:
    """An upright photograph and what its file needs to come back.

    pixels: H x W x 3 RGB, uint8 or uint16. alpha: H x W of the same type, or None. grey: the file has one colour
    channel. format: PNG, JPEG, BMP, WEBP or TIFF. lossless: of WebP. icc_profile, exif: bytes; TIFF keeps no EXIF.
    """

    pixels: np.ndarray
    format: str
    alpha: np.ndarray | None = None
    grey: bool = False
    lossless: bool = False
    icc_profile: bytes | None = None
    exif: bytes | None = None


def read_photo(path, max_pixels):
    """Read an image file as a Photo; palettes become RGB.

    Raises ValueError naming the file when it cannot be decoded exactly, or has more than `max_pixels` pixels.
    """
    content = Path(path).read_bytes()
    header, image = load(path, max_pixels, content)
    return Photo(
        np.ascontiguousarray(image[:, :, :3]),
        header.format,
        image[:, :, 3] if image.shape[2] == 4 else None,
        header.grey,
        b"VP8L" in content,
        header.icc_profile,
        upright_exif(header.exif),
    )


def upright_exif(exif):
    """EXIF data whose orientation says upright; None where it is broken."""
    try:
        known = Image.Exif()
        known.load(exif)
        if 274 in known:
            known[274] = 1
        return known.tobytes() if len(known) else None
    except Exception:  # cameras and editors break it in many ways
        return None


def write_photo(path, photo):
    """Write a Photo in its format, aside and then moved into place. JPEG and lossy WebP: quality 95.

    Raises ValueError naming the file when its format cannot hold the photo.
    """
    array = photo.pixels
    if photo.grey:
        array = cv2.cvtColor(array, cv2.COLOR_RGB2GRAY)  # a network's grey is not exactly grey
    array = array if photo.alpha is None else np.dstack([array, photo.alpha])
    if photo.format == "TIFF":
        encode = encode_tiff
    else:
        encode = encode_16_bit_png if array.dtype == np.uint16 else encode_8_bit
    try:
        data = encode(photo, array)
    except (ValueError, OSError, cv2.error) as error:
        raise ValueError(f"{path} cannot be written as {photo.format}: {error}") from None
    write_bytes(path, data)


def encode_8_bit(photo, array):
    options = {
        "PNG": {},
        "JPEG": {"quality": 95, "subsampling": 0},
        "WEBP": {"quality": 95, "lossless": photo.lossless, "exact": True},  # exact: colours under full transparency
        "BMP": {},
    }[photo.format]
    found = {"icc_profile": photo.icc_profile, "exif": photo.exif}
    options |= {name: value for name, value in found.items() if value}
    if photo.format == "BMP" and photo.alpha is not None:  # Pillow drops it
        return cv2.imencode(".bmp", array[:, :, [2, 1, 0, 3]])[1].tobytes()
    file = io.BytesIO()
    Image.fromarray(array).save(file, photo.format, **options)
    return file.getvalue()


def encode_16_bit_png(photo, array):
    if array.ndim == 3:
        grey_alpha = array.shape[2] == 2  # OpenCV writes no such PNG
        array = array[:, :, [0, 0, 0, 1] if grey_alpha else [2, 1, 0, 3][: array.shape[2]]]
    found = {
        cv2.IMAGE_METADATA_ICCP: photo.icc_profile,
        cv2.IMAGE_METADATA_EXIF: photo.exif and photo.exif.removeprefix(b"Exif\0\0"),
    }
    found = {kind: np.frombuffer(value, np.uint8) for kind, value in found.items() if value}
    done, data = cv2.imencodeWithMetadata(".png", np.ascontiguousarray(array), list(found), list(found.values()))
    if not done:  # a colour profile that libpng does not accept
        done, data = cv2.imencode(".png", array)
    return data.tobytes()


def encode_tiff(photo, array):
    """array: H x W grey, or H x W x 2 to 4: grey or RGB, with alpha or without."""
    grey = array.ndim == 2 or array.shape[2] == 2
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        array,
        photometric="MINISBLACK" if grey else "RGB",
        planarconfig="CONTIG" if array.ndim == 3 else None,
        extrasamples=None if photo.alpha is None else ["UNASSALPHA"],  # the colours are not multiplied by alpha
        compression="zlib",
        iccprofile=photo.icc_profile,
        metadata=None,
        software=False,
    )
    return file.getvalue()


def side_by_side(left, right):
    """Two Photos of one size as one, on the paper of the second."""
    both = {name: (getattr(left, name), getattr(right, name)) for name in ("pixels", "alpha")}
    joined = {name: None if pair[0] is None else np.concatenate(pair, axis=1) for name, pair in both.items()}
    return replace(right, **joined)
