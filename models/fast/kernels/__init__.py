"""Triton kernels and the autograd functions around them, for CUDA. Its files import Triton: import them where used.

Each file holds an operation, forward and backward, with its kernels: pad.py (reflect padding; start here),
depthwise.py (a block's three dilated convolutions), gated.py (its three attentions). Maps are channels_last: a pixel's
channels are neighbours in memory, so neighbouring threads read neighbouring addresses. Sums are float32 and have a
fixed order: no atomics.
"""

import os

import torch

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"  # tests run the kernels on a CPU


def run_on(x):
    """Whether the kernels compute for a map."""
    return x.is_cuda or INTERPRETED


def channels_last(x):
    return x.contiguous(memory_format=torch.channels_last)


def new_map(like, channels, border=0, dtype=None):
    """An empty channels_last map of like's size, `border` pixels larger on all sides, and of its type or another."""
    shape = len(like), channels, like.shape[2] + 2 * border, like.shape[3] + 2 * border
    return torch.empty(shape, dtype=dtype or like.dtype, device=like.device, memory_format=torch.channels_last)
