"""The processes of one training run, as torchrun starts them; without torchrun there is one."""

import os
import sys
import warnings
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.nn.functional import all_reduce

TIMEOUT = timedelta(hours=12)  # for the others while the main process reads a large set, on slow disks


@contextmanager
def processes(device_name):
    """Join the process group, if torchrun made one, and leave it at the end. Yields this process's device.

    device_name: "auto", "cpu" or "cuda". Raises ValueError when CUDA is asked for and not there.
    """
    device = pick_device(device_name)
    joined = "RANK" in os.environ
    if joined:
        # gradients by NCCL; objects and flags on the CPU, where they wait for no GPU
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
    try:
        yield device
    finally:
        if joined:
            dist.destroy_process_group()


def pick_device(name):
    """The torch device of a setting: "auto" is CUDA where there is one. Says so where a GPU is there that is no use."""
    if name == "cpu":
        return torch.device("cpu")
    with warnings.catch_warnings(action="ignore"):  # the reason is said below
        usable = torch.cuda.is_available()
    if not usable and name == "cuda":
        raise ValueError(f"device=cuda, but {why_no_gpu()}: use device=cpu or device=auto")
    if not usable:
        if Path("/proc/driver/nvidia/version").exists():
            print(f"note: there is an NVIDIA GPU, but {why_no_gpu()}: running on the CPU", file=sys.stderr)
        return torch.device("cpu")
    local, num_gpus = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
    if local >= num_gpus:
        raise ValueError(f"process {local} of this machine has no GPU of its own: use --nproc-per-node {num_gpus}")
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


def why_no_gpu():
    """Why torch has no GPU, in a clause."""
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA"
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:  # such as a driver that is too old for torch's CUDA
        if "no NVIDIA driver" not in str(error):
            return f"torch {torch.__version__} cannot use it ({str(error).strip().partition('. ')[0]})"
    return "this machine has no usable CUDA GPU"


def rank():
    """This process's number; process 0 writes files and prints."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size():
    return dist.get_world_size() if dist.is_initialized() else 1


def on_main(work):
    """What work(), called by the main process alone, returns: on every process. All must call it.

    Only the main process's machine needs the files that work() reads. Where work() raises, the main process reports it
    and the others leave with exit code 2 rather than wait for it.
    """
    if world_size() == 1:
        return work()
    outcome = [False, None]
    try:
        if rank() == 0:
            outcome = [True, work()]
    finally:
        dist.broadcast_object_list(outcome)
    if not outcome[0]:
        sys.exit(2)
    return outcome[1]


def gather(items):
    """The lists of all processes joined, in order of rank, on every process."""
    if world_size() == 1:
        return items
    parts = [None] * world_size()
    dist.all_gather_object(parts, items)
    return [item for part in parts for item in part]


def any_process(flag):
    """Whether the flag is set on any process; all must call it."""
    if world_size() == 1:
        return flag
    value = torch.tensor(float(flag))
    dist.all_reduce(value, dist.ReduceOp.MAX)
    return bool(value)


def mean_over_processes(value):
    """A tensor averaged over the processes, each of which gets its share of the gradient; all must call it."""
    return all_reduce(value) / world_size() if world_size() > 1 else value


def share_buffers(network):
    """Give every process the main process's buffers, such as BatchNorm statistics; all must call it."""
    if world_size() > 1:
        for buffer in network.buffers():
            dist.broadcast(buffer, 0)
