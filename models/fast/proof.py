"""The forms prove themselves before they serve: each is compared with a small network of the same code.

They repeat parts of what mixdehazenet.py computes. Where a block or a fusion was edited there and not here, the plain
network takes the form's place after one line: right, several times slower, and with more memory.
"""

import copy

import torch
from torch import nn

from ..build import build_model, describe
from ..mixdehazenet import MIN_SIDE
from .graphs import Graphed
from .inference import InferenceForm
from .plan import Plan, too_little
from .rows import Rows
from .training import put_in_form
from .trial import agree, logger

TOLERANCE = 1e-5  # of the largest number, in float64; rounding makes 1e-13
NUMBERS = 36  # float32 a pixel and channel of the first stage that the plain network takes, measured with a margin

problems = {}  # (file of a form, fusion, merge) -> what keeps it from serving, in words; empty: nothing


def training_form(network, recompute=False):
    """Change a network's modules in place for training, and return it; state dicts fit as before.

    recompute: keep no wide intermediate of the blocks' MLPs for the backward pass but compute it again there. Leaves
    the network as it is, and logs a line, where the form computes otherwise.
    """

    @torch.enable_grad()
    def differentiated(network, image, prob):
        output = network(image, prob)
        return [output, *torch.autograd.grad(output.square().sum(), network.patch_embed.weight)]

    def form(network, image, prob):
        return differentiated(put_in_form(copy.deepcopy(network), recompute), image, prob)

    return network if problem("training.py", network, differentiated, form) else put_in_form(network, recompute)


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
