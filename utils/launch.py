"""torchrun without its dump: a mistake that a process has named in one line ends the run with its exit code.

    python -m utils.launch --standalone --nproc-per-node 4 train.py CONFIG
"""

import logging
import sys

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main

if __name__ == "__main__":
    logging.disable()  # of the launcher alone
    try:
        main()
    except ChildFailedError as error:
        code = error.get_first_failure()[1].exitcode
        sys.exit(code if code > 0 else 128 - code)  # as a shell gives a signal
