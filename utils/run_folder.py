"""The run folder, checkpoints/<run>: settings, log, TensorBoard events and checkpoints of one training."""

import fcntl
import json
import sys
from pathlib import Path

from . import checkpoint
from .config import from_plain, to_yaml
from .settings import differences

# Settings that may change between start and resume: they do not reach the result.
FREE = (
    *("device", "checkpoint", "data.root", "data.workers", "data.max_pixels", "data.test", "text.batch", "text.accept"),
    *("train.eval_every", "train.save_every", "train.log_every"),
)
FREE_SECTIONS = ("test.",)


class RunFolder:
    """checkpoints/<run> of the process that writes; the others get one with `write` off, whose methods do nothing.

    Raises ValueError when another process is writing to it, OSError when it cannot be written.
    """

    def __init__(self, config, write=True):
        self.path = Path("checkpoints") / config.run
        self.config = config
        self.write = write
        self.last, self.previous, self.best = (self.path / f"{name}.pt" for name in ("last", "previous", "best"))
        if write:
            self.path.mkdir(parents=True, exist_ok=True)
            self.lock = open(self.path / ".lock", "w")
            try:
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(f"{self.path} is in use by another training: wait, stop it, or set run=NAME") from None

    def load_last(self):
        """The newest readable checkpoint of this run, or None for a new one.

        A broken last.pt is set aside in favour of previous.pt, with a warning. Raises ValueError when neither can be
        read, or when the settings have changed in a way that would change the result.
        """
        found = [path for path in (self.last, self.previous) if path.exists()]
        problems = []
        for path in found:
            try:
                state = checkpoint.load(path)
                if not checkpoint.is_ours(state) or "optimizer" not in state:
                    raise ValueError(f"{path} is no checkpoint of a training of this project")
            except ValueError as error:
                problems.append(str(error))
                continue
            if problems and self.write:
                print(f"{problems[0]}: resuming from {path}, step {state['step']}", file=sys.stderr)
            self.refuse_changes(state)
            return state
        if problems:
            raise ValueError(f"{problems[0]}; delete {self.path} to start afresh, or set run=NAME")
        return None

    def refuse_changes(self, state):
        changed = differences(from_plain(state["settings"]), self.config)
        kept = {
            key: values
            for key, values in changed.items()
            if key not in FREE and not key.startswith(FREE_SECTIONS)
        }
        if kept:
            text = ", ".join(f"{key} was {old} and is {new}" for key, (old, new) in kept.items())
            raise ValueError(f"{self.path} was begun with other settings ({text}): put them back, or set run=NAME")

    def save(self, state):
        """Write last.pt; the one before becomes previous.pt."""
        if self.write:
            checkpoint.save(self.last, state, previous=self.previous)

    def save_best(self, state):
        """Write best.pt: all but what only a resume needs."""
        if self.write:
            checkpoint.save(self.best, {k: v for k, v in state.items() if k not in ("optimizer", "scaler", "random")})

    def start_log(self, step):
        """Write the settings and open log.jsonl and TensorBoard to continue after `step`; later lines are dropped."""
        if not self.write:
            return
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        (self.path / "config.yaml").write_text(to_yaml(self.config), encoding="utf-8")
        log = self.path / "log.jsonl"
        kept = [line for line in read_lines(log) if line["step"] <= step] if step else []
        aside = self.path / ".log.tmp"
        aside.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        aside.replace(log)
        self.log_file = open(log, "a", encoding="utf-8")
        self.tensorboard = SummaryWriter(self.path, purge_step=step + 1 if step else None)

    def log(self, event, step, **values):
        """One line of log.jsonl, and its numbers to TensorBoard as event/name."""
        if not self.write:
            return
        self.log_file.write(json.dumps({"event": event, "step": step, **values}) + "\n")
        self.log_file.flush()
        for name, value in values.items():
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                self.tensorboard.add_scalar(f"{event}/{name}", value, step)

    def picture(self, name, image, step):
        """A 3 x H x W image in [0, 1] to TensorBoard."""
        if self.write:
            self.tensorboard.add_image(name, image, step)

    def close(self):
        if self.write:
            self.tensorboard.close()
            self.log_file.close()


def read_lines(path):
    """The complete lines of a log; one that a kill cut off is left out."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines
