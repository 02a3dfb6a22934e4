"""CLIP encoders of open_clip: an architecture, its tokenizer, and weights by tag from the hub or from a local file."""

import difflib
import logging
import os
import warnings
from pathlib import Path

import torch

from utils.files import sha256

from ..build import load_exactly, one_line

SCALARS = ("input_resolution", "context_length", "vocab_size")  # beside the weights in OpenAI's archives
HUB_SECONDS = 6  # for the hub's first answer: without a connection its own client tries again for 50 s


def load_encoder(architecture, weights, device="cpu"):
    """An open_clip model in evaluation mode, float32, with its tokenizer as `.tokenizer`.

    architecture: an open_clip name, or "local-dir:FOLDER" with an open_clip_config.json. weights: a tag, downloaded
    from the hub once, or a local file. Raises ValueError when they cannot be had or do not fit each other.
    """
    path, entry = Path(weights).expanduser(), {}
    if not path.is_file():
        entry = find_tag(architecture, weights)
        path = fetch(entry, weights)
    encoder = build_encoder(architecture, entry)
    load_weights(encoder, path, architecture)
    return encoder.to(device).eval().requires_grad_(False)


def build_encoder(architecture, preprocessing=None):
    """The architecture with random weights, and its tokenizer. preprocessing: mean, std, resizing of the weights'."""
    import open_clip

    own = {name: value for name, value in (preprocessing or {}).items() if name != "size"}  # that is the architecture's
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # it warns that the weights are random: they are loaded afterwards
    try:
        encoder = open_clip.create_model(
            architecture, load_weights=False, pretrained_text=False, force_preprocess_cfg=own
        )
        encoder.tokenizer = open_clip.get_tokenizer(architecture)
    except Exception as error:  # a package that this architecture needs is missing, or its tokenizer is on the hub
        raise ValueError(f"text.encoder={architecture} cannot be built: {one_line(error)}") from None
    finally:
        logging.disable(before)
    return encoder


# ---- weights ----


def identify(weights):
    """Name weights by content: the tag, "sha256:HEX" of a local file, or the path as given where there is no file."""
    path = Path(weights).expanduser()
    return f"sha256:{sha256(path)}" if path.is_file() else str(weights)


def find_tag(architecture, tag):
    """open_clip's entry for a tag: where its weights are, and their preprocessing. ValueError names what it knows."""
    import open_clip

    known = ", ".join(open_clip.list_pretrained_tags_by_model(architecture))
    if not known:
        near = difflib.get_close_matches(architecture, open_clip.list_models(), 1, 0.4)
        hint = f": did you mean {near[0]}?" if near else ""
        raise ValueError(f"text.encoder={architecture} is no open_clip architecture with weights{hint}")
    entry = open_clip.get_pretrained_cfg(architecture, tag)
    if not entry:
        raise ValueError(f"text.weights={tag} is neither a local file nor a tag of {architecture}: {known}")
    refuse_activation(architecture, tag, entry.get("quick_gelu", False))
    return entry


def refuse_activation(architecture, weights, quick_gelu):
    """Raise ValueError when weights trained with QuickGELU meet an architecture with GELU, or the reverse.

    open_clip only warns, and the probabilities come out wrong.
    """
    import open_clip

    if bool(open_clip.get_model_config(architecture).get("quick_gelu")) != quick_gelu:
        needed = f"{architecture}-quickgelu" if quick_gelu else architecture.removesuffix("-quickgelu")
        raise ValueError(
            f"text.weights={weights} was trained with another activation than that of text.encoder={architecture}: "
            f"set text.encoder={needed}"
        )


def fetch(entry, tag):
    """The local file of a tag's weights, downloaded by open_clip unless this machine has it."""
    from huggingface_hub import constants, get_session, try_to_load_from_cache
    from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
    from open_clip.pretrained import download_pretrained

    try:
        repository, name = os.path.split(entry["hf_hub"])
        for file in [name] if name else [HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME]:
            cached = try_to_load_from_cache(repository, file)
            if isinstance(cached, str):
                return cached
        get_session().head(constants.ENDPOINT, timeout=HUB_SECONDS)
        return download_pretrained(entry)
    except Exception as error:  # of the HTTP client, the hub's package or the disk: too many kinds to name
        raise ValueError(
            f"text.weights={tag} cannot be had from the hub ({one_line(error)}): connect, give a local file as "
            "text.weights, set text.encoder=stand-in with known labels in each split's domains.csv, or train without "
            "text by model.fusion=none"
        ) from None


def load_weights(encoder, path, architecture):
    """Load a .safetensors file, a state dict, a training checkpoint of open_clip, or OpenAI's TorchScript archive.

    Raises ValueError naming the file when it is broken, unsafe or of another architecture.
    """
    from open_clip import load_checkpoint

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, about TorchScript and about pickles that it then refuses
            try:
                state = torch.jit.load(path, map_location="cpu").state_dict()  # its code cannot leave TorchScript
            except RuntimeError:  # another kind of file
                load_checkpoint(encoder, str(path))
            else:
                refuse_activation(architecture, path, quick_gelu=True)
                load_exactly(encoder, {name: value for name, value in state.items() if name not in SCALARS})
    except Exception as error:  # a broken file fails in many ways: header, zip, pickle, unicode and type errors
        reason = one_line(error) if isinstance(error, (ValueError, RuntimeError)) else "it holds no state dict"
        message = f"text.weights={path} cannot be read as weights of text.encoder={architecture}: {reason}"
        raise ValueError(message) from None
