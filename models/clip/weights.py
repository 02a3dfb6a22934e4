"""Weights of CLIP encoders: by tag from the hub, or from a local file or folder; nothing in a file can run code."""

import hashlib
import json
import os
import pickle
import threading
import warnings
import zipfile
from functools import lru_cache
from pathlib import Path

import torch

from .torchscript import is_torchscript, read_torchscript

ENDINGS = (".safetensors", ".pt", ".pth", ".bin")
PREFERRED = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")
OPENAI = {"input_resolution", "context_length", "vocab_size"}  # scalars that only OpenAI's own files hold
HUB_SECONDS = 6  # for the hub's first answer
WAYS_OUT = (
    "give a local file or folder as text.weights, "
    "or set text.encoder=stand-in with known labels in each split's domains.csv"
)


def local_file(weights):
    """The file that `weights` names: itself, or the weights in a folder; None where it is no path but a tag.

    Raises ValueError for a path that leads nowhere.
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
    """What tells weights apart: the tag, or "sha256:HEX" of the local file, or the path as given where it is absent."""
    try:
        path = local_file(weights)
    except ValueError:
        return str(weights)
    return f"sha256:{sha256(path.resolve(), path.stat().st_size, path.stat().st_mtime_ns)}" if path else str(weights)


@lru_cache
def sha256(path, size, modified):
    """The file's SHA-256 in hex, computed once for a size and time of modification."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def find_tag(architecture, tag):
    """open_clip's entry for a tag: where its weights are and how they see images. ValueError names what there is."""
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
    """The local file of a tag's weights, downloaded from the hub if this machine does not have it yet.

    Raises ValueError with the ways out when the hub does not answer within seconds.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME

    repository, file = os.path.split(entry["hf_hub"])
    files = [file] if file else [HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME]
    for file in files:
        cached = try_to_load_from_cache(repository, file)
        if isinstance(cached, str):
            return Path(cached)
    try:
        return Path(hf_hub_download(repository, first_on_hub(repository, files)))
    except Exception as error:  # of the HTTP client, the hub's package or the disk: too many kinds to name
        raise ValueError(
            f"text.weights={tag} cannot be had from the hub ({first_line(error)}): connect, or {WAYS_OUT}"
        ) from None


def first_on_hub(repository, files):
    """The first of the files that the hub has. One question a file, no retries, and no longer than HUB_SECONDS."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError

    answers = []

    def ask():
        for file in files:
            try:
                get_hf_file_metadata(hf_hub_url(repository, file), timeout=HUB_SECONDS)
                answers.append(file)
                return
            except EntryNotFoundError as error:
                problem = error
            except Exception as error:
                problem = error
                break
        answers.append(problem)

    asking = threading.Thread(target=ask, daemon=True)  # resolving a name can take longer than any timeout allows
    asking.start()
    asking.join(HUB_SECONDS)
    answer = answers[0] if answers else TimeoutError(f"no answer in {HUB_SECONDS} s")
    if isinstance(answer, Exception):
        raise answer
    return answer


def read_state(path):
    """{name: tensor} of a .safetensors file, a state dict, a training checkpoint of open_clip or a TorchScript archive.

    Raises ValueError naming the file when it holds anything else.
    """
    try:
        refuse_bomb(path)
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        elif is_torchscript(path):
            state = {name: value for name, value in read_torchscript(path).items() if not name.endswith("attn_mask")}
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of pickles that are then refused
                state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken file fails in many ways: header, zip, pickle, unicode and type errors
        unsafe = isinstance(error, pickle.UnpicklingError)  # torch's message then recommends to load it all the same
        reason = "it is broken or holds more than tensors" if unsafe else first_line(error)
        raise ValueError(f"text.weights={path} cannot be read as weights: {reason}") from None
    state = state.get("state_dict", state) if isinstance(state, dict) else None
    if not isinstance(state, dict) or not state or not all(torch.is_tensor(value) for value in state.values()):
        raise ValueError(f"text.weights={path} holds no state dict of tensors")
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    return state


def refuse_bomb(path):
    """ValueError for an archive that unpacks to far more than its size: weights are stored without compression."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > 2 * path.stat().st_size + 2**20:
                raise ValueError("it unpacks to far more than its size")


def sidecar(path):
    """The open_clip_config.json beside a weights file, as a dict; empty where there is none."""
    path = path.with_name("open_clip_config.json")
    try:
        config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {first_line(error)}") from None
    return config if isinstance(config, dict) else {}


def trained_with_quick_gelu(path, state):
    """Whether a local file's weights were trained with QuickGELU; None where nothing in or beside the file tells.

    OpenAI's own files were; a name or open_clip_config.json may say it; open_clip knows the SHA-256 of some files.
    """
    import open_clip

    if OPENAI <= set(state) or "quickgelu" in path.stem.lower():
        return True
    model = sidecar(path).get("model_cfg")
    if isinstance(model, dict):
        return bool(model.get("quick_gelu", False))
    digest = identify(path).removeprefix("sha256:")
    for architecture, tag in open_clip.list_pretrained():
        entry = open_clip.get_pretrained_cfg(architecture, tag)
        published = Path(entry.get("url", "")).stem.rsplit("-", 1)[-1], Path(entry.get("url", "")).parent.name
        if any(len(known) >= 8 and digest.startswith(known) for known in published):
            return bool(entry.get("quick_gelu", False))
    return None


def first_line(error):
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(":. ")[:200]
