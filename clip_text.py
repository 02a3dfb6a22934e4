"""Label a data set's images by CLIP, zero-shot (indoor or outdoor), and store the text features.

    python clip_text.py configs/reside6k_s.yaml                               every split the settings name
    python clip_text.py configs/reside6k_s.yaml text.weights=open_clip_model.safetensors        without a connection
    python clip_text.py configs/reside6k_s.yaml text.zero_shot=calip "text.classes=[indoor, outdoor, underwater]"
    python clip_text.py configs/demo.yaml data.root=mine text.encoder=stand-in     known labels from domains.csv
    python clip_text.py configs/reside6k_s.yaml --check --clear               how often is CLIP right?

Writes <root>/<split>/domains.npz, and for people domains.csv and domains.png. Look at them: a wrong label is corrected
in the domain column of domains.csv, and stays so. Labels that are there beforehand (name,domain) are taken over, and
only the text is encoded; delete a line to have CLIP label its image. --check has CLIP label these images all the same,
and prints its accuracy and confusions; --clear does so for their clear partners, too. Run the same command again to go
on after a stop.
"""

import os
from functools import cache
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from datasets.contact_sheet import write_contact_sheet
from datasets.domains import (
    STAND_IN,
    Domains,
    difference,
    made_with,
    one_hot,
    read_domains,
    save_domains,
    stand_in_domains,
)
from datasets.journal import Journal
from datasets.labels import read_labels
from datasets.pairs import Pairs, list_images
from datasets.synthetic import make_demo
from datasets.unlabelled import read_batches, stamp
from models.clip import ZeroShot, identify, load_encoder
from utils.config import load_config
from utils.distributed import pick_device
from utils.script import config_parser, run

LEAST_CERTAIN = 5  # images named in the summary


def main(argv=None):
    parser = config_parser(__doc__)
    parser.add_argument("--check", action="store_true", help="compare CLIP's labels with the known ones of domains.csv")
    parser.add_argument("--clear", action="store_true", help="--check for the clear partners, too")
    args = parser.parse_args(argv)
    checked = ("hazy", "clear") if args.clear else ("hazy",) if args.check else ()
    config = load_config(args.config, args.overrides)
    if config.data.root is None:
        make_demo(config.data.folder, config.data.scenes)
    if config.model.fusion == "none" and not checked:
        print("no labels are needed: model.fusion=none")
        return
    text = config.text
    if checked and text.encoder == STAND_IN:
        raise ValueError("--check and --clear need CLIP: text.encoder=stand-in takes its labels from domains.csv")

    @cache
    def zero_shot():
        encoder = load_encoder(text.encoder, text.weights, pick_device(config.device))
        return ZeroShot(encoder, text.classes, text.prompts, text.zero_shot, text.beta2, text.beta3)

    for split in splits(config.data):
        folder = Path(config.data.folder) / split
        names = list_images(folder, "hazy").all_names()
        if text.encoder == STAND_IN:
            domains = stand_in_domains(folder, text.classes, text.prompts)
            if os.access(folder, os.W_OK):  # domains.csv alone will do
                save_domains(folder, domains)
            print(f"{folder}: {len(domains.names)} images")
        else:
            label(folder, names, config, zero_shot)
            if checked:
                check(Pairs(config.data.folder, split, config.data.max_pixels), checked, config, zero_shot)


def splits(data):
    named = [data.train, data.test] + ([data.val] if isinstance(data.val, str) and data.val != "test-crop" else [])
    return list(dict.fromkeys(named))


def label(folder, names, config, zero_shot):
    """Label one split. zero_shot: called for the ZeroShot when there is something to encode."""
    text = config.text
    # What is known: labels by hand, probabilities of images that have not changed, text features.
    by_hand = read_labels(folder, text.classes, by_hand=True)
    stored = read_domains(folder)
    weights = identify(text.weights)
    if stored and weights == stored.source:
        weights = stored.weights
    made = made_with(text, weights)
    features = stored.text if stored and difference(stored, made) is None else None
    if not os.access(folder, os.W_OK):
        if features is None or not set(names) <= set(stored.names):
            reason = "cannot be written, and is not all labelled as the settings ask"
            raise ValueError(f"{folder} {reason}: change its permissions, or copy it")
        print(f"{folder}: {len(names)} images, labelled before")
        return
    journal = Journal(folder, made)
    stamps = {name: stamp(folder / "hazy" / name) for name in names}

    # What is left to encode.
    todo = [name for name in names if name not in by_hand and journal.prob(name, stamps[name]) is None]
    broken = encode({name: folder / "hazy" / name for name in todo}, stamps, zero_shot, journal, config)
    features = zero_shot().text.numpy() if features is None else features
    num_by_hand = sum(name in by_hand for name in names)
    counts = [f"{len(names) - len(todo) - num_by_hand} kept", f"{len(todo) - len(broken)} encoded"]
    counts += [f"{num_by_hand} labelled by hand (--check prints CLIP's accuracy on them)"] if num_by_hand else []
    print(f"{folder}: {len(names)} images: {', '.join(counts)}")
    if broken:
        more = f" ({len(broken)} such files)" if len(broken) > 1 else ""
        raise ValueError(f"{broken[0]}{more}; the probabilities of the others are kept: run again then")

    # Results: for programs, for people.
    prob = [
        one_hot(text.classes, by_hand[name]) if name in by_hand else journal.prob(name, stamps[name]) for name in names
    ]
    given = np.array([name in by_hand for name in names])
    domains = Domains(**made, source=text.weights, text=features, names=tuple(names), prob=np.stack(prob), given=given)
    save_domains(folder, domains)
    write_contact_sheet(folder, domains)
    print(summary(domains))


def check(pairs, sides, config, zero_shot):
    """Have CLIP label the images of known domain, and print how often it is right. sides: of "hazy" and "clear"."""
    known = read_labels(pairs.folder, config.text.classes, by_hand=True)
    numbers = [i for i, name in enumerate(pairs.names) if name in known]
    if not numbers:
        print(f"{pairs.folder}: nothing to check, as domains.csv tells no image's true domain (name,domain)")
        return
    made = made_with(config.text, read_domains(pairs.folder).weights)
    for side in sides:
        listing = {"hazy": pairs.hazy, "clear": pairs.clear}[side]
        paths = {pairs.hazy.name(i): listing.path(i) for i in numbers}
        stamps = {name: stamp(path) for name, path in paths.items()}
        journal = Journal(pairs.folder, made, "domains.jsonl" if side == "hazy" else "domains-clear.jsonl")
        todo = {name: path for name, path in paths.items() if journal.prob(name, stamps[name]) is None}
        broken = encode(todo, stamps, zero_shot, journal, config)
        if broken:
            raise ValueError(broken[0])
        said = [config.text.classes[journal.prob(name, stamps[name]).argmax()] for name in paths]
        print(f"{pairs.folder}, {side} images: {confusion(config.text.classes, [known[name] for name in paths], said)}")


def confusion(classes, known, said):
    """The accuracy and, a row for every true class, how many images are said to be of each, as lines of text."""
    pairs = list(zip(known, said, strict=True))
    right, width = sum(true == given for true, given in pairs), max(8, *map(len, classes)) + 2
    lines = [f"CLIP's accuracy {right / len(pairs):.3f} ({right} of {len(pairs)} of known domain)"]
    lines.append(f"  {'says':>{width}}{''.join(f'{name:>{width}}' for name in classes)}")
    for true in classes:
        counts = "".join(f"{pairs.count((true, given)):>{width}}" for given in classes)
        lines.append(f"  {true:<{width}}{counts}")
    return "\n".join(lines)


def encode(paths, stamps, zero_shot, journal, config):
    """Have CLIP see images, batch by batch into the journal; returns what is wrong with those that cannot be read.

    paths, stamps: by name.
    """
    if not paths:
        return []
    names, zero_shot = list(paths), zero_shot()
    size, threads = config.text.batch, max(config.data.workers, 1)
    # On a CPU, reading and encoding take turns: both use all of it, and at once each makes the other's threads wait.
    ahead = 0 if zero_shot.device.type == "cpu" else 1
    batches = read_batches(list(paths.values()), zero_shot.preprocess, config.data.max_pixels, size, threads, ahead)
    bar = tqdm(total=len(names), desc=str(journal.path.parent), unit="image", disable=None)
    broken = []
    for number, samples in enumerate(batches):
        batch = dict(zip(names[number * size :], samples, strict=False))
        broken += [problem for _, problem in batch.values() if problem]
        batch = {name: image for name, (image, problem) in batch.items() if not problem}
        if batch:
            prob = zero_shot.prob(torch.stack(list(batch.values()))).cpu().numpy()
            if not np.isfinite(prob).all():
                raise ValueError(
                    f"{paths[list(batch)[0]]}: CLIP's probabilities of this and other images are not finite"
                )
            journal.add(list(batch), [stamps[name] for name in batch], prob)
        bar.update(len(samples))
    bar.close()
    return broken


def summary(domains):
    """Class counts, mean confidence and the least certain images, as lines of text."""
    certainty, labels = domains.prob.max(1), domains.labels()
    counts = ", ".join(f"{name} {labels.count(name)}" for name in domains.classes)
    lines = [f"  {counts}; mean confidence {certainty.mean():.3f}"]
    least = [i for i in np.argsort(certainty, kind="stable") if not domains.given[i]][:LEAST_CERTAIN]
    if least:
        named = ", ".join(f"{domains.names[i]} ({labels[i]} {certainty[i]:.3f})" for i in least)
        lines.append(f"  least certain: {named}")
    return "\n".join(lines)


if __name__ == "__main__":
    run(main)
