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

Writes results/<run>-<split>/: metrics.json, results.csv, report.html, examples/, and images/ when asked for. The
results of another test are not replaced: name another run, and the checkpoint.
"""

import math
import time
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from datasets.batches import Batches
from datasets.domains import STAND_IN, open_domains, prob_of
from datasets.fingerprint import fingerprint
from datasets.images import to_image, write_image
from datasets.labels import read_labels
from datasets.order import same_size_batches
from datasets.pairs import EvaluationSamples, Pairs
from models import (
    describe,
    inference_form,
    is_published,
    kernels_report,
    needs_text,
    network_of,
    openvino_form,
    use_plain,
)
from models.clip import identify
from utils import checkpoint, distributed
from utils.code import of_other_code
from utils.config import load_config
from utils.evaluate import DTYPES, SelfEnsemble, evaluate
from utils.files import sha256
from utils.metrics import PROTOCOL
from utils.results import (
    environment,
    image_names,
    pick_examples,
    refuse_another_test,
    results_folder,
    score_table,
    set_aside,
    summarise,
    write_report,
    write_results,
)
from utils.script import config_parser, run
from utils.settings import flatten, to_plain, window_pixels
from utils.slowness import tell_of_slowness


def main(argv=None):
    args = config_parser(__doc__).parse_args(argv)
    config = load_config(args.config, args.overrides)
    with distributed.processes(config.device) as device:
        test(config, device, args.overrides)


def test(config, device, overrides=()):
    start = time.perf_counter()
    torch.backends.cudnn.allow_tf32 = False
    if config.kernels == "plain":
        use_plain(device)
    path = Path(config.checkpoint or Path("checkpoints") / config.run / "best.pt")

    # Checkpoint and data: the split's pairs, the domain of each, and the network.
    saved, digest = open_checkpoint(path, config.text), sha256(checkpoint.located(path))
    pairs = Pairs(config.data.folder, config.data.test, config.data.max_pixels)
    digits = distributed.on_main(lambda: fingerprint(pairs))
    if config.test.input == "clear":
        pairs.hazy = pairs.clear
    labels, prob, text = open_text(config, pairs, saved)
    if config.test.window and saved["settings"]:
        saved["network"]["window"] = window_pixels(config.test.window, saved["settings"]["train"]["crop"])
    with checkpoint.naming(path):
        network = network_of(saved, text)
    if text is not None and not config.text.accept and not same_text(network.text, text):
        raise ValueError(
            f"{pairs.folder} was labelled by other text features than the network was trained with: run clip_text.py "
            "with the settings of the training, or set text.accept=true"
        )
    model = {key: value for key, value in describe(network).items() if key != "state"}
    fixed = {f"model.{key}": model[key] for key in ("size", "fusion", "merge")} | {"text.labels": labels_of(saved)}
    for key, value in fixed.items():
        if value and f"{key}={value}" not in overrides and any(text.startswith(f"{key}=") for text in overrides):
            raise ValueError(f"{path} is of {key}={value}, which a test cannot change: leave it out")
    network, dtype = network.to(device), DTYPES[config.test.precision]
    if config.test.engine == "own":
        tell_of_slowness(device, config.test.precision)
        network = inference_form(network, dtype, config.test.graphs)
    else:
        network = openvino_form(network, dtype)
    network = SelfEnsemble(network) if config.test.self_ensemble else network
    samples = EvaluationSamples(pairs, prob, config.test.crop)
    order = same_size_batches(samples.sizes, config.test.batch, distributed.rank(), distributed.world_size())
    batches = Batches(samples, order, device, config.data.workers)

    # Scores: one row an image; its picture, if asked for, is written when the network has made it.
    folder = results_folder(config.run, config.data.test)
    distributed.on_main(lambda: refuse_another_test(folder, config.test, str(path), digits))
    distributed.on_main(lambda: set_aside(folder / "images"))
    files = [folder / "images" / name for name in image_names(pairs.names)]

    def write_images(indices, outputs):
        for index, output in zip(indices, outputs, strict=True):
            write_image(files[index], to_image(output))

    before = time.perf_counter()
    keep = write_images if config.test.images else None
    rows = evaluate(network, batches, device, progress=progress, keep=keep)
    seconds = time.perf_counter() - before
    for row in rows:
        row |= {"name": pairs.hazy.name(row["index"]), "domain": labels[row["index"]]}
    if distributed.rank():
        return
    broken = [row["name"] for row in rows if math.isnan(row["psnr"])]
    if broken:
        raise ValueError(f"{path}: the outputs of {len(broken)} images are no numbers, first {broken[0]}")

    # Results: for programs, for spreadsheets, for people, for the terminal.
    settings = to_plain(config)
    settings["model"] |= model
    settings["text"]["labels"] = fixed["text.labels"] or config.text.labels
    metrics = summarise(rows) | {
        "protocol": PROTOCOL + (f", on centre crops of {config.test.crop} pixels" if config.test.crop else ""),
        "data": {"name": Path(config.data.folder).name, "split": config.data.test, "fingerprint": digits},
        "checkpoint": {"path": str(path), "sha256": digest, "step": saved["step"]},
        "selection": checkpoint.selection(saved, path),
        "seeds": {"training": saved["settings"] and saved["settings"]["seed"]},
        "notes": notes(config.test, saved),
        "settings": settings,
        "trained_with": saved["settings"],
        "environment": environment(device) | {"kernels": kernels_report(device)},
        "images_per_second": len(rows) / seconds,
        "wall_seconds": time.perf_counter() - start,
    }
    write_results(folder, metrics, rows)
    examples = [row["index"] for row in pick_examples(rows).values()]
    pictures = {pairs.hazy.name(i): dehaze(network, batches.of_one(i)) for i in examples}
    write_report(folder, metrics, rows, pictures)
    for note in metrics["notes"]:
        print(f"note: {note}")
    print(score_table(metrics))
    print(f"results: {folder}")


def open_checkpoint(path, text):
    """A checkpoint's content. A published one is {"state_dict", "settings": None, "step": None, "text"}.

    text: the `text` settings, which tell what text a MixCLDehazeNet checkpoint is given.
    """
    saved = checkpoint.load(path)
    if checkpoint.is_ours(saved):
        return saved
    if not is_published(saved):
        raise ValueError(f"{path} is neither a checkpoint of this project nor a published one")
    facts = {"encoder": text.encoder, "classes": list(text.classes)} if needs_text(saved) else None
    return {"state_dict": saved, "settings": None, "step": None, "text": facts}


def open_text(config, pairs, saved):
    """Each pair's domain name, the N x K probabilities that the network is given, and the K x D text embeddings.

    A network without fusion is given nothing, but its scores are still split by domain where labels are there.
    """
    if saved["text"] is None:
        labels = read_labels(pairs.folder, config.text.classes)
        return [labels.get(name, "unlabelled") for name in pairs.names], np.zeros((len(pairs), 1), np.float32), None
    domains = open_domains(pairs.folder, config.text, identify(config.text.weights))
    if list(domains.classes) != saved["text"]["classes"]:
        raise ValueError(
            f"{pairs.folder} is labelled with {', '.join(domains.classes)}, the network was trained with "
            f"{', '.join(saved['text']['classes'])}: set text.classes to those and run clip_text.py again"
        )
    labels = [domains.classes[i] for i in prob_of(domains, pairs.names).argmax(1)]
    prob = prob_of(domains, pairs.names, labels_of(saved))
    if config.test.domain == "wrong":
        prob = np.roll(prob, 1, axis=1)
    elif config.test.domain == "uniform":
        prob = np.full_like(prob, 1 / prob.shape[1])
    return labels, prob, torch.from_numpy(domains.text)


def labels_of(saved):
    """The `text.labels` that a checkpoint was trained with; None without text. A published one's are "hard"."""
    return saved["text"] and saved["text"].get("labels", "hard")


def same_text(ours, theirs):
    """Whether two sets of K x D text embeddings are equal but for rounding."""
    return ours.shape == theirs.shape and torch.allclose(ours, theirs, atol=1e-3)


def notes(settings, saved):
    """What a reader of the results must know. settings: the `test` settings."""
    text, trained = saved["text"], dict(flatten(saved["settings"] or {}))
    found = []
    if not trained:
        found.append("a published checkpoint")
    if of_other_code(saved):
        found.append("trained by other code of the network than tested")
    if text and text["encoder"] == STAND_IN:
        how = "trained" if trained else "tested"
        found.append(f"{how} on stand-in text features (fixed vectors and known labels), not CLIP's")
    if text and trained.get("text.shuffle"):
        found.append("trained with shuffled domains: each image was given another, random image's")
    if trained.get("data.val") == "test-crop":
        found.append("the checkpoint was chosen on centre crops of the test set, the published way")
    elif trained and trained["data.val"] == trained["data.test"]:
        found.append("the checkpoint was chosen on the test set")
    if text and settings.domain == "wrong":
        found.append("tested with the wrong domains: each class's probability was given to the next class")
    if text and settings.domain == "right" and trained.get("text.unknown") == 1:
        found.append("trained without domains, tested with the right ones: test.domain=uniform tests it as trained")
    if text and settings.domain == "uniform":
        found.append("tested without domains: every image was given all classes equally")
    if text and trained and settings.window:
        found.append(f"tested with test.window={settings.window}; the training asked for {trained['model.window']}")
    if settings.input == "clear":
        found.append("do no harm: the network was given the clear images in place of the hazy ones")
    if settings.crop:
        found.append(f"scored on centre crops of {settings.crop} pixels, which is not the reported protocol")
    if settings.self_ensemble:
        found.append("self-ensemble: the mean of the outputs for the 8 flips and turns of each image")
    return found


def progress(batches):
    return tqdm(batches, unit="batch", disable=True if distributed.rank() else None)


@torch.inference_mode()
def dehaze(network, batch):
    """The hazy, the dehazed and the clear picture of a batch of one, H x W x 3 uint8 RGB."""
    output = network(batch["hazy"], batch["prob"])
    return tuple(to_image(image[0]) for image in (batch["hazy"], output, batch["clear"]))


if __name__ == "__main__":
    run(main)
