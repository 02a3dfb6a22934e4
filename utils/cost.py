"""What a network costs to run and to train, and how much memory there is."""

import re
from pathlib import Path

import torch
from torch import nn


def describe_cost(network, settings, num_classes, num_pairs):
    """The cost of a training in lines of text. settings: `train`'s. num_pairs: None where the set is missing."""
    parameters = sum(parameter.numel() for parameter in network.parameters())
    macs = multiply_adds(network, settings.crop, num_classes)
    epochs = f": {settings.steps * settings.batch / num_pairs:,.1f} epochs of {num_pairs:,} pairs" if num_pairs else ""
    return (
        f"parameters     {parameters:,}\n"
        f"multiply-adds  {macs / 1e9:.2f} G an image of crop {settings.crop}, forward\n"
        f"steps          {settings.steps:,} of batch {settings.batch}{epochs}"
    )


def multiply_adds(network, side, num_classes):
    """Multiply-adds of one square image of `side` pixels, in convolutions and linear layers.

    Counted at 64 x 64: convolutions of maps cost in proportion to the pixels, those of means always the same.
    """
    total = 0

    def count(layer, inputs, output):
        nonlocal total
        of_pixels = output.ndim == 4 and output.shape[2:] != (1, 1)
        total += output.numel() * layer.weight[0].numel() * ((side / 64) ** 2 if of_pixels else 1)

    layers = [layer for layer in network.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    with torch.no_grad():
        network(torch.zeros(1, 3, 64, 64), torch.full((1, num_classes), 1 / num_classes))
    for hook in hooks:
        hook.remove()
    return total


def parse_size(text):
    """Bytes of a size such as 4GB, 500M or 1.5 GiB. Raises ValueError naming it."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([MG])(I?)B?\s*", text, re.IGNORECASE)
    if not match or not float(match[1]):
        raise ValueError(f"{text!r} is not a size in memory: write it like 4GB, 500MB or 1.5GiB")
    return int(float(match[1]) * (1024 if match[3] else 1000) ** {"M": 2, "G": 3}[match[2].upper()])


def free_memory(device, limit=None):
    """Bytes that this process may still take on a device, or None. limit: what it may hold (on CUDA: in tensors)."""
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
    """The number behind a name in a file of the system's, in units of bytes, or None."""
    match = Path(path).exists() and re.search(rf"^{name}\s*(\d+)", Path(path).read_text(), re.MULTILINE)
    return int(match[1]) * unit if match else None
