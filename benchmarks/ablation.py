"""Does the text help? Trains the networks of configs/ablations with several seeds, tests each with the right and the
wrong domains, and prints the comparison as Markdown.

    python benchmarks/ablation.py data.root=data/RESIDE-mini                12 runs of 600 steps, each tested
    python benchmarks/ablation.py --seeds 1,2,3,4,5 data.root=...           more seeds; finished runs are kept
    python benchmarks/ablation.py --crop 256 data.root=...                  the tests on centre crops, same runs
    python benchmarks/ablation.py --configs calip,hard,add data.root=...    other files of configs/ablations
    python benchmarks/ablation.py data.root=... > ablation.md               the comparison alone, progress on the screen

Every part is a call of train.py, test.py or compare.py, so a stopped ablation goes on where it was when the command is
given again. What is tested is the last step's averaged weights: no choice of a checkpoint adds noise. The runs are
checkpoints/ablation-CONFIG-SEED. The wrong domain is the next class of each image's; a network without text has none.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", metavar="key=value", nargs="*", help="settings of all runs, such as data.root=...")
    parser.add_argument("--configs", default="none,parametric,calip,shuffled", help="the baseline first")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--crop", type=int, help="score centre crops of this many pixels; default: whole images")
    args = parser.parse_args()
    configs, seeds = args.configs.split(","), args.seeds.split(",")

    groups = {}
    for seed in seeds:
        for config in configs:
            for name, folder in train_and_test(config, seed, args.settings, args.crop):
                groups.setdefault(name, []).append(folder)
    right = {name: folders for name, folders in groups.items() if name in configs}
    wrong = {name: folders for name, folders in groups.items() if name not in configs}

    first = groups[configs[0]][0]
    environment = json.loads(Path(first, "metrics.json").read_text())["environment"]
    print(f"Command: `python benchmarks/ablation.py {' '.join(sys.argv[1:])}`; seeds {', '.join(seeds)}.")
    print(f"Versions: {', '.join(f'{name} {value}' for name, value in environment.items() if value)}.")
    print("\n## Right domains\n", flush=True)
    compare(right)
    if wrong:
        print("\n## Wrong domains\n", flush=True)
        compare({configs[0]: right[configs[0]], **wrong})
    if {"calip", "shuffled"} <= set(configs):
        print("\n## Against the control\n", flush=True)
        compare({name: right[name] for name in ("shuffled", "calip")})


def train_and_test(config, seed, settings, crop):
    """Train one network and test it, on centre crops if asked for; yields (name of its group, results folder)."""
    run = f"ablation-{config}-{seed}"
    file = ROOT / "configs/ablations" / f"{config}.yaml"
    common = [file, *settings, f"seed={seed}"]
    # The held-out pairs are seen at the end alone, and small: nothing here is chosen by them.
    script("train.py", *common, f"run={run}", "train.eval_every=1000000", "data.val_crop=256")
    plain = "fusion: none" in file.read_text()
    for domain in ("right",) if plain else ("right", "wrong"):
        tested = f"{run}-{domain}" + (f"-crop{crop}" if crop else "")
        folder = f"results/{tested}-{split_of(settings)}"
        if not Path(folder, "metrics.json").exists():
            last = f"checkpoint=checkpoints/{run}/last.pt"
            how = [f"run={tested}", last, f"test.domain={domain}"] + ([f"test.crop={crop}"] if crop else [])
            script("test.py", *common, *how)
        yield config if domain == "right" else f"{config}, wrong domain", folder


def compare(groups):
    arguments = [f"{name}={','.join(folders)}" for name, folders in groups.items()]
    script("compare.py", *arguments, "--markdown", "--most", "0", output=None)


def split_of(settings):
    given = [setting.removeprefix("data.test=") for setting in settings if setting.startswith("data.test=")]
    return given[-1] if given else "test"


def script(name, *arguments, output=sys.stderr):
    subprocess.run([sys.executable, str(ROOT / name), *map(str, arguments)], check=True, stdout=output)


if __name__ == "__main__":
    main()
