"""Label a data set's images by CLIP, zero-shot (indoor or outdoor), and store the text features.

    python clip_text.py configs/reside6k_s.yaml                               every split the settings name
    python clip_text.py configs/reside6k_s.yaml text.weights=open_clip_model.safetensors        without a connection
    python clip_text.py configs/reside6k_s.yaml text.zero_shot=calip "text.classes=[indoor, outdoor, underwater]"
    python clip_text.py configs/demo.yaml data.root=mine text.encoder=stand-in     known labels from domains.csv

Writes <root>/<split>/domains.npz, and for people domains.csv and domains.png. Look at them: a wrong label is corrected
in the domain column of domains.csv, and stays so. Labels that are there beforehand (name,domain) are taken over, and
only the text is encoded; delete a line to have CLIP label its image. Run the same command again to go on after a stop.
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
from datasets.pairs import list_images
from datasets.synthetic import make_demo
from datasets.unlabelled import read_batches, stamp
from models.clip import ZeroShot, identify, load_encoder
from utils.config import load_config
from utils.distributed import pick_device
from utils.entry import config_parser, run

LEAST_CERTAIN = 5  # images named in the summary


def main(argv=None):
    args = config_parser(__doc__).parse_args(argv)
    config = load_config(args.config, args.overrides)
    if config.data.root is None:
        make_demo(config.data.folder, config.data.scenes)
    if config.model.fusion == "none":
        print("no labels are needed: model.fusion=none")
        return
    text = config.text

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
    broken = encode(folder, todo, stamps, zero_shot(), journal, config) if todo else []
    features = zero_shot().text.numpy() if features is None else features
    num_by_hand = sum(name in by_hand for name in names)
    counts = [f"{len(names) - len(todo) - num_by_hand} kept", f"{len(todo) - len(broken)} encoded"]
    counts += [f"{num_by_hand} labelled by hand"] if num_by_hand else []
    print(f"{folder}: {len(names)} images: {', '.join(counts)}")
    if broken:
        more = f" ({len(broken)} such files)" if len(broken) > 1 else ""
        raise ValueError(f"{broken[0]}{more}; the probabilities of the others are kept: run again then")

    # Results: for programs, for people.
    prob = [
        one_hot(text.classes, by_hand[name]) if name in by_hand else journal.prob(name, stamps[name]) for name in names
    ]
    given = np.array([name in by_hand for name in names])
    domains = Domains(
        **made, source=text.weights, text=features, names=tuple(names), prob=np.stack(prob), given=given
    )
    save_domains(folder, domains)
    write_contact_sheet(folder, domains)
    print(summary(domains))


def encode(folder, names, stamps, zero_shot, journal, config):
    """Have CLIP see images, batch by batch into the journal; returns what is wrong with those that cannot be read."""
    size, threads = config.text.batch, max(config.data.workers, 1)
    # On a CPU, reading and encoding take turns: both use all of it, and at once each makes the other's threads wait.
    ahead = 0 if zero_shot.device.type == "cpu" else 1
    paths = [folder / "hazy" / name for name in names]
    batches = read_batches(paths, zero_shot.preprocess, config.data.max_pixels, size, threads, ahead)
    bar = tqdm(total=len(names), desc=str(folder), unit="image", disable=None)
    broken = []
    for number, samples in enumerate(batches):
        batch = dict(zip(names[number * size :], samples, strict=False))
        broken += [problem for _, problem in batch.values() if problem]
        batch = {name: image for name, (image, problem) in batch.items() if not problem}
        if batch:
            prob = zero_shot.prob(torch.stack(list(batch.values()))).cpu().numpy()
            if not np.isfinite(prob).all():
                raise ValueError(f"{folder}: CLIP's probabilities of {list(batch)[0]} and others are not finite")
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
