"""What a network costs to run and to train."""

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.functional import l1_loss
from torch.utils.flop_counter import FlopCounterMode

from .evaluate import autocast


def describe_cost(network, training_form, term, config, num_pairs, share):
    """Parameters, multiply-adds, steps, epochs and memory of a training, as lines of text.

    network: the plain one, which is then put through `training_form`. term: the contrastive loss, or None.
    num_pairs: to train on, None where the set is not there. share: images of one process in one part of a batch.
    """
    settings, pixels = config.train, config.train.crop**2
    parameters = sum(parameter.numel() for parameter in network.parameters())
    epochs = f": {settings.steps * settings.batch / num_pairs:,.1f} epochs of {num_pairs:,} pairs" if num_pairs else ""
    prob = torch.full((1, len(config.text.classes)), 1 / len(config.text.classes))
    weights = [*network.parameters(), *(term.parameters() if term else ())]

    def activations(side):
        hazy, clear = torch.rand(2, 1, 3, side, side)

        def loss():
            with autocast(torch.device("cpu"), settings.precision):
                output = network.train()(hazy, prob).float()
                return l1_loss(output, clear) + (term(output, clear, hazy) if term else 0)

        return bytes_for_backward(loss, weights)

    macs = multiply_adds(network, settings.crop, len(config.text.classes))
    network = training_form(network, recompute=settings.recompute)
    fixed, a_pixel = by_pixels(activations)
    fixed += 4 * (parameters * (4 if settings.ema else 3) + sum(weight.numel() for weight in weights))
    return (
        f"parameters     {parameters:,}\n"
        f"multiply-adds  {macs / 1e9:.2f} G an image of crop {settings.crop}, forward\n"
        f"steps          {settings.steps:,} of batch {settings.batch}{epochs}\n"
        f"memory         at least {(fixed + a_pixel * share * pixels) / 1e9:.1f} GB a process: {fixed / 1e9:.2f} GB of "
        f"weights, gradients, optimiser, and {a_pixel * pixels / 1e9:.2f} GB an image for the backward pass"
    )


def by_pixels(cost, small=64, large=128):
    """(fixed, a_pixel) of a cost that is fixed + a_pixel * side^2, from cost(side) of two small square images."""
    a_pixel = (cost(large) - cost(small)) / (large**2 - small**2)
    return cost(small) - a_pixel * small**2, a_pixel


def multiply_adds(network, side, num_classes):
    """Multiply-adds of one square image, as torch counts them in convolutions and matrix products.

    Nothing is computed: tensors are fake, with a shape and no content.
    """
    with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True), FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, side, side), torch.empty(1, num_classes))
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
