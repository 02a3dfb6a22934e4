"""What a network costs to run and to train."""

import torch
from torch.utils.flop_counter import FlopCounterMode


def by_pixels(cost, small=64, large=128):
    """(fixed, a_pixel) of a cost that is fixed + a_pixel * side^2, from cost(side) of two small square images."""
    a_pixel = (cost(large) - cost(small)) / (large**2 - small**2)
    return cost(small) - a_pixel * small**2, a_pixel


def multiply_adds(forward):
    """Multiply-adds of forward(), as torch counts them in convolutions and matrix products."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        forward()
    return counter.get_total_flops() / 2


def bytes_for_backward(forward, weights):
    """Bytes of the tensors that autograd keeps of forward() until its backward pass.

    weights: tensors that do not count. Each storage counts once, however many operations keep it.
    """
    own = {weight.untyped_storage().data_ptr() for weight in weights}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = forward()  # holds the graph, so that no storage is freed and its address used again
    assert loss.requires_grad
    return sum(kept.values())
