"""How scripts end: a mistake in one line with its remedy, on any system and for any user."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from utils.script import mistake

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried"), "memory is too small: .* train.recompute=true"),
        (RuntimeError("can't start new thread"), "memory is too small"),
        (RuntimeError("DataLoader worker (pid 1) is killed by signal: Killed. "), "lower data.workers"),
        (RuntimeError("DataLoader worker (pid(s) 1) exited unexpectedly"), "lower data.workers"),
        (ConnectionResetError(104, "Connection reset by peer"), "lower data.workers"),
        (RuntimeError("DataLoader worker (pid 1) is killed by signal: Bus error. "), "--shm-size=8g, or set data.work"),
        (RuntimeError("unable to write to file </torch_1_2>: No space left on device (28)"), "--shm-size=8g"),
        (OSError(28, "No space left on device", "a.pt"), "a.pt cannot be used .*: make room, then run again"),
        (ValueError("one\n two"), "one two"),
    ],
)
def test_a_mistake_is_one_line_with_its_remedy(error, message):
    assert re.search(message, mistake(error)) and "\n" not in mistake(error)


def test_a_defect_keeps_its_traceback():
    assert mistake(RuntimeError("expected scalar type Float")) is None


def test_a_user_whom_the_system_does_not_know_gets_a_name():
    program = "import getpass; from utils.script import run; run(lambda: print(getpass.getuser()))"
    done = subprocess.run([sys.executable, "-c", program], env={}, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == str(os.getuid())


def test_no_module_needs_what_macos_lacks():
    for path in [path for folder in ("models", "datasets", "utils") for path in (ROOT / folder).rglob("*.py")]:
        text = path.read_text()
        assert not re.search("^ *(import|from) resource", text, re.MULTILINE), path
        assert all("hasattr" in line for line in text.splitlines() if "sched_getaffinity" in line), path
