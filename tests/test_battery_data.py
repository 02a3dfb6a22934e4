"""The battery, data: what is missing, broken or odd among the images is named, or works."""

import io
import os
import shutil
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.battery import accepted, refused
from tests.made import make_pairs, write_labels


def picture(height=24, width=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture
def work(work):
    """Without results: those of other images would be kept from being replaced."""
    shutil.rmtree(work / "results")
    return work


def encoded(ending, image=None, **options):
    """The bytes of an image file."""
    if options:
        buffer = io.BytesIO()
        mode = options.pop("mode", None)
        shown = Image.fromarray(picture() if image is None else image)
        (shown.convert(mode) if mode else shown).save(buffer, **options)
        return buffer.getvalue()
    return cv2.imencode(ending, picture() if image is None else image)[1].tobytes()


def bomb(width, height):
    """A PNG whose header promises width x height pixels."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    rows = chunk(b"IDAT", zlib.compress(bytes(10_000_000)))
    return b"\x89PNG\r\n\x1a\n" + header + rows + chunk(b"IEND", b"")


def remove(path):
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def empty(folder):
    shutil.rmtree(folder)
    folder.mkdir()


TEST = {  # what is done to data/test, and what is said of it; its only pair is 0.png
    "no root": (lambda test: shutil.rmtree(test.parent), "data set folder data does not exist"),
    "no split": (lambda test: shutil.rmtree(test), "no folder data/test/hazy"),
    "no hazy images": (lambda test: shutil.rmtree(test / "hazy"), "no folder data/test/hazy"),
    "no clear images": (lambda test: shutil.rmtree(test / "GT"), "no folder data/test/GT"),
    "a file for a folder": (lambda test: (shutil.rmtree(test / "GT"), (test / "GT").touch()), "no folder data/test/GT"),
    "an empty folder": (lambda test: empty(test / "hazy"), "no images in data/test/hazy"),
    "a folder of other files": (lambda test: (test / "hazy/0.png").rename(test / "hazy/0.txt"), "no images in"),
    "a hazy image alone": (lambda test: shutil.copy(test / "hazy/0.png", test / "hazy/1.png"), "first 1.png"),
    "a clear image alone": (lambda test: shutil.copy(test / "GT/0.png", test / "GT/1.png"), "first 1.png"),
    "a stem twice": (
        lambda test: [shutil.copy(test / "GT/0.png", test / name) for name in ("hazy/1.png", "GT/1.jpg", "GT/1.bmp")],
        "first 1.png",
    ),
    "a case of its own": (lambda test: (test / "GT/0.png").rename(test / "GT/0.PNG"), None),
    "a name's case": (
        lambda test: [shutil.copy(test / "GT/0.png", test / name) for name in ("hazy/a.png", "GT/A.png")],
        "first a.png",
    ),
    "sizes that differ": (
        lambda test: (test / "GT/0.png").write_bytes(encoded(".png", picture(24, 33))),
        ["unequal size", "32 x 24", "33 x 24"],
    ),
    "sizes that are turned": (
        lambda test: (test / "GT/0.png").write_bytes(encoded(".png", picture(32, 24))),
        "unequal size",
    ),
    "no bytes": (lambda test: (test / "hazy/0.png").write_bytes(b""), "hazy/0.png cannot be read: it is empty"),
    "one byte": (lambda test: (test / "hazy/0.png").write_bytes(b"\x89"), "hazy/0.png cannot be read"),
    "a text": (lambda test: (test / "hazy/0.png").write_text("an image"), "hazy/0.png cannot be read"),
    "random bytes": (lambda test: (test / "hazy/0.png").write_bytes(picture().tobytes()), "cannot be read"),
    "a folder named as an image": (
        lambda test: ((test / "hazy/0.png").unlink(), (test / "hazy/0.png").mkdir()),
        "no images in data/test/hazy",
    ),
    "a folder among the images": (lambda test: (test / "hazy/a.png").mkdir(), None),
    "a link to itself": (
        lambda test: ((test / "hazy/0.png").unlink(), (test / "hazy/0.png").symlink_to("0.png")),
        "no images in data/test/hazy",
    ),
    "a folder that is a link to itself": (
        lambda test: (shutil.rmtree(test / "hazy"), (test / "hazy").symlink_to("hazy")),
        "no folder data/test/hazy",
    ),
    "a link to nothing": (lambda test: (test / "hazy/a.png").symlink_to("none.png"), None),
    "a link to the image": (
        lambda test: ((test / "hazy/0.png").rename(test / "0.png"), (test / "hazy/0.png").symlink_to("../0.png")),
        None,
    ),
    "a pipe among the images": (lambda test: os.mkfifo(test / "hazy/a.png"), None),
    "a bomb": (
        lambda test: [(test / side / "0.png").write_bytes(bomb(30_000, 30_000)) for side in ("hazy", "GT")],
        ["hazy/0.png cannot be read: 30000 x 30000 pixels", "data.max_pixels"],
    ),
    "a bomb of the widest side": (
        lambda test: [(test / side / "0.png").write_bytes(bomb(2**31 - 1, 1)) for side in ("hazy", "GT")],
        ["pixels", "data.max_pixels"],
    ),
    "a bomb that is turned": (
        lambda test: (test / "hazy/0.png").write_bytes(bomb(30_000, 30_000)[:-12] + b"\0\0\0\0eXIf"),
        ["30000 x 30000 pixels", "data.max_pixels"],
    ),
    "no pixels": (lambda test: (test / "hazy/0.png").write_bytes(bomb(0, 0)), "hazy/0.png cannot be read"),
    "a name in no encoding": (
        lambda test: [(test / side / "0.png").rename(test / side / "\udcff.png") for side in ("hazy", "GT")],
        "rename it",
    ),
}


@pytest.mark.parametrize("name", TEST)
def test_a_fault_in_the_data_is_named(scripts, work, name):
    change, says = TEST[name]
    change(work / "data" / "test")
    run = refused if says else accepted
    run(scripts, work, "test.py", "small.yaml", **({"says": says} if says else {}), memory=2**31, timeout=20)


ENDINGS = [".png", ".jpg", ".bmp", ".tif", ".webp"]


@pytest.mark.parametrize(
    ("script", "ending", "share"),
    [("train.py", ending, 0.99) for ending in ENDINGS]
    + [("test.py", ending, share) for ending in ENDINGS for share in (0.3, 0.7, 0.99)],
)
def test_an_image_whose_pixels_are_cut_off_is_named(scripts, work, script, ending, share):
    split = work / "data" / script.removesuffix(".py")
    for side in ("hazy", "GT"):
        remove(split / side)
        split.joinpath(side).mkdir()
        for i in range(3):
            (split / side / f"{i}{ending}").write_bytes(encoded(ending))
    write_labels(split, [f"{i}{ending}" for i in range(3)])
    split.joinpath("domains.npz").unlink()
    data = encoded(ending)
    for i in range(3):
        (split / "hazy" / f"{i}{ending}").write_bytes(data[: int(share * len(data))])
    keep = ["train.steps=3", "run=cut"] if script == "train.py" else []
    refused(scripts, work, script, "small.yaml", *keep, says=f"hazy/{'' if keep else 0}", untouched=False)


KINDS = {
    "JPEG named PNG": encoded(".jpg"),
    "PNG named PNG, 16 bit": encoded(".png", picture().astype(np.uint16) * 257),
    "WebP": encoded(".webp"),
    "grey": encoded(".png", mode="L", format="PNG"),
    "1 bit": encoded(".png", mode="1", format="PNG"),
    "16 bit grey TIFF": encoded(".tif", picture()[..., :1].astype(np.uint16) * 257),
    "palette": encoded(".png", mode="P", format="PNG"),
    "alpha": encoded(".png", mode="RGBA", format="PNG"),
    "grey and alpha": encoded(".png", mode="LA", format="PNG"),
    "progressive JPEG": encoded(".jpg", format="JPEG", progressive=True),
    "interlaced PNG with a profile that does not fit": encoded(".png", mode="L", format="PNG", icc_profile=b"x" * 200),
    "bytes after the end": encoded(".png") + b"more",
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_image_is_scored_under_whatever_ending(scripts, work, name):
    (work / "data/test/hazy/0.png").write_bytes(KINDS[name])
    assert "dehazed" in accepted(scripts, work, "test.py", "small.yaml").stdout


@pytest.mark.parametrize(("ending", "kind"), [(".png", "PNG"), (".jpg", "JPEG"), (".webp", "WEBP"), (".tif", "TIFF")])
def test_turned_images_are_compared_as_they_are_seen(scripts, work, ending, kind):
    test = work / "data/test"
    for side in ("hazy", "GT"):
        remove(test / side / "0.png")
        for turn in range(1, 9):
            exif = Image.Exif()
            exif[274] = turn
            (test / side / f"{turn}{ending}").write_bytes(encoded(ending, format=kind, exif=exif))
    write_labels(test, [f"{turn}{ending}" for turn in range(1, 9)])
    (test / "domains.npz").unlink()
    accepted(scripts, work, "test.py", "small.yaml")


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2_000, 1), (1, 2_000), (3, 500), (41, 39)])
@pytest.mark.parametrize("script", ["train.py", "test.py"])
def test_images_of_any_size_are_trained_on_and_scored(scripts, work, size, script):
    split = work / "data" / script.removesuffix(".py")
    shutil.rmtree(split)
    make_pairs(split, ["0.png", "1.png", "2.png"], size)
    accepted(scripts, work, script, "small.yaml", *(["run=any"] if script == "train.py" else []))


NAMES = ["a b.png", "ü.png", "雾.png", "a\nb.png", "-rf.png", "$(x).png", "a'\"b.png", "%s{x}.png", "CON.png", "🌫.png"]


@pytest.mark.parametrize("name", [*NAMES, "x" * 240 + ".png", "a,b;c\t.png", "a.b.c.PNG", " .png"])
def test_any_name_is_labelled_trained_on_and_scored(scripts, work, name):
    for split in ("train", "test"):
        shutil.rmtree(work / "data" / split)
        make_pairs(work / "data" / split, [f"{i}.png" for i in range(3)])
        for side in ("hazy", "GT"):
            (work / "data" / split / side / "1.png").rename(work / "data" / split / side / name)
        table = work / "data" / split / "domains.csv"
        quoted = '"' + name.replace('"', '""') + '"'
        table.write_text(table.read_text().replace("1.png", quoted))
    for script in ("clip_text.py", "train.py", "test.py"):
        done = accepted(scripts, work, script, "small.yaml", "run=names", "test.images=true")
    assert "dehazed" in done.stdout


def test_two_images_of_one_stem_are_both_written(scripts, work):
    test = work / "data/test"
    for side in ("hazy", "GT"):
        (test / side / "0.jpg").write_bytes(encoded(".jpg"))
    (test / "domains.npz").unlink()
    write_labels(test, ["0.png", "0.jpg"])
    accepted(scripts, work, "test.py", "small.yaml", "test.images=true")
    assert len(list((work / "results/small-test/images").iterdir())) == 2


def test_files_that_are_left_out_are_counted(scripts, work):
    for name in ("sub/1.png", "sub/2.png", "3.heic"):
        path = work / "data/test/hazy" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encoded(".png"))
    said = accepted(scripts, work, "test.py", "small.yaml").stdout
    assert "data/test/hazy: files left out, of other kinds or in subfolders: 2 .png, 1 .heic" in said
    (work / "data/test/hazy/0.png").unlink()
    refused(scripts, work, "test.py", "small.yaml", says=["no images in", "2 .png"])
    keep = ["--checkpoint", "checkpoints/small/best.pt", "--output", "out", "--domain", "indoor"]
    said = accepted(scripts, work, "predict.py", *keep, "--input", "data/test").stdout
    assert "1 .heic" in said and "3 of 3 images dehazed" in said


def test_pixels_that_changed_are_noticed_and_a_copy_is_not(scripts, work):
    for path in work.glob("data/train/*/*.png"):
        path.write_bytes(path.read_bytes())  # with another time
    accepted(scripts, work, "train.py", "small.yaml")
    for i in range(3):  # one of them is held out for validation
        path = work / f"data/train/hazy/{i}.png"
        before = path.read_bytes()
        path.write_bytes(encoded(".png", picture(seed=7)))
        refused(scripts, work, "train.py", "small.yaml", says="other training images")
        path.write_bytes(before)


def test_a_large_image_is_allowed_by_a_setting(scripts, work):
    for side in ("hazy", "GT"):
        (work / "data/test" / side / "0.png").write_bytes(encoded(".png", picture(100, 100)))
    refused(scripts, work, "test.py", "small.yaml", "data.max_pixels=9999", says="100 x 100 pixels, more than")
    accepted(scripts, work, "test.py", "small.yaml", "data.max_pixels=10000")
    remove(work / "results")
    header = bomb(20_000, 10_000)  # between Pillow's own limits and ours
    for side in ("hazy", "GT"):
        (work / "data/test" / side / "0.png").write_bytes(header)
    refused(scripts, work, "test.py", "small.yaml", says="cannot be read", memory=2**31, untouched=False)


@pytest.mark.parametrize("path", ["data", "data/test", "data/test/hazy", "data/test/hazy/0.png", "data/test/GT/0.png"])
def test_what_may_not_be_read_is_named(scripts, work, path):
    (work / path).chmod(0)
    refused(scripts, work, "test.py", "small.yaml", says=path, humble=True)
    (work / path).chmod(0o755)


@pytest.mark.parametrize("script", ["train.py", "test.py", "clip_text.py"])
def test_data_workers_report_in_one_line_too(scripts, work, script):
    for path in (work / "data").glob("*/hazy/*.png"):
        path.write_bytes(path.read_bytes()[:-40])
    arguments = ["small.yaml", "data.workers=2", "run=workers", f"checkpoint={work}/checkpoints/small/best.pt"]
    if script == "clip_text.py":  # known labels need no images
        accepted(scripts, work, script, *arguments)
    else:
        refused(scripts, work, script, *arguments, says=".png cannot be read", untouched=False)
