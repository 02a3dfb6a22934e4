"""People's photographs: what is in a file comes back."""

import io
from dataclasses import replace

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from datasets.photo_files import find_photos, plan
from datasets.photos import Photo, read_photo, side_by_side, write_photo

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
NO_LIMIT = 2**40


def noise(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def save(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def rewrite(path, target):
    """Read and write without a network; returns the photo and the photo in the new file."""
    photo = read_photo(path, NO_LIMIT)
    write_photo(target, photo)
    return photo, read_photo(target, NO_LIMIT)


@pytest.mark.parametrize(
    ("name", "mode", "grey", "alpha"),
    [
        *[("a.png", "L", True, False), ("a.png", "LA", True, True), ("a.png", "RGB", False, False)],
        *[("a.png", "RGBA", False, True), ("a.png", "1", True, False), ("a.png", "P", False, False)],
        *[("a.tif", "L", True, False), ("a.tif", "LA", True, True), ("a.tiff", "RGBA", False, True)],
        *[("a.tif", "P", False, False), ("a.bmp", "L", True, False), ("a.bmp", "RGB", False, False)],
        *[("a.webp", "RGB", False, False), ("a.webp", "RGBA", False, True)],
    ],
)
def test_8_bit_modes_come_back_exactly(tmp_path, name, mode, grey, alpha):
    options = {"lossless": True, "exact": True} if name.endswith("webp") else {}
    image = Image.fromarray(noise(20, 30, 4 if mode.endswith("A") else 3)).convert(mode)
    save(tmp_path / name, image, **options)
    photo, again = rewrite(tmp_path / name, tmp_path / "out" / name)
    assert (photo.grey, photo.alpha is not None) == (again.grey, again.alpha is not None) == (grey, alpha)
    wanted = np.asarray(image.convert("RGBA"))
    assert np.array_equal(photo.pixels, wanted[:, :, :3]) and np.array_equal(again.pixels, wanted[:, :, :3])
    assert not alpha or (np.array_equal(photo.alpha, wanted[:, :, 3]) and np.array_equal(again.alpha, wanted[:, :, 3]))
    with Image.open(tmp_path / name) as before, Image.open(tmp_path / "out" / name) as after:
        assert before.format == after.format


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bits_come_back_exactly(tmp_path, name, channels):
    array = noise(20, 30, channels, dtype=np.uint16)
    cv2.imwrite(str(tmp_path / name), array)
    photo, again = rewrite(tmp_path / name, tmp_path / "out" / name)
    for found in (photo, again):
        assert found.pixels.dtype == np.uint16 and found.grey == (channels == 1)
        assert np.array_equal(found.pixels, array[:, :, [2, 1, 0]] if channels > 1 else array.repeat(3, 2))
        assert (found.alpha is not None) == (channels == 4)
        assert channels < 4 or np.array_equal(found.alpha, array[:, :, 3])
    stored = cv2.imread(str(tmp_path / "out" / name), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(stored.reshape(array.shape), array)


@pytest.mark.parametrize("mode", ["P", "RGB", "L"])
def test_a_transparent_colour_becomes_alpha(tmp_path, mode):
    image = Image.new("RGB", (30, 20), "white").convert(mode)
    white = image.getpixel((0, 0))
    path = save(tmp_path / "a.png", image, transparency=white)
    photo, again = rewrite(path, tmp_path / "out.png")
    assert photo.alpha.max() == 0 == again.alpha.max() and photo.pixels.min() == 255


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_put_upright_once(tmp_path, name, orientation):
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16, :16] = 255  # one white corner
    turned = {
        1: upright, 2: upright[:, ::-1], 3: np.rot90(upright, 2), 4: upright[::-1], 5: upright.swapaxes(0, 1),
        6: np.rot90(upright), 7: np.rot90(upright, 2).swapaxes(0, 1), 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[274], exif[271] = orientation, "a camera"
    save(tmp_path / name, Image.fromarray(np.ascontiguousarray(turned)), exif=exif)
    photo, again = rewrite(tmp_path / name, tmp_path / "out" / name)
    for found in (photo, again):
        assert np.abs(found.pixels.astype(int) - upright).mean() < 3
    with Image.open(tmp_path / "out" / name) as image:
        assert image.getexif().get(274, 1) == 1
        assert name.endswith("tif") or image.getexif()[271] == "a camera"


@pytest.mark.parametrize("orientation", [3, 5, 6])
@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_16_bits_are_put_upright_once(tmp_path, format, orientation):
    array = noise(20, 30, 3, dtype=np.uint16)
    exif = Image.Exif()
    exif[274] = orientation
    if format == "TIFF":
        tifffile.imwrite(tmp_path / "a", array, photometric="RGB", extratags=[(274, "H", 1, orientation, True)])
    else:
        write_photo(tmp_path / "a", Photo(array, format, keep={"exif": exif.tobytes()}))
    photo, again = rewrite(tmp_path / "a", tmp_path / "out")
    upright = {3: np.rot90(array, 2), 5: array.swapaxes(0, 1), 6: np.rot90(array, -1)}[orientation]
    assert np.array_equal(photo.pixels, upright) and np.array_equal(again.pixels, upright)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_16_bit_tiff_keeps_resolution_and_says_what_alpha_is(tmp_path, channels):
    array = noise(3, 5, channels, dtype=np.uint16)  # 3 rows: not to be taken for 3 planes
    photo = Photo(array[:, :, :3] if channels > 1 else array.repeat(3, 2), "TIFF", keep={"dpi": (300.0, 72.5)})
    photo = replace(photo, grey=channels == 1, alpha=array[:, :, 3] if channels == 4 else None)
    write_photo(tmp_path / "a.tif", photo)
    with Image.open(tmp_path / "a.tif") as image:
        assert image.info["dpi"] == (300, 72.5) and image.tag_v2.get(338) == ((2,) if channels == 4 else None)
        assert image.size == (5, 3)
    write_photo(tmp_path / "b.tif", replace(photo, keep={}))
    assert read_photo(tmp_path / "b.tif", NO_LIMIT).keep == {}


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif", "16.png", "16.tif"])
def test_the_colour_profile_is_kept(tmp_path, name):
    save(tmp_path / name, Image.fromarray(noise(20, 30, 3)), icc_profile=SRGB)
    photo = read_photo(tmp_path / name, NO_LIMIT)
    if name.startswith("16"):
        photo = replace(photo, pixels=noise(20, 30, 3, dtype=np.uint16))
    write_photo(tmp_path / "out" / name, photo)
    again = read_photo(tmp_path / "out" / name, NO_LIMIT)
    assert again.keep["icc_profile"] == SRGB and again.pixels.dtype == photo.pixels.dtype


def test_a_cmyk_jpeg_becomes_rgb(tmp_path):
    save(tmp_path / "a.jpg", Image.new("CMYK", (32, 32), (255, 0, 0, 0)))
    photo, again = rewrite(tmp_path / "a.jpg", tmp_path / "out.jpg")
    assert np.abs(again.pixels.astype(int) - (0, 255, 255)).max() < 5 and not photo.grey


def broken(path, how):
    data = io.BytesIO()
    Image.fromarray(noise(60, 60, 3)).save(data, "JPEG")
    contents = {"empty": b"", "text": b"hello", "truncated": data.getvalue()[:2000]}
    if how in contents:
        path.write_bytes(contents[how])
    elif how == "animated":
        frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "green")]
        frames[0].save(path, "WEBP", save_all=True, append_images=frames[1:])
    elif how == "float":
        Image.fromarray(np.zeros((9, 9), np.float32)).save(path, "TIFF")
    else:
        Image.new("L", (100, 100)).save(path, "PNG")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        *[("empty", "is empty"), ("text", "no image"), ("truncated", "truncated"), ("animated", "2 images")],
        *[("float", "kind F"), ("large", "100 x 100 pixels are more than --max-pixels 5000")],
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, how, message):
    broken(tmp_path / "a.img", how)
    with pytest.raises(ValueError, match=f"a.img: .*{message}"):
        read_photo(tmp_path / "a.img", 5000)


def test_two_photos_side_by_side(tmp_path):
    photo = read_photo(save(tmp_path / "a.png", Image.fromarray(noise(20, 30, 4))), NO_LIMIT)
    both = side_by_side(photo, photo)
    assert both.pixels.shape == (20, 60, 3) and both.alpha.shape == (20, 60)


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """in/a.png, in/sub/b.png, in/sub/c.txt, in/.hidden.png and a link from in/sub/loop to in."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "sub/b.png", ".hidden.png"):
        save(tmp_path / "in" / name, Image.new("L", (3, 3)))
    (tmp_path / "in" / "sub" / "c.txt").write_text("text")
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
    save(tree / "in" / "out" / "a.png", Image.new("L", (3, 3)))
    assert len(find_photos(["in"], tree / "in" / "out")) == 2


def test_nothing_is_overwritten_unasked(tree):
    photos = find_photos(["in"], tree / "out")
    assert plan(photos, tree / "out", True, False)[1] == tuple(tree / "out" / p / "sub/b.png" for p in (".", "compare"))
    save(tree / "out" / "sub" / "b.png", Image.new("L", (3, 3)))
    with pytest.raises(ValueError, match=r"1 of 2 results exist, first .*b.png: add --overwrite"):
        plan(photos, tree / "out", False, False)
    assert len(plan(photos, tree / "out", False, True)) == 2
    with pytest.raises(ValueError, match="is an input and would be overwritten"):
        plan(photos, tree / "in", False, True)


def test_two_photos_for_one_place_are_refused(tree):
    save(tree / "other" / "a.png", Image.new("L", (3, 3)))
    with pytest.raises(ValueError, match="in/a.png and other/a.png would both become"):
        plan(find_photos(["in/a.png", "other/a.png"], tree / "out"), tree / "out", False, False)


def test_an_argument_that_names_nothing_is_refused(tree):
    (tree / "empty").mkdir()
    for argument, message in [("no.png", "does not exist"), ("empty", "no images"), ("*.jpg", "no images")]:
        with pytest.raises(ValueError, match=message):
            find_photos([argument], tree / "out")
    with pytest.raises(ValueError, match="has not the ending of an image"):
        find_photos(["in/sub/c.txt"], tree / "out")
