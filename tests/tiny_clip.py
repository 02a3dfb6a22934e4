"""Small open_clip encoders with random weights, made on the spot: architectures that a folder's config describes."""

import json

import numpy as np
import torch
from PIL import Image

TEXT = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
VISION = {
    "vit": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "resnet": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 16, "patch_size": None},
}
CLASSES, PROMPTS = ("indoor", "outdoor"), ("a photo of a {class}",)


def make_encoder(folder, kind, quick_gelu=False):
    """Write open_clip_config.json and weights.pt; returns the text.encoder and text.weights settings for them."""
    import open_clip

    folder.mkdir(parents=True, exist_ok=True)
    model = {"embed_dim": 32, "quick_gelu": quick_gelu, "vision_cfg": VISION[kind], "text_cfg": TEXT}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model, "preprocess_cfg": {}}))
    torch.manual_seed(0)
    encoder = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    for name, value in encoder.state_dict().items():  # a fresh ResNet's blocks give nothing but zeros
        if name.endswith("bn3.weight"):
            value.fill_(0.5)
    torch.save(encoder.state_dict(), folder / "weights.pt")
    return f"local-dir:{folder}", str(folder / "weights.pt")


def make_images(folder, names, size=(40, 50), seed=0):
    """Write coloured noise, each image another."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for name in names:
        coarse = rng.integers(0, 256, (5, 5, 3), np.uint8)
        Image.fromarray(coarse).resize(size[::-1], Image.BICUBIC).save(folder / name)


def direct(architecture, weights, paths, classes=CLASSES, prompts=PROMPTS):
    """Text features and probabilities by open_clip's own functions, image by image: K x D and N x K."""
    import open_clip

    encoder, _, preprocess = open_clip.create_model_and_transforms(architecture, load_weights=False)
    encoder.load_state_dict(torch.load(weights, weights_only=True))
    encoder.eval()
    templates = [prompt.replace("{class}", "{}") for prompt in prompts]
    tokenizer = open_clip.get_tokenizer(architecture)
    with torch.no_grad():
        text = open_clip.build_zero_shot_classifier(encoder, tokenizer, classes, templates)  # D x K
        rows = []
        for path in paths:
            feature = encoder.encode_image(preprocess(Image.open(path))[None], normalize=True)
            rows.append((100 * feature @ text).softmax(1))
    return text.t().numpy(), torch.cat(rows).numpy()
