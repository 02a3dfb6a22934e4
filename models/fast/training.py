"""The training form of a network: the same parameters, outputs and gradients to rounding, in less time and memory.

    network = training_form(network)        # before DistributedDataParallel and torch.compile

Maps stay channels_last throughout; the three depthwise convolutions are one operation on a shared padding; the 1x1
and the 5x5 convolution between which nothing non-linear lies run as one 5x5, whose weights are composed at every step.
"""

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ..mixdehazenet import MixStructureBlock
from .depthwise import depthwise
from .padding import reflect_pad


def training_form(network, recompute=False):
    """Change a network's modules in place, and return it; state dicts fit as before.

    recompute: keep no wide intermediate of the blocks' MLPs for the backward pass but compute it again there.
    """
    for module in network.modules():
        if type(module) is MixStructureBlock:
            module.__class__ = Block
            module.recompute = recompute
        elif type(module) is nn.Conv2d and module.padding_mode == "reflect":
            module.__class__ = ReflectConv2d
        if isinstance(module, nn.Conv2d) and module.groups == 1:
            module.to(memory_format=torch.channels_last)
    return network


class ReflectConv2d(nn.Conv2d):
    """A convolution padded by reflection that keeps channels_last on every device."""

    def forward(self, x):
        """x: B x C x H x W; returns the convolution's output, channels_last."""
        return self.unpadded(x, self.weight, self.bias)

    def unpadded(self, x, weight, bias):
        padding = self.padding[0]
        x = x.contiguous(memory_format=torch.channels_last)
        x = reflect_pad(x, padding) if x.is_cuda else F.pad(x, (padding,) * 4, "reflect")
        return F.conv2d(x, weight, bias, self.stride, 0, self.dilation, self.groups)


class Block(MixStructureBlock):
    """A MixStructureBlock in its training form."""

    recompute = False

    def forward(self, x):
        """x: B x dim x H x W; returns the same shape."""
        half = self._recomputed if self.recompute and torch.is_grad_enabled() else lambda f, *inputs: f(*inputs)
        x = x.contiguous(memory_format=torch.channels_last)
        weight, bias = self.composed()
        y = self.local.unpadded(self.norm1(x), weight, bias)
        x = x + half(self.mix, y)
        y = self.norm2(x)
        return x + half(self.attend, y)

    def composed(self):
        """Weight and bias of the one convolution that `pointwise` and `local` are."""
        weight = torch.einsum("omhw,mi->oihw", self.local.weight, self.pointwise.weight[:, :, 0, 0])
        return weight, self.local.bias + self.local.weight.sum((2, 3)) @ self.pointwise.bias

    def mix(self, y):
        kernels = (self.depthwise7, self.depthwise5, self.depthwise3)
        return mlp(self.mlp1, depthwise(y, [layer.weight for layer in kernels], [layer.bias for layer in kernels]))

    def attend(self, y):
        mean = y.mean((2, 3), keepdim=True)
        simple = self.value(y) * self.gate(mean).sigmoid()
        channel = self.channel_attention(mean).sigmoid() * y
        pixel = self.pixel_attention(y).sigmoid() * y
        return mlp(self.mlp2, torch.cat([simple, channel, pixel], dim=1))

    @staticmethod
    def _recomputed(function, y):
        return checkpoint(function, y, use_reentrant=False, preserve_rng_state=False)


def mlp(layers, x):
    """1x1, GELU, 1x1; of the widest two maps, one is kept for the backward pass: GELU's output is computed again."""
    first, gelu, second = layers
    if not torch.is_grad_enabled():
        return layers(x)
    return checkpoint(lambda x: second(gelu(x)), first(x), use_reentrant=False, preserve_rng_state=False)
