"""The inference form proves itself before it serves: it is compared with the network that it was made from.

The form repeats what mixdehazenet.py computes. Where a block or a fusion was edited there and not here, the plain
network takes the form's place after one line: right, several times slower, and with more memory.
"""

import copy

import torch
from torch import nn

from .graphs import Graphed
from .inference import InferenceForm
from .plan import Plan, too_little
from .rows import Rows
from .trial import agree, logger

TOLERANCE = 1e-3  # of the largest number, in float32; rounding makes 1e-6
NUMBERS = 36  # float32 a pixel and channel of the first stage that the plain network takes, measured with a margin

problems = {}  # structure of a network -> what keeps the form from serving it, in words; empty: nothing


@torch.no_grad()
def inference_form(network, dtype=torch.float32, graphs=False):
    """A module for inference with the outputs of a trained network, which is left as it is.

    dtype: of weights and maps; image, fusion, gates and reconstruction stay in float32 (float64 if that is asked for),
    and autocast has no effect. graphs: on CUDA, record a graph for each size of image (graphs.py). Returns the plain
    network, and logs a line, where the form computes otherwise.
    """
    structure = network.merge, str(network)
    if structure not in problems:
        problems[structure] = difference(network)
        if problems[structure]:
            logger.warning("note: models/fast/inference.py %s: the plain network computes, slower", problems[structure])
    if problems[structure]:
        return PlainForm(network, dtype)
    device = next(network.parameters()).device
    form = InferenceForm(network, dtype).to(device).eval().requires_grad_(False)
    return Graphed(form) if graphs and device.type == "cuda" else form


def difference(network):
    """What keeps the form from serving a network. Both compute a small image on the CPU, the form in bands."""
    network = copy.deepcopy(network).float().cpu().eval()
    image = torch.rand(1, 3, 52, 44, generator=torch.Generator().manual_seed(0)) * 2 - 1
    prob = None if network.fusion is None else torch.arange(1.0, len(network.text) + 1)[None].softmax(dim=1)
    with torch.autocast("cpu", enabled=False):
        expected = network(image, prob)
        if not expected.isfinite().all():  # the weights are broken: whoever looks at an output says so
            return ""
        try:
            output = InferenceForm(network, torch.float32).eval().through(image, image, prob, Plan(Rows(8)))
        except Exception as error:  # whatever it is: what is asked for is an image
            return f"cannot follow the network ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
    return "" if agree(expected, output, TOLERANCE) else "does not follow the network: their outputs differ"


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
