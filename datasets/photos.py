"""People's own photographs: read with all that must come back, written in the file format they came in.

8 bits a channel go through Pillow, which keeps colour profiles and EXIF and refuses truncated files, but has no 16-bit
RGB; 16 bits go through OpenCV, and into TIFF through tifffile, as OpenCV's TIFF has no colour profiles.
"""

import io
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import tifffile
from PIL import Image, ImageCms, UnidentifiedImageError

from utils.files import write_bytes

from .images import SILENCE

FORMATS = {"PNG": "PNG", "JPEG": "JPEG", "MPO": "JPEG", "BMP": "BMP", "TIFF": "TIFF", "WEBP": "WEBP"}  # read: written
ORIENTATION = 274  # EXIF tag
TURNS = {  # EXIF orientation: how an H x W x C array is put upright
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: x.swapaxes(0, 1)[:, ::-1],
    7: lambda x: x.swapaxes(0, 1)[::-1, ::-1],
    8: lambda x: x.swapaxes(0, 1)[::-1],
}


@dataclass(frozen=True)
class Photo:
    """An upright photograph and what its file needs to come back as it was.

    pixels: H x W x 3 RGB, uint8 or uint16. alpha: H x W of the same type, or None. grey: the file has one colour
    channel. format: a value of FORMATS. lossless: of WebP. keep: icc_profile, exif (bytes), dpi, where there are any.
    """

    pixels: np.ndarray
    format: str
    alpha: np.ndarray | None = None
    grey: bool = False
    lossless: bool = False
    keep: dict = field(default_factory=dict)


def read_photo(path, max_pixels):
    """Read a PNG, JPEG, WebP, TIFF or BMP file as a Photo; palettes and CMYK become RGB.

    Raises ValueError naming the file and what is wrong with it: no image, broken, too many pixels, several images, or
    a kind of pixels that is not supported.
    """
    try:
        data = Path(path).read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            format = check(image, max_pixels)
            layout = str(image.tile)  # of the file's pixels, before anything decodes them
            orientation, exif = read_exif(image)
            keep = {"icc_profile": image.info.get("icc_profile"), "dpi": read_dpi(image), "exif": exif}
            keep = {name: value for name, value in keep.items() if value}
            if format in ("PNG", "TIFF") and ";16" in layout:
                array, grey = read_16_bit(data, image.mode), image.mode.startswith("I") or "LA;16" in layout
            else:
                if image.mode == "CMYK":
                    image, keep = cmyk_to_rgb(image), {k: v for k, v in keep.items() if k != "icc_profile"}
                array, grey = read_8_bit(image), image.mode in ("1", "L", "LA")
    except MemoryError:
        raise
    except UnidentifiedImageError:
        empty = Path(path).stat().st_size == 0
        raise ValueError(f"{path}: {'the file is empty' if empty else 'this is no image, or a broken one'}") from None
    except Exception as error:  # a broken file fails in many ways
        raise ValueError(f"{path}: {first_line(error)}") from None
    array = np.ascontiguousarray(TURNS.get(orientation, lambda x: x)(array))
    pixels = np.ascontiguousarray(array[:, :, :3] if array.shape[2] > 2 else array[:, :, :1].repeat(3, axis=2))
    alpha = array[:, :, -1] if array.shape[2] in (2, 4) else None
    return Photo(pixels, format, alpha, grey, lossless=b"VP8L" in data, keep=keep)


def check(image, max_pixels):
    """The format that an opened image is to be written in. Raises ValueError where it is not supported."""
    width, height = image.size
    if image.format not in FORMATS:
        raise ValueError(f"{image.format} files are not supported: convert it to PNG, JPEG, WebP, TIFF or BMP")
    if width * height > max_pixels:
        raise ValueError(f"{width} x {height} pixels are more than --max-pixels {max_pixels}: raise it to allow them")
    num = getattr(image, "n_frames", 1)
    if num > 1 and image.format != "MPO":  # a JPEG of a phone, with small previews behind the photograph
        raise ValueError(f"the file holds {num} images: save each to a file of its own")
    return FORMATS[image.format]


def read_exif(image):
    """The orientation, and the EXIF block to be written: the same, said to be upright.

    (1, None) where it is broken, and for TIFF: there it is mixed with the tags that describe the pixels, and both
    libraries put the image upright themselves.
    """
    if image.format == "TIFF":
        return 1, None
    try:
        exif = image.getexif()
        orientation = exif.get(ORIENTATION, 1)
        if ORIENTATION in exif:
            exif[ORIENTATION] = 1
        return orientation, exif.tobytes() if len(exif) else None
    except Exception:  # cameras and editors break it in many ways, and the picture is worth more
        return 1, None


def read_dpi(image):
    """(across, down), where they make sense."""
    dpi = image.info.get("dpi", ())
    return tuple(map(float, dpi)) if len(dpi) == 2 and all(0 < value < 2**16 for value in dpi) else None


def cmyk_to_rgb(image):
    """By the file's own colour profile to sRGB; without one, or with a broken one, by the plain formula."""
    profile = image.info.get("icc_profile")
    if profile:
        try:
            srgb = ImageCms.createProfile("sRGB")
            return ImageCms.profileToProfile(image, io.BytesIO(profile), srgb, outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):
            pass
    return image.convert("RGB")


def read_8_bit(image):
    """H x W x 1, 2, 3 or 4 uint8 of an opened image: grey, grey and alpha, RGB, RGBA."""
    if image.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "YCbCr"):
        raise ValueError(f"pixels of the kind {image.mode} are not supported: convert it to 8- or 16-bit grey or RGB")
    colours = "L" if image.mode in ("1", "L", "LA") else "RGB"
    alpha = "A" if "transparency" in image.info or image.mode.endswith("A") else ""
    return np.array(image.convert(colours + alpha)).reshape(image.height, image.width, -1)


def read_16_bit(data, mode):
    """As `read_8_bit`, uint16; grey and alpha become RGBA. mode: Pillow's."""
    with SILENCE:
        array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None:
        raise ValueError("the file is broken")
    if array.dtype != np.uint16 or mode not in ("I;16", "I;16B", "RGB", "RGBA"):
        raise ValueError(f"16-bit pixels of the kind {mode} cannot be read: convert it to grey, RGB or RGBA")
    array = array.reshape(*array.shape[:2], -1)
    return array if array.shape[2] == 1 else array[:, :, [2, 1, 0, 3][: array.shape[2]]]


def write_photo(path, photo):
    """Write a Photo in its format, aside and then moved into place. JPEG and lossy WebP: quality 95.

    Raises ValueError naming the file where its format cannot hold it.
    """
    array = photo.pixels
    if photo.grey:
        array = cv2.cvtColor(array, cv2.COLOR_RGB2GRAY)  # a network's grey is not exactly grey
    array = array if photo.alpha is None else np.dstack([array, photo.alpha])
    try:
        data = (encode_16_bit if array.dtype == np.uint16 else encode_8_bit)(photo, array)
    except (ValueError, OSError, cv2.error) as error:
        raise ValueError(f"{path} cannot be written as {photo.format}: {first_line(error)}") from None
    write_bytes(path, data)


def first_line(error):
    return getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0]


def encode_8_bit(photo, array):
    options = {
        "PNG": {},
        "JPEG": {"quality": 95, "subsampling": 0},
        "WEBP": {"quality": 95, "lossless": photo.lossless, "exact": True},  # exact: colours under full transparency
        "TIFF": {"compression": "tiff_lzw"},
        "BMP": {},
    }[photo.format]
    file = io.BytesIO()
    Image.fromarray(array).save(file, photo.format, **options, **photo.keep)
    return file.getvalue()


def encode_16_bit(photo, array):
    if photo.format == "TIFF":
        return encode_16_bit_tiff(array, photo.keep)
    if array.ndim == 3:
        grey_alpha = array.shape[2] == 2  # OpenCV writes no such PNG
        array = array[:, :, [0, 0, 0, 1] if grey_alpha else [2, 1, 0, 3][: array.shape[2]]]
    kinds = {"icc_profile": cv2.IMAGE_METADATA_ICCP, "exif": cv2.IMAGE_METADATA_EXIF}
    found = {kinds[name]: value for name, value in photo.keep.items() if name in kinds}
    chunks = [np.frombuffer(value.removeprefix(b"Exif\0\0"), np.uint8) for value in found.values()]
    done, data = cv2.imencodeWithMetadata(".png", np.ascontiguousarray(array), list(found), chunks)
    if not done:  # a colour profile that libpng does not accept
        done, data = cv2.imencode(".png", array)
    return data.tobytes()


def encode_16_bit_tiff(array, keep):
    """H x W grey, H x W x 3 RGB or H x W x 4 RGBA."""
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        array,
        photometric="RGB" if array.ndim == 3 else "MINISBLACK",
        planarconfig="CONTIG",
        extrasamples=["UNASSALPHA"] if array.shape[2:] == (4,) else None,  # the colours are not multiplied by alpha
        compression="zlib",
        iccprofile=keep.get("icc_profile"),
        resolution=keep.get("dpi"),
        resolutionunit="INCH" if "dpi" in keep else None,
        metadata=None,
        software=False,
    )
    return file.getvalue()


def side_by_side(left, right):
    """Two Photos of one size as one, on the paper of the second."""
    both = {name: (getattr(left, name), getattr(right, name)) for name in ("pixels", "alpha")}
    joined = {name: None if pair[0] is None else np.concatenate(pair, axis=1) for name, pair in both.items()}
    return replace(right, **joined)
