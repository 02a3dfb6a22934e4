"""The run folder, checkpoints/<run>: settings, log, TensorBoard events and checkpoints of one training."""

import fcntl
import json
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import torch

from . import checkpoint
from .code import code_digest
from .config import from_plain, to_yaml
from .files import write_text
from .settings import differences

# Settings that may change between start and resume: they do not reach the weights.
FREE = (
    *("device", "kernels", "checkpoint", "data.root", "data.workers", "data.max_pixels", "data.test", "text.batch"),
    *("text.accept", "train.eval_every", "train.save_every", "train.log_every", "train.recompute", "train.compile"),
)
FREE_SECTIONS = ("test.",)


# What a training's checkpoint has beside what every checkpoint has.
PARTS = {"validated": int, "best": float, "sums": dict, "optimizer": dict, "scaler": dict, "random": torch.Tensor}
PARTS |= {"data": str}


class RunFolder:
    """checkpoints/<run>, used by the one process that writes; the others make theirs with `write` off.

    `open` comes first, then `start_log`; `log`, `picture` and `close` do nothing where `write` is off.
    All raise OSError naming the file that cannot be written.
    """

    def __init__(self, config, write=True):
        self.path = Path("checkpoints") / config.run
        self.config = config
        self.write = write
        self.last, self.previous, self.best = (self.path / f"{name}.pt" for name in ("last", "previous", "best"))

    def open(self, data):
        """Make the folder this process's own until it ends, and return `load_last(data)`.

        Raises ValueError when another process has it.
        """
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            self.lock = open(self.path / ".lock", "w")
            try:
                fcntl.lockf(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike flock's, it ends with this very process
            except (BlockingIOError, PermissionError):
                raise ValueError(f"{self.path} is in use by another training: wait, stop it, or set run=NAME") from None
            for leftover in self.path.glob(".*.tmp"):  # of a process that was killed while writing
                leftover.unlink()
        return self.load_last(data)

    def load_last(self, data):
        """The newest readable checkpoint of this run, or None for one that has made no step.

        A broken last.pt is set aside in favour of previous.pt, with a warning. Raises ValueError when neither can be
        read, or is there beside a best.pt; or when the settings have changed in a way that would change the result, or
        the training data have.
        data: what the data are known by, as in the state that is saved.
        """
        problem = None
        for path in (self.last, self.previous):
            if not path.exists():
                continue
            try:
                state = read_training(path)
            except ValueError as error:
                problem = problem or error
                continue
            if not state["step"] and not problem:
                return None  # nothing is lost: settings may be others than those with which no step was possible
            self.refuse_changes(state, data)
            if problem:
                aside = self.last.with_name("last-broken.pt")
                self.last.replace(aside)
                print(f"{problem}: kept as {aside}, resuming from {path}, step {state['step']}", file=sys.stderr)
            return state
        if not problem and self.best.exists():  # a training writes last.pt before it has a best
            problem = f"{self.best} would be replaced, and there is no last.pt to go on from"
        if problem:
            raise ValueError(f"{problem}: move {self.path} away to start afresh, or set run=NAME")
        return None

    def refuse_changes(self, state, data):
        changed = differences(from_plain(state["settings"]), self.config)
        kept = {key: values for key, values in changed.items() if key not in FREE and not key.startswith(FREE_SECTIONS)}
        if kept:
            text = ", ".join(f"{key} was {old} and is {new}" for key, (old, new) in kept.items())
            raise ValueError(f"{self.path} was begun with other settings ({text}): put them back, or set run=NAME")
        if not 0 <= state["step"] <= self.config.train.steps:
            raise ValueError(f"{self.last} is of step {state['step']}, which this run never has: move it away")
        if not data.startswith(state["data"]):  # an older checkpoint's says nothing of the images' contents
            what = "other training images, labels or text features"
            raise ValueError(f"{self.path} was begun on {what}: put them back, or set run=NAME")

    def save(self, state):
        """Write last.pt; the one before becomes previous.pt."""
        checkpoint.save(self.last, {**state, "chosen": "last", "code": code_digest()}, previous=self.previous)

    def save_best(self, state):
        """Write best.pt: all but what only a resume needs."""
        kept = {name: value for name, value in state.items() if name not in ("optimizer", "scaler", "random")}
        checkpoint.save(self.best, {**kept, "chosen": "best", "code": code_digest()})

    def start_log(self, step):
        """Write the settings, and open log.jsonl and TensorBoard to go on after `step`; what they say of later is lost.

        A run killed at step 120 and resumed from its checkpoint of step 100 makes those 20 steps again.
        """
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        log = self.path / "log.jsonl"
        kept = [line for line in read_lines(log) if line["step"] <= step] if step else []
        with writing(self.path):
            write_text(self.path / "config.yaml", to_yaml(self.config))
            write_text(log, "".join(json.dumps(line) + "\n" for line in kept))
            self.log_file = open(log, "a", encoding="utf-8")
            self.tensorboard = SummaryWriter(self.path, purge_step=step + 1)
        threading.excepthook = quiet_writers

    def log(self, event, step, **values):
        """One line of log.jsonl, and its numbers to TensorBoard as event/name."""
        if not self.write:
            return
        with writing(self.path / "log.jsonl"):
            self.log_file.write(json.dumps({"event": event, "step": step, **values}) + "\n")
            self.log_file.flush()
            for name, value in values.items():
                if isinstance(value, (int, float)):
                    self.tensorboard.add_scalar(f"{event}/{name}", value, step)

    def picture(self, name, image, step):
        """A 3 x H x W image in [0, 1] to TensorBoard."""
        if self.write:
            with writing(self.path):
                self.tensorboard.add_image(name, image.nan_to_num(), step)

    def close(self):
        if self.write:
            with writing(self.path):
                self.tensorboard.close()
                self.log_file.close()


def quiet_writers(raised):
    """Of threads: what TensorBoard's writer cannot write, it reports to the main one at the next event."""
    if not issubclass(raised.exc_type, OSError):
        threading.__excepthook__(raised)


def read_training(path):
    """A checkpoint that a training can go on from; ValueError naming the file when it is none."""
    state = checkpoint.load(path)
    parts = checkpoint.is_ours(state) and all(isinstance(state.get(name), kind) for name, kind in PARTS.items())
    if not parts or not all(isinstance(value, (int, float)) for value in state["sums"].values()):
        raise ValueError(f"{path} is no checkpoint of a training of this project")
    return state


def read_lines(path):
    """The complete lines of a log; one that a kill cut off is left out."""
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []:
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            break
        if not isinstance(line, dict) or not isinstance(line.get("step"), int):
            break
        lines.append(line)
    return lines


@contextmanager
def writing(path):
    """Name the path in the error of writing there that names none."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        reason = checkpoint.reason(error)
        raise OSError(f"{path} cannot be written ({reason}): make room, or give it a place that can be") from None
