"""A Triton kernel of GELU's backward pass that writes GELU's output, too; maps of any memory order."""

import torch
import triton
from triton import language as tl

from .padding_triton import vector

LANES = 256  # lanes a program, each of `vector` numbers


def backward(x, grad):
    """As gelu.plain_backward, for maps of the same strides without gaps."""
    out, total, per_lane = torch.empty_like(x), x.numel(), vector(x.shape[1])
    gelu_kernel[triton.cdiv(total, LANES * per_lane),](x, grad, out, total, per_lane, LANES)
    return out, grad


@triton.jit(do_not_specialize=["total"])
def gelu_kernel(x, grad, out, total, VECTOR: tl.constexpr, LANES: tl.constexpr):
    """gelu(x) to `out`; `grad` is multiplied by the slope. Grid: runs of LANES x VECTOR numbers."""
    lane = (tl.program_id(0).to(tl.int64) * LANES + tl.arange(0, LANES))[:, None] * VECTOR
    at, inside = lane + tl.arange(0, VECTOR)[None, :], lane < total
    value = tl.load(x + at, inside, 0).to(tl.float32)
    below = 0.5 * (1 + tl.erf(value * 0.7071067811865476))  # the normal distribution's function, then its density
    density = 0.3989422804014327 * tl.exp(-0.5 * value * value)
    tl.store(out + at, value * below, inside)
    tl.store(grad + at, tl.load(grad + at, inside, 0).to(tl.float32) * (below + value * density), inside)
