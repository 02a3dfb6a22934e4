"""One CUDA graph for each size of image: a call of a network for inference becomes one launch.

A small image costs the GPU less time than the CPU needs to launch its several hundred kernels; a graph launches them
at once.
"""

import torch
from torch import nn


class Graphed(nn.Module):
    """network(hazy, prob) of a network for inference on CUDA, from a graph that the first call of a size records.

    Graphs share one pool of memory. Each call's output is copied out of it, so that a later call cannot change it.
    """

    def __init__(self, network, most=32):
        super().__init__()
        self.network, self.most = network, most
        self.graphs, self.pool = {}, None

    def forward(self, hazy, prob=None):
        """As the network."""
        inputs = [x for x in (hazy, prob) if x is not None]
        key = tuple((x.shape, x.dtype) for x in inputs)
        if key not in self.graphs:
            if len(self.graphs) == self.most:  # images of many sizes: recording would cost more than it saves
                return self.network(hazy, prob)
            self.graphs[key] = self.record(inputs)
        graph, kept, output = self.graphs[key]
        for own, new in zip(kept, inputs, strict=True):
            own.copy_(new)
        graph.replay()
        return output.clone()

    def record(self, inputs):
        """(graph, its inputs, its output) of a call."""
        self.pool = self.pool or torch.cuda.graph_pool_handle()
        # Tensors of inference mode could not be written to outside of it.
        with torch.inference_mode(False), torch.no_grad(), torch.cuda.device(inputs[0].device):
            kept = [x.clone() for x in inputs]
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                self.network(*kept)  # kernels are tried, compiled and chosen before recording
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self.pool):
                output = self.network(*kept)
        return graph, kept, output
