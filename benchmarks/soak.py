"""Whether a long training leaks: train the demo's network for thousands of steps, watching memory and open files.

    python -m benchmarks.soak                       2,000 steps and 20 evaluations of one process, then 6 kills
    python -m benchmarks.soak --steps 20000         an hour's worth

First one process trains without a stop and evaluates on the way. Then the same run is killed (SIGKILL) at random times
and started again, evaluated by test.py after each, until it is done. Prints resident memory and open files (of the
process and its data workers: medians between two evaluations) with their slopes per 1,000 steps (least squares over the
second half: allocators and caches fill up at first), and what the kills left behind. Exit code 1 when memory grows by
more than 10 MB per 1,000 steps, open files grow at all, or something is lost or left behind.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from datasets.images import write_image
from datasets.synthetic import demo_pair

ROOT = Path(__file__).resolve().parent.parent
SMALL = ["train.batch=2", "train.crop=40", "data.workers=1", "test.batch=1", "data.val_crop=64", "train.precision=fp32"]
GROWTH = 10e6  # bytes per 1,000 steps that are taken to be noise


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--evaluations", type=int, default=20)
    parser.add_argument("--kills", type=int, default=6)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        make_data(Path(folder))
        flat = watch(Path(folder), args.steps, args.evaluations)
        whole = survive(Path(folder), args.kills)
    return 0 if flat and whole else 1


def make_data(folder):
    """Some of the demo's scenes, as a data set of its own."""
    for split, num in (("train", 24), ("test", 4)):
        rows = ["name,domain"]
        for number in range(num):
            name, domain, hazy, clear = demo_pair(split, number)
            write_image(folder / "data" / split / "hazy" / name, hazy)
            write_image(folder / "data" / split / "GT" / name, clear)
            rows.append(f"{name},{domain}")
        (folder / "data" / split / "domains.csv").write_text("\n".join(rows) + "\n")
    (folder / "soak.yaml").write_text("data: {root: data, val: 0.2}\nmodel: {size: n}\ntext: {encoder: stand-in}\n")


def start(folder, script, *arguments):
    command = [sys.executable, ROOT / script, "soak.yaml", *SMALL, *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def watch(folder, steps, evaluations):
    """One process, without a stop; whether its memory and open files stay flat."""
    every = max(steps // evaluations, 1)
    settings = [f"train.steps={steps}", f"train.eval_every={every}", f"train.save_every={every}", "train.log_every=10"]
    process = start(folder, "train.py", "run=soak", *settings)
    samples = []
    while process.poll() is None:
        time.sleep(0.2)
        try:
            samples.append((step_of(folder / "checkpoints/soak/log.jsonl"), *measure(process.pid)))
        except (OSError, ValueError):  # it has just ended
            continue
    assert process.returncode == 0, process.stderr.read()
    log = [json.loads(line) for line in open(folder / "checkpoints/soak/log.jsonl", encoding="utf-8")]
    print(f"one process: {steps:,} steps, {sum(line['event'] == 'val' for line in log)} evaluations")
    samples = np.array([sample for sample in samples if 0 < sample[0] < steps], float)
    between = samples[:, 0] // every
    medians = np.array([np.median(samples[between == number], axis=0) for number in np.unique(between)])
    for step, memory, files in medians:
        print(f"  about step {step:>7,.0f}: {memory / 1e6:7.1f} MB, {files:3.0f} open files")
    late = medians[len(medians) // 2 :]
    slopes = [np.polyfit(late[:, 0], late[:, column], 1)[0] * 1000 for column in (1, 2)]
    print(f"  slopes per 1,000 steps: memory {slopes[0] / 1e6:+.3f} MB, open files {slopes[1]:+.3f}")
    return slopes[0] < GROWTH and slopes[1] < 0.5


def survive(folder, kills):
    """A run that is killed and started again, evaluated in between; whether it ends and leaves nothing behind."""
    chance, memory, steps = random.Random(0), [], []
    settings = ["run=killed", f"train.steps={30 * (kills + 1)}", "train.eval_every=25", "train.save_every=5"]
    for _ in range(kills):
        process = start(folder, "train.py", *settings, "train.log_every=1")
        log = folder / "checkpoints/killed/log.jsonl"
        first = step_of(log)
        target = first + chance.randint(6, 28)
        while step_of(log) < target and process.poll() is None:
            time.sleep(0.05)
        time.sleep(chance.random() / 5)
        memory.append(measure(process.pid)[0])
        process.send_signal(signal.SIGKILL)
        process.wait()
        steps.append(step_of(log))
        if (folder / "checkpoints/killed/best.pt").exists():
            tested = start(folder, "test.py", "run=killed")
            assert tested.wait() == 0, tested.stderr.read()
    process = start(folder, "train.py", *settings, "train.log_every=1")
    assert process.wait() == 0, process.stderr.read()
    left = sorted(path.name for path in (folder / "checkpoints/killed").iterdir() if path.suffix == ".tmp")
    steps_logged = [
        line["step"]
        for line in map(json.loads, open(folder / "checkpoints/killed/log.jsonl", encoding="utf-8"))
        if line["event"] == "train"
    ]
    whole = steps_logged == list(range(1, 30 * (kills + 1) + 1))
    print(f"killed {kills} times, at steps {steps}: done, every step is in the log once: {whole}; left behind: {left}")
    print(f"  memory at the kills: {', '.join(f'{bytes_ / 1e6:.0f}' for bytes_ in memory)} MB")
    return whole and not left


def step_of(log):
    """The last step that a log tells of."""
    try:
        return json.loads(log.read_text(encoding="utf-8").splitlines()[-1])["step"]
    except (OSError, IndexError, ValueError):
        return 0


def measure(pid):
    """Resident bytes and open files of a process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    memory = files = 0
    for process in (pid, *children):
        memory += int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        files += len(os.listdir(f"/proc/{process}/fd"))
    return memory, files


if __name__ == "__main__":
    sys.exit(main())
