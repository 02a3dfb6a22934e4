"""The three depthwise convolutions as one operation: the same numbers on every path."""

import pytest
import torch
from torch.nn import functional as F

from models.fast.depthwise import depthwise
from models.fast.padding import reflect_pad

KERNELS = (7, 5, 3)


def arguments(shape, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    channels = shape[1]
    sizes = [shape] + [(channels, 1, k, k) for k in KERNELS] + [(channels,)] * 3
    return [torch.randn(size, generator=generator, dtype=dtype, requires_grad=True) for size in sizes]


def three_convolutions(y, *parameters):
    outputs = []
    for weight, bias in zip(parameters[:3], parameters[3:], strict=True):
        padding = 3 * (weight.shape[2] // 2)
        padded = F.pad(y, (padding,) * 4, mode="reflect")
        outputs.append(F.conv2d(padded, weight, bias, dilation=3, groups=y.shape[1]))
    return torch.cat(outputs, dim=1)


def as_one(y, *parameters):
    return depthwise(y, parameters[:3], parameters[3:])


@pytest.mark.parametrize("shape", [(2, 3, 10, 10), (1, 8, 23, 12), (2, 4, 11, 30)])
def test_one_operation_equals_three_convolutions_and_so_do_its_gradients(shape):
    inputs = arguments(shape)
    ours, plain = as_one(*inputs), three_convolutions(*inputs)
    assert torch.allclose(ours, plain, rtol=1e-12, atol=1e-12)
    grad = torch.randn_like(plain)
    for a, b in zip(*(torch.autograd.grad(output, inputs, grad) for output in (ours, plain)), strict=True):
        assert torch.allclose(a, b, rtol=1e-11, atol=1e-11)


def test_results_are_channels_last_and_of_the_maps_type():
    y, *parameters = arguments((2, 4, 12, 13), torch.float32)
    output = as_one(y.bfloat16(), *parameters)
    assert output.dtype == torch.bfloat16
    assert output.is_contiguous(memory_format=torch.channels_last)


def test_the_operation_keeps_its_promises_to_torch():
    y, *parameters = arguments((1, 2, 10, 11))
    operation = torch.ops.mixcldehaze.depthwise_forward.default
    torch.library.opcheck(operation, (y, parameters[:3], parameters[3:]))


@pytest.mark.parametrize("padding", [1, 2, 9])
def test_reflect_pad_and_its_gradient(padding):
    x = torch.randn(2, 3, 10, 14, dtype=torch.float64, requires_grad=True)
    expected = F.pad(x, (padding,) * 4, mode="reflect")
    assert torch.equal(reflect_pad(x, padding), expected)
    grad = torch.randn_like(expected)
    (wanted,) = torch.autograd.grad(expected, x, grad)
    assert torch.allclose(torch.autograd.grad(reflect_pad(x, padding), x, grad)[0], wanted)
