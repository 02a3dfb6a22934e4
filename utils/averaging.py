"""An exponential moving average of the weights."""

import copy

import torch


class Average:
    """The average of a network's weights and BatchNorm statistics, in `module`; call `update` after every step.

    The decay rises from 0.1 as (1 + n) / (10 + n) to its full value, so that short runs are not held back by their
    first weights. (torch's AveragedModel counts on the device: reading that number stops the CPU twice a step.)
    """

    def __init__(self, network, decay):
        self.module, self.decay, self.num_updates = copy.deepcopy(network), decay, 0
        pairs = list(zip(*(both.state_dict().values() for both in (self.module, network)), strict=True))
        self.floats = [pair for pair in pairs if pair[0].is_floating_point()]
        self.counts = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self):
        n = self.num_updates
        rate = min(self.decay, (1 + n) / (10 + n)) if n else 0.0  # the first weights are taken as they are
        torch._foreach_lerp_(*map(list, zip(*self.floats, strict=True)), 1 - rate)
        if self.counts:
            torch._foreach_copy_(*map(list, zip(*self.counts, strict=True)))
        self.num_updates += 1
