"""How much memory there is: sizes as people write them, and what is free on a device."""

import re
from pathlib import Path

import torch


def parse_size(text):
    """Bytes of a size such as 4GB, 500M or 1.5 GiB. Raises ValueError naming it."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([MG])(I?)B?\s*", text, re.IGNORECASE)
    if not match or not float(match[1]):
        raise ValueError(f"{text!r} is not a size in memory: write it like 4GB, 500MB or 1.5GiB")
    return int(float(match[1]) * (1024 if match[3] else 1000) ** {"M": 2, "G": 3}[match[2].upper()])


def free_memory(device, limit=None):
    """Bytes that this process may still take on a device; None where neither the system nor a limit says.

    limit: bytes that the whole process may hold (on CUDA: all of its tensors), or None.
    """
    if device.type == "cuda":
        used = torch.cuda.memory_allocated(device)
        free = [torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device) - used]
    else:
        used = number("/proc/self/status", "VmRSS:", 1024) or 0
        free = [number("/proc/meminfo", "MemAvailable:", 1024)]
        most, taken = (number(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current"))  # a container's
        if most is not None and taken is not None:
            free.append(most - taken + (number("/sys/fs/cgroup/memory.stat", "inactive_file ") or 0))  # cached files
    free.append(None if limit is None else limit - used)
    return min((size for size in free if size is not None), default=None)


def number(path, name="", unit=1):
    """The number behind a name in a file of the system's, in units of bytes; None where it is not there."""
    try:
        match = re.search(rf"^{name}\s*(\d+)", Path(path).read_text(), re.MULTILINE)
    except OSError:
        return None
    return match and int(match[1]) * unit
