"""How every script begins and ends: arguments in, an exit code out, a user's mistake in one line."""

import argparse
import os
import sys
from pathlib import Path


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def __init__(self, doc):
        super().__init__(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)

    def error(self, message):
        raise ValueError(f"{message} (see {self.prog} --help)")


def config_parser(doc):
    """A parser with CONFIG and key=value arguments."""
    parser = Parser(doc)
    parser.add_argument("config", metavar="CONFIG", help="settings file, such as configs/demo.yaml")
    parser.add_argument("overrides", metavar="key=value", nargs="*", help="settings that win over the file's")
    return parser


def run(main):
    """Run a script's main function and leave with its exit code.

    A user's mistake (ValueError, OSError) or a loss that is no number is one line on standard error and exit code 2.
    With MIXCLDEHAZE_DEBUG set it is a traceback instead.
    """
    try:
        code = main()
    except (ValueError, OSError, FloatingPointError) as error:
        if os.environ.get("MIXCLDEHAZE_DEBUG"):
            raise
        line = " ".join(str(error).split())
        print(f"{Path(sys.argv[0]).name}: {line}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print(f"{Path(sys.argv[0]).name}: stopped", file=sys.stderr)
        code = 130
    sys.exit(code or 0)
