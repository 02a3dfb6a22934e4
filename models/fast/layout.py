"""Whether the training form, whose maps are channels_last, is faster than the plain network on the device at hand.

On some GPUs cuDNN's dilated depthwise convolutions are slower in channels_last than in NCHW by more than the rest wins.
"""

import copy

import torch

from ..mixdehazenet import MixStructureBlock
from .training import put_in_form
from .trial import times


def form_pays(device, dtype, channels=48):
    """Whether a training step of one block is no slower in the training form. Always true but on CUDA."""
    if device.type != "cuda":
        return True
    with torch.random.fork_rng(devices=[]):
        plain = MixStructureBlock(channels).to(device)
    form = put_in_form(copy.deepcopy(plain))
    x = torch.randn(4, channels, 96, 96, device=device, generator=torch.Generator(device).manual_seed(0))

    def step(block):
        with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
            block(x).float().mean().backward()

    ways = [lambda: step(plain), lambda: step(form)]
    for way in ways:  # kernels are tried and compiled
        way()
    plain_ms, form_ms = times(ways)
    return form_ms <= plain_ms
