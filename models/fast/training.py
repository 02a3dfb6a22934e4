"""The training form of a network: the same parameters, outputs and gradients to rounding, in less time and memory.

    network = training_form(network)        # before DistributedDataParallel and torch.compile (proof.py)

Maps stay channels_last throughout; the three depthwise convolutions are one operation on a shared padding; the 1x1
and the 5x5 convolution between which nothing non-linear lies run as one 5x5, whose weights are composed at every step.
Under autocast all weights are cast at once (casting.py).
"""

import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ..mixdehazenet import MixDehazeNet, MixStructureBlock
from .casting import cast_weights
from .depthwise import depthwise, fits
from .gating import gated
from .gelu import GeluPointwise
from .padding import reflect_pad
from .pointwise import pointwise


def put_in_form(network, recompute=False):
    """Change a network's modules in place, and return it: see `training_form`."""
    for module in network.modules():
        # Another class on the same object: parameters, their names and their order stay, and with them state dicts
        # and optimiser states. A module put in its place would have to copy all that.
        if type(module) in (MixDehazeNet, MixStructureBlock):
            module.__class__ = Network if type(module) is MixDehazeNet else Block
            module.recompute = recompute
        elif type(module) is nn.Conv2d and module.padding_mode == "reflect":
            module.__class__ = ReflectConv2d
        elif type(module) is nn.Conv2d and module.kernel_size == (1, 1):
            module.__class__ = PointwiseConv2d
        if isinstance(module, nn.Conv2d) and module.groups == 1:
            module.to(memory_format=torch.channels_last)
    return network


class Network(MixDehazeNet):
    """A MixDehazeNet that casts its weights at once where autocast would cast them one by one."""

    def forward(self, hazy, prob=None):
        """As MixDehazeNet."""
        device = hazy.device.type
        # What is computed again finds its own weights, and a compiler merges the casts itself.
        plain = self.recompute or torch.compiler.is_compiling() or not torch.is_autocast_enabled(device)
        if plain or self.patch_embed.weight.dtype == torch.get_autocast_dtype(device):
            return super().forward(hazy, prob)
        return functional_call(self, cast_weights(self, torch.get_autocast_dtype(device)), (hazy, prob))


class PointwiseConv2d(nn.Conv2d):
    """A 1x1 convolution, as a matrix product where that pays."""

    def forward(self, x):
        """x: B x C x H x W; returns B x C' x H x W."""
        return pointwise(x, self.weight, self.bias)


class ReflectConv2d(nn.Conv2d):
    """A convolution padded by reflection: channels_last on every device, but where a CPU computes that wrong."""

    def forward(self, x):
        """x: B x C x H x W; returns the convolution's output, channels_last (dilated ones on a CPU: contiguous)."""
        return self.unpadded(x, self.weight, self.bias)

    def unpadded(self, x, weight, bias):
        padding = self.padding[0]
        # In channels_last, oneDNN's gradient of dilated depthwise weights in bf16 is wrong, or crashes (torch 2.11).
        dilated = self.dilation != (1, 1) and not x.is_cuda
        x = x.contiguous(memory_format=torch.contiguous_format if dilated else torch.channels_last)
        x = reflect_pad(x, padding) if x.is_cuda else F.pad(x, (padding,) * 4, "reflect")
        return F.conv2d(x, weight, bias, self.stride, 0, self.dilation, self.groups)


class Block(MixStructureBlock):
    """A MixStructureBlock whose primitives are faster; the block itself is written in mixdehazenet.py."""

    def forward(self, x):
        """x: B x dim x H x W; returns the same shape."""
        return super().forward(x.contiguous(memory_format=torch.channels_last))

    def mix(self, y):
        return recomputed(super().mix, y) if self.recompute else super().mix(y)

    def attend(self, y):
        return recomputed(super().attend, y) if self.recompute else super().attend(y)

    def dense(self, y):
        """The 1x1 and the 5x5 as one 5x5: fewer passes over the map, and composing the weights costs nothing."""
        weight = torch.einsum("omhw,mi->oihw", self.local.weight, self.pointwise.weight[:, :, 0, 0])
        bias = self.local.bias + self.local.weight.sum((2, 3)) @ self.pointwise.bias
        return self.local.unpadded(y, weight, bias)

    def depthwise(self, y):
        kernels = self.kernels()
        if not fits(kernels):
            return super().depthwise(y)
        return depthwise(y, [kernel.weight for kernel in kernels], [kernel.bias for kernel in kernels])

    def gated(self, value, y, *gates):
        return gated(value, y, *gates)

    def mlp(self, layers, y):
        """Of the widest two maps, one is kept for the backward pass: GELU's output is computed again."""
        first, gelu, second = layers
        if y.is_cuda and type(gelu) is nn.GELU:
            return GeluPointwise.apply(first(y), second.weight, second.bias)
        weight, bias = second.weight, second.bias  # those of this forward pass: its casts
        return recomputed(lambda hidden: pointwise(gelu(hidden), weight, bias), first(y))


def recomputed(function, y):
    """function(y), whose intermediates are not kept for the backward pass but computed again there."""
    if not torch.is_grad_enabled():
        return function(y)
    return checkpoint(function, y, use_reentrant=False, preserve_rng_state=False)
