"""One network stepped by all processes together, with BatchNorm over their whole batch where that is asked for."""

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from .distributed import mean_over_processes, world_size


def shared(network, device, sync_batchnorm):
    """The network as all processes step it together; itself where there is one."""
    several = world_size() > 1
    network = synchronise(network, device) if several and sync_batchnorm else network
    if not several:
        return network
    return DistributedDataParallel(network, [device] if device.type == "cuda" else None)


class SyncBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm2d over the whole batch, of which every process holds an equal share, on any backend.

    torch's own runs on GPUs only.
    """

    def forward(self, x):
        """x: B x C x H x W; returns the same shape."""
        if not self.training:
            return super().forward(x)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))  # under autocast x may be of low precision
        mean = mean_over_processes(wide.mean((0, 2, 3)))
        centred = wide - mean[:, None, None]
        var = mean_over_processes(centred.square().mean((0, 2, 3)))
        with torch.no_grad():
            num = world_size() * x.numel() / x.shape[1]
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * num / (num - 1), self.momentum)
            self.num_batches_tracked += 1
        scale = self.weight * (var + self.eps).rsqrt()
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)


def synchronise(network, device):
    """Make every BatchNorm of a network share its statistics over the processes, keeping parameters and names."""
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SyncBatchNorm2d
    return network
