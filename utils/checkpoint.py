"""Checkpoint files: tensors and plain Python only, written aside and moved into place, loaded without running code."""

import io
import json
import pickle
import sys
import warnings
import zipfile
from contextlib import contextmanager
from pathlib import Path

import torch

from . import distributed
from .code import of_other_code
from .config import from_plain
from .files import write_bytes
from .settings import to_plain

FORMAT = 1
LAST_STEP = "the last step"  # a way of `selection`
METADATA = "mixcldehaze"  # of a .safetensors file: JSON of what is no tensor
NUMBERS = {torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.bool, torch.uint8, torch.int8}
NUMBERS |= {torch.int16, torch.int32, torch.int64}

STARTER = Path(__file__).parent.parent / "weights" / "starter.pt"  # weights/starter.md says what they are

# What every checkpoint of this project has, and what each is.
PARTS = {"step": int, "network": dict, "ema": (dict, type(None)), "settings": dict, "text": (dict, type(None))}
NETWORK_PARTS = {"size": str, "fusion": str, "merge": str, "state": dict}
TEXT_PARTS = {"encoder": str, "weights": str, "source": str, "zero_shot": str, "beta2": float, "beta3": float}
TEXT_PARTS |= {"classes": list, "prompts": list, "labels": str}


class Damage(ValueError):
    """What `load` refuses in a file that could be read."""


def save(path, checkpoint, previous=None):
    """Write a checkpoint, as `write_bytes` does.

    previous: where the file that is replaced is kept, if anywhere.
    Raises OSError naming the file when it cannot be written.
    """
    try:
        write_bytes(path, to_bytes(checkpoint), previous)
    except OSError as error:
        raise OSError(
            f"{path} cannot be written ({reason(error)}), what was saved before is kept: make room, then run again"
        ) from None


def to_bytes(checkpoint):
    content = io.BytesIO()
    torch.save({"format": FORMAT, **checkpoint}, content)
    return content.getbuffer()


def essentials(checkpoint):
    """What a checkpoint needs to be tested and to predict: the averaged weights, the settings, the text."""
    kept = {name: checkpoint[name] for name in ("step", "settings", "text", "chosen", "code") if name in checkpoint}
    network = {**checkpoint["network"], "state": checkpoint["ema"] or checkpoint["network"]["state"]}
    return {**kept, "network": network, "ema": None}


def to_safetensors(checkpoint):
    """The bytes of a .safetensors file with the `essentials` of a checkpoint, which `load` reads."""
    from safetensors.torch import save as to_file

    kept = {"format": FORMAT, **essentials(checkpoint)}
    state = kept["network"].pop("state")
    state = {name: value.contiguous() for name, value in state.items()}
    return to_file(state, {"format": "pt", METADATA: json.dumps(kept)})


def read_safetensors(path):
    """A checkpoint of this project, or a bare state dict where the file was written by another program."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}
        kept = json.loads((file.metadata() or {}).get(METADATA, "null"))
    return {**kept, "network": {**kept["network"], "state": state}} if kept else state


def load(path):
    """Read any checkpoint file safely onto the CPU; nothing in it can run code.

    Raises ValueError naming the file when it is missing, broken, or holds more than tensors and plain Python; for a
    checkpoint of this project, also when a part of it is missing. Its settings come with the defaults of newer ones.
    """
    path = located(path)
    if path.is_dir():
        raise ValueError(f"checkpoint {path} is a folder: name a file in it, such as best.pt")
    if not path.is_file():
        raise ValueError(f"checkpoint {path} does not exist")
    try:
        if zipfile.is_zipfile(path):
            refuse_damage(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickles that are then refused
            safe = path.suffix == ".safetensors"
            checkpoint = read_safetensors(path) if safe else torch.load(path, map_location="cpu", weights_only=True)
        refuse_odd_tensors(checkpoint)
    except pickle.UnpicklingError:
        raise ValueError(f"checkpoint {path} is broken or holds more than tensors and plain Python") from None
    except Damage as error:
        raise ValueError(f"checkpoint {path} cannot be used: {error}") from None
    except OSError as error:
        raise ValueError(f"checkpoint {path} cannot be read: {reason(error)}") from None
    except Exception:  # a broken archive fails in many ways: zip, pickle, unicode and type errors
        raise ValueError(f"checkpoint {path} cannot be read: it is none, or a broken one") from None
    if not isinstance(checkpoint, dict):
        raise ValueError(f"checkpoint {path} holds a {type(checkpoint).__name__}, not a checkpoint")
    if checkpoint.get("format", FORMAT) != FORMAT:
        raise ValueError(f"checkpoint {path} is of another version of this project: use that, or a newer one")
    if is_ours(checkpoint):
        try:
            refuse_missing(checkpoint)
            checkpoint["settings"] = to_plain(from_plain(checkpoint["settings"]))
        except ValueError as error:
            raise ValueError(f"checkpoint {path} is incomplete or of another version: {error}") from None
        if of_other_code(checkpoint) and not distributed.rank():
            edited = "models/mixdehazenet.py, fusion.py or windows.py was edited since"
            print(f"note: {path} was trained by other code: {edited}", file=sys.stderr)
    return checkpoint


def located(path):
    """The file of a checkpoint; the name `starter` stands for the weights that come with the project."""
    return STARTER if str(path) == "starter" else Path(path)


def refuse_damage(path):
    """Raise Damage for an archive that unpacks to far more than its size, or whose checksums do not fit."""
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > 2 * path.stat().st_size + 2**20:  # torch stores without compression: anything else is a bomb
            raise Damage("it unpacks to far more than its size")
        damaged = archive.testzip()  # torch does not look at the checksums
    if damaged:
        raise Damage(f"it is damaged, the checksum of {damaged} does not fit")


def refuse_odd_tensors(checkpoint):
    """Raise Damage for tensors that are not as in a state dict: dense, of numbers, all of which are in the file."""
    waiting, seen = [checkpoint], set()
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, torch.Tensor):
            dense = value.device.type == "cpu" and value.layout == torch.strided and value.dtype in NUMBERS
            if not dense or value.numel() * value.element_size() > value.untyped_storage().nbytes():
                raise Damage("it holds a tensor that is no plain array of numbers")
        elif isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, (list, tuple, set)):
            waiting += value


def refuse_missing(checkpoint):
    """Raise ValueError naming a part that a checkpoint of this project lacks, or that is not what it should be."""
    text = checkpoint.get("text")
    groups = [("", checkpoint, PARTS), ("network ", checkpoint["network"], NETWORK_PARTS)]
    for prefix, values, kinds in groups + ([("text ", text, TEXT_PARTS)] if isinstance(text, dict) else []):
        for name, kind in kinds.items():
            if name not in values or not isinstance(values[name], kind):
                raise ValueError(f"its {prefix}{name} is missing or not what it should be")
    for state in (checkpoint["network"]["state"], checkpoint["ema"] or {}):
        if not all(isinstance(name, str) and torch.is_tensor(value) for name, value in state.items()):
            raise ValueError("its weights are not tensors with names")
    if text is not None and not all(isinstance(name, str) for name in (*text["classes"], *text["prompts"])):
        raise ValueError("its text classes and prompts are not texts")


def is_ours(checkpoint):
    return checkpoint.get("format") == FORMAT and isinstance(checkpoint.get("network"), dict)


def selection(checkpoint, path):
    """How a checkpoint was chosen, in words. Older ones do not say it: their file's name does."""
    if not checkpoint["settings"]:
        return "not known: a published checkpoint"
    rules = {"best": f"the best PSNR on {from_plain(checkpoint['settings']).data.chosen_on}", "last": LAST_STEP}
    return rules.get(checkpoint.get("chosen", Path(path).stem), "not recorded")


@contextmanager
def naming(path):
    """Name the file in the error of making a network of what it holds."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"checkpoint {path}: {error}") from None


def reason(error):
    """An error's first sentence, for a message of one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text.strip().splitlines()[0][:200]
