"""What a network costs to run."""

import torch
from torch.utils.flop_counter import FlopCounterMode


def multiply_adds(network, height, width, num_classes=2):
    """Multiply-adds of one image's forward pass, as torch counts them in convolutions and matrix products.

    The network is moved to the meta device: give a copy.
    """
    network = network.to("meta").eval()
    hazy, prob = torch.empty(1, 3, height, width, device="meta"), torch.empty(1, num_classes, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(hazy, prob)
    return counter.get_total_flops() // 2
