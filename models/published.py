"""Checkpoints as networks: this project's, and those of the published MixDehazeNet and MixCLDehazeNet."""

import re

import torch

from .build import build_model, load_exactly, restore
from .mixdehazenet import SIZES

# How published names and ours begin, # being a number: the first pair that fits counts. Other names are the same.
NAMES = [
    ("layer#.blocks.#.conv1.", "stage#.#.pointwise."),
    ("layer#.blocks.#.conv2.", "stage#.#.local."),
    ("layer#.blocks.#.conv3_19.", "stage#.#.depthwise7."),
    ("layer#.blocks.#.conv3_13.", "stage#.#.depthwise5."),
    ("layer#.blocks.#.conv3_7.", "stage#.#.depthwise3."),
    ("layer#.blocks.#.mlp.", "stage#.#.mlp1."),
    ("layer#.blocks.#.Wv.", "stage#.#.value."),
    ("layer#.blocks.#.Wg.1.", "stage#.#.gate."),
    ("layer#.blocks.#.ca.1.", "stage#.#.channel_attention.0."),
    ("layer#.blocks.#.ca.3.", "stage#.#.channel_attention.2."),
    ("layer#.blocks.#.pa.", "stage#.#.pixel_attention."),
    ("layer#.blocks.#.", "stage#.#."),
    ("patch_embed.proj.", "patch_embed."),
    ("patch_unembed.proj.0.", "patch_unembed."),
    ("patch_merge#.proj.", "down#."),
    ("patch_split#.proj.", "up#."),
    ("fusion#.", "join#."),
    ("text_emb.q1.", "fusion.query."),
    ("text_emb.k2.weight", "fusion.key_weight"),
    ("text_emb.v2.weight", "fusion.value_weight"),
    ("text_emb.v2.bias", "fusion.value_bias"),
    ("text_emb.postProj_s.", "fusion.out."),
]
AS_KERNELS = ("fusion.key_weight", "fusion.value_weight")  # 5 numbers, published as 5 x 1 x 1

# The branch that updates the text is computed and thrown away; the key's bias cancels in the softmax.
WITHOUT_EFFECT = re.compile(r"text_emb\.((k1|v1|q2|postProj_t)\.(weight|bias)|k2\.bias)")

ANCHOR = "layer1.blocks.0.conv3_19.weight"  # in every published checkpoint; what stands before it is a trainer's
COMPILED = "_orig_mod."  # what torch.compile puts before the names of a compiled module
AVERAGED = re.compile(r"(?<![a-z])(ema|swa|avg|averaged?)(?![a-z])", re.IGNORECASE)


def network_of(saved, text=None):
    """Build the network of a checkpoint, in evaluation mode: this project's or, with its `text`, a published one.

    Averaged weights are preferred. Raises ValueError for another file, and naming what does not fit.
    """
    if is_published(saved):
        return load_published(saved, text)
    if not {"format", "network"} <= saved.keys():
        raise ValueError("neither a checkpoint of this project nor a published one")
    return restore(saved["network"], saved["ema"])


def is_published(saved):
    """Whether a loaded checkpoint holds a published network, bare or in a wrapper that `unwrap` knows."""
    return any(name.endswith(ANCHOR) for name, _ in named_tensors(saved))


def needs_text(saved):
    """Whether a published checkpoint is MixCLDehazeNet's, which lacks the text embeddings that it was trained with."""
    return any(name.startswith("text_emb.") for name in unwrap(saved))


def load_published(saved, text=None):
    """Build the network of a published MixDehazeNet or MixCLDehazeNet checkpoint, in evaluation mode.

    saved: the state dict, or any dict around it (see `unwrap`). text: the K x D text embeddings that MixCLDehazeNet
    checkpoints lack; with one-hot `prob` the outputs are the published ones for that class's text.
    """
    published = unwrap(saved)
    fusion = "parametric" if needs_text(published) else "none"
    if fusion == "parametric" and text is None:
        raise ValueError("a MixCLDehazeNet checkpoint lacks its text embeddings: name a labelled split by --text")
    network = build_model(find_size(published), fusion, text=text)
    state = {rename(name): value for name, value in published.items() if not WITHOUT_EFFECT.fullmatch(name)}
    if fusion == "parametric":
        state["text"] = network.text
        state |= {name: state[name].flatten() for name in AS_KERNELS if name in state}
    load_exactly(network, state)
    return network.eval()


def unwrap(saved):
    """The published state dict in a loaded checkpoint of any trainer: {published name: tensor}.

    Trainers keep it in a dict ("params", "state_dict", "model" ...), prefix its names ("module.", "net.",
    "_orig_mod." ...), or both. Of several state dicts the averaged one is taken ("params_ema", "ema_model." ...), else
    the first. Raises ValueError without one.
    """
    tensors = dict(named_tensors(saved))
    prefixes = [name.removesuffix(ANCHOR) for name in tensors if name.endswith(ANCHOR)]
    if not prefixes:
        raise ValueError(f"not a published checkpoint: no dict in it holds a tensor named ...{ANCHOR}")
    prefix = next((prefix for prefix in prefixes if AVERAGED.search(prefix)), prefixes[0])
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def named_tensors(saved, place=""):
    """Pairs (name, tensor) of nested dicts, whose keys are joined by dots."""
    for key, value in saved.items():
        if isinstance(value, dict):
            yield from named_tensors(value, f"{place}{key}.")
        elif torch.is_tensor(value):
            yield f"{place}{key}".replace(COMPILED, ""), value


def find_size(published):
    """The published size with that many blocks in the first stage. Raises ValueError for another number."""
    blocks = {match[1] for name in published if (match := re.match(r"layer1\.blocks\.(\d+)\.", name))}
    for size, (_, depths) in SIZES.items():
        if size != "n" and depths[0] == len(blocks):
            return size
    raise ValueError(f"not a published size: {len(blocks)} blocks in the first stage; t, s, b, l have 1, 2, 4, 8")


def rename(name):
    """Our name of a published tensor."""
    for pattern, ours in NAMES:
        if match := re.match(re.escape(pattern).replace(r"\#", r"(\d+)"), name):
            for number in match.groups():
                ours = ours.replace("#", number, 1)
            return ours + name[match.end() :]
    return name
