"""What a network costs to run and to train."""

import torch
from torch import nn


def describe_cost(network, settings, num_classes, num_pairs):
    """Parameters, multiply-adds, steps and epochs of a training, as lines of text.

    network: the plain one. settings: those of `train`. num_classes: K of the network's prob.
    num_pairs: to train on, None where the set is missing.
    """
    parameters = sum(parameter.numel() for parameter in network.parameters())
    macs = multiply_adds(network, settings.crop, num_classes)
    epochs = f": {settings.steps * settings.batch / num_pairs:,.1f} epochs of {num_pairs:,} pairs" if num_pairs else ""
    return (
        f"parameters     {parameters:,}\n"
        f"multiply-adds  {macs / 1e9:.2f} G an image of crop {settings.crop}, forward\n"
        f"steps          {settings.steps:,} of batch {settings.batch}{epochs}"
    )


def multiply_adds(network, side, num_classes):
    """Multiply-adds of one square image of `side` pixels, in convolutions and linear layers.

    They are counted at 64 x 64: a map's convolutions cost in proportion to its pixels, and those of means always the
    same.
    """
    total = 0

    def count(layer, inputs, output):
        nonlocal total
        of_pixels = output.ndim == 4 and output.shape[2:] != (1, 1)
        total += output.numel() * layer.weight[0].numel() * ((side / 64) ** 2 if of_pixels else 1)

    layers = [layer for layer in network.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    with torch.no_grad():
        network(torch.zeros(1, 3, 64, 64), torch.full((1, num_classes), 1 / num_classes))
    for hook in hooks:
        hook.remove()
    return total
