"""Every setting with its default, its unit and what it may be."""

import dataclasses
import json
import math
import re
from dataclasses import dataclass, field
from typing import Literal

Precision = Literal["fp32", "bf16", "fp16"]
FOLDER_NAME = re.compile(r'[^.\x00-\x1f/\\:*?"<>|][^\x00-\x1f/\\:*?"<>|]{0,199}')  # on any system


def setting(default, low=None, high=None, **marks):
    """A field whose numbers are from `low` to `high`, with marks that `marked` finds.

    resume: may change between the start and the resumption of a run; the weights do not depend on it.
    speed: sets speed, memory, logs or names; changes results by rounding at most.
    folder: names a folder within another.
    """
    return field(default=default, metadata=marks if low is None else {"range": (low, high), **marks})


@dataclass(frozen=True)
class Data:
    root: str | None = setting(None, resume=True)  # folder of the data set; None: scenes rendered under data/
    scenes: int = setting(160, 2, 1_000_000)  # rendered training pairs where root is None; 160: the demo's
    scene_width: int = setting(224, 64, 4096)  # pixels of a rendered scene, 5/7 as high; 224: the demo's
    train: str = setting("train", folder=True)  # split folder to train on
    test: str = setting("test", folder=True, resume=True)  # split folder to test on
    val: float | str = setting(0.05, folder=True)  # share of the training pairs, a split folder, or "test-crop"
    val_crop: int | None = setting(None, 16, 65536)  # pixels, centre crop of the validation images; None: whole images
    # processes that decode images, for each training process; 0: none; None: its share of the cores, at most 8
    workers: int | None = setting(None, 0, 256, resume=True, speed=True)
    flip: bool = True  # random horizontal flip
    rotate: bool = False  # random turn by a multiple of 90 degrees
    # low and high of s in hazy' = clear + s (hazy - clear): thinner haze of the same airlight; None: as the pairs are
    haze_strength: tuple[float, float] | None = None
    edge_decay: float = setting(0.0, 0, 1)  # crop / side * edge_decay: the chance that a crop is pushed to an edge
    max_pixels: int = setting(200_000_000, 1, 2**40, resume=True, speed=True)  # larger images are refused

    @property
    def folder(self):
        """The root, or where the rendered scenes are."""
        demo = (self.scenes, self.scene_width) == (160, 224)
        return self.root or ("data/demo" if demo else f"data/scenes-{self.scenes}-{self.scene_width}")

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
    size: Literal["n", "t", "s", "b", "l"] = "s"  # n: the demo's
    fusion: str = "calip"  # calip, parametric or none: a name of FUSIONS in models/fusion.py
    merge: Literal["concat", "add"] = "concat"
    # pixels a side over which calip takes means of the image in tests; crop: train.crop, as in training; frame: all
    window: int | Literal["crop", "frame"] = setting("crop", 40, 65536)
    init: str | None = None  # checkpoint to start from, this project's or a published one; None: random weights


@dataclass(frozen=True)
class Text:
    # open_clip architecture, or local-dir:FOLDER of one, or "stand-in": fixed vectors and labels from domains.csv
    encoder: str = "ViT-B-32-quickgelu"
    weights: str = "openai"  # open_clip tag, or a local file (.safetensors, .pt, .pth, .bin)
    prompt: str | tuple[str, ...] = "a photo of a {class}"  # one template, or several to average
    classes: tuple[str, ...] = ("indoor", "outdoor")
    zero_shot: Literal["clip", "calip"] = "clip"  # calip: logits refined by CALIP's parameter-free attention
    beta2: float = setting(0.5, 0, 100)  # weight of CALIP's logits of image-refined text
    beta3: float = setting(0.05, 0, 100)  # weight of CALIP's logits of text-refined image
    labels: Literal["soft", "hard"] = "soft"  # soft: probabilities; hard: one-hot of the likeliest class (published)
    shuffle: bool = False  # ablation: every training image gets another, random image's probabilities
    unknown: float = setting(0.0, 0, 1)  # share of training samples whose domain is hidden: uniform probabilities
    batch: int = setting(64, 1, 65536, resume=True, speed=True)  # images a batch of the encoder
    accept: bool = setting(False, resume=True)  # train on text features that other settings than these made

    @property
    def prompts(self):
        """The templates, as a tuple."""
        return (self.prompt,) if isinstance(self.prompt, str) else self.prompt


@dataclass(frozen=True)
class Train:
    steps: int = setting(375_000, 1, 10**9)  # optimiser steps
    batch: int = setting(16, 1, 65536)  # images a step, over all processes
    crop: int = setting(256, 16, 65536)  # pixels, square
    lr: float = setting(1.0e-4, 1e-12, 10)  # AdamW's peak learning rate; falls to 1 % by a cosine
    warmup: int = setting(0, 0, 10**9)  # first steps over which the learning rate rises to its peak
    weight_decay: float = setting(0.01, 0, 10)
    precision: Precision = "bf16"  # of the forward and backward pass; fp16 comes with loss scaling
    ema: float = setting(0.999, 0, 0.999999)  # decay of the averaged weights that are evaluated; 0: no average
    clip: float | None = setting(None, 1e-9, 1e9)  # largest gradient norm; None: no clipping
    accumulate: int = setting(1, 1, 65536)  # parts in which a batch is run, for batches that do not fit the memory
    recompute: bool = setting(False, resume=True, speed=True)  # compute wide intermediates again in the backward pass
    sync_batchnorm: bool = False  # BatchNorm statistics over all processes, without CUDA graphs; needs CUDA
    eval_every: int = setting(3750, 1, 10**9, resume=True)  # steps between validations
    save_every: int = setting(375, 1, 10**9, resume=True, speed=True)  # steps between checkpoints
    log_every: int = setting(50, 1, 10**9, resume=True, speed=True)  # steps between lines of the log


@dataclass(frozen=True)
class Loss:
    contrastive: float = setting(0.0, 0, 1000)  # weight of the contrastive term beside L1; published 0.1
    backbone: str = "resnet152"  # torchvision ResNet whose features it compares
    weights: str = "IMAGENET1K_V1"  # torchvision tag, or a local file
    published_features: bool = False  # features of [-1, 1] images, BatchNorm in training mode, as published


@dataclass(frozen=True)
class Test:
    batch: int = setting(4, 1, 65536, speed=True)  # images of equal size a forward pass
    precision: Precision = "fp32"
    crop: int | None = setting(None, 16, 65536)  # pixels, centre crop of the scored images; None: whole images
    input: Literal["hazy", "clear"] = "hazy"  # clear: what the network does to images without haze
    window: int | Literal["crop", "frame"] | None = setting(None, 40, 65536)  # None: the training's model.window
    # ablations: wrong gives each class's probability to the next class, uniform gives every class the same
    domain: Literal["right", "wrong", "uniform"] = "right"
    images: bool = setting(False, speed=True)  # write the dehazed images to results/<run>-<split>/images
    outputs: str | None = None  # folder of another method's images, scored in place of a checkpoint's


@dataclass(frozen=True)
class Config:
    run: str = setting("", folder=True, speed=True)  # of the run folder; empty: the config file's name
    seed: int = setting(1, 0, 2**32 - 1)
    device: Literal["auto", "cpu", "cuda"] = setting("auto", resume=True, speed=True)
    # auto: on CUDA, Triton's kernels and graphs where they are proven; plain: torch's own operations
    kernels: Literal["auto", "plain"] = setting("auto", resume=True, speed=True)
    checkpoint: str | None = setting(None, resume=True)  # what test.py scores; None: checkpoints/<run>/best.pt
    data: Data = Data()
    model: Model = Model()
    text: Text = Text()
    train: Train = Train()
    loss: Loss = Loss()
    test: Test = setting(Test(), resume=True)


def window_pixels(window, crop):
    """A window setting in pixels, None for the whole frame."""
    return {"crop": crop, "frame": None}.get(window, window)


def fields(section, prefix=""):
    """Dotted key, value and metadata of every setting of a section."""
    for item in dataclasses.fields(section):
        value = getattr(section, item.name)
        if dataclasses.is_dataclass(value):
            for key, inner, metadata in fields(value, f"{prefix}{item.name}."):
                yield key, inner, {**metadata, **item.metadata}
        else:
            yield f"{prefix}{item.name}", value, item.metadata


def marked(mark):
    """The dotted keys of all settings with a mark of `setting`."""
    return {key for key, _, metadata in fields(Config()) if metadata.get(mark)}


def check(config):
    """Refuse values out of range and bad combinations."""
    for key, value, metadata in fields(config):
        low, high = metadata.get("range", (-math.inf, math.inf))
        if isinstance(value, (int, float)) and not low <= value <= high:
            raise ValueError(f"{key} must be from {low} to {high}, got {value}")
        if metadata.get("folder") and isinstance(value, str) and not FOLDER_NAME.fullmatch(value):
            raise ValueError(f"{key} names a folder: {value!r:.100} cannot be the name of one")
    data, text = config.data, config.text
    low, high = data.haze_strength or (0, 1)
    if not 0 <= low <= high <= 1:
        raise ValueError(f"data.haze_strength must be [low, high] within 0 and 1, got {low} and {high}")
    if isinstance(data.val, float) and not 0 < data.val < 1:
        raise ValueError(f"data.val must be a share between 0 and 1 or a split folder, got {data.val}")
    if not 2 <= len(text.classes) == len(set(text.classes)):
        raise ValueError("text.classes must be at least two different names")
    if any("{class}" not in prompt for prompt in text.prompts):
        raise ValueError("text.prompt must hold {class}, for example 'a photo of a {class}'")


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
    new = {key: value for key, value, _ in fields(new)}
    return {key: (value, new[key]) for key, value, _ in fields(old) if value != new[key]}
