"""Score a trained network on a test split: PSNR, SSIM, and the hazy images' own scores beside them.

    python test.py configs/demo.yaml                                        checkpoints/<run>/best.pt on the test split
    python test.py configs/reside6k_s.yaml checkpoint=my.pt                 any checkpoint of this project
    python test.py configs/reside6k_s.yaml test.images=true                 write the dehazed images, too
    python test.py configs/reside6k_s.yaml data.root=data/Haze4K            another set, same network

Writes results/<run>-<split>/: metrics.json, results.csv, images/ when asked for.
"""

import time
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from datasets.domains import STAND_IN, open_domains, prob_of, read_labels
from datasets.images import to_image, write_image
from datasets.order import same_size_batches
from datasets.pairs import EvaluationSamples, Pairs
from models import restore
from models.clip_weights import identify
from utils import checkpoint, distributed
from utils.config import load_config
from utils.entry import config_parser, run
from utils.evaluate import SelfEnsemble, autocast, evaluate
from utils.results import environment, results_folder, score_table, summarise, write_results
from utils.settings import to_plain


def main(argv=None):
    args = config_parser(__doc__).parse_args(argv)
    config = load_config(args.config, args.overrides)
    with distributed.processes(config.device) as device:
        test(config, device)


def test(config, device):
    torch.backends.cudnn.allow_tf32 = False
    path = Path(config.checkpoint or Path("checkpoints") / config.run / "best.pt")

    # Checkpoint: the network, and how it was trained.
    saved = checkpoint.load(path)
    if not checkpoint.is_ours(saved):
        raise ValueError(f"{path} is no checkpoint of this project: start a training from it with model.init={path}")
    network = restore(saved["network"], checkpoint.evaluated_state(saved)).to(device)
    if config.test.self_ensemble:
        network = SelfEnsemble(network)

    # Data: the split's pairs, and the domain of each.
    pairs = Pairs(config.data.folder, config.data.test, config.data.max_pixels)
    labels, prob = open_text(config, pairs, saved["text"])
    samples = EvaluationSamples(pairs, prob)
    order = same_size_batches(samples.sizes, config.test.batch, distributed.rank(), distributed.world_size())
    loader = DataLoader(samples, batch_sampler=order, num_workers=config.data.workers)

    # Scores: one row an image.
    start = time.perf_counter()
    rows = evaluate(network, loader, device, config.test.precision, progress)
    seconds = time.perf_counter() - start
    for row in rows:
        row |= {"name": pairs.names[row["index"]], "domain": labels[row["index"]]}
    if not distributed.is_main():
        return

    # Results: for programs, for spreadsheets, for the terminal.
    folder = results_folder(config.run, config.data.test)
    metrics = summarise(rows) | {
        "checkpoint": {"path": str(path), "sha256": checkpoint.sha256(path), "step": saved["step"]},
        "notes": notes(saved),
        "settings": to_plain(config),
        "trained_with": saved["settings"],
        "environment": environment(device),
        "images_per_second": len(rows) / seconds,
    }
    write_results(folder, metrics, rows)
    if config.test.images:
        write_images(network, samples, folder / "images", device, config.test.precision)
    for note in metrics["notes"]:
        print(f"note: {note}")
    print(score_table(metrics))
    print(f"results: {folder}")


def open_text(config, pairs, trained):
    """Each pair's domain name, and the N x K probabilities that the network is given.

    trained: what the checkpoint says of its text features; None for a network without fusion, which is given nothing
    but whose scores are still split by domain where labels are there.
    """
    if trained is None:
        labels = read_labels(pairs.folder, config.text.classes) or {}
        return [labels.get(name, "unlabelled") for name in pairs.names], torch.zeros(len(pairs), 1).numpy()
    domains = open_domains(pairs.folder, config.text, identify(config.text.weights))
    if list(domains.classes) != trained["classes"]:
        raise ValueError(
            f"{pairs.folder} is labelled with {', '.join(domains.classes)}, the network was trained with "
            f"{', '.join(trained['classes'])}: set text.classes to those and run clip_text.py again"
        )
    labels = [domains.classes[i] for i in prob_of(domains, pairs.names).argmax(1)]
    return labels, prob_of(domains, pairs.names, config.text.labels, config.seed if config.text.shuffle else None)


def notes(saved):
    """What a reader of the results must know."""
    found = []
    if saved["text"] and saved["text"]["encoder"] == STAND_IN:
        found.append("trained on stand-in text features (fixed vectors and known labels), not CLIP's")
    if saved["settings"]["data"]["val"] == "test-crop":
        found.append("the checkpoint was chosen on centre crops of the test set, the published way")
    return found


def progress(batches):
    return tqdm(batches, unit="batch", disable=None if distributed.is_main() else True)


@torch.inference_mode()
def write_images(network, samples, folder, device, precision):
    """Dehaze every image again and write it as PNG under its name."""
    for index in tqdm(range(len(samples.pairs)), unit="image", disable=None):
        sample = samples[index]
        with autocast(device, precision):
            output = network(sample["hazy"][None].to(device), torch.from_numpy(sample["prob"])[None].to(device))
        write_image(folder / Path(samples.pairs.names[index]).with_suffix(".png"), to_image(output[0]))


if __name__ == "__main__":
    run(main)
