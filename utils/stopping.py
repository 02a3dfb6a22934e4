"""Stopping a run in good order: by signal, and by a loss that is no number."""

import math
import signal


class StopSignal:
    """Remembers SIGTERM and SIGINT, so that the loop can finish its step and save; a second SIGINT stops at once."""

    def __init__(self):
        self.heard = False
        signal.signal(signal.SIGTERM, self.hear)
        signal.signal(signal.SIGINT, self.hear)

    def hear(self, number, frame):
        self.heard = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def until_heard(self, items):
        """The items, cut short by the signal."""
        for item in items:
            if self.heard:
                return
            yield item


def ignore_in_worker(worker):
    """Leave signals to the main process, as schedulers and terminals send them to every process of a run.

    A data loading process ends by itself when the main process ends it or is gone.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def refuse_non_finite(values, step, names):
    """Raise FloatingPointError naming the term, the step and the images when one of the {term: value} is no number."""
    for term, value in values.items():
        if not math.isfinite(value):
            raise FloatingPointError(
                f"{term} is {value} at step {step}, images {', '.join(names)}: lower train.lr, set train.clip=1, "
                "or use train.precision=bf16 or fp32; the last checkpoint is from before"
            )
