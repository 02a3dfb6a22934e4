"""CLIP zero-shot: class text embeddings and image probabilities, plain or refined by CALIP's parameter-free attention.

open_clip is imported where it is used: it brings timm and torchvision along.
"""

import difflib
import logging
from contextlib import contextmanager

import numpy as np
import torch
from torch.nn import functional as F

from ..build import load_exactly
from .patches import local_features
from .weights import OPENAI, fetch, find_tag, first_line, local_file, read_state, sidecar, trained_with_quick_gelu

SCALE = 100.0  # of the logits, as in the published CLIP
LONGEST = 16  # sides of an image; what a longer one has beyond its middle is cut off before it is resized


def load_encoder(architecture, weights, device="cpu"):
    """An open_clip model in evaluation mode, float32, with its tokenizer as `.tokenizer`.

    architecture: a name of open_clip's, or "local-dir:FOLDER" with an open_clip_config.json.
    weights: a tag of open_clip's, fetched from the hub once; or a local .safetensors, .pt, .pth or .bin file, or the
    folder of one. Raises ValueError when they cannot be had (in seconds where there is no connection) or do not fit.
    """
    config = find_config(architecture)
    path = local_file(weights)
    entry = {} if path else find_tag(architecture, weights)
    if entry:
        refuse_activation(architecture, config, weights, entry.get("quick_gelu"))
        path = fetch(entry, weights)
        encoder = build_encoder(architecture, entry)
        load_published(encoder, path)
    else:
        state = read_state(path)
        refuse_activation(architecture, config, path, trained_with_quick_gelu(path, state))
        encoder = build_encoder(architecture, sidecar(path).get("preprocess_cfg"))
        try:
            load_exactly(encoder, renamed(state, encoder))
        except ValueError as error:
            raise ValueError(f"text.weights={path} is not of text.encoder={architecture}: {error}") from None
    return encoder.to(device).eval().requires_grad_(False)


def find_config(architecture):
    """open_clip's description of an architecture. Raises ValueError naming the nearest one there is."""
    import open_clip

    if architecture.startswith("hf-hub:"):
        raise ValueError(f"text.encoder={architecture}: download that repository and give it as local-dir:FOLDER")
    try:
        config = open_clip.get_model_config(architecture)
    except Exception as error:  # of a folder's open_clip_config.json
        raise ValueError(f"text.encoder={architecture} cannot be read: {first_line(error)}") from None
    if config is None:
        near = difflib.get_close_matches(architecture, open_clip.list_models(), 1, 0.4)
        hint = f"did you mean {near[0]}?" if near else "see open_clip.list_models()"
        raise ValueError(f"text.encoder={architecture} is no open_clip architecture: {hint}")
    return config


def refuse_activation(architecture, config, weights, quick_gelu):
    """ValueError when weights that were trained with QuickGELU meet an architecture without it, or the reverse.

    quick_gelu: None where it is not known.
    """
    import open_clip

    if quick_gelu in (None, bool(config.get("quick_gelu", False))):
        return
    other = f"{architecture}-quickgelu" if quick_gelu else architecture.removesuffix("-quickgelu")
    remedy = f": set text.encoder={other}" if other in open_clip.list_models() else ", so they do not go together"
    has, needs = ("GELU", "QuickGELU") if quick_gelu else ("QuickGELU", "GELU")
    raise ValueError(
        f"text.weights={weights} was trained with {needs}, text.encoder={architecture} computes {has}{remedy}"
    )


def build_encoder(architecture, preprocessing):
    """The architecture with random weights, and its tokenizer.

    preprocessing: how its weights want to see images, as open_clip says; the size is the architecture's own.
    """
    import open_clip

    preprocessing = {name: value for name, value in (preprocessing or {}).items() if name != "size"}
    try:
        with quiet():
            encoder = open_clip.create_model(
                architecture, load_weights=False, pretrained_text=False, force_preprocess_cfg=preprocessing
            )
            encoder.tokenizer = open_clip.get_tokenizer(architecture)
    except Exception as error:  # a package that this architecture needs is missing, or its tokenizer is on the hub
        raise ValueError(f"text.encoder={architecture} cannot be built: {first_line(error)}") from None
    return encoder


@contextmanager
def quiet():
    """Without open_clip's warnings, one of which says that the weights are random: they are loaded afterwards."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def load_published(encoder, path):
    """Load the file of a tag in open_clip's own way."""
    import open_clip

    try:
        open_clip.load_checkpoint(encoder, str(path))
    except Exception as error:  # a broken file fails in many ways
        raise ValueError(f"{path} cannot be read ({first_line(error)}): delete it and run again") from None


def renamed(state, encoder):
    """A state dict under the encoder's names: OpenAI's and older layouts differ in ways that carry no numbers."""
    from open_clip.convert import convert_state_dict
    from open_clip.model import convert_to_custom_text_state_dict

    state = convert_state_dict(encoder, {name: value for name, value in state.items() if name not in OPENAI})
    if "positional_embedding" in state and not hasattr(encoder, "positional_embedding"):
        state = convert_to_custom_text_state_dict(state)
    state.pop("text.transformer.embeddings.position_ids", None)
    for name in ("logit_scale", "logit_bias"):  # stored as a number or as a vector of one
        own = getattr(encoder, name, None)
        if name in state and own is not None and state[name].numel() == 1:
            state[name] = state[name].reshape(own.shape)
    return state


class Preprocess:
    """open_clip's own resizing and cropping of an image, and normalising of a batch.

    Apart, so that threads which read images run no operation of torch's: each would start threads of its own.
    """

    def __init__(self, config):
        from open_clip.transform import PreprocessCfg, image_transform_v2

        whole = image_transform_v2(PreprocessCfg(**config), is_train=False)
        *self.resizing, _, self.normalize = whole.transforms  # between them a conversion to float

    def __call__(self, image):
        """H x W x 3 uint8 RGB to 3 x S x S uint8."""
        from PIL import Image

        longest = LONGEST * min(image.shape[:2])
        top, left = (max(side - longest, 0) // 2 for side in image.shape[:2])
        image = Image.fromarray(image[top : top + longest, left : left + longest])
        for step in self.resizing:
            image = step(image)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)

    def to_float(self, batch):
        """B x 3 x S x S uint8 to float32 as the encoder takes it."""
        return self.normalize(batch.float() / 255)


class ZeroShot:
    """Probabilities of classes by CLIP.

    text: K x D float32, unit length, on the CPU. preprocess: H x W x 3 uint8 RGB to 3 x S x S uint8.
    """

    def __init__(self, encoder, classes, prompts, mode="clip", beta2=0.5, beta3=0.05):
        """prompts: templates with {class}; their embeddings are averaged. mode: "clip", or "calip" with its weights
        beta2 of image-refined text and beta3 of text-refined image. Raises ValueError where the encoder has no map of
        image features for "calip", or no finite text features."""
        self.encoder, self.mode, self.beta2, self.beta3 = encoder, mode, beta2, beta3
        self.device = next(encoder.parameters()).device
        self.preprocess = Preprocess(encoder.visual.preprocess_cfg)
        self.text = class_text(encoder, classes, prompts, self.device)
        self.spatial = local_features(encoder.visual) if mode == "calip" else None

    @torch.no_grad()
    def prob(self, batch):
        """B x 3 x S x S uint8, as `preprocess` makes them, to B x K float32 on the encoder's device."""
        batch, text = self.preprocess.to_float(batch.to(self.device, non_blocking=True)), self.text.to(self.device)
        with torch.autocast(self.device.type, torch.float16, enabled=self.device.type == "cuda"):
            if self.mode == "clip":
                feature = self.encoder.encode_image(batch)
            else:
                feature, spatial = self.spatial(batch)
        feature = F.normalize(feature.float(), dim=-1)
        if self.mode == "clip":
            return (SCALE * feature @ text.t()).softmax(1)
        spatial = F.normalize(spatial.float(), dim=-1)
        return calip_logits(feature, spatial, text, self.beta2, self.beta3).softmax(1)


def class_text(encoder, classes, prompts, device):
    """K x D float32: each class's embedding, the mean over the templates, of unit length."""
    rows = []
    with torch.no_grad():
        for name in classes:
            tokens = encoder.tokenizer([prompt.replace("{class}", name) for prompt in prompts]).to(device)
            rows.append(F.normalize(encoder.encode_text(tokens).float(), dim=-1).mean(0))
    text = F.normalize(torch.stack(rows), dim=-1).cpu()
    if not text.isfinite().all():
        raise ValueError("the encoder's text features are not finite: its weights are broken")
    return text


def calip_logits(feature, spatial, text, beta2, beta3):
    """CALIP's refinement of the logits (Guo et al., AAAI 2023), everything of unit length.

    feature: B x D. spatial: B x HW x D. text: K x D. Returns B x K.
    """
    attention = 2 * spatial @ text.t()  # B x HW x K
    refined_text = attention.softmax(1).transpose(1, 2) @ spatial  # B x K x D
    refined_image = attention.softmax(2) @ text  # B x HW x D
    refined_image = refined_image.mean(1) + refined_image.amax(1)
    by_text = (refined_text @ feature[:, :, None])[:, :, 0]
    return SCALE * (feature @ text.t() + beta2 * by_text + beta3 * refined_image @ text.t())
