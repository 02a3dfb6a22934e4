"""The time that a network's convolutions need at least on a device, from what it can do at most."""

import torch
from torch import nn

from benchmarks.measure import timed


def limit(network, hazy, second, train, dtype, device):
    """Multiply-adds and least bytes of the convolutions, the device's rates, and the seconds that they imply.

    second: what the network takes beside the image, or None. train: whether a run is a training step.
    """
    totals = least_work(network, hazy, second, train, dtype)
    rate, bandwidth = matrix_rate(dtype, device), copy_bandwidth(device)
    seconds = max(totals["multiply_adds"] / rate, totals["bytes"] / bandwidth)
    return {**totals, "multiply_adds_per_second": rate, "bytes_per_second": bandwidth, "seconds": seconds}


def least_work(network, hazy, second, train, dtype):
    """Multiply-adds and least bytes of the convolutions of one run."""
    totals = {"multiply_adds": 0, "bytes": 0}

    def count(layer, inputs, output):
        values = inputs[0].numel() + output.numel() + layer.weight.numel()
        totals["multiply_adds"] += output.numel() * layer.weight[0].numel()
        totals["bytes"] += values * dtype.itemsize

    network.to("meta")
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count)
    with torch.no_grad():
        network(hazy.to("meta"), None if second is None else second.to("meta"))
    # a training step's gradients of inputs and of weights cost as much as the outputs, each
    return {name: (3 if train else 1) * value for name, value in totals.items()}


def matrix_rate(dtype, device):
    """Multiply-adds a second, the better of a matrix product and a 3x3 convolution of 256 channels."""
    side = 8192 if device.type == "cuda" else 1536
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    x = torch.randn(1, 256, 128, 128, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    w = torch.randn(256, 256, 3, 3, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    with torch.no_grad():
        product = min(timed(lambda: a @ b, device) for _ in range(7))
        convolution = min(timed(lambda: torch.conv2d(x, w), device) for _ in range(7))
    return max(side**3 / product, 126**2 * 256 * w[0].numel() / convolution)


def copy_bandwidth(device):
    """Bytes a second, read and written, of copying an array that no cache holds."""
    source = torch.ones(2**28 if device.type == "cuda" else 2**26, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() * 4 / min(timed(lambda: target.copy_(source), device) for _ in range(7))
