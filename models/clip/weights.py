"""Weights of CLIP encoders: by open_clip's tag from the hub, or from a local file."""

import os
import threading
import warnings
from pathlib import Path

import torch

from utils.files import sha256

from ..build import load_exactly

ENDINGS = (".safetensors", ".pt", ".pth", ".bin")
SCALARS = ("input_resolution", "context_length", "vocab_size")  # beside the weights in OpenAI's archives
HUB_SECONDS = 6  # for the hub's first answer
REMEDY = (
    "give a local file as text.weights, set text.encoder=stand-in with known labels in each split's domains.csv, or "
    "train without text by model.fusion=none"
)


def local_file(weights):
    """The path of a local file, or None for a tag. Raises ValueError for a path without a file."""
    path = Path(weights).expanduser()
    if path.is_file():
        return path
    if path.suffix in ENDINGS or len(path.parts) > 1 or path.is_dir():
        what = "is a folder: give the weights file in it" if path.is_dir() else "does not exist"
        raise ValueError(f"text.weights={weights} {what}")
    return None


def identify(weights):
    """Name weights by content: the tag, "sha256:HEX" of a local file, or the path as given where there is no file."""
    path = Path(weights).expanduser()
    return f"sha256:{sha256(path)}" if path.is_file() else str(weights)


def find_tag(architecture, tag):
    """open_clip's entry for a tag: where its weights are, and their preprocessing.

    Raises ValueError with the known tags, and for an architecture whose activation the weights were not trained with:
    open_clip only warns, and the probabilities come out wrong.
    """
    import open_clip

    entry = open_clip.get_pretrained_cfg(architecture, tag)
    if entry:
        refuse_activation(architecture, tag, entry.get("quick_gelu", False))
        return entry
    known = ", ".join(open_clip.list_pretrained_tags_by_model(architecture)) or "none"
    others = ", ".join(open_clip.list_pretrained_models_by_tag(tag)[:4])
    hint = f"; {tag} belongs to {others}" if others else ""
    raise ValueError(f"text.weights={tag} is neither a local file nor a tag of {architecture} (tags: {known}){hint}")


def refuse_activation(architecture, weights, quick_gelu):
    """Raise ValueError when weights trained with QuickGELU meet an architecture with GELU, or the reverse."""
    import open_clip

    if bool(open_clip.get_model_config(architecture).get("quick_gelu")) == quick_gelu:
        return
    has, needs = ("GELU", "QuickGELU") if quick_gelu else ("QuickGELU", "GELU")
    other = f"{architecture}-quickgelu" if quick_gelu else architecture.removesuffix("-quickgelu")
    raise ValueError(
        f"text.weights={weights} was trained with {needs}, text.encoder={architecture} computes {has}: "
        f"set text.encoder={other}"
    )


def fetch(entry, tag):
    """The local file of a tag's weights, downloaded by open_clip unless this machine has it.

    Raises ValueError with the remedies when the hub does not answer within seconds.
    """
    from huggingface_hub import try_to_load_from_cache
    from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
    from open_clip.pretrained import download_pretrained

    try:
        repository, name = os.path.split(entry["hf_hub"])
        for file in [name] if name else [HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME]:
            cached = try_to_load_from_cache(repository, file)
            if isinstance(cached, str):
                return Path(cached)
        ask_hub()
        return Path(download_pretrained(entry))
    except Exception as error:  # of the HTTP client, the hub's package or the disk: too many kinds to name
        raise ValueError(
            f"text.weights={tag} cannot be had from the hub ({first_line(error)}): connect, {REMEDY}"
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
    """Load a .safetensors file, a state dict, a training checkpoint of open_clip, or OpenAI's TorchScript archive.

    Raises ValueError naming the file when it is broken, unsafe or of another architecture.
    """
    from open_clip import load_checkpoint

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, about TorchScript and about pickles that it then refuses
            if state := read_torchscript(path):
                refuse_activation(architecture, path, quick_gelu=True)
                load_exactly(encoder, state)
            else:
                load_checkpoint(encoder, str(path))
    except Exception as error:  # a broken file fails in many ways: header, zip, pickle, unicode and type errors
        named = isinstance(error, (ValueError, RuntimeError))
        reason = first_line(error) if named else "it is broken or holds no state dict of tensors"
        raise ValueError(
            f"text.weights={path} cannot be read as weights of text.encoder={architecture}: {reason}"
        ) from None


def read_torchscript(path):
    """The state dict of a TorchScript archive, None for another file. Its code cannot leave TorchScript."""
    try:
        state = torch.jit.load(path, map_location="cpu").state_dict()
    except RuntimeError:
        return None
    return {name: value for name, value in state.items() if name not in SCALARS}


def first_line(error):
    """The first line of an error that tells the cause."""
    text = getattr(error, "strerror", None) or str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [type(error).__name__]
    of_torch = lines[0].startswith("Error(s) in loading state_dict") and len(lines) > 1  # a heading
    return lines[of_torch].rstrip(":. ")[:200]
