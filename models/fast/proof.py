"""A form proves itself before it serves: on the device at hand, in the precision of the run, through its graph.

The forms repeat parts of what mixdehazenet.py computes, which may have been edited there alone; and nothing but the
user's own GPU can show what a kernel or a graph does wrong on it. So a small network of the same code and widths is
computed in each way for two batches, one after the other, and compared. The choice is the same at every start.
"""

import copy
import logging
from dataclasses import dataclass

import torch
from torch import nn

from ..build import build_model, describe
from ..mixdehazenet import MIN_SIDE, MixDehazeNet
from .graphs import Graphed
from .inference import InferenceForm
from .plan import Plan, too_little
from .rows import Rows
from .trial import agree, refused

ROUNDING = 1e-3  # of a tensor's norm: what the order of summation may change

logger = logging.getLogger(__name__)
choices = {}  # (task, device, dtype, layers) -> the Choice that was made
reports = {}  # task -> its latest Choice
plain_devices = set()  # where the plain network was asked for


@dataclass(frozen=True)
class Choice:
    """way: "graph" (the form in CUDA graphs), "form" or "plain". reason: why no better way serves, or None."""

    way: str
    reason: str | None = None


def choose(task, network, dtype, ways, results):
    """The name of the first way that computes what the plain network does; what fails is logged, once.

    task: "training" or "inference". network: a MixDehazeNet or a form of it, on the device where it will run.
    dtype: the precision of the run. ways: {name: make}, best first and "plain" last; make(network, hazy, prob, dtype)
    returns a module of a plain network, whose inputs will be of the size of hazy and prob. results(module, hazy, prob):
    the tensors to compare, that no later call changes.
    """
    key = task, next(network.parameters()).device, dtype, repr(network)
    if key not in choices:
        choices[key] = prove(network, dtype, ways, results)
        if choices[key].reason and key[1] not in plain_devices:
            failed(task, choices[key].way, choices[key].reason)
    reports[task] = choices[key]
    return choices[key].way


def prove(network, dtype, ways, results):
    """The Choice for a network: see `choose`. A way that raises an exception gives way to the next one."""
    device = next(network.parameters()).device
    if device in plain_devices:
        return Choice("plain", "kernels=plain")
    wide = torch.promote_types(dtype, torch.float32)
    small, batches = reduced(network).to(device, wide), two_batches(network, device, wide)

    def observed(way, dtype):
        module = ways[way](copy.deepcopy(small), *batches[0], dtype)
        return [tensor for batch in batches for tensor in results(module, *batch)]

    exact = observed("plain", wide)
    allowed = 2 * largest_error(observed("plain", dtype), exact) + ROUNDING
    reason = None
    for way in list(ways)[:-1]:
        try:
            error = largest_error(observed(way, dtype), exact)
            # an error that is too large, or not a number, becomes infinite
            if torch.where(error <= allowed, error, torch.inf).isfinite():
                return Choice(way, reason)
        except Exception as problem:  # whatever fails on some machine, the plain network can do the work
            reason = reason or one_line(problem)
        else:
            return Choice("plain", "its numbers are not those of the plain network")
    return Choice("plain", reason)


def largest_error(results, exact):
    """The largest relative error of a tensor, by its norm; a number on the device."""
    pairs = [(a.double(), b.double()) for a, b in zip(results, exact, strict=True)]
    return torch.stack([(a - b).norm() / b.norm().clamp_min(1e-30) for a, b in pairs]).max()


def failed(task, way, reason):
    """Log and report that a task falls back to a slower way."""
    means = {"form": "without CUDA graphs", "plain": "by the plain network"}
    logger.warning("note: %s runs %s, which is slower: %s", task, means[way], reason)
    report(task, way, reason)


def report(task, way, reason=None):
    reports[task] = Choice(way, reason)


def one_line(error):
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def use_plain(device):
    """Have everything on a CUDA device computed by the plain network, without a line."""
    if device.type == "cuda":
        plain_devices.add(device)
        refused[device] = "kernels=plain"


def kernels_report(task):
    """Which way a task ("training" or "inference") is computed: {"path": "graph", "form" or "plain", "reason"}."""
    choice = reports.get(task, Choice("plain"))
    return {"path": choice.way, "reason": choice.reason}


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
    """Two pairs of hazy, 2 x 3 x H x W, and prob, 2 x K, or None."""
    generator = torch.Generator().manual_seed(0)
    batches = []
    for _ in range(2):
        hazy = torch.rand(2, 3, MIN_SIDE + 24, MIN_SIDE + 32, generator=generator) * 2 - 1
        prob = None if network.fusion is None else torch.rand(2, len(network.text), generator=generator).softmax(1)
        batches.append((hazy.to(device, dtype), None if prob is None else prob.to(device, dtype)))
    return batches


# ---- the inference form ----

TOLERANCE = 1e-5  # of the largest number, in float64; rounding makes 1e-13
NUMBERS = 36  # float32 a pixel and channel of the first stage that the plain network takes, measured with a margin

problems = {}  # (file of a form, fusion, merge) -> what keeps it from serving, in words; empty: nothing


@torch.no_grad()
def inference_form(network, dtype=torch.float32, graphs=False):
    """A module for inference with the outputs of a trained network, which is left as it is.

    dtype: of weights and maps; image, fusion, gates and reconstruction stay in float32 (float64 if that is asked for),
    and autocast has no effect. graphs: on CUDA, record a graph for each size of image (graphs.py). Returns the plain
    network, and logs a line, where the form computes otherwise.
    """

    def plain(network, image, prob):
        return [network(image, prob)]

    def form(network, image, prob):
        in_bands = Plan(Rows(8))
        return [InferenceForm(network, image.dtype).eval().through(image, image, prob, in_bands)]

    wrong = problem("inference.py", network, plain, form) or refused.get(next(network.parameters()).device)
    reports["inference"] = Choice("plain", wrong) if wrong else Choice("graph" if graphs else "form")
    if problem("inference.py", network, plain, form):
        return PlainForm(network, dtype)
    device = next(network.parameters()).device
    made = InferenceForm(network, dtype).to(device).eval().requires_grad_(False)
    return Graphed(made) if graphs and device.type == "cuda" else made


def problem(file, network, plain, form):
    """What keeps the form of a file from serving a network, in words; empty for nothing. It is logged once.

    plain, form: functions(network, image, prob) to lists of tensors, which are to be equal.
    """
    key = file, type(network.fusion), network.merge
    if key not in problems:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)  # the CPU's alone
            problems[key] = difference(small_one(network), plain, form)
        if problems[key]:
            logger.warning("note: models/fast/%s %s: the plain network computes, slower", file, problems[key])
    return problems[key]


@torch.no_grad()
def small_one(network):
    """A network of the same code, of size n and in float64 on the CPU, whose BatchNorms are those of no fresh one."""
    names = describe(network)
    text = None if network.fusion is None else torch.eye(*network.text.shape)
    small = build_model("n", names["fusion"], names["merge"], text, names["window"] and MIN_SIDE)
    for norm in [module for module in small.modules() if isinstance(module, nn.BatchNorm2d)]:
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    return small.double().eval()


def difference(network, plain, form):
    """How a form fails for a network, by a small image."""
    image = torch.rand(1, 3, 52, 44, dtype=torch.double) * 2 - 1
    prob = None if network.fusion is None else torch.arange(1.0, len(network.text) + 1)[None].double().softmax(dim=1)
    with torch.autocast("cpu", enabled=False):
        expected = plain(network, image, prob)
        try:
            found = form(network, image, prob)
        except Exception as error:  # whatever it is: what is asked for is an image
            return f"cannot follow the network ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
    equal = all(agree(a, b, TOLERANCE) for a, b in zip(expected, found, strict=True))
    return "" if equal else "does not follow the network: their outputs differ"


class PlainForm(nn.Module):
    """network(hazy, prob, memory) by the plain network: see `inference_form`."""

    def __init__(self, network, dtype):
        super().__init__()
        self.network = copy.deepcopy(network).to(torch.promote_types(dtype, torch.float32)).eval().requires_grad_(False)
        self.dtype = dtype

    def forward(self, hazy, prob=None, memory=None):
        """As InferenceForm, but that memory is not spared: ValueError where it would not suffice."""
        needed = NUMBERS * 4 * hazy.shape[0] * self.network.patch_embed.out_channels * hazy.shape[2] * hazy.shape[3]
        if memory is not None and memory < needed:
            raise too_little(hazy.shape, needed, memory)
        with torch.no_grad(), torch.autocast(hazy.device.type, self.dtype, self.dtype.itemsize < 4):
            return self.network(hazy.to(self.network.patch_embed.weight.dtype), prob).to(hazy.dtype)
