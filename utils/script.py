"""How every script begins and ends: arguments in, an exit code out, a user's mistake in one line."""

import argparse
import errno
import os
import re
import resource
import shutil
import signal
import sys
import time
from functools import partial
from pathlib import Path

MOST_FILES, FEWEST_FILES = 4096, 128  # that a script may have open
OUT_OF_MEMORY = re.compile("out of memory|can't allocate memory|Unable to allocate|could not create a primitive")
WORKER_KILLED = re.compile("DataLoader worker .*(killed|exited unexpectedly)")
WORKER_LEFT = ConnectionResetError, EOFError  # by a process that was killed as it handed a batch over
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

    A user's mistake (ValueError, OSError), a loss that is no number or too little memory is one line on standard error
    and exit code 2.
    With MIXCLDEHAZE_DEBUG set it is a traceback instead. A reader of standard output that has left, as `head` does, is
    no mistake.
    """
    signal.signal(signal.SIGTERM, terminate)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
        signal.signal(signal.SIGHUP, terminate)
    sys.unraisablehook = unraisable
    sys.stdout, sys.stderr = (stream or open(os.devnull, "w") for stream in (sys.stdout, sys.stderr))  # closed ones
    rank = os.environ.get("RANK", "0")  # of the processes that torchrun started
    name = Path(sys.argv[0]).name + (f" (process {rank})" if rank != "0" else "")
    try:
        allow_open_files()
        try:
            code = main()
        except WORKER_LEFT:
            time.sleep(5)  # the killed process's signal may be still to come, and its handler raises
            raise
        sys.stdout.flush()
    except BrokenPipeError:
        discard_output()
        code = 128 + signal.SIGPIPE
    except (MemoryError, RuntimeError, *WORKER_LEFT) as error:
        killed = isinstance(error, WORKER_LEFT) or WORKER_KILLED.search(str(error))
        if not killed and not is_out_of_memory(error):
            raise
        what = "a process that reads data was killed, most likely for memory: lower data.workers, or" if killed else ""
        complain(f"{name}: {what or 'the memory is too small:'} make batches, crops or images smaller")
        code = 2
    except (ValueError, OSError, FloatingPointError) as error:
        if os.environ.get("MIXCLDEHAZE_DEBUG"):
            raise
        if isinstance(error, OSError) and error.filename is None:
            discard_output()
        complain(f"{name}: {one_line(error)}")
        code = 2
    except KeyboardInterrupt:
        complain(f"{name}: stopped")
        code = 130
    sys.exit(code or 0)


def complain(line):
    """Write a line to standard error at once: print writes its end apart, and another process may come in between."""
    sys.stderr.write(f"{line}\n")


def terminate(number, frame):
    """Leave at once, but take away what is half-written."""
    sys.exit(128 + number)


def unraisable(event):
    """Pass over a killed data process that is noticed where Python cannot raise: the next batch raises it again."""
    if not WORKER_KILLED.search(str(event.exc_value)):
        sys.__unraisablehook__(event)


def is_out_of_memory(error):
    return isinstance(error, MemoryError) or bool(OUT_OF_MEMORY.search(str(error)))


def allow_open_files():
    """Raise the soft limit: data processes hand every batch over as an open file, and wait for ever without one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= most < FEWEST_FILES:
        raise ValueError(f"{most} open files are too few: allow more by ulimit -n {MOST_FILES}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (MOST_FILES if most < 0 else min(MOST_FILES, most), most))


def discard_output():
    """Send what is left of standard output nowhere: Python would try, and fail, once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def one_line(error):
    """What an error says, on one line; of one from a data loading process, what was said there."""
    text = str(error).strip()
    if text.startswith("Caught ") and "DataLoader worker" in text:
        text = text[text.rindex(f"{type(error).__name__}: ") :].partition(": ")[2]
    elif isinstance(error, OSError) and error.strerror:
        place = "standard output or a file" if error.filename is None else error.filename
        text = f"{place} cannot be used ({error.strerror}): {REMEDIES.get(error.errno, 'check that path')}"
    return " ".join(text.split())
