"""A block's MLP, 1x1, GELU, 1x1, as products. GELU's output is computed again in the backward pass: of the widest two
maps one is kept. One kernel makes from it all that the backward pass needs."""

import torch
import triton
from torch.nn import functional as F
from triton import language as tl

ROWS, BLOCK = 32, 32  # pixels and channels of a tile
SUMS = 512  # programs that sum the first bias's gradient, a fixed number so that the order of summation is fixed


def gelu_mlp(x, weight1, bias1, weight2, bias2):
    """x: N x C, pixels as rows. weights: C' x C and C'' x C'; weights and biases of x's type or wider. Returns N x C''.

    GELU is erf's. Differentiable once, in every argument.
    """
    return GeluMlp.apply(x, weight1, bias1, weight2, bias2)


class GeluMlp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, *layers):
        weight1, bias1, weight2, bias2 = (tensor.to(x.dtype) for tensor in layers)
        hidden = F.linear(x, weight1, bias1)
        ctx.save_for_backward(x, weight1, hidden, weight2)
        return F.linear(F.gelu(hidden), weight2, bias2)

    @staticmethod
    def backward(ctx, grad):
        x, weight1, hidden, weight2 = ctx.saved_tensors
        grad_hidden = grad @ weight2
        active, grad_bias1 = gelu_backward(hidden, grad_hidden)
        return grad_hidden @ weight1, grad_hidden.t() @ x, grad_bias1, grad.t() @ active, grad.sum(0)


def gelu_backward(hidden, grad):
    """Turn the gradient of gelu(hidden), N x C, into that of hidden, in place.

    Returns gelu(hidden) and the gradient's sum over the rows, in float32.
    """
    (rows, channels), active = hidden.shape, torch.empty_like(hidden)
    sums = torch.empty(SUMS, channels, dtype=torch.float32, device=hidden.device)
    grid = SUMS, triton.cdiv(channels, BLOCK)
    gelu_kernel[grid](hidden, grad, active, sums, rows, channels, ROWS, BLOCK, SUMS)
    return active, sums.sum(0)


@triton.jit(do_not_specialize=["rows"])
def gelu_kernel(
    hidden, grad, active, sums, rows, C: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, SUMS: tl.constexpr
):
    """Every SUMS-th tile of some channels. Grid: SUMS, blocks of channels."""
    channel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    total = tl.zeros((ROWS, BLOCK), tl.float32)
    first = tl.program_id(0) * ROWS
    while first < rows:
        row = first + tl.arange(0, ROWS)
        at = row[:, None].to(tl.int64) * C + channel[None, :]
        inside = (row < rows)[:, None] & (channel < C)[None, :]
        value = tl.load(hidden + at, inside, 0).to(tl.float32)
        below = 0.5 * (1 + tl.erf(value * 0.7071067811865476))  # the normal distribution's function, then its density
        density = 0.3989422804014327 * tl.exp(-0.5 * value * value)
        slope = tl.load(grad + at, inside, 0).to(tl.float32) * (below + value * density)
        tl.store(active + at, value * below, inside)
        tl.store(grad + at, slope, inside)
        total += slope
        first += SUMS * ROWS
    tl.store(sums + tl.program_id(0) * C + channel, tl.sum(total, 0), channel < C)
