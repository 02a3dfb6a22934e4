"""The battery, checkpoints: a missing, damaged, unfitting or hostile one is named, and nothing in it runs."""

import io
import json
import pickle
import struct
import zipfile

import numpy as np
import pytest
import torch

from tests.battery import accepted, refused
from tests.tiny_clip import make_encoder

BEST = "checkpoints/small/best.pt"


class Fire:
    """Unpickling this leaves a file behind."""

    def __reduce__(self):
        return (open, ("fired", "w"))


def archive(path, change):
    """Rewrite a checkpoint's archive; change: from a member's name and bytes to its new bytes."""
    with zipfile.ZipFile(path) as old:
        members = {name: change(name, old.read(name)) for name in old.namelist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, data in members.items():
            new.writestr(name, data)


def pickled(data):
    """An archive as torch makes it, whose pickle is `data`."""

    def write(path):
        with zipfile.ZipFile(path, "w") as new:
            new.writestr("best/data.pkl", data)
            new.writestr("best/version", "3\n")
            new.writestr("best/byteorder", "little")

    return write


def content(change):
    """Change what a checkpoint holds, and save it as torch does."""

    def rewrite(path):
        values = torch.load(path)
        result = change(values)
        torch.save(values if result is None else result, path)

    return rewrite


def without(name, *within):
    return content(lambda values: at(values, *within).__delitem__(name))


def replaced(name, value, *within):
    return content(lambda values: at(values, *within).__setitem__(name, value))


def at(values, *within):
    for name in within:
        values = values[name]
    return values


def resized(path, change):
    """Change the pickle's numbers by hand."""
    archive(path, lambda name, data: change(data) if name.endswith("data.pkl") else data)


def flipped(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(share):
    return lambda path: path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def bomb(path):
    """A member that unpacks to 256 MB."""
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as new:
        with new.open("best/data/999", "w", force_zip64=True) as file:
            for _ in range(256):
                file.write(bytes(2**20))


def liar(path):
    """A central directory that promises 4 GB for the first member."""
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = struct.pack("<I", 2**32 - 2)
    path.write_bytes(data)


def expanded(values):
    state = values["ema"] or values["network"]["state"]
    state["text"] = torch.zeros(1).expand(2**20, 2**20)


def nested(values):
    inner = values["settings"]
    for _ in range(200):
        inner["data"] = inner = {}


def meta(values):
    (values["ema"] or values["network"]["state"])["text"] = torch.empty(2, 512, device="meta")


def sparse(values):
    (values["ema"] or values["network"]["state"])["text"] = torch.zeros(2, 512).to_sparse()


FAULTS = {
    "none": (lambda path: path.unlink(), "best.pt does not exist"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "best.pt is a folder"),
    "NumPy arrays": (lambda path: np.savez(path.open("wb"), a=np.ones(3)), "it is none, or a broken one"),
    "a link to itself": (lambda path: (path.unlink(), path.symlink_to("best.pt")), "best.pt does not exist"),
    "no bytes": (lambda path: path.write_bytes(b""), "best.pt"),
    "text": (lambda path: path.write_text("hello"), "best.pt"),
    "random bytes": (lambda path: path.write_bytes(np.random.default_rng(0).bytes(10_000)), "best.pt"),
    "zeros": (lambda path: path.write_bytes(bytes(10_000)), "best.pt"),
    "cut off at once": (cut(0.01), "best.pt"),
    "cut off half-way": (cut(0.5), "best.pt"),
    "cut off at the end": (cut(0.999), "best.pt"),
    "one bit flipped": (flipped, "damaged, the checksum of"),
    "an image": (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100)), "best.pt"),
    "a pickle that runs code": (lambda path: path.write_bytes(pickle.dumps(Fire())), "best.pt"),
    "a pickle of protocol 0 that runs code": (lambda path: path.write_bytes(pickle.dumps(Fire(), 0)), "best.pt"),
    "an archive that runs code": (pickled(pickle.dumps(Fire(), 2)), "more than tensors and plain Python"),
    "an archive that calls os.system": (pickled(b"cos\nsystem\n(S'touch fired'\ntR."), "best.pt"),
    "an archive that calls eval": (pickled(b"c__builtin__\neval\n(X\x13\x00\x00\x00open('fired', 'w').tR."), "best.pt"),
    "a checkpoint with a part that runs code": (replaced("step", Fire()), "more than tensors and plain Python"),
    "a whole network": (content(lambda values: torch.nn.Linear(2, 2)), "more than tensors and plain Python"),
    "numpy numbers": (replaced("step", np.float64(3)), "more than tensors and plain Python"),
    "a list": (content(lambda values: [1, 2]), "holds a list, not a checkpoint"),
    "a tensor": (content(lambda values: torch.ones(3)), "holds a Tensor, not a checkpoint"),
    "nothing in it": (content(lambda values: {}), "neither"),
    "other things": (content(lambda values: {"weights": [1, 2]}), "neither"),
    "a state dict of something else": (content(lambda values: {"linear.weight": torch.ones(2, 2)}), "neither"),
    "another format": (replaced("format", 99), "another version"),
    **{f"no {name}": (without(name), f"its {name} is missing") for name in ("step", "ema", "settings", "text")},
    "no network": (without("network"), "neither"),
    **{
        f"no {name} of the network": (without(name, "network"), f"its network {name} is missing")
        for name in ("size", "fusion", "merge", "state")
    },
    "a step that is a text": (replaced("step", "three"), "its step is missing or not"),
    "a size that is none": (replaced("size", "xxl", "network"), "size must be one of"),
    "a size that is a list": (replaced("size", ["n"], "network"), "its network size is missing or not"),
    "a fusion that is none": (replaced("fusion", "magic", "network"), "fusion must be one of"),
    "the wrong size": (replaced("size", "t", "network"), "do not fit this network"),
    "the wrong fusion": (replaced("fusion", "parametric", "network"), "do not fit this network"),
    "no fusion": (replaced("fusion", "none", "network"), "do not fit this network"),
    "settings of nothing": (replaced("settings", {"x": 1}), "unknown setting x"),
    "settings of another type": (replaced("settings", {"seed": "x"}), "seed must be a whole number"),
    "settings without end": (content(nested), "best.pt"),
    "classes that are others": (replaced("classes", ["a", "b"], "text"), "network was trained with a, b"),
    "classes that are no texts": (replaced("classes", [[1], 2], "text"), "best.pt"),
    "a tensor missing": (without("patch_embed.bias", "ema"), "missing patch_embed.bias"),
    "a tensor too many": (replaced("more", torch.ones(1), "ema"), "unexpected more"),
    "a tensor of another shape": (replaced("patch_embed.bias", torch.ones(3), "ema"), "patch_embed.bias is 3, not 8"),
    "a list for a tensor": (replaced("patch_embed.bias", [1.0] * 8, "ema"), "its weights are not tensors"),
    "complex numbers": (replaced("patch_embed.bias", torch.ones(8, dtype=torch.complex64), "ema"), "no plain array"),
    "text without dimensions": (replaced("text", torch.tensor(1.0), "ema"), "needs text embeddings"),
    "text of width 0": (replaced("text", torch.ones(2, 0), "ema"), "best.pt"),
    "a tensor of 4 TB in 4 bytes": (content(expanded), "no plain array"),
    "a tensor without a place": (content(meta), "no plain array"),
    "a tensor that is sparse": (content(sparse), "no plain array"),
    "a bomb": (bomb, "unpacks to far more than its size"),
    "a directory that promises 4 GB": (liar, "unpacks to far more than its size"),
    "numbers that promise 4 GB": (
        lambda path: resized(path, lambda data: data.replace(b"K\x08t", b"J\xff\xff\xff\x3ft", 1)),
        "best.pt",
    ),
    "a state dict around itself": (
        pickled(b"\x80\x02}q\x00X\x0a\x00\x00\x00state_dictq\x01h\x00s."),
        "neither",
    ),
    "10,000 lists in lists": (pickled(b"\x80\x02" + b"(" * 10_000 + b"l" * 10_000 + b"."), "best.pt"),
    "a memo of 2 GB": (pickled(b"\x80\x02}r\xff\xff\xff\x7f."), "neither"),
    "a string of 2 GB": (pickled(b"\x80\x02X\xff\xff\xff\x7fabc."), "best.pt"),
    "an older torch's file": (content(lambda values: None), None),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_in_the_checkpoint_is_named(scripts, work, name):
    change, says = FAULTS[name]
    change(work / BEST)
    if says is None:
        accepted(scripts, work, "test.py", "small.yaml")
    else:
        done = refused(scripts, work, "test.py", "small.yaml", says=says, memory=2**31, timeout=20)
        assert done.max_memory < 2**31
    assert not (work / "fired").exists()


UNFIT = ["a tensor missing", "a tensor too many", "a tensor of another shape", "text without dimensions"]
UNFIT += ["text of width 0"]
STARTS = ["none", "text", "cut off half-way", "one bit flipped", "a pickle that runs code", "a bomb", "no settings"]
STARTS += ["an archive that runs code", "nothing in it", "other things", "a list", "a size that is none", *UNFIT]


@pytest.mark.parametrize("name", STARTS)
def test_a_fault_in_the_weights_to_start_from_is_named(scripts, work, name):
    change, says = FAULTS[name]
    change(work / BEST)
    arguments = ["small.yaml", "run=new", f"model.init={BEST}"]
    refused(scripts, work, "train.py", *arguments, says="best.pt", memory=2**31, timeout=20, untouched=False)
    assert not (work / "fired").exists()


LAST = [name for name, (_, says) in FAULTS.items() if says and "other" not in name and name not in (*UNFIT, "a folder")]


@pytest.mark.parametrize("name", UNFIT)
def test_a_training_whose_last_checkpoint_does_not_fit_is_not_begun_anew(scripts, work, name):
    FAULTS[name][0](work / "checkpoints/small/last.pt")
    refused(scripts, work, "train.py", "small.yaml", says="does not fit its own settings", memory=2**31)


@pytest.mark.parametrize("name", LAST)
def test_a_training_whose_last_checkpoint_has_a_fault_goes_on_from_the_one_before(scripts, work, name):
    run = work / "checkpoints/small"
    FAULTS[name][0](run / "last.pt")
    done = scripts(work, "train.py", "small.yaml", memory=2**31, timeout=20)
    assert done.code == 0 and "Traceback" not in done.stderr, done.stderr
    assert (run / "last.pt").exists() and "step 2 of 2" in done.stdout
    assert not (work / "fired").exists()


@pytest.mark.parametrize("name", ["text", "cut off half-way", "an archive that runs code", "numpy numbers", "a list"])
def test_a_training_with_no_readable_checkpoint_is_not_begun_anew(scripts, work, name):
    change, _ = FAULTS[name]
    for file in ("last.pt", "previous.pt"):
        change(work / "checkpoints/small" / file)
    refused(scripts, work, "train.py", "small.yaml", says=["last.pt", "run=NAME"], memory=2**31)
    assert not (work / "fired").exists()


def test_a_best_checkpoint_whose_last_one_is_gone_is_not_replaced(scripts, work):
    for file in ("last.pt", "previous.pt"):
        (work / "checkpoints/small" / file).unlink(missing_ok=True)
    refused(scripts, work, "train.py", "small.yaml", says=["best.pt would be replaced", "run=NAME"])


def broken(values):
    (values["ema"] or values["network"]["state"])["patch_embed.weight"][:] = float("nan")


def test_weights_that_are_no_numbers_give_no_scores_and_no_export(scripts, work):
    content(broken)(work / BEST)
    refused(scripts, work, "test.py", "small.yaml", says=["best.pt", "no numbers, first 0.png"], untouched=False)
    refused(scripts, work, "export.py", "--checkpoint", BEST, "--output", "a.safetensors", says="weights finite")


@pytest.mark.parametrize("step", [-1, 10**9])
def test_a_step_that_a_run_never_has_is_refused(scripts, work, step):
    replaced("step", step)(work / "checkpoints/small/last.pt")
    refused(scripts, work, "train.py", "small.yaml", says=f"is of step {step}")


def test_settings_that_contradict_the_checkpoint_are_refused_or_recorded_as_the_checkpoints(scripts, work):
    refused(scripts, work, "test.py", "small.yaml", "model.fusion=none", says=["model.fusion=calip", "leave it out"])
    refused(scripts, work, "test.py", "small.yaml", "text.labels=hard", says=["text.labels=soft", "leave it out"])
    (work / "small.yaml").write_text((work / "small.yaml").read_text().replace("size: n", "size: l"))
    accepted(scripts, work, "test.py", "small.yaml")
    assert json.loads((work / "results/small-test/metrics.json").read_text())["settings"]["model"]["size"] == "n"


def test_the_results_of_another_test_are_not_replaced_and_pictures_of_an_earlier_one_set_aside(scripts, work):
    for change in ("domain=wrong", "self_ensemble=true", "crop=16", "window=64", "input=clear"):
        refused(scripts, work, "test.py", "small.yaml", f"test.{change}", says=["holds results with", "run="])
    (work / "other.pt").write_bytes((work / "checkpoints/small/best.pt").read_bytes())
    refused(scripts, work, "test.py", "small.yaml", "checkpoint=other.pt", says=["holds results with checkpoint="])
    accepted(scripts, work, "test.py", "small.yaml", "test.images=true")
    assert "images-earlier" in accepted(scripts, work, "test.py", "small.yaml").stdout
    assert not (work / "results/small-test/images").exists()


@pytest.mark.parametrize("weights", ["torch.save of a class", "pickle"])
def test_weights_of_the_loss_that_run_code_do_not(scripts, work, weights):
    path = work / "resnet.pth"
    torch.save(Fire(), path) if weights != "pickle" else path.write_bytes(pickle.dumps(Fire()))
    keep = ["small.yaml", "run=new", "loss.contrastive=0.1", "loss.weights=resnet.pth", "loss.backbone=resnet18"]
    refused(scripts, work, "train.py", *keep, says="resnet.pth", untouched=False)
    assert not (work / "fired").exists()


CLIP = {
    "none": "does not exist",
    "no bytes": "cannot be read as weights",
    "random bytes": "cannot be read as weights",
    "a pickle that runs code": "cannot be read as weights",
    "a pickle of protocol 0 that runs code": "cannot be read as weights",
    "an archive that runs code": "cannot be read as weights",
    "an archive that calls os.system": "cannot be read as weights",
    "a bomb": "cannot be read as weights",
    "a list": "holds no state dict",
    "nothing in it": "holds no state dict",
    "a state dict of something else": "cannot be read as weights of text.encoder",
}


@pytest.mark.parametrize("scripted", [False, True])
@pytest.mark.parametrize("name", CLIP)
def test_weights_of_the_encoder_with_a_fault_are_named_and_run_nothing(scripts, work, name, scripted):
    path = work / BEST
    FAULTS[name][0](path)
    if scripted and zipfile.is_zipfile(path):  # as a TorchScript archive
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("best/constants.pkl", b"\x80\x02).")
    architecture, _ = make_encoder(work / "clip", "vit", quick_gelu=True)
    keep = ["small.yaml", f"text.encoder={architecture}", f"text.weights={BEST}"]
    says = "best.pt" if scripted else ["best.pt", CLIP[name]]
    refused(scripts, work, "clip_text.py", *keep, says=says, memory=2**32, timeout=30)
    assert not (work / "fired").exists()


def test_settings_that_changed_are_named_and_the_run_is_kept(scripts, work):
    for change in ("train.lr=0.5", "model.merge=add", "train.batch=1", "seed=9"):
        refused(scripts, work, "train.py", "small.yaml", change, says=[change.split("=")[0], "run=NAME"])


def test_a_checkpoint_that_may_not_be_read_is_named(scripts, work):
    (work / BEST).chmod(0)
    refused(scripts, work, "test.py", "small.yaml", says="best.pt", humble=True)


def test_what_torch_saved_in_its_old_format_is_read(scripts, work):
    buffer = io.BytesIO()
    torch.save(torch.load(work / BEST), buffer, _use_new_zipfile_serialization=False)
    (work / BEST).write_bytes(buffer.getvalue())
    accepted(scripts, work, "test.py", "small.yaml")
