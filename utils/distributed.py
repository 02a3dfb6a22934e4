"""The processes of one training run, as torchrun starts them; without torchrun there is one."""

import os
from contextlib import contextmanager

import torch
import torch.distributed as dist


@contextmanager
def processes(device_name):
    """Join the process group, if torchrun made one, and leave it at the end. Yields this process's device.

    device_name: "auto", "cpu" or "cuda". Raises ValueError when CUDA is asked for and not there.
    """
    device = pick_device(device_name)
    joined = "RANK" in os.environ
    if joined:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
    finally:
        if joined:
            dist.destroy_process_group()


def pick_device(name):
    """The torch device of a setting: "auto" is CUDA where there is one."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device=cuda, but this machine has no usable CUDA GPU: use device=cpu or device=auto")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    torch.cuda.set_device(device)
    return device


def rank():
    return dist.get_rank() if dist.is_initialized() else 0


def world_size():
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main():
    """Whether this is the process that writes files and prints."""
    return rank() == 0


def gather(items):
    """The lists of all processes joined, in order of rank, on every process."""
    if world_size() == 1:
        return items
    parts = [None] * world_size()
    dist.all_gather_object(parts, items)
    return [item for part in parts for item in part]


def any_process(flag, device):
    """Whether the flag is set on any process; all must call it."""
    if world_size() == 1:
        return flag
    value = torch.tensor(float(flag), device=device)
    dist.all_reduce(value, dist.ReduceOp.MAX)
    return bool(value)


def mean_over_processes(value):
    """A scalar tensor averaged over the processes; all must call it."""
    if world_size() > 1:
        dist.all_reduce(value)
        value /= world_size()
    return value


def wait_for_all():
    if world_size() > 1:
        dist.barrier()
