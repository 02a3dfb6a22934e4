"""What the battery's files share: a small finished piece of work, and what a refusal must look like."""

import hashlib
import shutil

from tests.made import make_pairs

SETTINGS = """\
data: {root: data, workers: 0, val: 0.3}
model: {size: n}
text: {encoder: stand-in}
train: {steps: 2, batch: 2, crop: 16, precision: fp32, warmup: 0, eval_every: 1, save_every: 1, log_every: 1}
"""


def make_work(folder, scripts):
    """Settings, data, labels, a training and its results."""
    make_pairs(folder / "data" / "train", ["0.png", "1.png", "2.png"])
    make_pairs(folder / "data" / "test", ["0.png"], seed=1)
    (folder / "small.yaml").write_text(SETTINGS)
    for script in ("clip_text.py", "train.py", "test.py"):
        done = scripts(folder, script, "small.yaml")
        assert done.code == 0, done.stderr


def snapshot(folder):
    """Every file and folder below a folder, with the hash of what it holds."""
    return {
        str(path.relative_to(folder)): hashlib.md5(path.read_bytes()).hexdigest() if path.is_file() else None
        for path in folder.rglob("*")
        if path.name != ".lock"
    }


def is_one_line(done, script):
    """A user's mistake: exit code 2 and one line that begins with the script's name."""
    assert not done.timed_out
    assert "Traceback" not in done.stderr + done.stdout, done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.startswith("step ")]  # a training tells how it goes
    assert len(lines) == 1 and lines[0].startswith(f"{script}: "), done.stderr
    assert done.code == 2, done
    assert len(lines[0]) < 1000, done.stderr


def refused(scripts, folder, script, *arguments, says, untouched=True, **options):
    """Run a script that must refuse, saying `says`; what was there stays as it was, and nothing is begun.

    untouched: off where the mistake can show only after the work has begun; then nothing that was there is lost.
    """
    before = snapshot(folder)
    done = scripts(folder, script, *arguments, **options)
    is_one_line(done, script)
    for text in (says,) if isinstance(says, str) else says:
        assert text in done.stderr, done.stderr
    after = snapshot(folder)
    assert not [name for name in after if name.endswith(".tmp")], after
    assert after == before if untouched else set(before) <= set(after)
    return done


def accepted(scripts, folder, script, *arguments, leftovers=False, **options):
    """Run a script that must succeed, saying nothing of trouble. leftovers: what a kill left aside may stay there."""
    done = scripts(folder, script, *arguments, **options)
    assert done.code == 0 and not done.timed_out, done.stderr
    assert "Traceback" not in done.stderr and "rror" not in done.stderr, done.stderr
    assert leftovers or not list(folder.rglob("*.tmp"))
    return done


def copy_of(template, folder):
    shutil.copytree(template, folder, dirs_exist_ok=True, symlinks=True)
    return folder
