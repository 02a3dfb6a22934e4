"""Stopping a run in good order by a signal."""

import atexit
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
