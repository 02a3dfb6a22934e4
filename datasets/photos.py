"""People's own photographs: what comes back with them, written in the file format they came in."""

import io
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import tifffile
from PIL import Image

from utils.files import write_bytes

from .decoders import SILENCE
from .images import load

JPEG = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]


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
        header.format == "WEBP" and b"VP8L" in content,
        header.icc_profile,
        header.exif,
    )


def write_photo(path, photo):
    """Write a Photo in its format, aside and then moved into place. JPEG and lossy WebP: quality 95.

    Grey with alpha becomes RGBA. Raises ValueError naming the file when its format cannot hold the photo.
    """
    array = photo.pixels
    if photo.grey:
        array = cv2.cvtColor(array, cv2.COLOR_RGB2GRAY)  # a network's grey is not exactly grey
    if photo.alpha is not None:
        array = np.dstack([array] * (3 if photo.grey else 1) + [photo.alpha])
    encode = {"TIFF": encode_tiff, "WEBP": encode_webp}.get(photo.format, encode_opencv)
    try:
        data = encode(photo, array)
    except (ValueError, OSError, cv2.error) as error:
        raise ValueError(f"{path} cannot be written as {photo.format}: {error}") from None
    write_bytes(path, data)


def encode_opencv(photo, array):
    """The bytes of a PNG, JPEG or BMP file; array: H x W grey, H x W x 3 RGB or H x W x 4 RGBA."""
    ending, options = f".{photo.format.lower()}", JPEG if photo.format == "JPEG" else []
    array = array if array.ndim == 2 else np.ascontiguousarray(array[:, :, [2, 1, 0, 3][: array.shape[2]]])
    found = {
        cv2.IMAGE_METADATA_ICCP: photo.icc_profile,
        cv2.IMAGE_METADATA_EXIF: photo.exif and photo.exif.removeprefix(b"Exif\0\0"),
    }
    found = {kind: np.frombuffer(value, np.uint8) for kind, value in found.items() if value}
    with SILENCE:
        done, data = cv2.imencodeWithMetadata(ending, array, list(found), list(found.values()), options)
        if not done:  # a colour profile that libpng does not accept
            done, data = cv2.imencode(ending, array, options)
    if not done:
        raise ValueError("it is too large, or too deep")
    return data.tobytes()


def encode_webp(photo, array):
    """The bytes of a WebP file; OpenCV would change the colours under full transparency."""
    file, found = io.BytesIO(), {"icc_profile": photo.icc_profile or b"", "exif": photo.exif or b""}
    Image.fromarray(array).save(file, "WEBP", quality=95, lossless=photo.lossless, exact=True, **found)
    return file.getvalue()


def encode_tiff(photo, array):
    """The bytes of a TIFF file; array as in `encode_opencv`."""
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        array,
        photometric="MINISBLACK" if array.ndim == 2 else "RGB",
        planarconfig=None if array.ndim == 2 else "CONTIG",
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
