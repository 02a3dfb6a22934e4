"""Make a folder of a trained network and its scores that is fit for a model hub or a release.

    python publish.py results/mine-test --to published/mine
    python publish.py results/mine-test results/other-test --to published/mine      its scores on further sets, too

FOLDER then holds

    model.safetensors, model.pt      the weights with what test.py, predict.py and model.init need, twice
    README.md                        the model card: scores, data, training, versions, how to reproduce them
    metrics.json, results.csv, report.html, examples/      what test.py wrote; of further results in a folder each
    config.yaml                      the settings of the test, beside each of them
    SHA256SUMS                       for sha256sum -c

Settings hold the paths that they were given (data.root, text.weights): look at them before you upload the folder.
"""

import shutil
from pathlib import Path

from models import network_of
from utils import checkpoint
from utils.config import from_plain, to_yaml
from utils.files import sha256, write_bytes, write_text
from utils.results import model_card, read_metrics
from utils.script import Parser, run

COPIED = ("metrics.json", "results.csv", "report.html")


def main(argv=None):
    parser = Parser(__doc__)
    parser.add_argument("results", metavar="RESULTS", nargs="+", type=Path, help="results folders of one checkpoint")
    parser.add_argument(
        "--to", metavar="FOLDER", required=True, type=Path, help="the folder to make; its name names the network"
    )
    parser.add_argument("--license", default="mit", help="of the weights, as the hub names it (mit)")
    args = parser.parse_args(argv)
    if args.to.exists():
        raise ValueError(f"{args.to} exists: move it away, or name another folder")
    results = {folder.resolve().name: read_metrics(folder) for folder in args.results}
    if len(results) < len(args.results):
        raise ValueError("two of the results folders have the same name: give each once, or rename one")
    saved = open_checkpoint(results)
    aside = args.to.with_name(f".{args.to.name}.tmp")
    shutil.rmtree(aside, ignore_errors=True)  # of a run that was killed
    try:
        write(aside, args, results, saved)
        aside.replace(args.to)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    print(f"{args.to}: {', '.join(sorted(path.name for path in args.to.iterdir()))}")


def open_checkpoint(results):
    """The checkpoint that all results are of. ValueError where there is none, or it is another one now."""
    paths = {metrics["checkpoint"]["path"] for metrics in results.values()}
    if len({metrics["checkpoint"]["sha256"] for metrics in results.values()}) > 1:
        raise ValueError(f"the results are of different checkpoints ({', '.join(sorted(paths))}): publish them apart")
    path = paths.pop()
    saved = checkpoint.load(path)
    if not checkpoint.is_ours(saved):
        raise ValueError(f"{path} is a published checkpoint: there is nothing to add to it")
    if any(metrics["checkpoint"]["sha256"] != sha256(path) for metrics in results.values()):
        raise ValueError(f"{path} has changed since it was scored: run test.py again")
    return saved


def write(folder, args, results, saved):
    """Fill a folder that does not exist yet."""
    first = next(iter(results.values()))
    network, examples = network_of(saved), args.results[0] / "examples"
    parameters = sum(parameter.numel() for parameter in network.parameters())
    names = {key: saved["network"][key] for key in ("size", "fusion", "merge")}
    facts = {"network": ", ".join(f"{key} {name}" for key, name in names.items()) + f", {parameters:,} parameters"}
    labels = [label for label in ("worst", "median", "best") if (examples / f"{label}-hazy.jpg").is_file()]

    folder.mkdir(parents=True)
    write_bytes(folder / "model.safetensors", checkpoint.to_safetensors(saved))
    checkpoint.save(folder / "model.pt", checkpoint.essentials(saved))
    for source, (name, metrics) in zip(args.results, results.items(), strict=True):
        target = folder if metrics is first else folder / name
        target.mkdir(exist_ok=True)
        write_text(target / "config.yaml", settings_of(metrics))
        for file in COPIED:
            shutil.copyfile(source / file, target / file)
        shutil.copytree(source / "examples", target / "examples")
    write_text(folder / "README.md", model_card(args.to.name, args.license, facts, results, labels))
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sums = [f"{sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    write_text(folder / "SHA256SUMS", "".join(sums))


def settings_of(metrics):
    """The settings of a test as YAML that needs no other file."""
    model = metrics["trained_with"]["model"]  # the test's is what the checkpoint holds
    return to_yaml(from_plain({**metrics["settings"], "model": model, "checkpoint": None}))


if __name__ == "__main__":
    run(main)
