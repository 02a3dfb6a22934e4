"""Where the time and the memory of a training step go."""

import resource
import time
from contextlib import contextmanager

import torch


class Clock:
    """Images a second, the share of time spent waiting for data, and peak memory."""

    def __init__(self, device):
        self.device = device
        self.restart()

    def restart(self):
        self.start, self.waited, self.images = time.perf_counter(), 0.0, 0

    @contextmanager
    def waiting(self):
        """Time inside counts as waiting for data."""
        start = time.perf_counter()
        yield
        self.waited += time.perf_counter() - start

    def report(self):
        """The figures since the last report or restart, for the log.

        peak_memory_gb is the GPU's since the last report, or on a CPU the process's since its start.
        """
        seconds = max(time.perf_counter() - self.start, 1e-9)
        figures = {"images_per_second": self.images / seconds, "data_wait": self.waited / seconds}
        if self.device.type == "cuda":
            figures["peak_memory_gb"] = torch.cuda.max_memory_allocated(self.device) / 1e9
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            figures["peak_memory_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
        self.restart()
        return figures
