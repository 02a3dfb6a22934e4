"""CLIP encoders of open_clip: architecture, tokenizer and weights that go together."""

import difflib
import logging

from .weights import fetch, find_tag, first_line, load_weights, local_file


def load_encoder(architecture, weights, device="cpu"):
    """An open_clip model in evaluation mode, float32, with its tokenizer as `.tokenizer`.

    architecture: an open_clip name, or "local-dir:FOLDER" with an open_clip_config.json.
    weights: an open_clip tag, downloaded from the hub once, or a local .safetensors, .pt, .pth or .bin file.
    Raises ValueError when they cannot be had (in seconds without a connection) or do not fit each other.
    """
    refuse_unknown(architecture)
    path = local_file(weights)
    entry = {} if path else find_tag(architecture, weights)
    path = path or fetch(entry, weights)
    encoder = build_encoder(architecture, entry)
    load_weights(encoder, path, architecture)
    return encoder.to(device).eval().requires_grad_(False)


def refuse_unknown(architecture):
    """Raise ValueError for an architecture that open_clip does not know, naming the nearest one."""
    import open_clip

    if architecture.startswith("hf-hub:"):
        raise ValueError(f"text.encoder={architecture}: download that repository and give it as local-dir:FOLDER")
    try:
        config = open_clip.get_model_config(architecture)
    except Exception as error:  # of a folder's open_clip_config.json
        raise ValueError(f"text.encoder={architecture} cannot be read: {first_line(error)}") from None
    if config is None:
        near = difflib.get_close_matches(architecture, open_clip.list_models(), 1, 0.4)
        hint = f"did you mean {near[0]}?" if near else "see open_clip.list_models()"
        raise ValueError(f"text.encoder={architecture} is not an open_clip architecture: {hint}")


def build_encoder(architecture, preprocessing=None):
    """The architecture with random weights, and its tokenizer.

    preprocessing: the mean, std and resizing of the weights' training; the image size is the architecture's.
    """
    import open_clip

    preprocessing = {name: value for name, value in (preprocessing or {}).items() if name != "size"}
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # it warns that the weights are random: they are loaded afterwards
    try:
        encoder = open_clip.create_model(
            architecture, load_weights=False, pretrained_text=False, force_preprocess_cfg=preprocessing
        )
        encoder.tokenizer = open_clip.get_tokenizer(architecture)
    except Exception as error:  # a package that this architecture needs is missing, or its tokenizer is on the hub
        raise ValueError(f"text.encoder={architecture} cannot be built: {first_line(error)}") from None
    finally:
        logging.disable(before)
    return encoder
