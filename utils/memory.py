"""How much memory there is: sizes as people write them, and what is free on a device."""

import re
from pathlib import Path

import torch

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}
UNKNOWN = 4 * 10**9  # taken to be free where the system does not say


def parse_size(text):
    """Bytes of a size such as 4GB, 500M, 1.5 GiB or a number. Raises ValueError naming it."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]I?|)B?\s*", text, re.IGNORECASE)
    if not match or not (size := int(float(match[1]) * UNITS[match[2].upper()])):
        raise ValueError(f"{text!r} is no size in memory: write it like 4GB, 500MB or 1.5GiB")
    return size


def free_memory(device, most=None):
    """Bytes that this process may still take on a device.

    most: what the whole process may hold (on CUDA: all of its tensors); None: what is free now.
    """
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        free = torch.cuda.mem_get_info(device)[0] + unused
        return free if most is None else min(free, most - torch.cuda.memory_allocated(device))
    free = free_ram()
    return free if most is None else min(free, most - resident())


def free_ram():
    """Bytes of main memory that are free, within the limits of the container that this runs in."""
    free = [1024 * int(line.split()[1]) for line in lines("/proc/meminfo") if line.startswith("MemAvailable:")]
    for limit, used, cache in (
        ("memory.max", "memory.current", "memory.stat"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
    ):
        limit, used = (lines(f"/sys/fs/cgroup/{name}") for name in (limit, used))
        if limit and used and limit[0].isdigit():
            pages = [int(line.split()[1]) for line in lines(f"/sys/fs/cgroup/{cache}") if "inactive_file" in line]
            free.append(int(limit[0]) - int(used[0]) + max(pages, default=0))
    return max(min(free), 0) if free else UNKNOWN


def resident():
    """Bytes of main memory that this process holds; 0 where the system does not say."""
    return sum(1024 * int(line.split()[1]) for line in lines("/proc/self/status") if line.startswith("VmRSS:"))


def lines(path):
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
