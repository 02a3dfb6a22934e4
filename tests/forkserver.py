"""The scripts as processes, without the wait for their imports: for tests that run them hundreds of times.

A server, `python tests/forkserver.py`, imports once what the scripts import. Every run is a fork of it that becomes the
script: its own folder, arguments, environment, output, limits, exit code. What a run is given is a JSON line.
"""

import atexit
import gc
import json
import os
import resource
import runpy
import select
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PRELOADED = ("torch", "torch._dynamo", "torch.utils.tensorboard", "torchvision", "cv2", "PIL.Image", "skimage", "tqdm")
WRITES = ("os.mkdir", "os.rename", "os.remove", "os.truncate")  # audit events; an `open` for writing is one, too


@dataclass(frozen=True)
class Done:
    """A run that has ended. code: exit code, or minus the signal. seconds, max_memory (bytes): what it took."""

    code: int
    stdout: str
    stderr: str
    seconds: float
    max_memory: int
    timed_out: bool


class Scripts:
    """Starts scripts of this project as forks of one server."""

    def __init__(self):
        command = [sys.executable, __file__]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.server = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT
        )

    def start(self, folder, script, *arguments, outputs=None, timeout=60, **faults):
        """Begin a run in a folder; returns its process id. Faults are described at `begin`."""
        self.outputs = Path(outputs or folder)
        request = {"script": str(ROOT / script), "arguments": [str(argument) for argument in arguments]}
        request |= {"folder": str(folder), "outputs": str(self.outputs), "timeout": timeout, **faults}
        print(json.dumps(request), file=self.server.stdin, flush=True)
        return json.loads(self.server.stdout.readline())

    def finish(self):
        """Wait for the run that was begun."""
        outcome = json.loads(self.server.stdout.readline())
        texts = []
        for name in (".stdout", ".stderr"):
            path = self.outputs / name
            texts.append(path.read_text(errors="surrogateescape"))
            path.unlink()
        return Done(outcome["code"], *texts, outcome["seconds"], outcome["max_memory"], outcome["timed_out"])

    def __call__(self, folder, script, *arguments, **options):
        self.start(folder, script, *arguments, **options)
        return self.finish()

    def close(self):
        self.server.stdin.close()
        self.server.wait()


def serve():
    """Fork for every request; returns, in the fork, the request."""
    for line in sys.stdin:
        request = json.loads(line)
        start = time.monotonic()
        child = os.fork()
        if child == 0:
            return request
        print(child, flush=True)
        handle = os.pidfd_open(child)
        ended = select.select([handle], [], [], request["timeout"])[0]
        os.close(handle)
        if not ended:
            os.killpg(child, signal.SIGKILL)
        _, status, usage = os.wait4(child, 0)
        outcome = {"code": os.waitstatus_to_exitcode(status), "seconds": time.monotonic() - start}
        outcome |= {"max_memory": usage.ru_maxrss * 1024, "timed_out": not ended}
        print(json.dumps(outcome), flush=True)
    return None


def begin(script, arguments, folder, outputs, memory=None, file_size=None, user=None, write=None, fault=None, **_):
    """Become the script, with its faults.

    memory: bytes of address space beyond what the imports took. file_size: largest file it may write, bytes.
    user: id of the user it runs as. write, fault: what befalls the write-th change to a file or folder outside the
    TensorBoard events: a signal's number just before it, or the error ENOSPC in its place ("full").
    """
    os.setpgid(0, 0)
    for number, name in ((1, ".stdout"), (2, ".stderr")):
        file = os.open(Path(outputs) / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(file, number)
        os.close(file)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(folder)
    sys.argv[:] = [script, *arguments]
    if user is not None:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    if memory is not None:
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + memory, taken + memory))
    if file_size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    if write is not None:
        befall(os.path.realpath(folder), write, fault)


def end(code):
    """Leave as the interpreter does, short of taking every module apart, which is most of a short run's time."""
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def befall(folder, count, fault):
    """Make the count-th change to a file or folder in `folder` meet its fault."""
    main, seen = os.getpid(), 0

    def hook(event, arguments):
        nonlocal seen
        changes = event in WRITES or (event == "open" and writes(*arguments))
        if not changes or os.getpid() != main:
            return
        path = os.path.abspath(os.fsdecode(arguments[0]))
        if not path.startswith(folder) or "tfevents" in path:
            return
        seen += 1
        if seen == count and fault == "full":
            raise OSError(28, os.strerror(28), path)
        if seen == count:
            os.kill(main, fault)

    sys.addaudithook(hook)


def writes(path, mode, flags):
    return isinstance(path, (str, bytes, os.PathLike)) and bool((flags or 0) & (os.O_WRONLY | os.O_RDWR))


if __name__ == "__main__":
    sys.path[0] = str(ROOT)
    for module in PRELOADED:
        __import__(module)
    for module in sorted(path for package in ("models", "datasets", "utils") for path in ROOT.glob(f"{package}/*.py")):
        __import__(".".join(module.relative_to(ROOT).with_suffix("").parts))
    gc.freeze()
    if request := serve():
        begin(**request)
        try:
            runpy.run_path(request["script"], run_name="__main__")
        except SystemExit as leaving:
            end(leaving.code)
