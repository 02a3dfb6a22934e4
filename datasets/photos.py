"""People's own photographs: found, read, and written in the file format that they came in."""

import glob
import io
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import tifffile

from utils.files import write_bytes

from .images import is_image, left_out, load
from .listing import walk

QUALITY = {
    "JPEG": [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444],
    "WEBP": [cv2.IMWRITE_WEBP_QUALITY, 95],
}
LOSSLESS = [cv2.IMWRITE_WEBP_LOSSLESS_MODE, cv2.IMWRITE_WEBP_LOSSLESS_PRESERVE_COLOR]  # also where all is transparent


def find_photos(arguments, output):
    """Pairs of file and name (its path within the folder it was found in), sorted by name.

    arguments: files, folders (searched with all their subfolders) and glob patterns. Files of the `output` folder
    inside a searched folder are left out. Raises ValueError for an argument that names no images.
    """
    found, output = {}, output.resolve()
    for argument in map(str, arguments):
        path = Path(argument)
        if path.is_dir():
            root, files = path, walk(path)
        elif path.is_file():
            root, files = path.parent, [path]
        else:
            fixed = (folder for folder in path.parents if not glob.has_magic(str(folder)))
            root, files = next(fixed), map(Path, glob.glob(argument, recursive=True))
        if root.resolve() in output.parents:
            files = (file for file in files if output not in file.resolve().parents)
        files = set(files)
        images = {file for file in files if is_image(file)}
        others = left_out(files - images)
        if not images:
            problem = "names no images" if path.exists() or glob.has_magic(argument) else "does not exist"
            raise ValueError(f"--input {argument} {problem}{others and f', {others}'}")
        if others:
            print(f"note: {argument}: {others}")
        found |= {(file.resolve(), file.relative_to(root)): file for file in images}
    return sorted(((file, name) for (_, name), file in found.items()), key=lambda pair: str(pair[1]))


def plan(photos, output, compare, overwrite):
    """Where each photo's result goes, and its comparison or None: <output>/NAME, <output>/compare/NAME.

    Raises ValueError when two photos would go to one place, or an existing file would be overwritten.
    """
    if output.exists() and not output.is_dir():
        raise ValueError(f"--output {output} is a file: name a folder")
    targets = [(output / name, output / "compare" / name if compare else None) for _, name in photos]
    sources, taken = {file.resolve() for file, _ in photos}, {}
    for (file, _), both in zip(photos, targets, strict=True):
        for target in filter(None, both):
            other = taken.setdefault(target, file)
            if other != file:
                raise ValueError(f"{other} and {file} would both become {target}: dehaze them into different folders")
            if target.resolve() in sources:
                raise ValueError(f"{target} is an input and would be overwritten: choose another --output")
    existing = [target for target in taken if target.exists()]
    if existing and not overwrite:
        raise ValueError(
            f"{len(existing)} of {len(taken)} results exist, first {existing[0]}: "
            "add --overwrite or --skip-existing, or choose another --output"
        )
    return targets


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
    header, image = load(path, max_pixels)
    return Photo(
        np.ascontiguousarray(image[:, :, :3]),
        header.format,
        image[:, :, 3] if image.shape[2] == 4 else None,
        header.grey,
        header.format == "WEBP" and b"VP8L" in Path(path).read_bytes(),
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
    try:
        data = encode_tiff(photo, array) if photo.format == "TIFF" else encode_opencv(photo, array)
    except (ValueError, OSError, cv2.error) as error:
        raise ValueError(f"{path} cannot be written as {photo.format}: {error}") from None
    write_bytes(path, data)


def encode_opencv(photo, array):
    """The bytes of a PNG, JPEG, BMP or WebP file; array: H x W grey, H x W x 3 RGB or H x W x 4 RGBA."""
    array = array if array.ndim == 2 else np.ascontiguousarray(array[:, :, [2, 1, 0, 3][: array.shape[2]]])
    kept = {
        cv2.IMAGE_METADATA_ICCP: photo.icc_profile,
        cv2.IMAGE_METADATA_EXIF: photo.exif and photo.exif.removeprefix(b"Exif\0\0"),
    }
    kept = {kind: np.frombuffer(value, np.uint8) for kind, value in kept.items() if value}
    options = LOSSLESS if photo.lossless else QUALITY.get(photo.format, [])
    done, data = cv2.imencodeWithMetadata(f".{photo.format.lower()}", array, [*kept], [*kept.values()], options)
    if not done:
        raise ValueError("it is too large or too deep, or its colour profile is broken")
    return data.tobytes()


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
    alpha = None if right.alpha is None else np.hstack([left.alpha, right.alpha])
    return replace(right, pixels=np.hstack([left.pixels, right.pixels]), alpha=alpha)
