"""Stop a run in good order at a signal."""

import signal


class StopSignal:
    """Remembers SIGTERM or Ctrl-C, so that the loop finishes its step and saves; a second Ctrl-C stops at once."""

    def __init__(self):
        self.heard = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.hear)

    def hear(self, number, frame):
        self.heard = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def until_heard(self, batches):
        """The batches, cut short by the signal."""
        for batch in batches:
            if self.heard:
                return
            yield batch
