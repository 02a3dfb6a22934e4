"""Stopping a run in good order: by signal, and by a loss that is no number."""

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


def ignore_in_worker(worker):
    """Data loading processes leave Ctrl-C to the main process and end on SIGTERM."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def refuse_non_finite(values, step, names):
    """Raise FloatingPointError naming the term, the step and the images when one of the {term: value} is no number."""
    for term, value in values.items():
        if value != value or value in (float("inf"), float("-inf")):
            raise FloatingPointError(
                f"{term} is {value} at step {step}, images {', '.join(names)}: lower train.lr, set train.clip=1, "
                "or use train.precision=bf16 or fp32"
            )
