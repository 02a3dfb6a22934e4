"""CLIP zero-shot: text embeddings and image probabilities of classes, plain or refined by CALIP's attention."""

import numpy as np
import torch
from torch.nn import functional as F

SCALE = 100.0  # of the logits, as in the published CLIP


class Preprocess:
    """open_clip's preprocessing in two parts: resize and crop an image, normalise a batch."""

    def __init__(self, config):
        from open_clip.transform import PreprocessCfg, image_transform_v2

        whole = image_transform_v2(PreprocessCfg(**config), is_train=False)
        *self.resizing, _, self.normalize = whole.transforms  # between them: conversion to float

    def __call__(self, image):
        """H x W x 3 uint8 RGB to 3 x S x S uint8."""
        from PIL import Image

        image = Image.fromarray(image)  # no torch operations: each reading thread would start threads for them
        for step in self.resizing:
            image = step(image)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)

    def to_float(self, batch):
        """B x 3 x S x S uint8 to float32 as the encoder takes it."""
        return self.normalize(batch.float() / 255)


class ZeroShot:
    """Probabilities of classes by CLIP. text: K x D float32, unit length, on the CPU. preprocess: a Preprocess."""

    def __init__(self, encoder, classes, prompts, mode="clip", beta2=0.5, beta3=0.05):
        """prompts: templates with {class}; their embeddings are averaged. mode: "clip" or "calip", whose beta2 weighs
        the logits of image-refined text, beta3 those of text-refined image."""
        if mode == "calip" and not gives_patches(encoder.visual):
            raise ValueError("text.zero_shot=calip needs a ViT as text.encoder, such as ViT-B-32-quickgelu")
        self.encoder, self.mode, self.beta2, self.beta3 = encoder, mode, beta2, beta3
        self.device = next(encoder.parameters()).device
        self.preprocess = Preprocess(encoder.visual.preprocess_cfg)
        self.text = class_text(encoder, classes, prompts, self.device)

    @torch.no_grad()
    def prob(self, batch):
        """B x 3 x S x S uint8, as `preprocess` makes them, to B x K float32 on the encoder's device."""
        batch, text = self.preprocess.to_float(batch.to(self.device, non_blocking=True)), self.text.to(self.device)
        with torch.autocast(self.device.type, torch.float16, enabled=self.device.type == "cuda"):
            if self.mode == "clip":
                feature = self.encoder.encode_image(batch)
            else:
                feature, spatial = patch_features(self.encoder.visual, batch)
        feature = F.normalize(feature.float(), dim=-1)
        if self.mode == "clip":
            return (SCALE * feature @ text.t()).softmax(1)
        spatial = F.normalize(spatial.float(), dim=-1)
        return calip_logits(feature, spatial, text, self.beta2, self.beta3).softmax(1)


def gives_patches(visual):
    """Whether the image side of an open_clip model is a ViT that projects its class token into the joint space."""
    from open_clip.transformer import VisionTransformer

    return isinstance(visual, VisionTransformer) and visual.attn_pool is None and visual.proj is not None


def patch_features(visual, batch):
    """The class token, B x D, and the patch tokens, B x HW x D, after the last norm; both projected, not normalised."""
    found = visual.forward_intermediates(batch, indices=1, normalize_intermediates=True, output_fmt="NLC")
    return found["image_features"], found["image_intermediates"][-1] @ visual.proj


def class_text(encoder, classes, prompts, device):
    """K x D float32: each class's embedding, the mean over the templates, of unit length."""
    rows = []
    with torch.no_grad():
        for name in classes:
            tokens = encoder.tokenizer([prompt.replace("{class}", name) for prompt in prompts]).to(device)
            rows.append(F.normalize(encoder.encode_text(tokens).float(), dim=-1).mean(0))
    return F.normalize(torch.stack(rows), dim=-1).cpu()


def calip_logits(feature, spatial, text, beta2, beta3):
    """CALIP's logits (Guo et al., AAAI 2023), from B x D, B x HW x D and K x D, all of unit length, to B x K."""
    attention = 2 * spatial @ text.t()  # B x HW x K
    refined_text = attention.softmax(1).transpose(1, 2) @ spatial  # B x K x D
    refined_image = attention.softmax(2) @ text  # B x HW x D
    refined_image = refined_image.mean(1) + refined_image.amax(1)
    by_text = (refined_text @ feature[:, :, None])[:, :, 0]
    return SCALE * (feature @ text.t() + beta2 * by_text + beta3 * refined_image @ text.t())
