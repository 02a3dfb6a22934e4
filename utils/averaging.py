"""An exponential moving average of the weights, by torch's own AveragedModel."""

import torch
from torch.optim.swa_utils import AveragedModel


def averaged(network, decay):
    """The average of a network's weights and BatchNorm statistics; `update_parameters` after every step.

    The decay rises from 0.1 as (1 + n) / (10 + n) to its full value, so that short runs are not held back by their
    first weights.
    """

    @torch.no_grad()
    def update(averages, values, num_averaged):
        rate = min(decay, float((1 + num_averaged) / (10 + num_averaged)))
        if averages[0].is_floating_point():
            torch._foreach_lerp_(list(averages), list(values), 1 - rate)
        else:
            torch._foreach_copy_(list(averages), list(values))

    return AveragedModel(network, multi_avg_fn=update, use_buffers=True)
