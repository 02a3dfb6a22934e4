"""Does the text help? Trains the networks of configs/ablations with several seeds, tests each with right, wrong and
uniform domains, and prints the text-control table as Markdown.

    python benchmarks/ablation.py data.root=data/RESIDE-mini                15 runs of 600 steps, each tested
    python benchmarks/ablation.py --seeds 1,2,3,4,5 data.root=...           more seeds; finished runs are kept
    python benchmarks/ablation.py --crop 256 data.root=...                  the tests on centre crops, same runs
    python benchmarks/ablation.py --configs none,calip,hard data.root=...   other files of configs/ablations
    python benchmarks/ablation.py data.root=... text.encoder=ViT-B-32-quickgelu text.weights=openai
                                                                            CLIP's text, and CLIP's own labels, too
    python benchmarks/ablation.py data.root=... > text_control.md           the table alone, progress on the screen

Every part is a call of clip_text.py, train.py, test.py or compare.py, so a stopped ablation goes on where it was when
the command is given again. What is tested is the last step's averaged weights: no choice of a checkpoint adds noise.
The runs are checkpoints/ablation-CONFIG-SEED. Right domains are those of the set's domains.csv.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from utils.config import load_config  # noqa: E402
from utils.results import read_metrics  # noqa: E402
from utils.script import Parser, run  # noqa: E402

CONTROLS = ("shuffled", "uniform")
LEGEND = """\
A row's name is that of the training: none has no text, calip and parametric learn with the right domains, predicted
with the labels that CLIP gives, uniform with all domains equally likely, shuffled with another, random image's. It is
tested the same way (shuffled with the right ones), unless it says otherwise: wrong gives every image the next class,
uniform all classes equally, predicted CLIP's labels."""


def main():
    parser = Parser(__doc__)
    parser.add_argument("settings", metavar="key=value", nargs="*", help="settings of all runs, such as data.root=...")
    parser.add_argument("--configs", default="none,parametric,calip,uniform,shuffled", help="the baseline first")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--crop", type=int, help="score centre crops of this many pixels; default: whole images")
    args = parser.parse_args()
    configs, seeds = args.configs.split(","), args.seeds.split(",")
    base = load_config(file_of(configs[0]), args.settings)
    by_clip = predicted_data(base, args.settings)

    groups = {}
    for seed in seeds:
        for config in configs:
            for name, folder in train_and_test(config, seed, args.settings, args.crop, by_clip):
                groups.setdefault(name, []).append(folder)
        if by_clip and "calip" in configs:
            settings = [*args.settings, f"data.root={by_clip}"]
            trained = train("predicted", "calip", seed, settings)
            groups.setdefault("predicted", []).append(test(trained, "calip", seed, settings, "right", args.crop))

    environment = read_metrics(groups[configs[0]][0])["environment"]
    print(f"Command: `python benchmarks/ablation.py {' '.join(sys.argv[1:])}`; seeds {', '.join(seeds)}.")
    versions = {name: value for name, value in environment.items() if isinstance(value, (str, int))}
    print(f"Versions: {', '.join(f'{name} {value}' for name, value in versions.items())}.\n")
    print(LEGEND)
    if not by_clip:
        print("\npredicted is left out: with text.encoder=stand-in there is no CLIP to predict.")
    print("\n## The text-control table\n", flush=True)
    compare(groups)
    controls = [name for name in CONTROLS if name in groups]
    if "calip" in groups and controls:
        print("\n## Against the controls\n", flush=True)
        compare({name: groups[name] for name in (*controls, "calip")})


def predicted_data(config, settings):
    """A copy of the data set by links, which CLIP labels without seeing the known domains; None without CLIP.

    The set itself gets CLIP's text features beside its known domains.
    """
    if config.text.encoder == "stand-in":
        return None
    script("clip_text.py", file_of("calip"), *settings)
    source, copy = Path(config.data.folder).resolve(), Path("data") / f"{Path(config.data.folder).name}-predicted"
    splits = {config.data.train, config.data.test, config.data.val} - {"test-crop"}
    for split in (split for split in splits if isinstance(split, str)):
        (copy / split).mkdir(parents=True, exist_ok=True)
        for side in ("hazy", "GT"):
            if not (copy / split / side).exists():
                os.symlink(source / split / side, copy / split / side)
    script("clip_text.py", file_of("calip"), *settings, f"data.root={copy}")
    return copy


def train_and_test(config, seed, settings, crop, by_clip):
    """Train one network and test it under every condition; yields (name of its group, results folder)."""
    own = load_config(file_of(config), settings)
    trained = train(config, config, seed, settings)
    usual = "uniform" if own.text.unknown == 1 else "right"
    yield config, test(trained, config, seed, settings, usual, crop)
    if own.model.fusion == "none" or config in CONTROLS:
        return
    for domain in ("wrong", "uniform"):
        yield f"{config}, {domain} in the test", test(trained, config, seed, settings, domain, crop)
    if by_clip:
        relabelled = [*settings, f"data.root={by_clip}"]
        yield f"{config}, predicted in the test", test(trained, config, seed, relabelled, "right", crop, "predicted")


def train(name, config, seed, settings):
    """Train, or go on; returns the run's name. The held-out pairs are seen at the end alone, and choose nothing."""
    trained = f"ablation-{name}-{seed}"
    small = ("train.eval_every=1000000", "data.val_crop=256")
    script("train.py", file_of(config), *settings, f"seed={seed}", f"run={trained}", *small)
    return trained


def test(trained, config, seed, settings, domain, crop, name=None):
    """Test the last step of a run, on centre crops if asked for; returns the results folder. name: of the condition."""
    tested = f"{trained}-{name or domain}" + (f"-crop{crop}" if crop else "")
    folder = f"results/{tested}-{load_config(file_of(config), settings).data.test}"
    if not Path(folder, "metrics.json").exists():
        how = [f"run={tested}", f"checkpoint=checkpoints/{trained}/last.pt", f"test.domain={domain}"]
        how += [f"test.crop={crop}"] if crop else []
        script("test.py", file_of(config), *settings, f"seed={seed}", *how)
    return folder


def compare(groups):
    arguments = [f"{name}={','.join(folders)}" for name, folders in groups.items()]
    script("compare.py", *arguments, "--markdown", output=None)


def file_of(config):
    return ROOT / "configs/ablations" / f"{config}.yaml"


def script(name, *arguments, output=sys.stderr):
    done = subprocess.run([sys.executable, str(ROOT / name), *map(str, arguments)], stdout=output)
    if done.returncode:
        sys.exit(done.returncode)  # the script has said why


if __name__ == "__main__":
    run(main)
