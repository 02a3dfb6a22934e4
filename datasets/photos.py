"""People's own photographs: which files they are, and how results are written in the format that they came in."""

import glob
import io
from pathlib import Path

import cv2
import numpy as np
import tifffile

from utils.files import write_bytes

from .images import is_image, note_left_out
from .listing import walk

QUALITY = {  # WebP is written lossy
    "JPEG": [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444],
    "WEBP": [cv2.IMWRITE_WEBP_QUALITY, 95],
}


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
        note_left_out(argument, files - images)
        if not images:
            raise ValueError(f"--input {argument} does not exist or holds no images")
        found |= {(file.resolve(), file.relative_to(root)): file for file in images}
    return sorted(((file, name) for (_, name), file in found.items()), key=lambda pair: str(pair[1]))


def plan(photos, output, compare, overwrite):
    """Where each photo's result goes, and its comparison or None: <output>/NAME, <output>/compare/NAME."""
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
        remedy = "add --overwrite or --skip-existing, or choose another --output"
        raise ValueError(f"{len(existing)} of {len(taken)} results exist, first {existing[0]}: {remedy}")
    return targets


def write_photo(path, image, header):
    """Write H x W x 3 or H x W x 4 as a file of the kind that its Header describes; grey with alpha becomes RGBA.

    Raises ValueError naming the file when its format cannot hold the image.
    """
    if header.grey:  # a network's grey is not exactly grey
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        image = grey if image.shape[2] == 3 else np.dstack([grey, grey, grey, image[:, :, 3]])
    try:
        data = encode_tiff(image, header) if header.format == "TIFF" else encode_opencv(image, header)
    except (ValueError, OSError, cv2.error) as error:
        raise ValueError(f"{path} cannot be written as {header.format}: {error}") from None
    write_bytes(path, data)


def encode_opencv(image, header):
    """The bytes of a PNG, JPEG, BMP or WebP file; image: H x W grey, H x W x 3 RGB or H x W x 4 RGBA."""
    image = image if image.ndim == 2 else np.ascontiguousarray(image[:, :, [2, 1, 0, 3][: image.shape[2]]])
    kept = {cv2.IMAGE_METADATA_ICCP: header.icc_profile, cv2.IMAGE_METADATA_EXIF: header.exif}
    kept = {kind: np.frombuffer(value, np.uint8) for kind, value in kept.items() if value}
    options = QUALITY.get(header.format, [])
    done, data = cv2.imencodeWithMetadata(f".{header.format.lower()}", image, [*kept], [*kept.values()], options)
    if not done:
        raise ValueError("it is too large or too deep, or its colour profile is broken")
    return data.tobytes()


def encode_tiff(image, header):
    """The bytes of a TIFF file; image as in `encode_opencv`."""
    file = io.BytesIO()
    colour = {"photometric": "RGB", "planarconfig": "CONTIG"} if image.ndim == 3 else {"photometric": "MINISBLACK"}
    if image.shape[2:] == (4,):
        colour["extrasamples"] = ["UNASSALPHA"]  # colours are not multiplied by it
    options = {"compression": "zlib", "iccprofile": header.icc_profile, "metadata": None, "software": False}
    tifffile.imwrite(file, image, **colour, **options)
    return file.getvalue()
