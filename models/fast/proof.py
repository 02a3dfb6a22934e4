"""A form proves itself before it serves: on the device at hand, in the precision of the run, through its graph.

The forms repeat parts of what mixdehazenet.py computes, which may have been edited there alone; and nothing but the
user's own GPU can show what a kernel or a graph does wrong on it. So a small network of the same code and widths is
computed in each way for two batches, one after the other, and compared. The choice is the same at every start.
"""

import copy
import logging

import torch

from ..mixdehazenet import MIN_SIDE, MixDehazeNet

ROUNDING = 1e-3  # of a tensor's norm: what the order of summation may change

logger = logging.getLogger(__name__)
choices = {}  # (task, device, dtype, layers) -> the way that was chosen, and why no better one serves, or None
reports = {}  # task -> kernels_report
plain_devices = set()  # where the plain network was asked for


def choose(task, network, dtype, ways, results):
    """The name of the first way that computes what the plain network does; what fails is logged, once.

    Ways are "graph" (the form in CUDA graphs), "form" and "plain". task: "training" or "inference". network: a
    MixDehazeNet or a form of it, on the device where it will run. dtype: the precision of the run.
    ways: {name: make}, best first and "plain" last; make(network, hazy, prob, dtype) returns a module of a plain
    network, whose inputs will be of the size of hazy and prob. results(module, hazy, prob): the tensors to compare,
    that no later call changes.
    """
    device = next(network.parameters()).device
    key = task, device, dtype, repr(network)
    if device in plain_devices:
        choices[key] = "plain", "kernels=plain"
    elif key not in choices:
        with torch.random.fork_rng(devices=[]):  # a resumed run proves its forms again: its random state stays
            choices[key] = prove(network, dtype, ways, results)
        if choices[key][1]:
            log_slower(task, *choices[key])
    report(task, *choices[key])
    return choices[key][0]


def prove(network, dtype, ways, results):
    """The choice for a network: see `choose`. A way that raises an exception gives way to the next one."""
    device, wide = next(network.parameters()).device, torch.promote_types(dtype, torch.float32)
    small = reduced(network).to(device, wide)
    batches = two_batches(network, device, wide)[: 2 if "graph" in ways else 1]  # a graph may repeat the first

    def observed(way, dtype):
        module = ways[way](copy.deepcopy(small), *batches[0], dtype)
        return [tensor for batch in batches for tensor in results(module, *batch)]

    exact = observed("plain", wide)
    rough = exact if dtype == wide else observed("plain", dtype)
    allowed = 2 * largest_error(rough, exact) + ROUNDING
    reason = None
    for way in list(ways)[:-1]:
        try:
            error = largest_error(observed(way, dtype), exact)
            # an error that is too large, or not a number, becomes infinite
            if torch.where(error <= allowed, error, torch.inf).isfinite():
                return way, reason
        except Exception as problem:  # whatever fails on some machine, the plain network can do the work
            reason = reason or one_line(problem)
        else:
            return "plain", "the form's numbers are not the plain network's"
    return "plain", reason


def largest_error(results, exact):
    """The largest relative error of a tensor, by its norm; a number on the device."""
    pairs = [(a.double(), b.double()) for a, b in zip(results, exact, strict=True)]
    return torch.stack([(a - b).norm() / b.norm().clamp_min(1e-30) for a, b in pairs]).max()


def log_slower(task, way, reason):
    means = {"form": "without CUDA graphs", "plain": "by the plain network"}
    logger.warning("note: %s runs %s, which is slower: %s", task, means[way], reason)


def report(task, way, reason=None):
    reports[task] = {"path": way, "reason": reason}


def kernels_report(task):
    """Which way a task ("training" or "inference") is computed: {"path": "graph", "form" or "plain", "reason"}."""
    return reports.get(task, {"path": "plain", "reason": None})


def one_line(error):
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def use_plain(device):
    """Have everything on a CUDA device computed by the plain network, without a line."""
    if device.type == "cuda":
        plain_devices.add(device)


# ---- the small network and its batches ----


def rebuilt(network, kind, depth=None):
    """A MixDehazeNet or a form of it as another class of the same names, with the same state and on the same device.

    depth: at most so many blocks a stage; None: all.
    """
    with torch.random.fork_rng(devices=[]):  # first weights are drawn, and replaced
        new = kind(network.size, copy.deepcopy(network.fusion), network.merge, network.text)
    for i in range(1, 6):
        num = min(len(getattr(network, f"stage{i}")), depth or 99)
        setattr(new, f"stage{i}", getattr(new, f"stage{i}")[:num])
    new.to(network.patch_embed.weight)
    state = network.state_dict()
    new.load_state_dict({name: state[name] for name in new.state_dict()})
    return new.train(network.training)


@torch.no_grad()
def reduced(network):
    """A plain network of the same code and widths, one block a stage, with random weights and statistics."""
    small = rebuilt(network, MixDehazeNet, depth=1).cpu().float()
    if getattr(small.fusion, "window", None):
        small.fusion.window = MIN_SIDE
    generator = torch.Generator().manual_seed(0)  # the global one, whose state is saved, is left alone
    for name, value in small.state_dict().items():
        if value.ndim > 1 and name != "text":
            value.normal_(0, value[0].numel() ** -0.5, generator=generator)
        elif name.endswith(("weight", "var")):
            value.uniform_(0.5, 1.5, generator=generator)
        elif value.is_floating_point() and name != "text":
            value.normal_(0, 0.1, generator=generator)
    return small


def two_batches(network, device, dtype):
    """Two pairs of hazy, 2 x 3 x H x W, and prob, 2 x K."""
    generator, num_classes = torch.Generator().manual_seed(0), 1 if network.text is None else len(network.text)
    batches = []
    for _ in range(2):
        hazy = torch.rand(2, 3, MIN_SIDE + 24, MIN_SIDE + 32, generator=generator) * 2 - 1
        prob = torch.rand(2, num_classes, generator=generator).softmax(1)
        batches.append((hazy.to(device, dtype), prob.to(device, dtype)))
    return batches
