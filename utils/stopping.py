"""Stopping a run in good order: by signal, and by a loss that is no number."""

import atexit
import math
import multiprocessing
import os
import signal
from contextlib import contextmanager

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class StopSignal:
    """Remembers a signal, so that the loop can finish its step and save; SIGINT after that stops at once."""

    def __init__(self):
        self.heard = False
        self.terminals = [output for output in (1, 2) if os.isatty(output)]
        atexit.register(kill_workers)
        for number in SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                signal.signal(number, self.hear)

    def hear(self, number, frame):
        self.heard = True
        if number == signal.SIGHUP:  # the terminal is gone, and writing to it an error
            for output in self.terminals:
                os.dup2(os.open(os.devnull, os.O_WRONLY), output)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def until_heard(self, loader):
        """The batches of a loader, cut short by the signal."""
        with signals_held():
            batches = iter(loader)
        for batch in batches:
            if self.heard:
                return
            yield batch


@contextmanager
def signals_held():
    """Signals wait until the end; processes that are started inside never hear them.

    Schedulers and terminals send signals to every process of a run, but the main process still needs those that load
    data to finish its step; it ends them by other means.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def kill_workers():
    """Kill the processes that load data, which do not hear SIGTERM: at exit, whatever its reason."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # the loader's handler would report their end as an error
    for worker in multiprocessing.active_children():
        worker.kill()


def refuse_non_finite(values, step, names, settings):
    """Raise FloatingPointError naming the term, the step and the images when one of the {term: value} is no number.

    settings: the `train` settings, of which the message suggests those that are not so already.
    """
    for term, value in values.items():
        if not math.isfinite(value):
            remedies = ["lower train.lr"] + ["set train.clip=1"] * (settings.clip is None)
            remedies += ["use train.precision=bf16 or fp32"] * (settings.precision == "fp16")
            remedies += ["use train.precision=fp32"] * (settings.precision == "bf16")
            raise FloatingPointError(
                f"{term} is {value} at step {step}, images {', '.join(names)}: {' or '.join(remedies)}; "
                "the last checkpoint is from before"
            )
