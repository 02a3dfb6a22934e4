"""A form proves itself before it serves: on the device at hand, in the precision of the run, through its graph.

The forms repeat parts of mixdehazenet.py, which may have been edited there alone; and only the user's own GPU shows
what a kernel or a graph does wrong on it. So a small network of the same code and widths is computed in both ways and
compared. The choice is the same at every start.
"""

import copy
import logging

import torch

from ..build import one_line
from ..mixdehazenet import MIN_SIDE, MixDehazeNet

ROUNDING = 1e-3  # of a tensor's norm: what the order of summation may change

logger = logging.getLogger(__name__)
choices = {}  # (task, device, dtype, layers) -> the way that was chosen, and why no better one was, or None
reports = {}  # task -> kernels_report
plain_devices = set()  # where the plain network was asked for


def choose(task, network, dtype, **ways):
    """The name of the first way that computes what the plain network does; one line says why no better one does, once.

    task: "training" or "inference". network: a MixDehazeNet or a form of it, on the device where it will run.
    ways: "graph" (the form in CUDA graphs), "form" and "plain", best first: functions (network, hazy, prob, dtype) that
    return the tensors to compare, of a plain network.
    """
    device = next(network.parameters()).device
    key = task, device, dtype, repr(network)
    if device in plain_devices:
        choices[key] = "plain", "kernels=plain"
    elif key not in choices:
        with torch.random.fork_rng(devices=[]):  # a resumed run proves its forms again: its random state stays
            choices[key] = prove(network, device, dtype, ways)
        if choices[key][1]:
            log_slower(task, *choices[key])
    reports[task] = dict(zip(("path", "reason"), choices[key], strict=True))
    return choices[key][0]


def prove(network, device, dtype, ways):
    """See `choose`. A way may be off from the plain network in float32 by twice what that network in `dtype` is.

    A way that fails, such as a graph that cannot be recorded, gives way to the next one; other numbers mean "plain".
    """
    wide, generator = torch.promote_types(dtype, torch.float32), torch.Generator().manual_seed(0)
    small = reduced(network, generator).to(device, wide)
    hazy = torch.rand(2, 3, MIN_SIDE + 24, MIN_SIDE + 32, generator=generator) * 2 - 1
    prob = torch.rand(2, 1 if network.text is None else len(network.text), generator=generator).softmax(1)
    hazy, prob = hazy.to(device, wide), prob.to(device, wide)

    def error(way):
        """The largest relative error of a tensor, by its norm; a number on the device."""
        pairs = zip(ways[way](copy.deepcopy(small), hazy, prob, dtype), exact, strict=True)
        return torch.stack([(a.double() - b).norm() / b.norm().clamp_min(1e-30) for a, b in pairs]).max()

    exact = [tensor.double() for tensor in ways["plain"](copy.deepcopy(small), hazy, prob, wide)]
    allowed = ROUNDING + (0 if dtype == wide else 2 * error("plain"))
    reason = None
    for way in list(ways)[:-1]:
        try:
            off = error(way)
            # an error that is too large, or not a number, becomes infinite
            fits = torch.where(off <= allowed, off, torch.inf).isfinite()
        except Exception as problem:  # whatever fails on some machine, the plain network can do the work
            reason = reason or f"{type(problem).__name__}: {one_line(problem)}"
        else:
            return (way, reason) if fits else ("plain", "the form's numbers are not the plain network's")
    return "plain", reason


def log_slower(task, way, reason):
    how = {"form": "without CUDA graphs", "plain": "by the plain network"}[way]
    logger.warning("note: %s runs %s, which is slower: %s", task, how, reason)


def kernels_report(task):
    """Which way a task ("training" or "inference") is computed: {"path": "graph", "form" or "plain", "reason"}."""
    return reports.get(task, {"path": "plain", "reason": None})


def use_plain(device):
    """Have everything on a CUDA device computed by the plain network."""
    if device.type == "cuda":
        plain_devices.add(device)


def rebuilt(network, kind, depth=99):
    """A MixDehazeNet or a form of it as another class with the same state, with at most `depth` blocks a stage."""
    new = kind(network.size, copy.deepcopy(network.fusion), network.merge, network.text)
    for name in ("stage1", "stage2", "stage3", "stage4", "stage5"):
        setattr(new, name, getattr(new, name)[: min(len(getattr(network, name)), depth)])
    new.to(network.patch_embed.weight)  # its device and type
    state = network.state_dict()
    new.load_state_dict({name: state[name] for name in new.state_dict()})
    return new.train(network.training)


@torch.no_grad()
def reduced(network, generator):
    """A plain network of the same code and widths, one block a stage, with random weights and statistics."""
    small = rebuilt(network, MixDehazeNet, depth=1).cpu().float()
    if getattr(small.fusion, "window", None):
        small.fusion.window = MIN_SIDE
    for name, value in small.state_dict().items():
        if value.is_floating_point() and name != "text":
            value.normal_(0, value[0].numel() ** -0.5 if value.ndim > 1 else 0.2, generator=generator)
            if value.ndim == 1 and name.endswith(("weight", "var")):
                value.exp_()  # BatchNorm's scale and variance are positive
    return small
