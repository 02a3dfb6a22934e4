"""The run folder, checkpoints/<run>: settings, log, TensorBoard events and checkpoints of one training."""

import fcntl
import json
from pathlib import Path

from . import checkpoint
from .config import from_plain, to_yaml
from .distributed import on_main, rank
from .files import write_text
from .settings import differences, marked, to_plain

# What a training's checkpoint has beside what every checkpoint has.
PARTS = ("validated", "best", "sums", "optimizer", "scaler", "random", "data")


class RunFolder:
    """checkpoints/<run>: every process makes one, the main process reads and writes for all.

    `open` comes first, then `start_log`. All methods raise OSError naming the file that cannot be written.
    """

    def __init__(self, config):
        self.config = config
        self.path = Path("checkpoints") / config.run
        self.last, self.best = self.path / "last.pt", self.path / "best.pt"

    @on_main
    def open(self, data, text):
        """Make the folder this process's own until it ends, and return the checkpoint to resume from, or None.

        data: identifies the training data, so that a resumed run knows them again. text: of the checkpoints to come.
        Raises ValueError where another process has the folder, where last.pt cannot be used, and where settings that
        reach the weights, or the data, have changed.
        """
        self.facts = {"settings": to_plain(self.config), "text": text, "data": data}
        self.path.mkdir(parents=True, exist_ok=True)
        self.lock = open(self.path / ".lock", "w")
        try:
            fcntl.lockf(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise ValueError(f"{self.path} is in use by another training: wait, stop it, or set run=NAME") from None
        for leftover in self.path.glob(".*.tmp"):  # of a process that was killed while writing
            leftover.unlink()
        if not self.last.exists():
            if self.best.exists():  # a training writes last.pt before it has a best
                raise ValueError(f"{self.best} has no last.pt beside it: move {self.path} away, or set run=NAME")
            return None
        try:
            saved = checkpoint.load(self.last)
            missing = [name for name in PARTS if name not in saved]
            if missing:
                raise ValueError(f"{self.last} is not the checkpoint of a training: it has no {missing[0]}")
        except ValueError as error:
            raise ValueError(f"{error}; move {self.path} away to start afresh, or set run=NAME") from None
        if not saved["step"]:
            return None  # nothing is lost, and the settings with which no step was possible may have changed
        self.refuse_changes(saved)
        return saved

    def refuse_changes(self, saved):
        changed = differences(from_plain(saved["settings"]), self.config)
        kept = {key: values for key, values in changed.items() if key not in marked("resume")}
        if kept:
            text = ", ".join(f"{key} was {old} and is {new}" for key, (old, new) in kept.items())
            raise ValueError(f"{self.path} was begun with other settings ({text}): put them back, or set run=NAME")
        if not self.facts["data"].startswith(saved["data"]):  # older ones say nothing of the images' contents
            what = "other training images, labels or text features"
            raise ValueError(f"{self.path} was begun on {what}: put them back, or set run=NAME")

    @on_main
    def save(self, state):
        """Write last.pt: all of a TrainingState."""
        checkpoint.save(self.last, {**state.state_dict(), **self.facts, "chosen": "last"})

    @on_main
    def save_best(self, state):
        """Write best.pt: all but what only a resume needs."""
        kept = {key: value for key, value in state.state_dict().items() if key not in ("optimizer", "scaler", "random")}
        checkpoint.save(self.best, {**kept, **self.facts, "chosen": "best"})

    @on_main
    def start_log(self, step):
        """Write the settings and open the logs for appending. Entries after `step` are dropped: they are made again."""
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        log = self.path / "log.jsonl"
        kept = [line for line in read_lines(log) if line["step"] <= step] if step else []
        write_text(self.path / "config.yaml", to_yaml(self.config))
        write_text(log, "".join(json.dumps(line) + "\n" for line in kept))
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

    def picture(self, name, image, step):
        """Give TensorBoard a 3 x H x W image in [0, 1]."""
        if not rank():
            self.tensorboard.add_image(name, image.nan_to_num(), step)

    def close(self):
        if not rank():
            self.tensorboard.close()
            self.log_file.close()


def read_lines(path):
    """The complete lines of a log, without one that a kill cut off."""
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(text))
        except ValueError:
            break
    return lines
