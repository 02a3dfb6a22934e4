"""The scripts as processes, without the wait for their imports: for tests that run them hundreds of times.

A server, `python tests/forkserver.py`, imports once what the scripts import. Every run is a fork of it that becomes the
script: its own folder, arguments, environment, output, limits, exit code. What a run is given is a JSON line.
"""

import atexit
import ctypes
import gc
import json
import os
import resource
import runpy
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PRELOADED = ("torch._dynamo", "torch.utils.tensorboard", "torchvision", "cv2", "PIL.Image", "skimage", "open_clip")
LIMITS = {"memory": resource.RLIMIT_AS, "file_size": resource.RLIMIT_FSIZE}
CHANGES = ("os.mkdir", "os.rename", "os.truncate")  # audit events; an `open` for writing is one, too


@dataclass(frozen=True)
class Done:
    """A run that has ended. code: exit code, or minus the signal. max_memory: bytes."""

    code: int
    stdout: str
    stderr: str
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

    def start(self, folder, script, *arguments, timeout=60, **faults):
        """Begin a run in a folder; returns its process id. Faults are described at `begin`."""
        request = {"script": str(ROOT / script), "arguments": [str(argument) for argument in arguments]}
        request |= {"folder": str(folder), "timeout": timeout, **faults}
        print(json.dumps(request), file=self.server.stdin, flush=True)
        return json.loads(self.server.stdout.readline())

    def finish(self):
        """Wait for the run that was begun."""
        return Done(**json.loads(self.server.stdout.readline()))

    def __call__(self, folder, script, *arguments, **options):
        self.start(folder, script, *arguments, **options)
        return self.finish()

    def close(self):
        self.server.stdin.close()
        self.server.wait()


def prove():
    """Have the forms of most runs proven once here, which each run would else do anew (models/fast/proof.py)."""
    import torch

    from models import build_model, inference_form, training_form

    network = build_model("n", "calip", "concat", torch.eye(2, 512))
    inference_form(network)
    training_form(network)


def serve():
    """Fork for every request; returns, in the fork, the request."""
    for line in sys.stdin:
        request = json.loads(line)
        pipes = [os.pipe(), os.pipe()]
        child = os.fork()
        for (reader, writer), number in zip(pipes, (1, 2), strict=True):
            if child == 0:
                os.dup2(writer, number)
                os.close(reader)
            os.close(writer)
        if child == 0:
            return request
        print(child, flush=True)
        texts, timed_out = read_all([reader for reader, _ in pipes], time.monotonic() + request["timeout"])
        if timed_out:
            os.killpg(child, signal.SIGKILL)
        _, status, usage = os.wait4(child, 0)
        outcome = {"code": os.waitstatus_to_exitcode(status), "stdout": texts[0], "stderr": texts[1]}
        outcome |= {"max_memory": usage.ru_maxrss * 1024, "timed_out": timed_out}
        print(json.dumps(outcome), flush=True)
    return None


def read_all(pipes, deadline):
    """What comes out of pipes until all are closed, as texts, or until a time; and whether that time has come."""
    parts = {pipe: b"" for pipe in pipes}
    waiting, left = list(pipes), 1.0
    while waiting and left > 0:
        left = deadline - time.monotonic()
        for pipe in select.select(waiting, [], [], max(left, 0))[0]:
            data = os.read(pipe, 2**16)
            parts[pipe] += data
            if not data:
                waiting.remove(pipe)
    for pipe in pipes:
        os.close(pipe)
    return [part.decode(errors="backslashreplace") for part in parts.values()], bool(waiting)


def begin(script, arguments, folder, *, write=None, fault=None, humble=False, **limits):
    """Become the script, with its faults.

    memory: bytes of address space beyond what the imports took. file_size: largest file it may write, bytes.
    humble: permissions hold, even where it runs as root.
    write, fault: the signal that comes just before the write-th change to a file or folder outside the TensorBoard
    events.
    """
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(folder)
    sys.argv[:] = [script, *arguments]
    if humble:  # drop all capabilities
        ctypes.CDLL(None).capset(struct.pack("Ii", 0x20080522, 0), bytes(24))
    if "memory" in limits:
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        limits["memory"] += taken
    for name, kind in LIMITS.items():
        if name in limits:
            resource.setrlimit(kind, (limits[name], limits[name]))
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
    """Send the signal `fault` just before the count-th change to a file or folder in `folder`."""
    main, seen = os.getpid(), 0

    def hook(event, arguments):
        nonlocal seen
        changes = event in CHANGES or (event == "open" and writes(*arguments))
        if not changes or os.getpid() != main:
            return
        path = os.path.abspath(os.fsdecode(arguments[0]))
        if not path.startswith(folder) or "tfevents" in path:
            return
        seen += 1
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
    prove()
    gc.freeze()
    if request := serve():
        begin(**request)
        try:
            runpy.run_path(request["script"], run_name="__main__")
        except SystemExit as leaving:
            end(leaving.code)
