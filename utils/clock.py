"""Measure a training while it runs, and report its progress."""

import sys
import time
from datetime import timedelta

import torch
from tqdm import tqdm

from .distributed import rank


class Clock:
    """Images a second, the share of time spent waiting for data, and on a GPU the peak memory."""

    def __init__(self, device):
        self.device = device
        self.restart()

    def restart(self):
        self.start, self.waited, self.images = time.perf_counter(), 0.0, 0

    def next(self, batches):
        """The next batch, whose wait is counted."""
        start = time.perf_counter()
        batch = next(batches)
        self.waited += time.perf_counter() - start
        return batch

    def report(self):
        """The figures since the last report or restart, for the log."""
        seconds = max(time.perf_counter() - self.start, 1e-9)
        figures = {"images_per_second": self.images / seconds, "data_wait": self.waited / seconds}
        if self.device.type == "cuda":
            figures["peak_memory_gb"] = torch.cuda.max_memory_allocated(self.device) / 1e9
            torch.cuda.reset_peak_memory_stats(self.device)
        self.restart()
        return figures


class Progress:
    """A bar where standard error is a terminal; elsewhere, as under Slurm, a line at most twice a minute."""

    def __init__(self, step, settings):
        """settings: those of `train`."""
        self.settings, self.next_line = settings, 0.0
        self.bar = tqdm(total=settings.steps, initial=step, unit="step", disable=None if rank() == 0 else True)

    def report(self, step, loss, lr, images_per_second, **others):
        """Show a training step's mean values since the last report."""
        if not self.bar.disable:
            self.bar.set_postfix(loss=f"{loss:.4f}", images_per_s=f"{images_per_second:.1f}")
        elif rank() == 0 and images_per_second and time.monotonic() >= self.next_line:
            self.next_line = time.monotonic() + 30
            left = timedelta(seconds=round((self.settings.steps - step) * self.settings.batch / images_per_second))
            rate = f"{images_per_second:.1f} images/s, {left} left"
            self.say(f"step {step} of {self.settings.steps}: loss {loss:.4f}, lr {lr:.2e}, {rate}")

    def say(self, line):
        """Write a line, above the bar if there is one."""
        if rank() == 0:
            self.bar.write(line, file=sys.stderr)
