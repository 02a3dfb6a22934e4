"""The processes of one training run, as torchrun starts them; without torchrun there is one."""

import functools
import os
import signal
import sys
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.nn.functional import all_reduce
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

RENDEZVOUS = timedelta(minutes=5)  # until all processes have started
ON_MAIN = timedelta(hours=12)  # while the main process does something for all, such as reading a large set

_main_group = None  # of all processes, for what waits for the main one


@contextmanager
def processes(device_name):
    """Join the process group, if torchrun made one, and leave it at the end. Yields this process's device."""
    global _main_group
    device = pick_device(device_name)
    if "RANK" not in os.environ:
        yield device
        return
    handler = signal.signal(signal.SIGTERM, signal.SIG_DFL)  # no handler of Python's runs while torch waits
    try:
        store, rank, world_size = next(rendezvous("env://", timeout=RENDEZVOUS))
    except dist.DistError:
        place = ":".join(os.environ.get(name, "?") for name in ("MASTER_ADDR", "MASTER_PORT"))
        remedy = "check that the main process runs there, and that the port is free"
        raise ValueError(f"the processes did not meet at MASTER_ADDR:MASTER_PORT={place}: {remedy}") from None
    finally:
        signal.signal(signal.SIGTERM, handler)
    # gradients by NCCL; objects and flags on the CPU, where they wait for no GPU
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=world_size)
    _main_group = dist.new_group(backend="gloo", timeout=ON_MAIN)
    try:
        yield device
    finally:
        dist.destroy_process_group()


def pick_device(name):
    """The torch device of "cpu", "cuda" or "auto": CUDA where torch can use it. Raises ValueError without CUDA."""
    if name == "cpu":
        return torch.device("cpu")
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:  # no driver, one too old, or a torch without CUDA
        reason = str(error).strip().partition(". ")[0]
        message = f"torch {torch.__version__} cannot use a GPU here ({reason})"
        if name == "cuda":
            raise ValueError(f"device=cuda, but {message}: use device=cpu or device=auto") from None
        if Path("/proc/driver/nvidia/version").exists():
            print(f"note: {message}: running on the CPU", file=sys.stderr)
        return torch.device("cpu")
    local, num_gpus = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
    if local >= num_gpus:
        raise ValueError(f"process {local} of this machine has no GPU of its own: use --nproc-per-node {num_gpus}")
    torch.cuda.set_device(local)
    torch.backends.cudnn.allow_tf32 = False  # float32 means float32
    return torch.device("cuda", local)


def rank():
    """This process's number; process 0 writes files and prints."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size():
    return dist.get_world_size() if dist.is_initialized() else 1


def on_main(function):
    """Decorate a function: the main process runs it, and every process gets the result. All must call it.

    Where it raises, the other processes leave with exit code 2: a user's mistake is reported once.
    """

    @functools.wraps(function)
    def run(*args, **kwargs):
        if world_size() == 1:
            return function(*args, **kwargs)
        outcome = [False, None]
        try:
            if rank() == 0:
                outcome = [True, function(*args, **kwargs)]
        finally:
            dist.broadcast_object_list(outcome, group=_main_group)
        if not outcome[0]:
            sys.exit(2)
        return outcome[1]

    return run


def gather(items):
    """Join the lists of all processes, in order of rank, on every process. All must call it."""
    if world_size() == 1:
        return items
    parts = [None] * world_size()
    dist.all_gather_object(parts, items)
    return [item for part in parts for item in part]


def any_process(flag):
    """Whether the flag is set on any process. All must call it."""
    return bool(mean_over_processes(torch.tensor(float(flag))))


def mean_over_processes(value):
    """Average a tensor over the processes; each gets its share of the gradient. All must call it."""
    return all_reduce(value) / world_size() if world_size() > 1 else value


def share_buffers(network):
    """Copy the main process's buffers, such as BatchNorm statistics, to every process. All must call it."""
    if world_size() > 1:
        for buffer in network.buffers():
            dist.broadcast(buffer, 0)


def data_parallel(network, device, sync_batchnorm=False):
    """Wrap the network so that all processes step it together. sync_batchnorm: statistics over their whole batch."""
    if world_size() == 1:
        return network
    if sync_batchnorm:
        network = torch.nn.SyncBatchNorm.convert_sync_batchnorm(network)
    return DistributedDataParallel(network, [device] if device.type == "cuda" else None)
