"""The run folder, checkpoints/<run>: settings, log, TensorBoard events and checkpoints of one training."""

import fcntl
import json
from pathlib import Path

from . import checkpoint
from .config import from_plain, to_yaml
from .distributed import on_main, rank
from .files import write_text
from .settings import differences, marked, to_plain


class RunFolder:
    """checkpoints/<run>: every process makes one, the main process reads and writes for all. `open` comes first."""

    def __init__(self, config):
        self.config = config
        self.path = Path("checkpoints") / config.run
        self.last, self.best = self.path / "last.pt", self.path / "best.pt"

    @on_main
    def open(self, data, text):
        """Make the folder this process's own until it ends, and return the checkpoint to resume from, or None.

        data: identifies the training data. text: of the checkpoints to come. Raises ValueError where last.pt cannot be
        resumed, such as where the data, or settings that reach the weights, have changed.
        """
        self.facts = {"settings": to_plain(self.config), "text": text, "data": data}
        self.path.mkdir(parents=True, exist_ok=True)
        self.lock = open(self.path / ".lock", "w")
        try:
            fcntl.lockf(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise ValueError(f"{self.path} is in use by another training: wait, stop it, or set run=NAME") from None
        if not self.last.exists():
            if self.best.exists():  # a training writes last.pt before it has a best
                raise ValueError(f"{self.best} has no last.pt beside it: move {self.path} away, or set run=NAME")
            return None
        try:
            saved = checkpoint.load(self.last)
        except ValueError as error:
            raise ValueError(f"{error}; move {self.path} away to start afresh, or set run=NAME") from None
        if not saved["step"]:
            return None  # nothing is lost, and the settings with which no step was possible may have changed
        changed = differences(from_plain(saved["settings"]), self.config)
        kept = [f"{key} was {old} and is {new}" for key, (old, new) in changed.items() if key not in marked("resume")]
        if not data.startswith(saved.get("data", "")):  # older ones say nothing of the images' contents
            kept.append("other training images, labels or text features")
        if kept:
            raise ValueError(f"{self.path} was begun differently ({', '.join(kept)}): put it back, or set run=NAME")
        return saved

    @on_main
    def save(self, state):
        """Write last.pt: all of a TrainingState."""
        checkpoint.save(self.last, {**state.state_dict(), **self.facts, "chosen": "last"})

    @on_main
    def save_best(self, state):
        """Write best.pt: all but what only a resume needs."""
        saved = {**state.state_dict(), **self.facts, "chosen": "best"}
        checkpoint.save(self.best, {key: saved[key] for key in saved if key not in ("optimizer", "scaler", "random")})

    @on_main
    def start_log(self, step):
        """Write the settings and open the logs for appending. Entries after `step` are dropped: they are made again."""
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        log = self.path / "log.jsonl"
        lines = log.read_text(encoding="utf-8").splitlines(keepends=True) if step else []
        complete = [line for line in lines if line.endswith("\n")]  # a kill may have cut off the last one
        write_text(log, "".join(line for line in complete if json.loads(line)["step"] <= step))
        write_text(self.path / "config.yaml", to_yaml(self.config))
        self.log_file = open(log, "a", encoding="utf-8")
        self.tensorboard = SummaryWriter(self.path, purge_step=step + 1)

    def log(self, event, step, **values):
        """Write one line of log.jsonl, and its numbers to TensorBoard as event/name."""
        if rank():
            return
        self.log_file.write(json.dumps({"event": event, "step": step, **values}) + "\n")
        self.log_file.flush()
        for name, value in values.items():
            if isinstance(value, (int, float)):
                self.tensorboard.add_scalar(f"{event}/{name}", value, step)

    def close(self):
        if not rank():
            self.tensorboard.close()
            self.log_file.close()
