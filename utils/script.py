"""How every script begins and ends: arguments in, an exit code out, a user's mistake in one line."""

import argparse
import errno
import multiprocessing
import os
import re
import signal
import sys
from functools import partial
from pathlib import Path

# Errors of torch and the system that a user can mend: a pattern of "TYPE: MESSAGE", and the line for the user.
REMEDIES = {
    "shared memory|Bus error|file </torch_": (
        "the loaders' shared memory (/dev/shm) is too small: docker run --shm-size=8g, or set data.workers=0"
    ),
    "DataLoader worker .*(killed|exited unexpectedly)|^ConnectionResetError|^EOFError": (
        "a process that reads data died, most likely of too little memory: lower data.workers or the batch"
    ),
    "^MemoryError|out of memory|(can't|Unable to) allocate|could not create a primitive|can't start new thread": (
        "the memory is too small: make batches, crops or images smaller; in a training, train.recompute=true and a "
        "higher train.accumulate help, too; for photographs, a smaller --max-memory"
    ),
}
FULL, CLOSED = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG), (errno.EACCES, errno.EPERM, errno.EROFS)


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, and whose options may stand anywhere."""

    def __init__(self, doc):
        formatter = partial(argparse.RawDescriptionHelpFormatter, max_help_position=36, width=120)
        super().__init__(description=doc, formatter_class=formatter)

    def parse_args(self, args=None, namespace=None):
        return self.parse_intermixed_args(args, namespace)

    def error(self, message):
        raise ValueError(f"{message} (see {self.prog} --help)")


def config_parser(doc):
    """A parser with CONFIG and key=value arguments."""
    parser = Parser(doc)
    parser.add_argument("config", metavar="CONFIG", help="settings file, such as configs/demo.yaml")
    parser.add_argument("overrides", metavar="key=value", nargs="*", help="settings that win over the file's")
    return parser


def run(main):
    """Run a script's main function and leave with its exit code; 143 after SIGTERM, 130 after Ctrl-C.

    A user's mistake, a loss that is not finite, or too little memory is one line on standard error and exit code 2;
    with MIXCLDEHAZE_DEBUG set, a traceback. A closed stdout (`| head`) is not an error.
    """
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # `finally` removes half-written files
    os.environ.setdefault("USER", str(os.getuid()))  # torch asks for it; with `docker --user` it has no other name
    message = None
    try:
        code = main()
        print(end="", flush=True)  # a closed stdout shows here
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python would try to write the rest, and fail, once more
        code = 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        message, code = "stopped", 130
    except Exception as error:
        message, code = mistake(error), 2
        if not message or os.environ.get("MIXCLDEHAZE_DEBUG"):
            raise
    finally:
        for worker in multiprocessing.active_children():  # loaders' workers, which ignore SIGTERM
            worker.kill()
    if message:
        sys.stderr.write(f"{Path(sys.argv[0]).name}: {message}\n")
    sys.exit(code or 0)


def mistake(error):
    """The line for an error that a user can mend; None for a defect of this project."""
    text = str(error)
    for pattern, remedy in REMEDIES.items():
        if re.search(pattern, f"{type(error).__name__}: {text}"):
            return remedy
    if text.startswith("Caught ") and "DataLoader worker" in text:  # a traceback, which the worker's message ends
        text = text[text.rindex(f"{type(error).__name__}: ") :].partition(": ")[2]
    elif isinstance(error, OSError) and error.strerror:
        remedy = "make room, then run again" if error.errno in FULL else "check that path"
        remedy = "change its permissions, or choose another place" if error.errno in CLOSED else remedy
        text = f"{error.filename or 'a file'} cannot be used ({error.strerror}): {remedy}"
    return " ".join(text.split()) if isinstance(error, (ValueError, OSError, FloatingPointError)) else None


class StopSignal:
    """Remembers SIGTERM or Ctrl-C, so that a training finishes its step and saves; a second Ctrl-C stops at once."""

    def __init__(self):
        self.heard = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.hear)

    def hear(self, number, frame):
        self.heard = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
