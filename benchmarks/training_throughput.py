"""What a training step costs: images a second, peak memory, data wait, and the share of the contrastive loss.

    python benchmarks/training_throughput.py configs/reside6k_s.yaml                   on the GPU, if there is one
    python benchmarks/training_throughput.py configs/demo.yaml loss.backbone=resnet18 --steps 4 --rounds 2

Runs train.py itself on the settings' real pairs, without and with the contrastive loss in turns, its ResNet with random
weights (the cost is the same). The first quarter of each run's steps is left out. Nothing is kept.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from torchvision import models

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.measure import machine  # noqa: E402
from utils.config import load_config  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--steps", type=int, default=60, help="steps a run")
    parser.add_argument("--rounds", type=int, default=3, help="runs with and without the contrastive loss")
    args = parser.parse_intermixed_args()
    config = load_config(args.config, args.overrides)
    results = {0: [], config.loss.contrastive or 0.1: []}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        torch.save(models.get_model(config.loss.backbone).state_dict(), folder / "resnet.pt")
        for round in range(args.rounds):
            for weight, lines in results.items():
                lines += measure(args, config, folder, f"{round}-{weight}", weight)

    def median(weight, name):
        return statistics.median(line[name] for line in results[weight])

    print(f"{args.config}: size {config.model.size}, crop {config.train.crop}, batch {config.train.batch}, ", end="")
    print(f"{config.train.precision}; median of {len(results[0])} steps in {args.rounds} runs each, in turns")
    print("contrastive       images/s  s a step  data wait  peak memory  hours for all steps")
    seconds = {}
    for weight in results:
        speed = median(weight, "images_per_second")
        seconds[weight] = config.train.batch / speed
        name = f"{config.loss.backbone}, {weight}" if weight else "none"
        print(
            f"{name:16} {speed:9.2f} {seconds[weight]:9.3f} {median(weight, 'data_wait'):10.1%} "
            f"{max(line['peak_memory_gb'] for line in results[weight]):9.2f} GB "
            f"{seconds[weight] * config.train.steps / 3600:10.1f} for {config.train.steps:,}"
        )
    without, with_loss = seconds.values()
    print(f"the contrastive loss is {1 - without / with_loss:.1%} of the step")
    print(machine("cuda" if torch.cuda.is_available() and config.device != "cpu" else "cpu"))


def measure(args, config, folder, run, weight):
    """Train a few steps; returns the lines of the log after the first quarter, one a step."""
    settings = [*args.overrides, f"run={run}", f"loss.contrastive={weight}", f"loss.weights={folder / 'resnet.pt'}"]
    settings += [f"train.steps={args.steps}", "train.log_every=1", f"data.root={Path(config.data.folder).resolve()}"]
    settings += ["train.eval_every=1000000", "train.save_every=1000000", "train.warmup=0", "data.val_crop=64"]
    settings += [] if isinstance(config.data.val, str) else ["data.val=0.000001"]  # one scene: no time is lost on it
    command = [sys.executable, ROOT / "train.py", Path(args.config).resolve(), *settings]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    lines = map(json.loads, (folder / "checkpoints" / run / "log.jsonl").read_text().splitlines())
    steps = [line for line in lines if line["event"] == "train"]
    return steps[-(-len(steps) // 4) :]


if __name__ == "__main__":
    main()
