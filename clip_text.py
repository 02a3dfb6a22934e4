"""Label a data set's images by CLIP, zero-shot (indoor or outdoor), and store the text features.

    python clip_text.py configs/reside6k_s.yaml                               every split the settings name
    python clip_text.py configs/reside6k_s.yaml text.weights=open_clip_model.safetensors        without a connection
    python clip_text.py configs/reside6k_s.yaml text.zero_shot=calip "text.classes=[indoor, outdoor, underwater]"
    python clip_text.py configs/demo.yaml data.root=mine text.encoder=stand-in     known labels from domains.csv
    python clip_text.py configs/reside6k_s.yaml --check                       how often is CLIP right?

Writes <root>/<split>/domains.npz, and for people domains.csv and domains.png. Look at them: a wrong label is corrected
in the domain column of domains.csv, and stays so. Labels that are there beforehand (name,domain) are taken over; delete
a line to have CLIP label its image. --check compares CLIP's labels with these. Run the same command again to go on
after a stop, or when images have changed.
"""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import torch
from tqdm import tqdm

from datasets.batches import num_workers
from datasets.contact_sheet import write_contact_sheet
from datasets.domains import STAND_IN, Domains, difference, load_domains, made_with, read_labels, save_domains, stand_in
from datasets.images import read_image, to_8_bit
from datasets.listing import list_images
from datasets.pairs import split_folders
from models.clip import ZeroShot, identify, load_encoder
from utils.config import load_config
from utils.distributed import pick_device
from utils.script import config_parser, run

SAVE_EVERY = 60  # seconds of encoding that a kill may lose


def main(argv=None):
    parser = config_parser(__doc__)
    parser.add_argument("--check", action="store_true", help="compare CLIP's labels with the known ones of domains.csv")
    args = parser.parse_args(argv)
    config = load_config(args.config, args.overrides)
    text = config.text
    if args.check and text.encoder == STAND_IN:
        raise ValueError("--check needs CLIP: text.encoder=stand-in takes its labels from domains.csv")

    @cache
    def zero_shot():
        encoder = load_encoder(text.encoder, text.weights, pick_device(config.device))
        return ZeroShot(encoder, text.classes, text.prompts, text.zero_shot, text.beta2, text.beta3)

    for folder in split_folders(config.data):
        if config.model.fusion == "none" and not args.check:
            print(f"{folder}: no labels are needed: model.fusion=none")
            continue
        images = list_images(folder, "hazy")
        if text.encoder == STAND_IN:
            if os.access(folder, os.W_OK):  # domains.csv alone is enough
                save_domains(folder, stand_in(folder, text.classes, text.prompts))
            print(f"{folder}: {len(images)} images")
        else:
            label(folder, images, config, zero_shot)
            if args.check:
                check(folder, config, zero_shot)


def label(folder, images, config, zero_shot):
    """Label the Listing of one split. zero_shot: called for the ZeroShot when there is something to encode."""
    # What is known: text features, labels by hand, probabilities of images that have not changed; NaN: to encode.
    text, stored = config.text, load_domains(folder, corrected=False)
    made = made_with(text, identify(text.weights))
    if stored and difference(stored, made):
        stored = None
    facts = made | {"text": stored.text if stored else zero_shot().text.numpy(), "source": text.weights}
    facts |= {"weights": stored.weights} if stored else {}  # the settings may name a file that is gone
    by_hand = read_labels(folder, text.classes, by_hand=True)
    known = unchanged(stored, images) if stored else {}
    sure, unknown = np.eye(len(text.classes), dtype=np.float32), np.full(len(text.classes), np.nan, np.float32)
    known |= {name: sure[text.classes.index(domain)] for name, domain in by_hand.items()}
    prob = np.stack([known.get(name, unknown) for name in images.names])
    given = np.array([name in by_hand for name in images.names])

    def labelled():
        done = np.flatnonzero(~np.isnan(prob[:, 0]))
        part = images.take(done)
        return Domains(names=tuple(part.names), prob=prob[done], given=given[done], stamps=part.stamps, **facts)

    # Encode, and save now and then: a kill loses a minute of work, any other end nothing.
    todo, saved = np.flatnonzero(np.isnan(prob[:, 0])), time.monotonic()
    try:
        for part, rows in encode([images.path(i) for i in todo], zero_shot, config):
            prob[todo[part]] = rows
            if time.monotonic() > saved + SAVE_EVERY:
                save_domains(folder, labelled(), table=False)
                saved = time.monotonic()
    finally:
        if len(todo):
            save_domains(folder, labelled(), table=False)
    kept = len(known) - len(by_hand)
    print(f"{folder}: {len(images)} images: {kept} kept, {len(todo)} encoded, {len(by_hand)} labelled by hand")

    # Results: for programs, for people. A set with nothing new may be read-only.
    domains = labelled()
    same = stored and all(np.array_equal(getattr(stored, n), getattr(domains, n)) for n in ("names", "prob", "given"))
    if not same or not (folder / "domains.csv").exists():
        save_domains(folder, domains)
        write_contact_sheet(folder, domains)
    counts = ", ".join(f"{name} {(domains.prob.argmax(1) == i).sum()}" for i, name in enumerate(domains.classes))
    print(f"  {counts}; mean confidence {domains.prob.max(1).mean():.3f}")


def unchanged(domains, images):
    """{name: K probabilities} of the images of a Listing that CLIP has labelled and whose files are the same since."""
    now = dict(zip(images.names, images.stamps.tolist(), strict=True))
    then = dict(zip(domains.names, domains.stamps.tolist(), strict=True)) if len(domains.stamps) else now
    rows = zip(domains.names, domains.prob, domains.given, strict=True)
    return {name: prob for name, prob, given in rows if name in now and not given and then[name] == now[name]}


def check(folder, config, zero_shot):
    """Have CLIP label the images of known domain, and print how often it is right."""
    known = read_labels(folder, config.text.classes, by_hand=True)
    if not known:
        print(f"{folder}: nothing to check, domains.csv gives no image's true domain (name,domain)")
        return
    rows = np.concatenate([rows for _, rows in encode([folder / "hazy" / name for name in known], zero_shot, config)])
    right = (np.array(config.text.classes)[rows.argmax(1)] == list(known.values())).sum()
    print(f"{folder}: CLIP's accuracy {right / len(known):.3f} ({right} of {len(known)} of known domain)")


def encode(paths, zero_shot, config):
    """Yield, batch by batch, a slice of the paths and their B x K probabilities. Raises ValueError as `read_image`."""
    if not paths:
        return
    zero_shot, size = zero_shot(), config.text.batch

    def read(path):
        return zero_shot.preprocess(to_8_bit(read_image(path, config.data.max_pixels)))

    bar = tqdm(total=len(paths), desc=str(paths[0].parent.parent), unit="image", disable=None)
    with ThreadPoolExecutor(max(num_workers(config.data.workers), 1)) as pool, bar:
        for start in range(0, len(paths), size):
            part = slice(start, start + size)
            yield part, zero_shot.prob(torch.stack(list(pool.map(read, paths[part])))).cpu().numpy()
            bar.update(len(paths[part]))


if __name__ == "__main__":
    run(main)
