"""Every setting with its default, and what it may be."""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Literal

Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class Data:
    root: str | None = None  # folder of the data set; None: rendered scenes, made under data/ when they are missing
    scenes: int = 160  # rendered training pairs, where root is None; 160: the demo's
    train: str = "train"  # split folder to train on
    test: str = "test"  # split folder to test on
    val: float | str = 0.05  # share of the training pairs held out, or a split folder, or "test-crop" (published way)
    val_crop: int | None = None  # pixels, centre crop of the validation images; None: whole images
    workers: int = 4  # processes that decode images, for each training process; 0: none
    flip: bool = True  # random horizontal flip
    rotate: bool = False  # random turn by a multiple of 90 degrees
    # low and high of s in hazy' = clear + s (hazy - clear): thinner haze of the same airlight; None: as the pairs are
    haze_strength: tuple[float, float] | None = None
    edge_decay: float = 0.0  # crop / side * edge_decay is the chance that a crop is pushed to an edge
    max_pixels: int = 200_000_000  # an image with more is refused as a decompression bomb

    @property
    def folder(self):
        """The root, or where the rendered scenes are."""
        return self.root or ("data/demo" if self.scenes == 160 else f"data/scenes-{self.scenes}")

    @property
    def chosen_on(self):
        """What the best checkpoint is chosen on, in words."""
        if self.val == "test-crop":
            return "centre crops of the TEST set, the published way"
        if isinstance(self.val, str):
            return f"split {self.val}" + (", the TEST set" if self.val == self.test else "")
        return "pairs held out of the training set"


@dataclass(frozen=True)
class Model:
    size: Literal["n", "t", "s", "b", "l"] = "s"  # n: of the demo
    fusion: Literal["calip", "parametric", "none"] = "calip"
    merge: Literal["concat", "add"] = "concat"
    # pixels a side, 40 or more, over which calip takes means of the image when it tests and predicts; crop: train.crop,
    # since it learns from means over crops; frame: the whole image
    window: int | Literal["crop", "frame"] = "crop"
    init: str | None = None  # checkpoint to start from, this project's or a published one; None: random weights


@dataclass(frozen=True)
class Text:
    # open_clip architecture, or local-dir:FOLDER of one, or "stand-in": fixed vectors and labels from domains.csv
    encoder: str = "ViT-B-32-quickgelu"
    weights: str = "openai"  # open_clip tag, or a local file (.safetensors, .pt, .pth, .bin)
    prompt: str | tuple[str, ...] = "a photo of a {class}"  # one template, or several to average
    classes: tuple[str, ...] = ("indoor", "outdoor")
    zero_shot: Literal["clip", "calip"] = "clip"  # calip: logits refined by CALIP's parameter-free attention
    beta2: float = 0.5  # weight of CALIP's logits of image-refined text
    beta3: float = 0.05  # weight of CALIP's logits of text-refined image
    # soft: the network sees the probabilities; hard: one-hot of the most likely class (published)
    labels: Literal["soft", "hard"] = "soft"
    shuffle: bool = False  # ablation: every training image gets another, random image's probabilities
    unknown: float = 0.0  # share of the training samples that are given every class equally, as where none is known
    batch: int = 64  # images a batch of the encoder
    accept: bool = False  # train on text features that were made with other settings than these

    @property
    def prompts(self):
        """The templates, as a tuple."""
        return (self.prompt,) if isinstance(self.prompt, str) else self.prompt


@dataclass(frozen=True)
class Train:
    steps: int = 375_000  # optimiser steps
    batch: int = 16  # images a step, over all processes
    crop: int = 256  # pixels, square
    lr: float = 1.0e-4  # AdamW's peak learning rate; falls to 1 % by a cosine
    warmup: int = 0  # first steps over which the learning rate rises to its peak
    weight_decay: float = 0.01
    precision: Precision = "bf16"  # of the forward and backward pass; fp16 comes with loss scaling
    ema: float = 0.999  # decay of the averaged weights that are evaluated; 0: none
    clip: float | None = None  # largest gradient norm; None: no clipping
    accumulate: int = 1  # a batch is run in this many parts, for batches that do not fit
    recompute: bool = False  # wide intermediates are computed again in the backward pass instead of kept
    compile: bool = False  # torch.compile for the training step, a minute or more at the start; not yet measured
    sync_batchnorm: bool = False  # BatchNorm statistics over all processes
    eval_every: int = 3750  # steps between validations
    save_every: int = 375  # steps between checkpoints, the most that a killed run loses
    log_every: int = 50  # steps between lines of the log


@dataclass(frozen=True)
class Loss:
    contrastive: float = 0.0  # weight of the contrastive regularisation beside L1; published 0.1
    backbone: str = "resnet152"  # torchvision ResNet whose features it compares
    weights: str = "IMAGENET1K_V1"  # torchvision tag, or a local file
    published_features: bool = False  # features of [-1, 1] images, BatchNorm in training mode, as published


@dataclass(frozen=True)
class Test:
    batch: int = 4  # images of equal size a forward pass
    precision: Precision = "fp32"
    graphs: bool = False  # on CUDA: record a graph for each size of image, launched at once; not yet measured
    engine: Literal["own", "openvino"] = "own"  # openvino (pip install it): faster on a CPU, up to 1 MP
    self_ensemble: bool = False  # mean over the 8 flips and turns of the image
    crop: int | None = None  # pixels, centre crop of the images that are scored; None: whole images, as reported
    input: Literal["hazy", "clear"] = "hazy"  # clear: what the network does to images without haze
    window: int | Literal["crop", "frame"] | None = None  # replaces the model.window of the training; None: keeps it
    # ablations: wrong gives each class's probability to the next class, uniform gives every class the same
    domain: Literal["right", "wrong", "uniform"] = "right"
    images: bool = False  # write the dehazed images to results/<run>-<split>/images
    outputs: str | None = None  # folder of another method's images, scored in place of a checkpoint's


@dataclass(frozen=True)
class Config:
    run: str = ""  # names the run folder, checkpoints/<run>; empty: the config file's name
    seed: int = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    # auto: on CUDA, Triton's kernels where they work and are no slower; plain: torch's own operations
    kernels: Literal["auto", "plain"] = "auto"
    checkpoint: str | None = None  # what test.py scores; None: checkpoints/<run>/best.pt
    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    text: Text = field(default_factory=Text)
    train: Train = field(default_factory=Train)
    loss: Loss = field(default_factory=Loss)
    test: Test = field(default_factory=Test)


# dotted key -> smallest and largest value
RANGES = {
    "seed": (0, 2**32 - 1),
    "data.scenes": (2, 1_000_000),
    "data.workers": (0, 256),
    "data.val_crop": (16, 65536),
    "data.edge_decay": (0, 1),
    "data.max_pixels": (1, 2**40),
    "model.window": (40, 65536),
    "text.beta2": (0, 100),
    "text.beta3": (0, 100),
    "text.unknown": (0, 1),
    "text.batch": (1, 65536),
    "train.steps": (1, 10**9),
    "train.batch": (1, 65536),
    "train.crop": (16, 65536),
    "train.lr": (1e-12, 10),
    "train.warmup": (0, 10**9),
    "train.weight_decay": (0, 10),
    "train.ema": (0, 0.999999),
    "train.clip": (1e-9, 1e9),
    "train.accumulate": (1, 65536),
    "train.eval_every": (1, 10**9),
    "train.save_every": (1, 10**9),
    "train.log_every": (1, 10**9),
    "loss.contrastive": (0, 1000),
    "test.batch": (1, 65536),
    "test.crop": (16, 65536),
    "test.window": (40, 65536),
}


def window_pixels(window, crop):
    """A window setting in pixels, None for the whole frame."""
    return {"crop": crop, "frame": None}.get(window, window)


def check(config):
    """Refuse values out of range and bad combinations."""
    values = dict(flatten(to_plain(config)))
    for key, (low, high) in RANGES.items():
        if isinstance(values[key], (int, float)) and not low <= values[key] <= high:
            raise ValueError(f"{key} must be from {low} to {high}, got {values[key]}")
    for key in ("run", "data.train", "data.test", "data.val"):
        if isinstance(values[key], str) and not is_folder_name(values[key]):
            raise ValueError(f"{key} names a folder: {shown(values[key])} cannot be the name of one")
    low, high = config.data.haze_strength or (0, 1)
    if not 0 <= low <= high <= 1:
        raise ValueError(f"data.haze_strength must be [low, high] within 0 and 1, got {shown([low, high])}")
    if isinstance(config.data.val, float) and not 0 < config.data.val < 1:
        raise ValueError(f"data.val must be a share between 0 and 1 or a split folder, got {config.data.val}")
    if config.train.batch % config.train.accumulate:
        raise ValueError(
            f"train.batch {config.train.batch} cannot be cut into {config.train.accumulate} parts (train.accumulate)"
        )
    if len(set(config.text.classes)) < 2 or len(set(config.text.classes)) < len(config.text.classes):
        raise ValueError("text.classes must be at least two different names")
    if any("{class}" not in prompt for prompt in config.text.prompts):
        raise ValueError("text.prompt must hold {class}, for example 'a photo of a {class}'")


def is_folder_name(text):
    """Whether a text can name a folder within another one, on any system."""
    return not set(text) & set('/\\:*?"<>|') and text.isprintable() and text[:1] != "." and len(text.encode()) <= 200


def shown(value):
    """A value as a message shows it: short, whatever a file holds."""
    if isinstance(value, (dict, list, tuple)):
        return "a section" if isinstance(value, dict) else "a list"
    if isinstance(value, int) and abs(value) >= 1e300:
        return "a huge number"
    return repr(value) if len(repr(value)) <= 100 else f"{repr(value)[:100]}..."


def to_plain(config):
    """Nested dicts, lists, numbers and strings: for YAML, JSON and checkpoints."""
    return json.loads(json.dumps(dataclasses.asdict(config)))  # tuples become lists


def flatten(values, prefix=""):
    """Pairs of dotted key and value of nested dicts."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def differences(old, new):
    """The dotted keys whose values differ between two Configs, as {key: (old, new)}."""
    old, new = dict(flatten(to_plain(old))), dict(flatten(to_plain(new)))
    return {key: (old.get(key), new.get(key)) for key in new if old.get(key) != new.get(key)}
