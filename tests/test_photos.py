"""Image files: decoded exactly or refused by name, in a data set and by predict.py; photographs come back complete."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, ImageOps

from datasets.decoders import Header
from datasets.images import image_size, load, read_image
from datasets.pairs import Pairs
from datasets.photos import find_photos, plan, write_photo

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def noise(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


RGB, RGBA, RGB16, RGBA16 = (noise(20, 30, c, dtype=d) for d in (np.uint8, np.uint16) for c in (3, 4))
GREY, GREY16 = RGB[:, :, 0], RGB16[:, :, 0]
PLANES, MAP = np.ascontiguousarray(RGB.transpose(2, 0, 1)), noise(3, 256, dtype=np.uint16)  # MAP: a TIFF's palette


def pil(format, mode="RGB", array=RGB, **options):
    file = io.BytesIO()
    Image.fromarray(array).convert(mode).save(file, format, **options)
    return file.getvalue()


def opencv(ending, array):
    return cv2.imencode(ending, array if array.ndim == 2 else array[:, :, [2, 1, 0, 3][: array.shape[2]]])[1].tobytes()


def tiff(*arrays, photometric="rgb", **options):
    """The bytes of a TIFF file; several arrays: pages."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for array in arrays:
            writer.write(array, photometric=photometric, metadata=None, **options)
    return file.getvalue()


def with_chunk(data, name, content):
    """A PNG file with one chunk more behind its header."""
    chunk = struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    return data[:33] + chunk + data[33:]


def pixels_of(data):
    """What OpenCV makes of a file's bytes."""
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)


def frames(format):
    return pil(format, save_all=True, append_images=[Image.fromarray(255 - RGB)])


def turned(orientation):
    exif = Image.Exif()
    exif[274], exif[271] = orientation, "a camera"
    return exif


PNG, JPEG, CMYK = opencv(".png", RGB), pil("JPEG", quality=90), pil("JPEG", "CMYK")

# kind of file: its bytes, and the pixels it holds or what is said of it
KINDS = {
    "PNG": (PNG, RGB),
    "PNG, 16 bits": (opencv(".png", RGB16), RGB16),
    "PNG, 16 bits and alpha": (opencv(".png", RGBA16), RGBA16),
    "PNG, 16 bits grey": (opencv(".png", GREY16), GREY16),
    "PNG, 16 bits grey, one value transparent": (with_chunk(opencv(".png", GREY16), b"tRNS", b"\1\2"), "transparent"),
    "PNG, grey": (pil("PNG", "L"), np.array(Image.fromarray(RGB).convert("L"))),
    "PNG, grey and alpha": (pil("PNG", "LA", RGBA), np.array(Image.fromarray(RGBA).convert("LA").convert("RGBA"))),
    "PNG, alpha": (pil("PNG", "RGBA", RGBA), RGBA),
    "PNG, 1 bit": (pil("PNG", "1"), np.array(Image.fromarray(RGB).convert("1").convert("L"))),
    "PNG, palette": (pil("PNG", "P"), pixels_of(pil("PNG", "P"))),
    "PNG, palette and transparency": (pil("PNG", "P", transparency=3), pixels_of(pil("PNG", "P"))),
    "PNG, one colour transparent": (pil("PNG", transparency=(1, 2, 3)), np.dstack([RGB, GREY | 255])),
    "PNG, animated": (frames("PNG"), "animations"),
    "JPEG": (JPEG, pixels_of(JPEG)),
    "JPEG, progressive": (pil("JPEG", progressive=True), pixels_of(pil("JPEG", progressive=True))),
    "JPEG, grey": (pil("JPEG", "L"), pixels_of(pil("JPEG", "L"))),
    "JPEG with previews behind it": (frames("MPO"), pixels_of(pil("JPEG"))),
    "JPEG, CMYK": (CMYK, "CMYK"),
    "JPEG, YCCK": (CMYK.replace(b"Adobe\0d\0\0\0\0\0", b"Adobe\0d\0\0\0\0\2"), "CMYK"),
    "JPEG, cut": (JPEG[:-99], "truncated"),
    "PNG, one byte changed": (PNG[:500] + bytes([PNG[500] ^ 1]) + PNG[501:], "checksum"),
    "WebP with alpha": (pil("WEBP", "RGBA", RGBA, lossless=True, exact=True), RGBA),
    "WebP, animated": (frames("WEBP"), "animations"),
    "BMP": (opencv(".bmp", RGB), RGB),
    "BMP, 32 bits": (opencv(".bmp", RGBA), RGBA),
    "TIFF, LZW": (opencv(".tif", RGB), RGB),
    "TIFF, 16 bits, LZW": (opencv(".tif", RGB16), RGB16),
    "TIFF, planes": (tiff(PLANES, planarconfig="separate", tile=(16, 16)), RGB),
    "TIFF, 16 bits in planes": (tiff(PLANES.astype(np.uint16), planarconfig="separate"), "planes of 16-bit RGB"),
    "TIFF, white is 0": (tiff(255 - GREY, photometric="miniswhite"), GREY),
    "TIFF, 16 bits, white is 0": (tiff(65535 - GREY16, photometric="miniswhite"), "16-bit uint16 MINISWHITE files"),
    "TIFF with alpha": (tiff(RGBA, extrasamples=["unassalpha"]), RGBA),
    "TIFF, colours multiplied by alpha": (tiff(RGBA, extrasamples=["assocalpha"]), "multiplied by alpha"),
    "TIFF, palette": (tiff(GREY, photometric="palette", colormap=MAP), np.uint8(MAP[:, GREY] >> 8).transpose(1, 2, 0)),
    "TIFF, a palette of 8 bits": (tiff(GREY, photometric="palette", colormap=MAP >> 8), "palettes of 8 bits"),
    "TIFF, CMYK": (pil("TIFF", "CMYK"), "SEPARATED"),
    "TIFF, YCbCr": (pil("TIFF", "YCbCr"), "YCBCR"),
    "TIFF, Lab": (tiff(RGB, photometric="cielab"), "CIELAB"),
    "TIFF, floats": (tiff(RGB / np.float32(255)), "float32"),
    "TIFF, signed": (tiff(GREY16.astype(np.int16), photometric="minisblack"), "int16"),
    "TIFF, five bands": (tiff(noise(20, 30, 5), extrasamples=[0, 0], planarconfig="contig"), "5 channel"),
    "TIFF, two pages": (tiff(RGB, 255 - RGB), "several images"),
    "GIF": (pil("GIF"), "GIF files"),
    "AVIF": (pil("AVIF"), "AVIF files"),
    "no bytes": (b"", "empty"),
    "a text": (b"hello", "not an image"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_is_decoded_exactly_or_refused(tmp_path, kind):
    data, held = KINDS[kind]
    for side in ("hazy", "GT"):
        (tmp_path / "test" / side).mkdir(parents=True)
        (tmp_path / "test" / side / "a.png").write_bytes(data)
    path, pairs = tmp_path / "test/hazy/a.png", Pairs(tmp_path, "test")
    if isinstance(held, str):
        for read in (lambda: load(path), lambda: pairs.read(0)):
            with pytest.raises(ValueError, match=f"hazy/a.png cannot be read: .*{held}") as error:
                read()
            assert "\n" not in str(error.value)
        return
    held = held if held.ndim == 3 else np.dstack([held] * 3)
    header, image = load(path)
    for pixels in (image[:, :, :3], read_image(path), pairs.read(0)[0]):
        assert pixels.dtype == held.dtype and np.array_equal(pixels, held[:, :, :3])
    assert image_size(path, None) == image.shape[:2]
    assert held.shape[2] == 3 or "one colour" in kind or np.array_equal(image, held)
    write_photo(tmp_path / "out.png", image, header)
    kept, again = load(tmp_path / "out.png")
    assert kept.format == header.format and kept.grey == (header.grey and image.shape[2] == 3)
    assert again.shape == image.shape and np.array_equal(again[:, :, 3:], image[:, :, 3:])
    assert header.format in ("JPEG", "WEBP") or np.array_equal(again, image)


def test_too_many_pixels_are_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(PNG)
    for read in (load, read_image, image_size):
        with pytest.raises(ValueError, match=r"a.png .*30 x 20 pixels, more than data.max_pixels=599 .*--max-pixels"):
            read(tmp_path / "a.png", 599)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif", "16.png", "16.tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_put_upright_once_and_profile_and_exif_are_kept(tmp_path, name, orientation):
    stored = np.zeros((32, 48, 3), np.uint8)
    stored[:16, :16] = 255  # one white corner
    path, exif, deep = tmp_path / name, turned(orientation), stored.astype(np.uint16) * 257
    upright = np.array(ImageOps.exif_transpose(Image.open(io.BytesIO(pil("PNG", array=stored, exif=exif)))))
    if name == "16.png":
        write_photo(path, deep, Header("PNG", deep.shape[:2], 16, False, icc_profile=SRGB, exif=exif.tobytes()[6:]))
    elif name == "16.tif":
        path.write_bytes(tiff(deep, iccprofile=SRGB, extratags=[(274, "H", 1, orientation, True)]))
    else:
        Image.fromarray(stored).save(path, exif=exif, icc_profile=SRGB)
    header, image = load(path)
    write_photo(tmp_path / "out", image, header)
    for file in (path, tmp_path / "out"):
        header, image = load(file)
        assert image_size(file, None) == image.shape[:2] == upright.shape[:2] and header.icc_profile == SRGB
        assert np.abs(image / np.iinfo(image.dtype).max * 255 - upright).mean() < 3
    with Image.open(tmp_path / "out") as image:
        assert image.getexif().get(274, 1) == 1 and (image.format == "TIFF" or image.getexif()[271] == "a camera")


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """in/a.png, in/sub/b.png, in/sub/c.txt, in/.hidden.png and a link from in/sub/loop to in."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for name in ("a.png", "sub/b.png", ".hidden.png", "sub/c.txt"):
        (tmp_path / "in" / name).touch()
    (tmp_path / "in" / "sub" / "loop").symlink_to(tmp_path / "in")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["in"], ["a.png", "sub/b.png"]),
        (["in/a.png"], ["a.png"]),
        (["in/*"], ["a.png"]),
        (["in/sub/*.png", "in/a.png", "in/a.png"], ["a.png", "b.png"]),
        (["*/sub/b*"], ["in/sub/b.png"]),
    ],
)
def test_files_folders_and_patterns_name_photos(tree, arguments, names):
    found = find_photos(arguments, tree / "out")
    assert [str(name) for _, name in found] == names and all(file.is_file() for file, _ in found)


def test_results_inside_the_input_folder_are_not_read_again(tree):
    (tree / "in" / "out").mkdir()
    (tree / "in" / "out" / "a.png").touch()
    assert len(find_photos(["in"], tree / "in" / "out")) == 2


def test_nothing_is_overwritten_unasked(tree):
    photos = find_photos(["in"], tree / "out")
    assert plan(photos, tree / "out", True, False)[1] == tuple(tree / "out" / p / "sub/b.png" for p in (".", "compare"))
    (tree / "out" / "sub").mkdir(parents=True)
    (tree / "out" / "sub" / "b.png").touch()
    with pytest.raises(ValueError, match=r"1 of 2 results exist, first .*b.png: add --overwrite"):
        plan(photos, tree / "out", False, False)
    assert len(plan(photos, tree / "out", False, True)) == 2
    with pytest.raises(ValueError, match="is an input and would be overwritten"):
        plan(photos, tree / "in", False, True)
    (tree / "a.png").touch()
    with pytest.raises(ValueError, match="in/a.png and a.png would both become"):
        plan(find_photos(["in/a.png", "a.png"], tree / "out"), tree / "out", False, False)


def test_an_argument_that_names_nothing_is_refused(tree):
    (tree / "empty").mkdir()
    for argument in ("no.png", "empty", "*.jpg", "in/sub/c.txt"):
        with pytest.raises(ValueError, match="does not exist or holds no images"):
            find_photos([argument], tree / "out")
