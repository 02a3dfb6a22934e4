"""Measure a training while it runs, and tell how it goes."""

import sys
import time
from datetime import timedelta

import torch

from .distributed import rank


class Clock:
    """Images a second, the share of time spent waiting for data, and on a GPU the peak memory."""

    def __init__(self, settings, device):
        """settings: those of `train`."""
        self.settings, self.device, self.next_line = settings, device, 0.0
        self.restart()

    def restart(self):
        self.start, self.waited, self.images = time.perf_counter(), 0.0, 0

    def next(self, batches):
        """The next batch, whose wait is counted."""
        start = time.perf_counter()
        batch = next(batches)
        self.waited += time.perf_counter() - start
        return batch

    def report(self, step, loss, lr, **others):
        """All figures since the last report or restart, for the log; and, at most twice a minute, a line of them."""
        seconds = max(time.perf_counter() - self.start, 1e-9)
        speed = self.images / seconds
        figures = {"lr": lr, "loss": loss, **others, "images_per_second": speed, "data_wait": self.waited / seconds}
        if self.device.type == "cuda":
            figures["peak_memory_gb"] = torch.cuda.max_memory_allocated(self.device) / 1e9
            torch.cuda.reset_peak_memory_stats(self.device)
        if self.images and time.monotonic() >= self.next_line:
            self.next_line = time.monotonic() + 30
            left = timedelta(seconds=round((self.settings.steps - step) * self.settings.batch / speed))
            how = f"loss {loss:.4f}, lr {lr:.2e}, {speed:.1f} images/s, {left} left"
            say(f"step {step} of {self.settings.steps}: {how}")
        self.restart()
        return figures


def say(line):
    """Write a line on standard error, once for all processes."""
    if not rank():
        print(line, file=sys.stderr, flush=True)
