"""Checkpoints as networks: this project's, and those of the published MixDehazeNet and MixCLDehazeNet."""

import re

import torch

from .build import build_model, describe, load_exactly, restore
from .mixdehazenet import SIZES

# Published names and ours, # standing for a number; the first that fits, in either direction. Others are the same.
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


def is_published(saved):
    """Whether a loaded checkpoint holds a published network, bare or in a wrapper that `unwrap` knows."""
    return bool(find_states(saved))


def needs_text(saved):
    """Whether a published checkpoint is MixCLDehazeNet's, which lacks the text embeddings that it was trained with."""
    return any(name.startswith("text_emb.") for name in unwrap(saved))


def load_published(saved, text=None):
    """Build the network of a published MixDehazeNet or MixCLDehazeNet checkpoint.

    saved: the state dict, or any dict around it (see `unwrap`).
    text: K x D text embeddings, which MixCLDehazeNet checkpoints lack and MixDehazeNet ones do not need. With one-hot
    `prob` the network's outputs are the published ones for that class's text.
    Returns the network in evaluation mode. Raises ValueError naming missing, unexpected or misshapen tensors.
    """
    published = unwrap(saved)
    size, fusion = find_size(published), "parametric" if needs_text(published) else "none"
    if fusion == "parametric" and text is None:
        raise ValueError("a MixCLDehazeNet checkpoint lacks its text embeddings: name a labelled split by --text")
    network = build_model(size, fusion, text=text)
    state = {rename(name): value for name, value in published.items() if not WITHOUT_EFFECT.fullmatch(name)}
    if fusion == "parametric":
        state["text"] = network.text
        for name in set(AS_KERNELS) & set(state):
            state[name] = state[name].flatten()
    load_exactly(network, state)
    return network.eval()


def published_state(network):
    """The state dict of a network under the published names and shapes, which `load_published` reads back.

    A network with the parametric fusion becomes a MixCLDehazeNet without the branch that has no effect and without its
    text embeddings, as published ones are. Raises ValueError for a network that the published code does not have.
    """
    size, fusion, merge, _, own = describe(network).values()
    if size == "n" or fusion == "calip" or merge != "concat":
        raise ValueError(
            f"a network of size {size} with fusion {fusion} ({merge}) has no published form: the published ones are of "
            "size t, s, b or l, with fusion none or parametric (concat)"
        )
    own.pop("text", None)
    state = {rename(name, back=True): x[:, None, None] if name in AS_KERNELS else x for name, x in own.items()}
    if fusion == "parametric":
        state["text_emb.k2.bias"] = torch.zeros_like(network.fusion.key_weight)  # cancels
    return state


def unwrap(saved):
    """The published state dict in a loaded checkpoint of any trainer: {published name: tensor}.

    Trainers keep it in a dict ("params", "state_dict", "model" ...), prefix its names ("module.", "net.",
    "_orig_mod." ...), or both. Of several state dicts the averaged one is taken ("params_ema", "ema_model." ...), else
    the first. Raises ValueError without one.
    """
    states = find_states(saved)
    if not states:
        raise ValueError(f"not a published checkpoint: no dict in it holds a tensor named ...{ANCHOR}")
    averaged = [state for place, state in states.items() if AVERAGED.search(place)]
    return (averaged or list(states.values()))[0]


def find_states(saved, place="", depth=5):
    """{place: state dict} of every published network in nested dicts. place: the keys and the prefix before it."""
    found = {}
    if isinstance(saved, dict) and depth:
        tensors = {str(name).replace(COMPILED, ""): value for name, value in saved.items() if torch.is_tensor(value)}
        for prefix in [name.removesuffix(ANCHOR) for name in tensors if name.endswith(ANCHOR)]:
            inside = [name for name in tensors if name.startswith(prefix)]
            found[f"{place}.{prefix}"] = {name.removeprefix(prefix): tensors[name] for name in inside}
        for key, value in saved.items():
            found |= find_states(value, f"{place}.{key}", depth - 1)
    return found


def find_size(published):
    """The size whose blocks a stage are those of the names. Raises ValueError where none has them."""
    blocks = {match.groups() for name in published if (match := re.match(r"layer(\d)\.blocks\.(\d+)\.", name))}
    depths = tuple(sum(stage == str(i) for stage, _ in blocks) for i in range(1, 6))
    for size, (_, expected) in SIZES.items():
        if depths == expected and size != "n":
            return size
    raise ValueError(f"not a published size: {depths} blocks a stage; t, s, b, l have (1, 1, 2, 1, 1) times 1, 2, 4, 8")


def rename(name, back=False):
    """Our name of a published tensor; `back`: the published name of one of ours."""
    for pair in NAMES:
        pattern, other = reversed(pair) if back else pair
        if match := re.match(re.escape(pattern).replace(r"\#", r"(\d+)"), name):
            numbers = iter(match.groups())
            return re.sub("#", lambda _, numbers=numbers: next(numbers), other) + name[match.end() :]
    return name
