"""The training form of a network, and its forward and backward pass as CUDA graphs.

    network = training_form(network, dtype)                   # before the copy for the average
    stepped = training_graph(network, hazy, prob, dtype)      # before DistributedDataParallel

Start reading at training_network.py.
"""

import gc
import warnings

import torch
from torch import nn

from ..mixdehazenet import MixStructureBlock
from .proof import choose, log_slower, one_line, rebuilt, report


def training_form(network, dtype=torch.float32, recompute=False):
    """The network in its fastest form for training on its device; state dicts fit as before.

    dtype: of autocast, float32 without it. recompute: keep no wide intermediate of the blocks for the backward pass
    but compute it again there. On CUDA the network is a TrainingNetwork, or, where that fails its proof (proof.py), the
    network itself after a line that says why. On a CPU it is the network itself, in channels_last.
    """
    if next(network.parameters()).is_cuda:
        way = choose("training", network, dtype, WAYS, outputs_and_gradients)
        if way != "plain":
            network = as_form(network)
            network.graphs = way == "graph"
            if network.graphs:
                report("training", "form")  # until they are recorded
    elif dtype == torch.float32:  # in bf16 oneDNN's gradient of dilated depthwise weights is wrong in channels_last
        network = network.to(memory_format=torch.channels_last)
    for block in network.modules():
        if isinstance(block, MixStructureBlock):
            block.recompute = recompute
    return network


def training_graph(network, hazy, prob, dtype=torch.float32):
    """network(hazy, prob) for training as two CUDA graphs, one forward and one backward, of one size of batch.

    hazy, prob: a batch of that size, with any values. Returns a module of the same parameters whose outputs are
    float32; or the network, where it is in no form whose graphs are proven or where recording them fails. Gradients
    that a backward pass leaves in a parameter's `grad` lie in the graph's own memory if `grad` was None: to add up
    several passes, have zeros there before the first.
    """
    if not getattr(network, "graphs", False):
        return network
    try:
        graphed = recorded(network, hazy, prob, dtype)
        report("training", "graph")
        return graphed
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:  # of CUDA
        report("training", "form", one_line(error))
        log_slower("training", "form", one_line(error))
        return network


class Step(nn.Module):
    """network(hazy, prob) under autocast, in float32."""

    def __init__(self, network, dtype):
        super().__init__()
        self.network, self.dtype = network, dtype

    def forward(self, hazy, prob):
        # Without autocast's cache: a graph must cast the weights anew each time.
        with torch.autocast(hazy.device.type, self.dtype, self.dtype.itemsize < 4, cache_enabled=False):
            return self.network(hazy, prob).float()


def recorded(network, hazy, prob, dtype):
    """A Step as two graphs; the BatchNorm statistics, which the warm-up moves, are put back."""
    # Recording takes streams of its own, and what it records stays: torch warns of both.
    warnings.filterwarnings("ignore", "The AccumulateGrad node's stream")
    gc.collect()  # graphs that are in nobody's use any more, such as the proof's: they must not be freed meanwhile
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    try:
        step = Step(network.train(), dtype)
        return torch.cuda.make_graphed_callables(step, (hazy.clone(), prob.clone()), allow_unused_input=True)
    finally:
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)


# ---- the proof ----


def as_form(network):
    from .training_network import TrainingNetwork  # imports Triton, which is on Linux only and costs 50 MB

    return rebuilt(network, TrainingNetwork).to(memory_format=torch.channels_last)


def as_graph(network, hazy, prob, dtype):
    return recorded(as_form(network), hazy, prob, dtype)


WAYS = {
    "graph": as_graph,
    "form": lambda network, hazy, prob, dtype: Step(as_form(network), dtype),
    "plain": lambda network, hazy, prob, dtype: Step(network, dtype),
}


@torch.enable_grad()
def outputs_and_gradients(step, hazy, prob):
    """What a training step makes of a batch: the output, all gradients, BatchNorm's statistics. Then weights change."""
    weights, output = list(step.parameters()), step.train()(hazy, prob)
    cotangent = hazy.flip(3)  # noise of both signs
    gradients = torch.autograd.grad(output, weights, cotangent, allow_unused=True)
    gradients = [torch.zeros_like(w) if g is None else g.clone() for g, w in zip(gradients, weights, strict=True)]
    with torch.no_grad():
        torch._foreach_mul_(weights, 0.9)
    return [output.detach().clone(), *gradients, *(buffer.clone() for buffer in step.buffers())]
