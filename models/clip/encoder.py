"""CLIP encoders of open_clip: architecture, tokenizer and weights that go together."""

import difflib
import logging

from .weights import fetch, find_tag, first_line, load_weights, local_file, sidecar, trained_with_quick_gelu


def load_encoder(architecture, weights, device="cpu"):
    """An open_clip model in evaluation mode, float32, with its tokenizer as `.tokenizer`.

    architecture: an open_clip name, or "local-dir:FOLDER" with an open_clip_config.json.
    weights: an open_clip tag, fetched from the hub once; a local .safetensors, .pt, .pth or .bin file, or its folder.
    Raises ValueError when they cannot be had (in seconds where there is no connection) or do not fit.
    """
    config = find_config(architecture)
    path = local_file(weights)
    entry = {} if path else find_tag(architecture, weights)
    refuse_activation(architecture, config, weights, trained_with_quick_gelu(path) if path else entry.get("quick_gelu"))
    path = path or fetch(entry, weights)
    encoder = build_encoder(architecture, entry or sidecar(path).get("preprocess_cfg"))
    load_weights(encoder, path, architecture)
    return encoder.to(device).eval().requires_grad_(False)


def find_config(architecture):
    """open_clip's description of an architecture. Raises ValueError naming the nearest architecture."""
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
        raise ValueError(f"text.encoder={architecture} is no open_clip architecture: {hint}")
    return config


def refuse_activation(architecture, config, weights, quick_gelu):
    """Raise ValueError when weights trained with QuickGELU meet an architecture with GELU, or the reverse.

    open_clip only warns, and the probabilities come out wrong. quick_gelu: None where unknown.
    """
    import open_clip

    if quick_gelu in (None, bool(config.get("quick_gelu", False))):
        return
    other = f"{architecture}-quickgelu" if quick_gelu else architecture.removesuffix("-quickgelu")
    remedy = f": set text.encoder={other}" if other in open_clip.list_models() else ", so they do not go together"
    has, needs = ("GELU", "QuickGELU") if quick_gelu else ("QuickGELU", "GELU")
    raise ValueError(
        f"text.weights={weights} was trained with {needs}, text.encoder={architecture} computes {has}{remedy}"
    )


def build_encoder(architecture, preprocessing=None):
    """The architecture with random weights, and its tokenizer.

    preprocessing: mean, std and resizing that the weights were trained with; the size is the architecture's.
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
