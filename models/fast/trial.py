"""Fused operations earn their place: each is tried on the device at hand before its first use there.

A `Fused` operation has a plain form and a fused one, mostly of Triton's kernels. On CUDA the latter runs where it
could be compiled and launched on a small random map, equals the plain form to rounding, and is no slower. Once anything
about Triton fails on a device, plain operations run there to the end.
"""

import copy
import logging
from importlib import import_module

import torch

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 2e-2, torch.float16: 3e-3}  # of the largest number: a few roundings

logger = logging.getLogger(__name__)
refused = {}  # device -> why none of Triton's kernels runs there
tried = {}  # device -> {description of an operation: its time over that of plain operations}


class Fused:
    """plain(x, *rest), or the function `name` of a module of this room, which takes the same arguments.

    x: a map, B x C x H x W. rest: maps, numbers and lists of weights. Both return a map, or a tuple of such and lists.
    example(random, channels): arguments for a trial; random(*shape) is a tensor, and random(*shape, weight=True) one of
    the weights' type.
    """

    def __init__(self, plain, module, name, example):
        self.plain, self.module, self.name, self.example = plain, module, name, example
        self.verdicts = {}

    def __call__(self, x, *rest):
        if not x.is_cuda or torch.compiler.is_compiling():
            return self.plain(x, *rest)
        weights = [tensor for item in rest if isinstance(item, list) for tensor in item]
        key = x.device, x.dtype, weights[0].dtype if weights else x.dtype, x.shape[1]
        if key not in self.verdicts:
            self.verdicts[key] = self.passes(*key)
        if x.device in refused or not self.verdicts[key]:
            return self.plain(x, *rest)
        with torch.cuda.device(x.device):  # Triton launches on the current one
            return self.fused(x, *rest)

    def fused(self, *arguments):
        module = import_module(f".{self.module}", __package__)  # costs 50 MB, so only where it is used
        return getattr(module, self.name)(*arguments)

    def passes(self, device, dtype, weight_dtype, channels):
        """Whether the kernels may serve such maps, by a trial."""
        if device in refused or dtype not in TOLERANCE:
            return False
        try:
            with torch.cuda.device(device), torch.no_grad(), torch.autocast("cuda", enabled=False), full_precision():
                generator = torch.Generator(device).manual_seed(0)  # torch's own, whose state is saved, is left alone

                def random(*shape, weight=False):
                    x = torch.randn(shape, device=device, generator=generator).to(weight_dtype if weight else dtype)
                    return x.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else x

                arguments = self.example(random, channels)
                # Some change an argument in place.
                plain, fused = (flat(way(*copy.deepcopy(arguments))) for way in (self.plain, self.fused))
                if not all(agree(a, b, TOLERANCE[dtype]) for a, b in zip(plain, fused, strict=True)):
                    raise ValueError(f"{self.name} of {channels} channels differs from plain operations")
                plain_ms, fused_ms = times([lambda: self.plain(*arguments), lambda: self.fused(*arguments)])
        except Exception as problem:  # whatever it is: nothing about Triton may end a run
            refused[device] = f"{type(problem).__name__}: {' '.join(str(problem).split())[:200]}"
            logger.warning("note: %s: plain operations, as Triton's kernels do not work (%s)", device, refused[device])
            return False
        name = f"{self.name}, {channels} channels, {str(dtype).removeprefix('torch.')}"
        tried.setdefault(device, {})[name] = fused_ms / plain_ms if plain_ms else 1.0
        return fused_ms <= plain_ms


def full_precision():
    now = torch.backends.cudnn
    return now.flags(enabled=now.enabled, benchmark=now.benchmark, deterministic=now.deterministic, allow_tf32=False)


def flat(results):
    """The tensors of nested tuples and lists."""
    return [results] if torch.is_tensor(results) else [tensor for part in results for tensor in flat(part)]


def agree(plain, fused, tolerance):
    """Whether two tensors are equal to a tolerance, of the largest number, and finite: what is off becomes infinite."""
    off = (plain.float() - fused.float()).abs() > tolerance * plain.float().abs().max()
    return bool(fused.masked_fill(off, float("inf")).isfinite().all())


def times(ways, repetitions=5):
    """Milliseconds of each function, the least of some calls in turn."""
    least = [float("inf")] * len(ways)
    for _ in range(repetitions):
        for i, way in enumerate(ways):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            way()
            end.record()
            end.synchronize()
            least[i] = min(least[i], start.elapsed_time(end))
    return least
