"""Dehaze photographs.

    python predict.py --input photos --output dehazed                    by the weights that come with the project
    python predict.py --checkpoint checkpoints/demo/best.pt --input "photos/**/*.jpg" --output dehazed --domain outdoor
    python predict.py --input scan.tif --output dehazed --compare --strength 0.7 --max-memory 4GB

An image comes back under its name, in its subfolder, file format and depth: PNG, JPEG, WebP, TIFF or BMP, 8 or 16 bits,
grey, RGB or RGBA (palettes become RGB, grey with alpha RGBA), upright, with its colour profile and EXIF (TIFF: without
EXIF). Large images are computed in bands of rows, with the same result. One that fails or cannot be decoded exactly,
such as CMYK or an animation, is reported at the end and stops no other; the exit code is then 1.
"""

import sys
from functools import cache
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from datasets.domains import STAND_IN, open_domains
from datasets.images import load, to_8_bit, to_image, to_tensor
from datasets.photos import find_photos, plan, write_photo
from models import inference_form, network_of
from models.clip import ZeroShot, load_encoder
from utils import checkpoint
from utils.cost import free_memory, parse_size
from utils.distributed import pick_device
from utils.evaluate import DTYPES
from utils.script import Parser, mistake, run
from utils.settings import Data, Text


def main(argv=None):
    args = parse(argv)
    device = pick_device(args.device)
    limit = parse_size(args.max_memory) if args.max_memory else None

    # Files: what goes where, checked before any work.
    photos = find_photos(args.input, args.output)
    targets = plan(photos, args.output, args.compare, args.overwrite or args.skip_existing)
    todo = list(zip(photos, targets, strict=True))
    if args.skip_existing:
        todo = [(photo, both) for photo, both in todo if not all(target.exists() for target in both if target)]
        print(f"{len(photos) - len(todo)} of {len(photos)} results exist and are left as they are")

    # Network: from the checkpoint alone; a published one lacks the text that it was trained with.
    saved = checkpoint.load(args.checkpoint)
    domains = open_domains(args.text, Text(accept=True)) if args.text else None
    with checkpoint.naming(args.checkpoint):
        network = network_of(saved, domains and torch.from_numpy(domains.text))
    text = None if network.fusion is None else saved.get("text") or domains.text_facts("hard")
    if args.checkpoint == "starter":
        print("weights: the starter's, trained on rendered scenes and five photographs (weights/starter.md)")
    dehaze = dehazer(network.to(device), args.precision, args.strength, device, limit)
    find_prob = domain_finder(args.domain, text, args.clip_weights, device)

    # Photographs, one by one.
    failures = []
    for (file, name), (target, comparison) in tqdm(todo, unit="image", disable=None):
        try:
            header, photo = load(file, args.max_pixels)
            prob = find_prob(photo[:, :, :3])
            if text is not None and args.domain == "auto" and prob.min() < prob.max():
                tqdm.write(f"{name}: {text['classes'][prob.argmax()]}, {prob.max():.3f}", file=sys.stdout)
            dehazed = np.dstack([dehaze(photo[:, :, :3], prob), photo[:, :, 3:]])  # alpha stays
            write_photo(target, dehazed, header)
            if comparison:
                write_photo(comparison, np.hstack([photo, dehazed]), header)
        except Exception as error:
            reason = mistake(error)
            if not reason:
                raise
            failures.append(reason if str(file) in reason else f"{file}: {reason}")

    print(f"{len(todo) - len(failures)} of {len(todo)} images dehazed into {args.output}")
    for failure in failures:
        print(f"predict.py: {failure}", file=sys.stderr)
    return 1 if failures else 0


def parse(argv):
    parser = Parser(__doc__)
    parser.add_argument("--checkpoint", default="starter", help="of this project, or a published one; default: starter")
    parser.add_argument("--input", required=True, nargs="+", help="files, folders with all subfolders, glob patterns")
    parser.add_argument("--output", required=True, type=Path, help="folder for the results")
    parser.add_argument("--domain", default="auto", help="auto (asks CLIP), indoor, outdoor, or another class")
    parser.add_argument("--clip-weights", help="for auto: a file, if the training's is not there")
    parser.add_argument("--text", type=Path, help="for a published MixCLDehazeNet: a folder labelled by clip_text.py")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--precision", default="auto", choices=("auto", *DTYPES), help="auto: fp16 on CUDA, else fp32")
    parser.add_argument("--strength", type=float, default=1, help="share of the change, 0 to 2: more for dense haze")
    parser.add_argument("--max-memory", help="of the device, for the whole process, such as 4GB; default: what is free")
    parser.add_argument("--max-pixels", type=int, default=Data.max_pixels, help="refuse larger images (200000000)")
    parser.add_argument("--compare", action="store_true", help="also write hazy | dehazed to OUTPUT/compare")
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--overwrite", action="store_true", help="replace results that exist")
    existing.add_argument("--skip-existing", action="store_true", help="leave out photographs whose results exist")
    args = parser.parse_args(argv)
    if not 0 <= args.strength <= 2:
        raise ValueError(f"--strength {args.strength} is not between 0 and 2")
    return args


def dehazer(network, precision, strength, device, limit):
    """A function from H x W x 3 pixels, uint8 or uint16, and 1 x K probabilities to such pixels.

    strength: S of I + S (J - I), with I the photograph and J the network's output. limit: as of `free_memory`.
    An output of low precision that is not finite is computed again in float32.
    """
    if precision == "auto":
        precision = "fp16" if device.type == "cuda" else "fp32"
    form = cache(lambda dtype: inference_form(network, dtype))

    @torch.inference_mode()
    def dehaze(pixels, prob):
        hazy = to_tensor(pixels)[None].to(device, memory_format=torch.channels_last)
        for dtype in dict.fromkeys((DTYPES[precision], torch.float32)):
            output = form(dtype)(hazy, prob, free_memory(device, limit))
            if output.isfinite().all():
                return to_image(hazy.lerp(output, strength)[0], pixels.dtype)
        raise ValueError("the network's output is not finite: the checkpoint's weights are broken")

    return dehaze


def domain_finder(name, text, clip_weights, device):
    """A function from H x W x 3 pixels to the 1 x K probabilities for a network; to None for one without text."""
    if text is None:
        return lambda photo: None
    classes, names, stand_in = list(text["classes"]), " or ".join(text["classes"]), text["encoder"] == STAND_IN
    one_hot = torch.eye(len(classes), device=device)
    if name != "auto":
        if name not in classes:
            raise ValueError(f"--domain {name}: the network knows {names}, or auto")
        return lambda photo: one_hot[[classes.index(name)]]
    if stand_in and clip_weights is None:
        print(f"domain unknown (no CLIP weights): all classes weighted equally; set --domain {names}")
        return lambda photo: one_hot.mean(0, keepdim=True)

    architecture, zero_shot = (Text.encoder, "clip") if stand_in else (text["encoder"], text["zero_shot"])
    try:
        encoder = load_encoder(architecture, clip_weights or text["source"], device)
    except ValueError as error:
        raise ValueError(f"{error}; name a file of CLIP's weights by --clip-weights, or add --domain {names}") from None
    clip = ZeroShot(encoder, classes, text["prompts"], zero_shot, text["beta2"], text["beta3"])

    def ask(photo):
        prob = clip.prob(clip.preprocess(to_8_bit(photo))[None].to(device)).float()
        return one_hot[prob.argmax(1)] if text["labels"] == "hard" else prob

    return ask


if __name__ == "__main__":
    run(main)
