"""What the benchmarks share: the machine in a line, seconds, memory."""

import platform
import re
import time
from pathlib import Path

import torch


def machine(device="cpu"):
    """Hardware and versions, in a line. device: a torch device or its name."""
    if torch.device(device).type == "cuda":
        name = f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
    else:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
        name = f"{found.group(1) if found else platform.machine()}, {torch.get_num_threads()} threads"
    return f"{name}, torch {torch.__version__}, Python {platform.python_version()}"


def timed(function, device="cpu"):
    """Seconds that a call takes, with the work that it leaves to the GPU."""

    def synchronise():
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize()

    synchronise()
    start = time.perf_counter()
    function()
    synchronise()
    return time.perf_counter() - start


def peak_memory(device="cpu"):
    """Most bytes so far: of tensors on CUDA; on a CPU of this whole process, as Linux counts them."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s*(\d+) kB", status).group(1)) * 1024
