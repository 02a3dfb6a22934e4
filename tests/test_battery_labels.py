"""The battery, text features and labels: what is missing, stale, of another set or broken is named."""

import io
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from datasets.domains import load_domains, save_domains
from tests.battery import accepted, refused
from tests.made import make_pairs


def table(text):
    return lambda test: ((test / "domains.npz").unlink(), (test / "domains.csv").write_text(text))


def features(**changes):
    def change(test):
        domains = load_domains(test)
        save_domains(test, replace(domains, **{name: make(getattr(domains, name)) for name, make in changes.items()}))

    return change


def arrays(**changes):
    """Other arrays in domains.npz, or none where the change is None."""

    def change(test):
        with np.load(test / "domains.npz") as stored:
            values = {name: stored[name] for name in stored} | changes
        np.savez(test / "domains.npz", **{name: value for name, value in values.items() if value is not None})

    return change


class Fire:
    """Unpickling this leaves a file behind."""

    def __reduce__(self):
        return (open, ("fired", "w"))


def bomb(test):
    """domains.npz whose names unpack to 256 MB."""
    path = test / "domains.npz"
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            if name != "names.npy":
                archive.writestr(name, data)
        head = io.BytesIO()
        np.lib.format.write_array_header_1_0(head, {"descr": "<U1024", "fortran_order": False, "shape": (2**16,)})
        with archive.open("names.npy", "w", force_zip64=True) as file:
            file.write(head.getvalue())
            for _ in range(256):
                file.write(bytes(2**20))


def header(descr, shape):
    """domains.npz whose `prob` is but a header that promises this."""

    def change(test):
        with np.load(test / "domains.npz") as stored:
            values = {name: stored[name] for name in stored if name != "prob"}
        np.savez(test / "domains.npz", **values)
        head = io.BytesIO()
        np.lib.format.write_array_header_1_0(head, {"descr": descr, "fortran_order": False, "shape": shape})
        with zipfile.ZipFile(test / "domains.npz", "a") as archive:
            archive.writestr("prob.npy", head.getvalue() + bytes(64))

    return change


def truncate(test):
    data = (test / "domains.npz").read_bytes()
    (test / "domains.npz").write_bytes(data[: len(data) // 2])


NPZ = "domains.npz"
FAULTS = {  # what is done to data/test, and what is said of it; its only image is 0.png, indoor
    "no labels": (lambda test: [(test / name).unlink() for name in (NPZ, "domains.csv")], "domains.csv"),
    "an empty table": (table(""), "domains.csv must begin with the line name,domain"),
    "a table of a head only": (table("name,domain\n"), "hold a line for every image"),
    "a table without a head": (table("0.png,indoor\n"), "must begin with the line name,domain"),
    "a table with other columns": (table("file,class\n0.png,indoor\n"), "must begin with the line name,domain"),
    "a table of semicolons": (table("name;domain\n0.png;indoor\n"), "must begin with the line name,domain"),
    "an unknown domain": (table("name,domain\n0.png,in door\n"), "line 2: 'in door' is none of text.classes"),
    "a domain in capitals": (table("name,domain\n0.png,Indoor\n"), "line 2: 'Indoor' is none of text.classes"),
    "no domain": (table("name,domain\n0.png\n"), "line 2: '' is none of text.classes"),
    "no name": (table("domain,name\nindoor\n"), "line 2"),
    "an image labelled twice": (table("name,domain\n0.png,indoor\n0.png,outdoor\n"), "line 3: 0.png is labelled twice"),
    "another image": (table("name,domain\n1.png,indoor\n"), "1 images have no domain label, first 0.png"),
    "another image's case": (table("name,domain\n0.PNG,indoor\n"), "first 0.png"),
    "a field of 200,000 letters": (table("name,domain\n" + "a" * 200_000 + ",indoor\n"), "domains.csv cannot be read"),
    "an open quote": (table('name,domain\n"0.png,indoor\n'), "line 2"),
    "a null": (table("name,domain\n0.png\0,indoor\n"), ""),
    "bytes for a table": (
        lambda test: ((test / NPZ).unlink(), (test / "domains.csv").write_bytes(b"\xff\xfe")),
        "domains.csv cannot be read",
    ),
    "a table that is a folder": (
        lambda test: ((test / NPZ).unlink(), (test / "domains.csv").unlink(), (test / "domains.csv").mkdir()),
        "domains.csv cannot be read",
    ),
    "a corrected label that is none": (
        lambda test: (test / "domains.csv").write_text("name,domain,indoor,outdoor\n0.png,kitchen,1.0,0.0\n"),
        "line 2: 'kitchen' is none of text.classes",
    ),
    "features of another encoder": (features(encoder=lambda _: "ViT-L-14"), "made with encoder ViT-L-14"),
    "features of other prompts": (features(prompts=lambda _: ("a {class}",)), "made with prompts"),
    "features of other classes": (
        features(classes=lambda _: ("indoor", "outside")),
        "classes ('indoor', 'outside')",
    ),
    "features of three classes": (
        features(
            classes=lambda _: ("indoor", "outdoor", "sea"),
            text=lambda text: np.vstack([text, text[:1]]),
            prob=lambda prob: np.hstack([prob, 0 * prob[:, :1]]),
        ),
        "made with classes",
    ),
    "features of another width": (features(text=lambda text: text[:, :256]), "other text features"),
    "features of other weights": (features(text=lambda text: text[::-1]), "other text features"),
    "features of other images": (features(names=lambda _: ("9.png",)), "first 0.png"),
    "features of fewer images": (
        lambda test: make_more(test),
        "1 images have no domain label, first 1.png",
    ),
    "no text": (arrays(text=None), NPZ),
    "no classes": (arrays(classes=None), NPZ),
    "no names": (arrays(names=None), NPZ),
    "text of other classes": (arrays(text=np.ones((3, 512), np.float32)), "do not fit together"),
    "text in double precision": (arrays(text=np.ones((2, 512))), "do not fit together"),
    "text of integers": (arrays(text=np.ones((2, 512), np.int32)), "do not fit together"),
    "text that is flat": (arrays(text=np.ones(1024, np.float32)), "do not fit together"),
    "text that is empty": (arrays(text=np.ones((2, 0), np.float32)), "do not fit together"),
    "text that is no number": (arrays(text=np.full((2, 512), np.nan, np.float32)), "do not fit together"),
    "probabilities of other images": (arrays(prob=np.ones((3, 2), np.float32)), "do not fit together"),
    "probabilities that are no number": (arrays(prob=np.full((1, 2), np.inf, np.float32)), "below 0 or not of sum 1"),
    "probabilities below 0": (arrays(prob=np.array([[-1, 2]], np.float32)), "below 0 or not of sum 1"),
    "probabilities of nothing": (arrays(prob=np.zeros((1, 2), np.float32)), "below 0 or not of sum 1"),
    "classes that are numbers": (arrays(classes=np.array([1, 2])), "1"),
    "names twice": (arrays(names=np.array(["0.png", "0.png"])), "do not fit together"),
    "an encoder that is a list": (arrays(encoder=np.array(["a", "b"])), NPZ),
    "objects": (arrays(names=np.array([Fire()], dtype=object)), f"{NPZ} cannot be read"),
    "objects for text": (arrays(text=np.array([[Fire()], [Fire()]], dtype=object)), f"{NPZ} cannot be read"),
    "an empty file": (lambda test: (test / NPZ).write_bytes(b""), f"{NPZ} cannot be read"),
    "a cut-off file": (truncate, f"{NPZ} cannot be read"),
    "a text file": (lambda test: (test / NPZ).write_text("hello"), f"{NPZ} cannot be read"),
    "a folder": (lambda test: ((test / NPZ).unlink(), (test / NPZ).mkdir()), f"{NPZ} cannot be read"),
    "one array, not an archive": (lambda test: np.save(open(test / NPZ, "wb"), np.ones(3)), f"{NPZ} cannot be read"),
    "a bomb": (bomb, "unpacks to far more than its size"),
    "a header of 8 TB": (header("<f4", (2**40, 2)), NPZ),
    "a header of less than nothing": (header("<f4", (-1, 2)), NPZ),
    "a header of objects": (header("|O", (1, 2)), NPZ),
    "a header of nothing known": (header("<q9", (1, 2)), NPZ),
}


def make_more(test):
    """One more pair, labelled by nobody."""
    features_, labels = (test / NPZ).read_bytes(), (test / "domains.csv").read_bytes()
    make_pairs(test, ["0.png", "1.png"], seed=1)
    (test / NPZ).write_bytes(features_)
    (test / "domains.csv").write_bytes(labels)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_in_the_labels_is_named(scripts, work, name):
    change, says = FAULTS[name]
    change(work / "data" / "test")
    done = refused(scripts, work, "test.py", "small.yaml", says=says, memory=2**31)
    assert done.max_memory < 2**31
    assert not (work / "fired").exists()


SOME = ["no labels", "an empty table", "an unknown domain", "another image", "an open quote", "objects"]
SOME += ["features of another encoder", "text that is no number", "probabilities of nothing", "a cut-off file"]


@pytest.mark.parametrize("name", SOME)
def test_a_fault_in_the_labels_stops_a_training_before_it_begins(scripts, work, name):
    change, says = FAULTS[name]
    train = work / "data" / "train"
    for side in ("hazy", "GT"):
        for i in (1, 2):
            (train / side / f"{i}.png").unlink()
    make_pairs(work / "data" / "val", ["0.png"])
    make_pairs(train, ["0.png"])
    accepted(scripts, work, "clip_text.py", "small.yaml", "data.val=val")
    change(train)
    refused(scripts, work, "train.py", "small.yaml", "run=new", "data.val=val", says=says, memory=2**31)
    assert not (work / "fired").exists()


def test_known_labels_come_in_any_dress(scripts, work):
    for text in (
        "name,domain\r\n0.png,indoor\r\n",
        "\ufeffname,domain\n0.png, indoor \n",
        'remark,"domain","name"\n"x,y",indoor,0.png\n',
        "name,domain\n0.png,indoor\n0.png,indoor\n9.png,outdoor\n",
        "name,domain\n\n0.png,indoor\n\n",
    ):
        table(text)(work / "data" / "test") if (work / "data/test" / NPZ).exists() else None
        (work / "data/test/domains.csv").write_text(text, newline="")
        accepted(scripts, work, "test.py", "small.yaml")


def test_labels_of_other_settings_are_used_when_accepted(scripts, work):
    features(encoder=lambda _: "ViT-L-14")(work / "data/test")
    accepted(scripts, work, "test.py", "small.yaml", "text.accept=true")
