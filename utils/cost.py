"""What a network costs to run and to train."""

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
