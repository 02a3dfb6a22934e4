"""Measure a training while it runs, and tell how it goes."""

import sys
import time
from datetime import timedelta

import torch

from .distributed import rank


class Clock:
    """Images a second since the last report, and on a GPU the peak memory. settings: those of `train`."""

    def __init__(self, step, settings, device):
        self.settings, self.device, self.next_line = settings, device, 0.0
        self.restart(step)

    def restart(self, step):
        self.step, self.start = step, time.perf_counter()

    def report(self, step, loss, lr, **others):
        """All figures since the last report or restart, for the log; and, at most twice a minute, a line of them."""
        speed = (step - self.step) * self.settings.batch / max(time.perf_counter() - self.start, 1e-9)
        figures = {"lr": lr, "loss": loss, **others, "images_per_second": speed}
        if self.device.type == "cuda":
            figures["peak_memory_gb"] = torch.cuda.max_memory_allocated(self.device) / 1e9
            torch.cuda.reset_peak_memory_stats(self.device)
        if speed and time.monotonic() >= self.next_line:
            self.next_line = time.monotonic() + 30
            left = timedelta(seconds=round((self.settings.steps - step) * self.settings.batch / speed))
            how = f"loss {loss:.4f}, lr {lr:.2e}, {speed:.1f} images/s, {left} left"
            say(f"step {step} of {self.settings.steps}: {how}")
        self.restart(step)
        return figures


def say(line):
    """Write a line on standard error, once for all processes."""
    if not rank():
        print(line, file=sys.stderr, flush=True)
