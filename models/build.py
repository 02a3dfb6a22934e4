"""A network from names, and a fusion network from a plain one."""

import torch

from .fusion import FUSIONS
from .mixdehazenet import SIZES, MixDehazeNet, padded

MERGES = ("concat", "add")


def build_model(size="s", fusion="calip", merge="concat", text=None, window=None):
    """Build a freshly initialised network: see MixDehazeNet.forward.

    size: "n", "t", "s", "b" or "l". fusion: "calip", "parametric" or "none". merge: "concat" or "add".
    text: K x D, one unit-length text embedding a class; needed unless fusion is "none".
    window: pixels a side over which "calip" takes the image's means in evaluation mode, such as the crop that the
    network is trained on; None: over the whole frame. Raises ValueError for an unknown name or missing text.
    """
    for name, value, choices in (("size", size, SIZES), ("fusion", fusion, FUSIONS), ("merge", merge, MERGES)):
        if value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
    if fusion == "none":
        return MixDehazeNet(size)
    if text is None or text.ndim != 2 or not text.numel():
        raise ValueError(f"fusion {fusion!r} needs text embeddings, a K x D tensor")
    if window is not None and not (type(window) is int and window > 0):
        raise ValueError(f"window must be a number of pixels or None, got {window!r}")
    text = torch.as_tensor(text, dtype=torch.get_default_dtype()).clone()
    window = window and padded(window)  # a small crop is extended before it is trained on
    return MixDehazeNet(size, FUSIONS[fusion](text.shape[1], merge, SIZES[size][0][0], window), merge, text)


def describe(network):
    """What `restore` needs, in plain Python and tensors: the names that built the network, and its state dict."""
    fusion = next(name for name, kind in FUSIONS.items() if type(network.fusion) is (kind or type(None)))
    names = {"size": network.size, "fusion": fusion, "merge": network.merge}
    return {**names, "window": getattr(network.fusion, "window", None), "state": network.state_dict()}


def restore(description, state=None):
    """Rebuild a network from what `describe` returned, in evaluation mode; `state` replaces its state dict."""
    state = state or description["state"]
    names = [description[key] for key in ("size", "fusion", "merge")]
    network = build_model(*names, text=state.get("text"), window=description.get("window"))
    load_exactly(network, state)
    return network.eval()


def start_from(network, source):
    """Give a network the weights of another of the same size; the text embeddings stay its own.

    A fusion network starts at exactly the outputs of a plain source: with merge "concat" the entrance convolution's
    weights for the extra channels are zero, with "add" the layer that makes the added channels is. The fusion's other
    parameters keep their fresh values.
    """
    if network.size != source.size:
        raise ValueError(f"the weights are of a network of size {source.size}, not {network.size}")
    own, state = network.state_dict(), source.state_dict()
    if network.fusion is not None:
        state["text"] = network.text
    if network.fusion is not None and source.fusion is None:
        last = ("fusion.project.", "fusion.out.") if network.merge == "add" else ()
        for name, value in own.items():
            if name.startswith("fusion."):
                state[name] = torch.zeros_like(value) if name.startswith(last) else value
        extra = torch.zeros_like(own["patch_embed.weight"][:, 3:])
        state["patch_embed.weight"] = torch.cat([state["patch_embed.weight"], extra], dim=1)
    load_exactly(network, state)


def load_exactly(network, state):
    """Load a state dict; ValueError names the tensors that are missing, unexpected or misshapen."""
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"the weights do not fit this network: {one_line(error)}") from None


def one_line(error):
    """The first 300 characters of an error's message, on one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__
