"""The inference form of a trained network, and its CUDA graphs."""

import copy
from functools import partial

import torch
from torch import nn

from .bands import Bands
from .inference_network import InferenceForm, widened
from .proof import choose

MAX_GRAPHS = 8  # sizes of image: of more, recording would cost more than it saves
MAX_PIXELS = 2**21  # of a batch: the kernels of a larger one take longer than their launches


@torch.no_grad()
def inference_form(network, dtype=torch.float32):
    """A module for inference on the network's device, with the outputs of the network, which is left as it is.

    dtype: of weights and maps; image, fusion, gates and reconstruction stay in float32 (float64 if that is asked for),
    and autocast has no effect. Called with (hazy, prob, memory): see InferenceForm. On CUDA it runs in graphs. Where
    the form fails its proof (proof.py), it is the plain network, after a line that says why.
    """
    ways = {"form": by_form, "plain": by_plain}
    if next(network.parameters()).is_cuda:
        ways = {"graph": by_graph} | ways
    way = choose("inference", network, dtype, **ways)
    if way == "plain":
        return PlainInference(network, dtype)
    form = InferenceForm(network, dtype)
    return GraphedInference(form) if way == "graph" else form


class GraphedInference(nn.Module):
    """An InferenceForm on CUDA, one graph for each size of image: a call becomes one launch instead of 1,200.

    A size's first image is computed without a graph, which compiles the kernels; its second is recorded.
    """

    def __init__(self, form):
        super().__init__()
        self.form, self.seen, self.graphs = form, set(), {}
        self.pool = torch.cuda.graph_pool_handle()

    def forward(self, hazy, prob=None, memory=None):
        inputs = [x for x in (hazy, prob) if x is not None]
        key = tuple((x.shape, x.dtype) for x in inputs)
        if key not in self.graphs:
            small = hazy.shape[0] * hazy.shape[2] * hazy.shape[3] <= MAX_PIXELS
            if key not in self.seen or not small or len(self.graphs) == MAX_GRAPHS:
                self.seen.add(key)
                return self.form(hazy, prob, memory)
            self.graphs[key] = self.record(inputs, memory)
        graph, kept, output = self.graphs[key]
        for own, new in zip(kept, inputs, strict=True):
            own.copy_(new)
        graph.replay()
        return output.clone()  # a later call cannot change it

    def record(self, inputs, memory):
        # Tensors of inference mode could not be written to outside of it.
        with torch.inference_mode(False), torch.no_grad(), torch.cuda.device(inputs[0].device):
            kept, graph = [x.clone() for x in inputs], torch.cuda.CUDAGraph()
            # The default mode would forbid the CUDA calls of other threads, such as a loader's that pins memory.
            with torch.cuda.graph(graph, pool=self.pool, capture_error_mode="thread_local"):
                output = self.form(*kept, memory=memory)
        return graph, kept, output


class PlainInference(nn.Module):
    """network(hazy, prob, memory) by the plain network, which spares no memory."""

    def __init__(self, network, dtype):
        super().__init__()
        self.network = copy.deepcopy(network).to(widened(dtype)).eval().requires_grad_(False)
        self.dtype = dtype

    def forward(self, hazy, prob=None, memory=None):
        with torch.no_grad(), torch.autocast(hazy.device.type, self.dtype, self.dtype.itemsize < 4):
            return self.network(hazy.to(widened(self.dtype)), prob).to(hazy.dtype)


# ---- the proof ----


def by_graph(network, hazy, prob, dtype):
    return outputs(GraphedInference(InferenceForm(network, dtype)), hazy, prob)


def by_form(network, hazy, prob, dtype):
    return outputs(partial(InferenceForm(network, dtype), bands=None if hazy.is_cuda else Bands(8)), hazy, prob)


def by_plain(network, hazy, prob, dtype):
    return outputs(PlainInference(network, dtype), hazy, prob)


def outputs(module, hazy, prob):
    """Of three images of a size, a graph computes the first, records the second and replays the third."""
    return [module(image, prob) for image in (hazy, hazy.flip(2), hazy.flip(3))]
