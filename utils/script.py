"""How every script begins and ends: arguments in, an exit code out, a user's mistake in one line."""

import argparse
import errno
import getpass
import multiprocessing
import os
import re
import shutil
import signal
import sys
from functools import partial
from pathlib import Path

OUT_OF_MEMORY = re.compile(
    "out of memory|can't allocate memory|Unable to allocate|could not create a primitive|can't start new thread"
)
SHARED_MEMORY = re.compile("shared memory|Bus error|file </torch_")  # torch's errors where /dev/shm is full
WORKER_DIED = re.compile("DataLoader worker .*(killed|exited unexpectedly)")
REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "make room, then run again"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "change its permissions, or choose another place"),
    **dict.fromkeys((errno.ENOTDIR, errno.EISDIR, errno.EEXIST), "move away what is in the way"),
}


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, and whose options may stand anywhere."""

    def __init__(self, doc):
        # The examples as they are written, and an option a line where the terminal is as wide as the examples.
        options = {"max_help_position": 36, "width": min(120, shutil.get_terminal_size((120, 24)).columns)}
        super().__init__(description=doc, formatter_class=partial(argparse.RawDescriptionHelpFormatter, **options))

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

    A user's mistake (ValueError, OSError), a loss that is not finite, or too little memory is one line on standard
    error and exit code 2; with MIXCLDEHAZE_DEBUG set, a traceback. A closed stdout (`| head`) is not an error.
    """
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # `finally` removes half-written files
    name_the_user()
    try:
        code = main()
        print(end="", flush=True)  # a full or closed stdout shows here
    except BrokenPipeError:
        discard_output()
        code = 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        code = complain("stopped", 130)
    except (ValueError, OSError, FloatingPointError, MemoryError, RuntimeError, EOFError) as error:
        message = mistake(error)
        if not message or os.environ.get("MIXCLDEHAZE_DEBUG"):
            raise
        if isinstance(error, OSError) and error.filename is None:
            discard_output()
        code = complain(message, 2)
    finally:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler takes a worker's end for an error
        for worker in multiprocessing.active_children():  # loaders' workers, which ignore SIGTERM
            worker.kill()
    sys.exit(code or 0)


def mistake(error):
    """The line for an error that a user can mend; None for a defect of this project."""
    text = str(error)
    if isinstance(error, RuntimeError) and SHARED_MEMORY.search(text):
        return "the loaders' shared memory (/dev/shm) is too small: docker run --shm-size=8g, or set data.workers=0"
    if WORKER_DIED.search(text) or isinstance(error, (ConnectionResetError, EOFError)):
        return "a process that reads data died, most likely of too little memory: lower data.workers or the batch"
    if is_out_of_memory(error):
        return (
            "the memory is too small: make batches, crops or images smaller; in a training, train.recompute=true and a "
            "higher train.accumulate help, too"
        )
    return None if isinstance(error, RuntimeError) else one_line(error)


def is_out_of_memory(error):
    return isinstance(error, MemoryError) or bool(OUT_OF_MEMORY.search(str(error)))


def one_line(error):
    """An error's message on one line, with the remedy for an OSError; of a worker's error, the message there."""
    text = str(error)
    if text.startswith("Caught ") and "DataLoader worker" in text:
        text = text[text.rindex(f"{type(error).__name__}: ") :].partition(": ")[2]
    elif isinstance(error, OSError) and error.strerror:
        place = "standard output or a file" if error.filename is None else error.filename
        text = f"{place} cannot be used ({error.strerror}): {REMEDIES.get(error.errno, 'check that path')}"
    return " ".join(text.split())


def complain(message, code):
    """Write one line to standard error, with the script's name and process; returns the exit code."""
    rank = os.environ.get("RANK", "0")  # of the processes that torchrun started
    name = Path(sys.argv[0]).name + (f" (process {rank})" if rank != "0" else "")
    sys.stderr.write(f"{name}: {message}\n")  # at once: print writes the end of a line by itself
    return code


def discard_output():
    """Send the rest of standard output nowhere: Python would try to write it, and fail, once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def name_the_user():
    """Name a user whom the system does not know (`docker --user`): torch asks for the name, and fails without."""
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["USER"] = str(os.getuid())
