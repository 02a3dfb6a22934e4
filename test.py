"""Score a trained network on a test split: PSNR, SSIM, and the hazy images' own scores beside them.

    python test.py configs/demo.yaml                                        checkpoints/<run>/best.pt on the test split
    python test.py configs/reside6k_s.yaml checkpoint=my.pt run=my          any checkpoint of this project, or a
                                                                            published one; results/my-test
    python test.py configs/reside6k_s.yaml test.images=true                 write the dehazed images, too
    python test.py configs/reside6k_s.yaml test.self_ensemble=true          mean over the 8 flips and turns
    python test.py configs/reside6k_s.yaml test.domain=wrong run=wrong checkpoint=checkpoints/reside6k_s/best.pt
                                                                            does the network use its text?
    python test.py configs/reside6k_s.yaml test.input=clear run=clear checkpoint=checkpoints/reside6k_s/best.pt
                                                                            what does it do to clear images?
    python test.py configs/reside6k_s.yaml test.outputs=FOLDER run=other    score another method's images, in the same
                                                                            protocol; names as the hazy images'

Writes results/<run>-<split>/: metrics.json, results.csv, report.html, examples/, and images/ when asked for. The
results of another test are not replaced: name another run, and the checkpoint.
"""

import math
import os
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from datasets.batches import Batches
from datasets.domains import open_domains, prob_of, read_labels
from datasets.images import to_image, write_image
from datasets.order import same_size_batches
from datasets.pairs import fingerprint, open_split
from datasets.samples import EvaluationSamples, Outputs
from models import describe, inference_form, is_published, kernels_report, needs_text, network_of, use_plain
from models.clip import identify
from utils import checkpoint, distributed
from utils.config import load_config
from utils.cost import multiply_adds
from utils.evaluate import DTYPES, SelfEnsemble, evaluate
from utils.files import sha256
from utils.metrics import PROTOCOL
from utils.results import (
    environment,
    image_names,
    notes_of,
    pick_examples,
    results_folder,
    score_table,
    summarise,
    write_report,
    write_results,
)
from utils.script import config_parser, run
from utils.settings import to_plain, window_pixels


def main(argv=None):
    args = config_parser(__doc__).parse_args(argv)
    config = load_config(args.config, args.overrides)
    with distributed.processes(config.device) as device:
        test(config, device, args.overrides)


def test(config, device, overrides=()):
    start = time.perf_counter()
    torch.backends.cudnn.allow_tf32 = False

    # Data: the pairs of the split, known by their fingerprint.
    pairs = distributed.on_main(open_split)(config.data, config.data.test)
    names = pairs.names
    digits = distributed.on_main(fingerprint)(pairs)
    if config.test.input == "clear":
        pairs.input = pairs.clear

    # What is scored: a network, or another method's images. A result has the same parts either way.
    open_tested = another_method if config.test.outputs else trained_network
    network, prob, labels, facts = open_tested(config, pairs, device, overrides)
    samples = EvaluationSamples(pairs, prob, config.test.crop)
    order = same_size_batches(samples.sizes, config.test.batch, distributed.rank(), distributed.world_size())
    batches = Batches(samples, order, device, config.data.workers)
    path = facts["checkpoint"] and facts["checkpoint"]["path"]
    folder = distributed.on_main(results_folder)(config.run, config.data.test, config.test, path, digits)

    # Scores: one row an image. Its picture, if asked for, is written as soon as it is made.
    files = [folder / "images" / name for name in image_names(names)]

    def write_images(indices, outputs):
        for index, output in zip(indices, outputs, strict=True):
            write_image(files[index], to_image(output))

    before = time.perf_counter()
    progress = partial(tqdm, unit="batch", disable=True if distributed.rank() else None)
    rows = evaluate(network, batches, device, progress=progress, keep=write_images if config.test.images else None)
    seconds = time.perf_counter() - before
    if distributed.rank():
        return
    for row in rows:
        row |= {"name": names[row["index"]], "domain": labels[row["index"]]}
        if config.test.images and not config.test.crop:
            three = pairs.input.path(row["index"]), files[row["index"]], pairs.clear.path(row["index"])
            row["files"] = [os.path.relpath(file, folder) for file in three]
    broken = [row["name"] for row in rows if math.isnan(row["psnr"])]
    if broken:
        raise ValueError(f"{path}: the outputs of {len(broken)} images are not finite, first {broken[0]}")

    # Results: for programs, for spreadsheets, for people, for the terminal.
    metrics = summarise(rows) | {
        "protocol": PROTOCOL + (f", on centre crops of {config.test.crop} pixels" if config.test.crop else ""),
        "data": {"name": Path(config.data.folder).name, "split": config.data.test, "fingerprint": digits},
        **facts,
        "seeds": {"training": facts["trained_with"] and facts["trained_with"]["seed"]},
        "environment": environment(device) | {"kernels": None if config.test.outputs else kernels_report("inference")},
        "images_per_second": None if config.test.outputs else len(rows) / seconds,
        "wall_seconds": time.perf_counter() - start,
    }
    write_results(folder, metrics, rows)
    examples = [row["index"] for row in pick_examples(rows).values()]
    write_report(folder, metrics, rows, {names[i]: dehaze(network, batches.of_one(i)) for i in examples})
    for note in metrics["notes"]:
        print(f"note: {note}")
    print(score_table(metrics))
    print(f"results: {folder}")


def another_method(config, pairs, *_):
    """Images in the place of a network; a pair's "probability" is its index. Returns what `trained_network` does."""
    name = Path(config.test.outputs).resolve().name
    facts = {
        "outputs": name,
        "checkpoint": None,
        "trained_with": None,
        "parameters": None,
        "multiply_adds": None,
        "selection": "images of another method",
        "notes": [f"images of {name}, another method: no network was run"],
        "settings": to_plain(config),
    }
    outputs = Outputs(config.test.outputs, pairs)
    index = np.arange(len(pairs), dtype=np.float32)[:, None]
    return outputs, index, known_labels(config, pairs), facts


def trained_network(config, pairs, device, overrides):
    """The network of a checkpoint, ready to run.

    Returns it, the N x K probabilities for its text, each pair's domain, and what metrics.json says of the checkpoint.
    """
    path = Path(config.checkpoint or Path("checkpoints") / config.run / "best.pt")
    saved = checkpoint.load(path)
    if checkpoint.is_ours(saved):
        trained, step, text = saved["settings"], saved["step"], saved["text"]
    else:
        trained, step, text = None, None, published_text(saved, config.text)
    labels, prob, vectors = open_text(config, pairs, text)
    if config.test.window and trained:
        saved["network"]["window"] = window_pixels(config.test.window, trained["train"]["crop"])
    with checkpoint.naming(path):
        network = network_of(saved, vectors)
    if vectors is not None and not config.text.accept and not same_text(network.text, vectors):
        raise ValueError(
            f"{pairs.folder} was labelled by other text features than the network was trained with: run clip_text.py "
            "with the settings of the training, or set text.accept=true"
        )
    model = {key: value for key, value in describe(network).items() if key != "state"}
    settings = to_plain(config)
    settings["model"] |= model
    settings["text"] |= {"labels": text["labels"]} if text else {}
    refuse_overrides(path, overrides, settings)
    facts = {
        "outputs": None,
        "checkpoint": {"path": str(path), "sha256": sha256(checkpoint.located(path)), "step": step},
        "selection": checkpoint.selection(saved, path),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "multiply_adds": multiply_adds(network, 256, prob.shape[1]) * (8 if config.test.self_ensemble else 1),
        "notes": notes_of(config.test, trained, text),
        "settings": settings,
        "trained_with": trained,
    }
    if config.kernels == "plain":
        use_plain(device)
    network = inference_form(network.to(device), DTYPES[config.test.precision])
    return SelfEnsemble(network) if config.test.self_ensemble else network, prob, labels, facts


def published_text(saved, settings):
    """The text of a published MixCLDehazeNet, whose file does not say it: the `text` settings, with one-hot labels."""
    if is_published(saved) and needs_text(saved):
        return {"encoder": settings.encoder, "classes": list(settings.classes), "labels": "hard"}
    return None


def open_text(config, pairs, text):
    """Each pair's domain, the N x K probabilities that the network is given, and the K x D text embeddings.

    A network without fusion is given nothing, but its scores are still split by domain where labels are there.
    """
    if text is None:
        return known_labels(config, pairs), np.zeros((len(pairs), 1), np.float32), None
    domains = open_domains(pairs.folder, config.text, identify(config.text.weights))
    if list(domains.classes) != text["classes"]:
        raise ValueError(
            f"{pairs.folder} is labelled with {', '.join(domains.classes)}, the network was trained with "
            f"{', '.join(text['classes'])}: set text.classes to those and run clip_text.py again"
        )
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


def refuse_overrides(path, overrides, settings):
    """Raise ValueError for a setting on the command line that contradicts the checkpoint."""
    fixed = [("model.size", settings["model"]["size"]), ("model.fusion", settings["model"]["fusion"])]
    fixed += [("model.merge", settings["model"]["merge"]), ("text.labels", settings["text"]["labels"])]
    for key, value in fixed:
        if any(text.startswith(f"{key}=") and text != f"{key}={value}" for text in overrides):
            raise ValueError(f"{path} is of {key}={value}, which a test cannot change: leave it out")


def same_text(ours, theirs):
    """Whether two sets of K x D text embeddings are equal but for rounding."""
    return ours.shape == theirs.shape and torch.allclose(ours, theirs, atol=1e-3)


@torch.inference_mode()
def dehaze(network, batch):
    """The hazy, the dehazed and the clear picture of a batch of one, H x W x 3 uint8 RGB."""
    output = network(batch["hazy"], batch["prob"])
    return tuple(to_image(image[0]) for image in (batch["hazy"], output, batch["clear"]))


if __name__ == "__main__":
    run(main)
