"""Score a trained network on a test split: PSNR, SSIM, and the hazy images' own scores beside them.

    python test.py configs/demo.yaml                                        checkpoints/<run>/best.pt on the test split
    python test.py configs/reside6k_s.yaml checkpoint=my.pt run=my          any checkpoint, also a published one
    python test.py configs/reside6k_s.yaml test.images=true                 write the dehazed images, too
    python test.py configs/reside6k_s.yaml test.domain=wrong checkpoint=my.pt run=wrong     does it use its text?
    python test.py configs/reside6k_s.yaml test.input=clear checkpoint=my.pt run=clear      does it harm clear images?
    python test.py configs/reside6k_s.yaml test.outputs=FOLDER run=other    another method's images, named as the hazy

Writes results/<run>-<split>/: metrics.json, results.csv, report.html, examples/, and images/ when asked for. The
results of another test are not replaced: name another run, and the checkpoint.
"""

import math
import os
import time
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from datasets.batches import Batches
from datasets.domains import open_domains, prob_of, read_labels
from datasets.images import to_image, write_image
from datasets.listing import fingerprint
from datasets.order import same_size_batches
from datasets.pairs import EvaluationSamples, Outputs, open_split
from models import describe, inference_form, is_published, kernels_report, needs_text, network_of, use_plain
from models.clip import identify
from utils import checkpoint, distributed, results
from utils.config import load_config
from utils.cost import multiply_adds
from utils.distributed import on_main
from utils.evaluate import DTYPES, evaluate
from utils.files import sha256
from utils.metrics import PROTOCOL
from utils.script import config_parser, run
from utils.settings import to_plain, window_pixels


def main(argv=None):
    args = config_parser(__doc__).parse_args(argv)
    config = load_config(args.config, args.overrides)
    with distributed.processes(config.device) as device:
        test(config, device)


def test(config, device):
    start = time.perf_counter()

    # Data: the pairs of the split, known by their fingerprint.
    pairs = on_main(open_split)(config.data, config.data.test)
    digits = on_main(fingerprint)(pairs.hazy, pairs.clear)
    if config.test.input == "clear":
        pairs.input = pairs.clear

    # What is scored: a network, or another method's images.
    open_tested = another_method if config.test.outputs else trained_network
    network, prob, labels, facts = open_tested(config, pairs, device)
    samples = EvaluationSamples(pairs, prob, config.test.crop)
    order = same_size_batches(samples.sizes, config.test.batch, distributed.rank(), distributed.world_size())
    batches = Batches(samples, order, device, config.data.workers)
    folder = on_main(results.results_folder)(config)

    # Scores: one row an image. Its picture, if asked for, is written as soon as it is made.
    files = [folder / "images" / name for name in results.image_names(pairs.names)]

    def write_images(indices, outputs):
        for index, output in zip(indices, outputs, strict=True):
            write_image(files[index], to_image(output))

    before = time.perf_counter()
    progress = tqdm(batches, unit="batch", disable=True if distributed.rank() else None)
    rows = evaluate(network, progress, keep=write_images if config.test.images else None)
    seconds = time.perf_counter() - before
    if distributed.rank():
        return
    for i, row in enumerate(rows):
        row |= {"name": pairs.names[i], "domain": labels[i]}
        if config.test.images and not config.test.crop:
            row["files"] = [os.path.relpath(f, folder) for f in (pairs.input.path(i), files[i], pairs.clear.path(i))]
        if math.isnan(row["psnr"]):
            raise ValueError(f"the output for {row['name']} is not finite: are the checkpoint's weights?")

    # Results: for programs, for spreadsheets, for people, for the terminal.
    ours = not config.test.outputs
    metrics = results.summarise(rows) | {
        "protocol": PROTOCOL + (f", on centre crops of {config.test.crop} pixels" if config.test.crop else ""),
        "data": {"name": Path(config.data.folder).name, "split": config.data.test, "fingerprint": digits},
        **facts,
        "seeds": {"training": facts["trained_with"] and facts["trained_with"]["seed"]},
        "environment": results.environment(device) | {"kernels": kernels_report("inference") if ours else None},
        "images_per_second": len(rows) / seconds if ours else None,
        "wall_seconds": time.perf_counter() - start,
    }
    results.write_results(folder, metrics, rows)
    examples = {row["name"]: dehaze(network, batches, row["index"]) for row in results.pick_examples(rows).values()}
    results.write_report(folder, metrics, rows, examples)
    print(*(f"note: {note}\n" for note in metrics["notes"]), results.score_table(metrics), sep="")
    print(f"results: {folder}")


def another_method(config, pairs, device):
    """Images in the place of a network; a pair's "probability" is its index. Returns what `trained_network` does."""
    name = Path(config.test.outputs).resolve().name
    facts = dict.fromkeys(("checkpoint", "trained_with", "parameters", "multiply_adds")) | {
        "outputs": name,
        "selection": "images of another method",
        "notes": [f"images of {name}, another method: no network was run"],
        "settings": to_plain(config),
    }
    outputs = Outputs(config.test.outputs, pairs)
    index = np.arange(len(pairs), dtype=np.float32)[:, None]
    return outputs, index, known_labels(config, pairs), facts


def trained_network(config, pairs, device):
    """A checkpoint's network, the N x K probabilities for its text, each pair's domain, and facts for metrics.json."""
    path = Path(config.checkpoint or Path("checkpoints") / config.run / "best.pt")
    saved = checkpoint.load(path)
    ours = checkpoint.is_ours(saved)
    trained, text, step = (saved[key] if ours else None for key in ("settings", "text", "step"))
    if is_published(saved) and needs_text(saved):  # its file does not say which text: the settings do
        text = {"encoder": config.text.encoder, "labels": "hard"}
    labels, prob, vectors = open_text(config, pairs, text)
    if config.test.window and ours:
        saved["network"]["window"] = window_pixels(config.test.window, trained["train"]["crop"])
    with checkpoint.naming(path):
        network = network_of(saved, vectors)
    if vectors is not None and not config.text.accept:
        if network.text.shape != vectors.shape or not torch.allclose(network.text, vectors, atol=1e-3):
            remedy = "run clip_text.py with the settings of the training, or set text.accept=true"
            raise ValueError(f"{pairs.folder} was labelled by other text features than the network's: {remedy}")
    settings = to_plain(config)
    settings["model"] |= {key: value for key, value in describe(network).items() if key != "state"}
    settings["text"] |= {"labels": text["labels"]} if text else {}
    facts = {
        "outputs": None,
        "checkpoint": {"path": str(path), "sha256": sha256(checkpoint.located(path)), "step": step},
        "selection": checkpoint.selection(saved),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "multiply_adds": multiply_adds(network, 256, prob.shape[1]),
        "notes": results.notes_of(config.test, trained, text),
        "settings": settings,
        "trained_with": trained,
    }
    if config.kernels == "plain":
        use_plain(device)
    return inference_form(network.to(device), DTYPES[config.test.precision]), prob, labels, facts


def open_text(config, pairs, text):
    """Each pair's domain, the N x K probabilities that the network is given, and the K x D text embeddings."""
    if text is None:  # the scores are still split by domain, where labels are there
        return known_labels(config, pairs), np.zeros((len(pairs), 1), np.float32), None
    domains = open_domains(pairs.folder, config.text, identify(config.text.weights))
    labels = [domains.classes[i] for i in prob_of(domains, pairs.names).argmax(1)]
    prob = prob_of(domains, pairs.names, text["labels"])
    if config.test.domain == "wrong":
        prob = np.roll(prob, 1, axis=1)
    elif config.test.domain == "uniform":
        prob = np.full_like(prob, 1 / prob.shape[1])
    return labels, prob, torch.from_numpy(domains.text)


def known_labels(config, pairs):
    """Each pair's domain by domains.csv, "unlabelled" where it has none."""
    labels = read_labels(pairs.folder, config.text.classes)
    return [labels.get(name, "unlabelled") for name in pairs.names]


@torch.inference_mode()
def dehaze(network, batches, index):
    """The hazy, the dehazed and the clear picture of a sample, H x W x 3 uint8 RGB."""
    batch = batches.of_one(index)
    output = network(batch["hazy"], batch["prob"])
    return tuple(to_image(image[0]) for image in (batch["hazy"], output, batch["clear"]))


if __name__ == "__main__":
    run(main)
