"""What a data set is, and whether it can be trusted."""

import shutil

import cv2
import numpy as np

from datasets.checks import check
from datasets.images import read_image, write_image
from datasets.listing import fingerprint, list_images
from datasets.synthetic import demo_pair
from tests.battery import accepted, refused
from tests.made import make_pairs


def digits(split):
    return fingerprint(list_images(split, "hazy"), list_images(split, "GT"))


def test_a_fingerprint_is_of_names_and_contents_not_of_places_and_links(tmp_path):
    split, linked = tmp_path / "set/test", tmp_path / "linked/val"
    make_pairs(split, ["a.png", "b.png"])
    known = digits(split)
    for side in ("hazy", "GT"):
        (linked / side).mkdir(parents=True)
        for file in (split / side).iterdir():
            (linked / side / file.name).symlink_to(file)
    assert digits(linked) == known

    (linked / "GT/b.png").unlink()
    shutil.copy(linked / "GT/a.png", linked / "GT/b.png")
    assert digits(linked) != known
    for side in ("hazy", "GT"):
        (split / side / "b.png").rename(split / side / "c.png")
    assert digits(split) != known


SPOILS = {  # kind of defect: what is done to the hazy and the clear image
    "swapped": lambda hazy, clear: (clear, hazy),
    "identical": lambda hazy, clear: (clear, clear),
    "shifted": lambda hazy, clear: (np.roll(hazy, (3, -2), (0, 1)), clear),
    "border": lambda hazy, clear: (hazy, cv2.copyMakeBorder(clear[4:-4, 4:-4], *[4] * 4, 0, value=[255] * 3)),
    "unrelated": lambda hazy, clear: (hazy, clear[::-1]),
    "unequal": lambda hazy, clear: (hazy[:-1], clear),
}


def test_defects_are_found_and_none_invented(tmp_path):
    for number in range(10):
        split = tmp_path / ("train" if number < 8 else "test")
        for side, image in zip(("hazy", "GT"), demo_pair("test", number)[2:], strict=True):
            write_image(split / side / f"{number}.png", image)
    assert check(tmp_path, ["train", "test"], 10**6)[1] == []
    expected = [(f"train/hazy/{number}.png", kind) for number, kind in enumerate(SPOILS)]
    for number, spoil in enumerate(SPOILS.values()):
        files = [tmp_path / "train" / side / f"{number}.png" for side in ("hazy", "GT")]
        for file, image in zip(files, spoil(*map(read_image, files)), strict=True):
            write_image(file, image)
    (tmp_path / "train" / "hazy" / "6.png").write_bytes(b"no image")
    write_image(tmp_path / "train" / "hazy" / "alone.png", read_image(tmp_path / "train" / "hazy" / "7.png"))
    small = cv2.resize(read_image(tmp_path / "train" / "GT" / "7.png"), None, fx=0.9, fy=0.9)
    for side, image in (("hazy", small // 2 + 100), ("GT", small)):
        data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
        (tmp_path / "test" / side / "again.jpg").write_bytes(data.tobytes())
    expected += [("train/hazy/6.png", "unreadable"), ("train/hazy/alone.png", "missing")]
    expected += [("test/GT/again.jpg", "leaked")]
    defects = check(tmp_path, ["train", "test"], 10**6)[1]
    assert {(str(defect.paths[0].relative_to(tmp_path)), defect.kind) for defect in defects} == set(expected)


def test_a_file_in_two_splits_is_one_leak_however_often_it_occurs(tmp_path):
    make_pairs(tmp_path / "train", ["1_1.png", "2_1.png"], (64, 96))
    for place in ("train/{}/1_2.png", "test/{}/5_1.png", "test/{}/5_2.png"):
        for side in ("hazy", "GT"):
            target = tmp_path / place.format(side)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(tmp_path / "train" / side / "1_1.png", target)
    (defect,) = check(tmp_path, ["train", "test"], 10**6)[1]
    assert defect.kind == "leaked" and defect.reason == f"shows the same picture as {tmp_path}/train/GT/1_1.png"


def test_the_exit_code_tells_a_sound_set_from_one_with_defects_and_from_a_mistake(tmp_path, scripts):
    make_pairs(tmp_path / "set" / "train", ["1.png", "2.png"], (64, 96))
    done = accepted(scripts, tmp_path, "check_data.py", "set")
    assert digits(tmp_path / "set" / "train") in done.stdout and "nothing is wrong" in done.stdout
    shutil.copy(tmp_path / "set" / "train" / "GT" / "1.png", tmp_path / "set" / "train" / "hazy" / "1.png")
    done = scripts(tmp_path, "check_data.py", "set")
    assert done.code == 1 and "set/train/hazy/1.png: both sides are" in done.stdout and "Traceback" not in done.stderr
    refused(scripts, tmp_path, "check_data.py", "sets", says="neither a settings file")
