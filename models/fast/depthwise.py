"""The three depthwise convolutions of a mix-structure block as one operation: they read one map and pad nothing.

`depthwise(y, weights, biases)` equals torch.cat of three depthwise convolutions of y (kernels 7, 5, 3, dilation 3,
reflect padding 9, 6, 3). Maps are channels_last: a pixel's channels lie together, so that neighbouring threads read
neighbouring addresses whatever the tap, and rows and columns are reflected by arithmetic on whole pixels.

On CUDA, where Triton's kernels have shown that they work (trial.py), one reads every pixel once and writes the three
results side by side. The backward pass has no atomics, so it is deterministic: the padded map's gradient is a forward
convolution with flipped kernels, folded back along the reflection; the weights' is summed within programs, then over
them in fixed order. Elsewhere plain operations do the same: one shared padding, convolutions on cropped views, and a
backward pass that avoids the two dilated backward convolutions, which libraries do slowly.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from .padding import plain_fold, plain_pad
from .trial import Fused

KERNELS = (7, 5, 3)
DILATION = 3
PADDING = 9  # of the widest kernel; a map must have at least 10 pixels a side


def depthwise(y, weights, biases):
    """Three depthwise convolutions of one map, side by side.

    y: B x C x H x W, at least 10 pixels a side; any float type (sums are float32 on CUDA).
    weights: C x 1 x k x k for k = 7, 5, 3; biases: C each; of y's type or wider.
    Returns B x 3C x H x W, channels_last, of y's type. Differentiable once, in every argument.
    """
    return depthwise_forward(y, list(weights), list(biases))


def fits(layers):
    """Whether convolutions are those that `depthwise` computes."""
    facts = [(layer.kernel_size[0], layer.dilation[0], layer.groups == layer.in_channels) for layer in layers]
    return facts == [(kernel, DILATION, True) for kernel in KERNELS]


@torch.library.custom_op("mixcldehaze::depthwise_forward", mutates_args=())
def depthwise_forward(y: Tensor, weights: list[Tensor], biases: list[Tensor]) -> Tensor:
    return FUSED_FORWARD(y.contiguous(memory_format=torch.channels_last), weights, biases)


@depthwise_forward.register_fake
def _(y, weights, biases):
    batch, channels, height, width = y.shape
    return y.new_empty(batch, height, width, 3 * channels).permute(0, 3, 1, 2)


@torch.library.custom_op("mixcldehaze::depthwise_backward", mutates_args=())
def depthwise_backward(y: Tensor, grad: Tensor, weights: list[Tensor]) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Gradients of y, of the weights and of the biases."""
    return FUSED_BACKWARD(*(x.contiguous(memory_format=torch.channels_last) for x in (y, grad)), weights)


@depthwise_backward.register_fake
def _(y, grad, weights):
    grad_y = torch.empty_like(y, memory_format=torch.channels_last)
    return grad_y, [w.new_empty(w.shape) for w in weights], [w.new_empty(w.shape[0]) for w in weights]


def _setup_context(ctx, inputs, output):
    y, weights, _ = inputs
    ctx.save_for_backward(y, *weights)


def _backward(ctx, grad):
    y, *weights = ctx.saved_tensors
    return depthwise_backward(y, grad, weights)


depthwise_forward.register_autograd(_backward, setup_context=_setup_context)


# ---- plain operations ----


def plain_forward(y, weights, biases):
    padded = plain_pad(y, PADDING)
    channels = y.shape[1]
    outputs = []
    for weight, bias in zip(weights, biases, strict=True):
        crop = PADDING - DILATION * (weight.shape[2] // 2)
        view = padded[:, :, crop : padded.shape[2] - crop, crop : padded.shape[3] - crop]
        outputs.append(F.conv2d(view, weight.to(y), bias.to(y), dilation=DILATION, groups=channels))
    return torch.cat(outputs, dim=1).contiguous(memory_format=torch.channels_last)


def plain_backward(y, grad, weights):
    """The map's gradient is a forward convolution with flipped kernels, folded back along the reflection.

    For the weights, every third row and column makes nine small maps on which the kernels are dense, and kernels are
    cut into strips at most three columns wide: libraries have fast code for the gradient of such kernels only.
    """
    channels = y.shape[1]
    maps = _phases(plain_pad(y, PADDING))  # 9B x C x (H/3 + 6) x (W/3 + 6)
    grad_padded = None
    grad_weights, grad_biases = [], []
    for weight, part in zip(weights, grad.split(channels, dim=1), strict=True):
        part = part.contiguous(memory_format=torch.channels_last)
        side = weight.shape[2]
        reach = DILATION * (side - 1)
        flipped = weight.to(part).flip(2, 3)
        spread = F.conv2d(part, flipped, padding=reach, dilation=DILATION, groups=channels)
        if grad_padded is None:
            grad_padded = spread
        else:
            crop = PADDING - reach // 2
            grad_padded[:, :, crop:-crop, crop:-crop] += spread

        phases = _phases(part)
        height, width = phases.shape[2:]
        first = (maps.shape[2] - height - side + 1) // 2
        strips = []
        for left in range(0, side, 3):
            columns = min(3, side - left)
            view = maps[:, :, first : first + height + side - 1]
            view = view[:, :, :, first + left : first + left + width + columns - 1]
            shape = (channels, 1, side, columns)
            strips.append(torch.nn.grad.conv2d_weight(view, shape, phases, groups=channels))
        grad_weights.append(torch.cat(strips, dim=3).to(weight.dtype))
        grad_biases.append(part.sum((0, 2, 3), dtype=weight.dtype))
    return plain_fold(grad_padded, PADDING), grad_weights, grad_biases


def _phases(x):
    """The nine maps of every third row and column: B x C x H x W to 9B x C x ceil(H/3) x ceil(W/3), zero-filled."""
    x = F.pad(x, (0, -x.shape[3] % DILATION, 0, -x.shape[2] % DILATION))
    x = x.unflatten(2, (-1, DILATION)).unflatten(4, (-1, DILATION))
    return x.permute(3, 5, 0, 2, 4, 1).flatten(0, 2).contiguous().permute(0, 3, 1, 2)  # channels_last


# ---- fused, where Triton's kernels have shown that they work ----


def example(random, channels):
    """Arguments of the forward operation for a trial."""
    weights = [random(channels, 1, side, side, weight=True) for side in KERNELS]
    return random(2, channels, 125, 131), weights, [random(channels, weight=True) for _ in KERNELS]


def backward_example(random, channels):
    y, weights, _ = example(random, channels)
    return y, random(2, 3 * channels, 125, 131), weights


FUSED_FORWARD = Fused(plain_forward, "depthwise_triton", "forward", example)
FUSED_BACKWARD = Fused(plain_backward, "depthwise_triton", "backward", backward_example)
