"""BatchNorm over the batches of all processes, on any backend; torch's own runs on GPUs only."""

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.nn.functional import all_reduce


class SyncBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm2d whose training statistics are those of the whole batch, every process holding an equal share."""

    def forward(self, x):
        """x: B x C x H x W; returns the same shape."""
        if not self.training:
            return super().forward(x)
        world = dist.get_world_size()
        mean = all_reduce(x.mean((0, 2, 3))) / world
        centred = x - mean[:, None, None]
        var = all_reduce(centred.square().mean((0, 2, 3))) / world
        with torch.no_grad():
            num = world * x.numel() / x.shape[1]
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_((var * num / (num - 1)).to(self.running_var.dtype), self.momentum)
            self.num_batches_tracked += 1
        scale = self.weight * (var + self.eps).rsqrt()
        return centred * scale[:, None, None] + self.bias[:, None, None]


def synchronise(network, device):
    """Make every BatchNorm of a network share its statistics over the processes, keeping parameters and names."""
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SyncBatchNorm2d
    return network
