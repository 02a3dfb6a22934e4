"""Checkpoint files: tensors and plain Python only, written whole or not at all, loaded without running code."""

import io
import json
import warnings
from contextlib import contextmanager
from pathlib import Path

import torch

from .config import from_plain
from .files import write_bytes
from .settings import to_plain

FORMAT = 1
PARTS = {"step", "ema", "settings", "text"}  # what every checkpoint of this project has beside its network
NETWORK_PARTS = {"size", "fusion", "merge", "state"}
METADATA = "mixcldehaze"  # of a .safetensors file: JSON of all but the tensors
STARTER = Path(__file__).parent.parent / "weights" / "starter.pt"  # weights/starter.md describes it


def save(path, checkpoint):
    """Write a checkpoint as `write_bytes` does: a full disk keeps what was saved before."""
    write_bytes(path, to_bytes(checkpoint))


def to_bytes(checkpoint):
    content = io.BytesIO()
    torch.save({"format": FORMAT, **checkpoint}, content)
    return content.getbuffer()


def essentials(checkpoint):
    """What a checkpoint needs to be tested and to predict: the averaged weights, the settings, the text."""
    kept = {name: checkpoint[name] for name in ("step", "settings", "text", "chosen") if name in checkpoint}
    network = {**checkpoint["network"], "state": checkpoint["ema"] or checkpoint["network"]["state"]}
    return {**kept, "network": network, "ema": None}


def to_safetensors(checkpoint):
    """The bytes of a .safetensors file that `load` reads; the checkpoint's `essentials` alone fit into one."""
    from safetensors.torch import save as to_file

    network = dict(checkpoint["network"])
    state = {name: value.contiguous() for name, value in network.pop("state").items()}
    kept = {"format": FORMAT, **checkpoint, "network": network}
    return to_file(state, {"format": "pt", METADATA: json.dumps(kept)})


def read_safetensors(path):
    """A checkpoint of this project, or a bare state dict where another program wrote the file."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}
        kept = json.loads((file.metadata() or {}).get(METADATA, "null"))
    return {**kept, "network": {**kept["network"], "state": state}} if kept else state


def load(path):
    """Read any checkpoint file onto the CPU; nothing in it can run code. Settings newer than it get their defaults."""
    path = located(path)
    if not path.is_file():
        raise ValueError(f"checkpoint {path} {'is a folder: name a file in it' if path.is_dir() else 'does not exist'}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickles that are then refused
            safe = path.suffix == ".safetensors"
            checkpoint = read_safetensors(path) if safe else torch.load(path, map_location="cpu", weights_only=True)
        if is_ours(checkpoint):
            missing = PARTS - checkpoint.keys() | NETWORK_PARTS - checkpoint["network"].keys()
            if missing:
                raise KeyError(*missing)
            checkpoint["settings"] = to_plain(from_plain(checkpoint["settings"]))
    except PermissionError:
        raise
    except Exception:  # a damaged archive fails in many ways: zip, pickle, unicode and type errors
        raise ValueError(f"{path} is not a checkpoint, is damaged, or holds more than tensors and numbers") from None
    return checkpoint


def located(path):
    """The file of a checkpoint; the name `starter` stands for the weights that come with the project."""
    return STARTER if str(path) == "starter" else Path(path)


def is_ours(checkpoint):
    return checkpoint.get("format") == FORMAT and isinstance(checkpoint.get("network"), dict)


def selection(checkpoint):
    """How a checkpoint was chosen, in words."""
    chosen = checkpoint.get("chosen") if is_ours(checkpoint) else None
    if chosen == "best":
        return f"the best PSNR on {from_plain(checkpoint['settings']).data.chosen_on}"
    return "the last step" if chosen == "last" else "not recorded"


@contextmanager
def naming(path):
    """Name the checkpoint's file in a ValueError about what it holds."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"checkpoint {path}: {error}") from None
