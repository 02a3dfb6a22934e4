"""Checkpoints as networks: this project's, and those of the published MixDehazeNet and MixCLDehazeNet."""

import re

import torch

from .build import build_model, load_exactly, restore
from .mixdehazenet import SIZES

# Published name -> ours, the first pattern that fits; anything else keeps its name and is then reported as unexpected.
RENAMES = [
    (r"layer(\d)\.blocks\.(\d+)\.", r"stage\1.\2."),
    (r"(stage\d\.\d+)\.conv1\.", r"\1.pointwise."),
    (r"(stage\d\.\d+)\.conv2\.", r"\1.local."),
    (r"(stage\d\.\d+)\.conv3_19\.", r"\1.depthwise7."),
    (r"(stage\d\.\d+)\.conv3_13\.", r"\1.depthwise5."),
    (r"(stage\d\.\d+)\.conv3_7\.", r"\1.depthwise3."),
    (r"(stage\d\.\d+)\.mlp\.", r"\1.mlp1."),
    (r"(stage\d\.\d+)\.Wv\.", r"\1.value."),
    (r"(stage\d\.\d+)\.Wg\.1\.", r"\1.gate."),
    (r"(stage\d\.\d+)\.ca\.1\.", r"\1.channel_attention.0."),
    (r"(stage\d\.\d+)\.ca\.3\.", r"\1.channel_attention.2."),
    (r"(stage\d\.\d+)\.pa\.", r"\1.pixel_attention."),
    (r"patch_embed\.proj\.", "patch_embed."),
    (r"patch_unembed\.proj\.0\.", "patch_unembed."),
    (r"patch_merge(\d)\.proj\.", r"down\1."),
    (r"patch_split(\d)\.proj\.", r"up\1."),
    (r"text_emb\.q1\.", "fusion.query."),
    (r"text_emb\.k2\.weight", "fusion.key_weight"),
    (r"text_emb\.v2\.weight", "fusion.value_weight"),
    (r"text_emb\.v2\.bias", "fusion.value_bias"),
    (r"text_emb\.postProj_s\.", "fusion.out."),
]

# The branch that updates the text is computed and thrown away; the key's bias cancels in the softmax.
WITHOUT_EFFECT = re.compile(r"text_emb\.((k1|v1|q2|postProj_t)\.(weight|bias)|k2\.bias)")


def network_of(saved, text=None):
    """Build the network of a loaded checkpoint, in evaluation mode.

    saved: this project's checkpoint, whose averaged weights are taken where it has them, or a published one.
    text: K x D text embeddings for a published MixCLDehazeNet.
    Raises ValueError where it is neither, and naming what does not fit.
    """
    if is_published(saved):
        return load_published(saved, text)
    if not {"format", "network"} <= saved.keys():
        raise ValueError("neither a checkpoint of this project nor a published one")
    return restore(saved["network"], saved["ema"] or None)


def is_published(state_dict):
    """Whether a loaded checkpoint looks like a published one: bare or wrapped, with or without "module."."""
    inner = state_dict.get("state_dict", state_dict) if isinstance(state_dict, dict) else None
    return isinstance(inner, dict) and any("patch_embed.proj." in str(name) for name in inner)


def needs_text(state_dict):
    """Whether a published checkpoint is MixCLDehazeNet's, which lacks the text embeddings that it was trained with."""
    return any("text_emb." in name for name in unwrap(state_dict))


def load_published(state_dict, text=None):
    """Build the network of a published MixDehazeNet or MixCLDehazeNet checkpoint.

    state_dict: the bare state dict, or {"state_dict": ...} around it; names may begin with "module.".
    text: K x D text embeddings, which MixCLDehazeNet checkpoints lack and MixDehazeNet ones do not need. With one-hot
    `prob` the network's outputs are the published ones for that class's text.
    Returns the network in evaluation mode. Raises ValueError naming missing, unexpected or misshapen tensors.
    """
    published = unwrap(state_dict)
    size, fusion = find_size(published), "parametric" if needs_text(published) else "none"
    if fusion == "parametric" and text is None:
        raise ValueError("a MixCLDehazeNet checkpoint holds no text embeddings: give them as text, a K x D tensor")
    network = build_model(size, fusion, text=text)
    state = {}
    for name, value in published.items():
        if not WITHOUT_EFFECT.fullmatch(name):
            state[rename(name)] = value
    if fusion == "parametric":
        state["text"] = network.text
        for name in {"fusion.key_weight", "fusion.value_weight"} & set(state):  # published as 5 x 1 x 1
            state[name] = state[name].flatten()
    load_exactly(network, state)
    return network.eval()


def unwrap(state_dict):
    """The bare state dict without "module." prefixes. Raises ValueError when it holds anything but tensors."""
    inner = state_dict.get("state_dict", state_dict)
    if not inner or not all(isinstance(name, str) and torch.is_tensor(value) for name, value in inner.items()):
        raise ValueError("not a published checkpoint: it should be a state dict of tensors, or {'state_dict': ...}")
    if all(name.startswith("module.") for name in inner):
        inner = {name.removeprefix("module."): value for name, value in inner.items()}
    return inner


def find_size(published):
    """The size whose blocks a stage are those of the names. Raises ValueError where none has them."""
    blocks = {match.groups() for name in published if (match := re.match(r"layer(\d)\.blocks\.(\d+)\.", name))}
    depths = tuple(sum(stage == str(i) for stage, _ in blocks) for i in range(1, 6))
    for size, (_, expected) in SIZES.items():
        if depths == expected and size != "n":
            return size
    raise ValueError(f"not a published size: {depths} blocks a stage; t, s, b, l have (1, 1, 2, 1, 1) times 1, 2, 4, 8")


def rename(name):
    for pattern, ours in RENAMES:
        name = re.sub(rf"^{pattern}", ours, name)
    return name
