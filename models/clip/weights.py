"""Weights of CLIP encoders: by tag from the hub, or from a local file or folder; no file can run code."""

import json
import os
import pickle
import threading
import warnings
import zipfile
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from utils.files import sha256

from ..build import load_exactly
from .torchscript import is_torchscript, read_torchscript

ENDINGS = (".safetensors", ".pt", ".pth", ".bin")
PREFERRED = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")
NO_WEIGHTS = ("input_resolution", "context_length", "vocab_size")  # scalars in OpenAI's archives
HUB_SECONDS = 6  # for the hub's first answer
WAYS_OUT = (
    "give a local file or folder as text.weights, set text.encoder=stand-in with known labels in each split's "
    "domains.csv, or train without text by model.fusion=none"
)


def local_file(weights):
    """The file that `weights` names: itself, or the weights in a folder; None for a tag.

    Raises ValueError for a path that leads nowhere, and for a folder of several weights.
    """
    path = Path(weights).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        found = [path / name for name in PREFERRED if (path / name).is_file()]
        found = found[:1] or sorted(entry for entry in path.iterdir() if entry.suffix in ENDINGS)
        if len(found) != 1:
            names = ", ".join(entry.name for entry in found) or f"no {', '.join(ENDINGS)} file"
            raise ValueError(f"text.weights={weights} holds {names}: give the weights file itself")
        return found[0]
    if path.suffix in ENDINGS or len(path.parts) > 1:
        raise ValueError(f"text.weights={weights} does not exist: give a file, a folder or an open_clip tag")
    return None


def identify(weights):
    """Name weights by content: the tag, "sha256:HEX" of a local file, or the path as given where there is no file."""
    try:
        path = local_file(weights)
    except ValueError:
        return str(weights)
    return f"sha256:{sha256_of(path.resolve(), path.stat().st_size, path.stat().st_mtime_ns)}" if path else str(weights)


@lru_cache
def sha256_of(path, size, modified):
    """The file's SHA-256 in hex, computed once for a size and time of modification."""
    return sha256(path)


def find_tag(architecture, tag):
    """open_clip's entry for a tag: where its weights are, and their preprocessing. ValueError lists the known tags."""
    import open_clip

    entry = open_clip.get_pretrained_cfg(architecture, tag)
    if entry:
        return entry
    known = ", ".join(open_clip.list_pretrained_tags_by_model(architecture)) or "none"
    others = ", ".join(open_clip.list_pretrained_models_by_tag(tag)[:4])
    hint = f"; {tag} belongs to {others}" if others else ""
    raise ValueError(
        f"text.weights={tag} is no local file or folder, and no tag of {architecture} (its tags: {known}){hint}"
    )


def fetch(entry, tag):
    """The local file of a tag's weights, downloaded by open_clip if this machine does not have it yet.

    Raises ValueError with the ways out when the hub does not answer within seconds.
    """
    from huggingface_hub import try_to_load_from_cache
    from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
    from open_clip.pretrained import download_pretrained

    repository, name = os.path.split(entry["hf_hub"])
    for file in [name] if name else [HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME]:
        cached = try_to_load_from_cache(repository, file)
        if isinstance(cached, str):
            return Path(cached)
    try:
        ask_hub()
        return Path(download_pretrained(entry))
    except Exception as error:  # of the HTTP client, the hub's package or the disk: too many kinds to name
        raise ValueError(
            f"text.weights={tag} cannot be had from the hub ({first_line(error)}): connect, {WAYS_OUT}"
        ) from None


def ask_hub():
    """Raise where the hub does not answer within HUB_SECONDS: without a connection its own client retries for long."""
    from huggingface_hub import constants, get_session

    problems = [TimeoutError(f"no answer in {HUB_SECONDS} s")]

    def ask():
        try:
            get_session().head(constants.ENDPOINT, timeout=HUB_SECONDS)
            problems.clear()
        except Exception as error:
            problems[:] = [error]

    asking = threading.Thread(target=ask, daemon=True)  # resolving a name can outlast the client's timeout
    asking.start()
    asking.join(HUB_SECONDS)
    for problem in problems:
        raise problem


def load_weights(encoder, path, architecture):
    """Load a .safetensors file, a state dict, a training checkpoint of open_clip or a TorchScript archive.

    Raises ValueError naming the file when it is broken, unsafe or of another architecture.
    """
    from open_clip import load_checkpoint

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, about storage types and pickles that it then refuses
            refuse_bomb(path)
            if is_torchscript(path):  # torch would run it
                state = read_torchscript(path)
                dropped = [name for name in state if name in NO_WEIGHTS or name.endswith("attn_mask")]
                load_exactly(encoder, {name: value for name, value in state.items() if name not in dropped})
            else:
                refuse_resizing(encoder, path)
                load_checkpoint(encoder, str(path))
    except Exception as error:  # a broken file fails in many ways: header, zip, pickle, unicode and type errors
        reason = first_line(error)
        if isinstance(error, pickle.UnpicklingError):  # torch's message recommends to load it all the same
            reason = "it is broken or holds more than tensors"
        elif isinstance(error, (AttributeError, StopIteration)):
            reason = "it holds no state dict"
        raise ValueError(
            f"text.weights={path} cannot be read as weights of text.encoder={architecture}: {reason}"
        ) from None


def refuse_bomb(path):
    """Raise ValueError for an archive that unpacks to far more than its size: weights are stored uncompressed."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > 2 * path.stat().st_size + 2**20:
                raise ValueError("it unpacks to far more than its size")


def refuse_resizing(encoder, path):
    """Raise ValueError for positions of another image or text size, which open_clip would resize silently."""
    from open_clip.factory import load_state_dict

    state, own = load_state_dict(str(path)), encoder.state_dict()
    for name in own.keys() & state.keys():
        if name.endswith("positional_embedding") and own[name].shape != state[name].shape:
            raise ValueError(f"{name} is {tuple(state[name].shape)}, not {tuple(own[name].shape)}")


def sidecar(path):
    """The open_clip_config.json beside a weights file, as a dict; empty where there is no such file."""
    path = path.with_name("open_clip_config.json")
    try:
        config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {first_line(error)}") from None
    return config if isinstance(config, dict) else {}


def trained_with_quick_gelu(path):
    """Whether a local file's weights were trained with QuickGELU; None where nothing in or beside the file tells.

    OpenAI's TorchScript archives were. A name or open_clip_config.json may tell; open_clip knows the SHA-256 of some.
    """
    import open_clip

    with suppress(Exception):  # of a broken archive: loading it tells what is wrong
        if is_torchscript(path):
            return True
    if "quickgelu" in path.stem.lower():
        return True
    model = sidecar(path).get("model_cfg")
    if isinstance(model, dict):
        return bool(model.get("quick_gelu", False))
    digest = identify(path).removeprefix("sha256:")
    for architecture, tag in open_clip.list_pretrained():
        entry = open_clip.get_pretrained_cfg(architecture, tag)
        url = Path(entry.get("url", ""))  # .../SHA256/ViT-B-32.pt, or the first 8 digits: .../vit_b_32-SHA256.pt
        if any(len(known) >= 8 and digest.startswith(known) for known in (url.parent.name, url.stem[-8:])):
            return bool(entry.get("quick_gelu", False))
    return None


def first_line(error):
    """The first line of an error that tells the cause."""
    text = getattr(error, "strerror", None) or str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [type(error).__name__]
    of_torch = lines[0].startswith("Error(s) in loading state_dict") and len(lines) > 1  # a heading
    return lines[of_torch].rstrip(":. ")[:200]
