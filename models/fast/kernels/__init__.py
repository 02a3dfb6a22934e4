"""Triton kernels and the autograd functions around them, for CUDA. Its files import Triton: import them where used.

Each file holds an operation, forward and backward, with its kernels: pad.py (reflect padding; start here),
depthwise.py (a block's three dilated convolutions), gated.py (its three attentions), gelu.py (its MLP), attending.py
(the attentions of inference). Maps are channels_last: a pixel's channels are neighbours in memory, so neighbouring
threads read neighbouring addresses whatever the tap. Sums are float32 and have a fixed order: no atomics.
"""

import os

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"  # tests run the kernels on a CPU


def run_on(x):
    """Whether the kernels compute for a map."""
    return x.is_cuda or INTERPRETED
