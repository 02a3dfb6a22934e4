"""What a network costs to run and to train."""

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode


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
    """Multiply-adds of one square image, as torch counts them in convolutions and matrix products.

    Nothing is computed: tensors are fake, with a shape and no content.
    """
    with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True), FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, side, side), torch.empty(1, num_classes))
    return counter.get_total_flops() / 2
