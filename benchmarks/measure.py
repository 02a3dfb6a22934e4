"""What the benchmarks share: the machine in a line, seconds, memory. Imports torch only where it is needed."""

import platform
import re
import time
from pathlib import Path


def machine(device="cpu"):
    """Hardware and versions, in a line. device: a torch device or its name."""
    import torch

    if str(device).startswith("cuda"):
        name = f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
    else:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
        name = f"{found.group(1) if found else platform.machine()}, {torch.get_num_threads()} threads"
    return f"{name}, torch {torch.__version__}, Python {platform.python_version()}"


def timed(function, device="cpu"):
    """Seconds that a call takes, with the work that it leaves to the GPU."""

    def synchronise():
        if str(device).startswith("cuda"):
            import torch

            torch.cuda.synchronize()

    synchronise()
    start = time.perf_counter()
    function()
    synchronise()
    return time.perf_counter() - start


def peak_memory(device="cpu"):
    """Most bytes so far: of this whole process on a CPU, of tensors on CUDA."""
    if not str(device).startswith("cuda"):
        return high_water("self")
    import torch

    return torch.cuda.max_memory_allocated()


def high_water(pid):
    """The largest resident size of a process so far, in bytes, by Linux; 0 when it has ended.

    (Its rusage would begin with its parent's.)
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"VmHWM:\s*(\d+) kB", status)
    return int(found.group(1)) * 1024 if found else 0
