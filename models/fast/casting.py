"""Autocast's casts of the weights, all at once: two launches a dtype in place of one for each weight and gradient."""

import torch
from torch import nn


def cast_weights(network, dtype):
    """{name: copy of type `dtype`} of the weights that autocast would cast one by one; differentiable.

    Left out are those of the fusion, which keeps float32, and of the three depthwise convolutions, whose operation
    takes float32 weights and returns float32 gradients.
    """
    names = [
        f"{name}.{part}"
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Conv2d) and not name.startswith("fusion.") and layer.dilation == (1, 1)
        for part, _ in layer.named_parameters()
    ]
    return dict(zip(names, Cast.apply(dtype, *map(network.get_parameter, names)), strict=True))


class Cast(torch.autograd.Function):
    """Copies of tensors of one type in another, in a few launches however many there are; strides stay."""

    @staticmethod
    def forward(ctx, dtype, *tensors):
        ctx.dtype = tensors[0].dtype
        return copies(tensors, dtype)

    @staticmethod
    def backward(ctx, *grads):
        return None, *copies(grads, ctx.dtype)


def copies(tensors, dtype):
    out = [torch.empty_like(tensor, dtype=dtype) for tensor in tensors]
    torch._foreach_copy_(out, list(tensors))
    return tuple(out)
