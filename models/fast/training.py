"""The training form of a network, and its forward and backward pass as CUDA graphs."""

import gc
import warnings

import torch
from torch import nn

from ..build import one_line
from ..mixdehazenet import MixStructureBlock
from .proof import choose, log_slower, rebuilt, reports
from .training_cpu import CpuNetwork


def training_form(network, dtype=torch.float32, recompute=False):
    """The network in its fastest form for training on its device; state dicts fit as before.

    On CUDA a TrainingNetwork, or, where that fails its proof (proof.py), the network itself after a line that says why.
    On a CPU a CpuNetwork, channels_last; in bf16 the network itself. dtype: of autocast, float32 without it.
    recompute: compute the blocks' wide intermediates again in the backward pass instead of keeping them.
    Call it before the average is copied.
    """
    if next(network.parameters()).is_cuda:
        way = choose("training", network, dtype, graph=by_graph, form=by_form, plain=by_plain)
        network = network if way == "plain" else as_form(network)
        network.graphs = way == "graph"
        reports["training"]["path"] = "plain" if way == "plain" else "form"  # until graphs are recorded
    elif dtype == torch.float32:  # in bf16 oneDNN's gradient of dilated depthwise weights is wrong in channels_last
        network = rebuilt(network, CpuNetwork).to(memory_format=torch.channels_last)
    for block in network.modules():
        if isinstance(block, MixStructureBlock):
            block.recompute = recompute
    return network


def training_graph(network, hazy, prob, dtype=torch.float32):
    """network(hazy, prob) of a TrainingNetwork as two CUDA graphs, forward and backward, for one size of batch.

    hazy, prob: a batch of that size, with any values. Returns a module of the same parameters with float32 outputs; the
    network itself, where it is in no form that was proven in graphs, or after a line where they cannot be recorded. A
    parameter's `grad`, if it was None, lies in the graph's memory after a backward pass: the next one overwrites it.
    """
    if not getattr(network, "graphs", False):
        return network
    try:
        stepped = recorded(network, hazy, prob, dtype)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:  # of CUDA
        reports["training"]["reason"] = one_line(error)
        log_slower("training", *reports["training"].values())
        return network
    reports["training"]["path"] = "graph"
    return stepped


def as_form(network):
    from .training_network import TrainingNetwork  # imports Triton, which is on Linux only and costs 50 MB

    return rebuilt(network, TrainingNetwork).to(memory_format=torch.channels_last)


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
    warnings.filterwarnings("ignore", "The AccumulateGrad node's stream")  # recording takes streams of its own
    gc.collect()  # graphs out of use, such as the proof's, must not be freed meanwhile
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    step = Step(network.train(), dtype)
    graphed = torch.cuda.make_graphed_callables(step, (hazy.clone(), prob.clone()), allow_unused_input=True)
    for buffer, before in buffers:
        buffer.copy_(before)
    return graphed


# ---- the proof ----


def by_graph(network, hazy, prob, dtype):
    return outputs_and_gradients(recorded(as_form(network), hazy, prob, dtype), hazy, prob)


def by_form(network, hazy, prob, dtype):
    return outputs_and_gradients(Step(as_form(network), dtype), hazy, prob)


def by_plain(network, hazy, prob, dtype):
    return outputs_and_gradients(Step(network, dtype), hazy, prob)


@torch.enable_grad()
def outputs_and_gradients(step, hazy, prob):
    """Outputs, gradients and BatchNorm's statistics of two steps: a graph that is wrong may repeat the first."""
    results, weights = [], list(step.parameters())
    for batch in (hazy, hazy.flip(2)):
        output, cotangent = step.train()(batch, prob), batch.flip(3)  # noise of both signs
        gradients = torch.autograd.grad(output, weights, cotangent, allow_unused=True)
        results += [output.detach().clone(), *(buffer.clone() for buffer in step.buffers())]
        results += [torch.zeros_like(w) if g is None else g.clone() for g, w in zip(gradients, weights, strict=True)]
        torch._foreach_mul_([weight.data for weight in weights], 0.9)
    return results
