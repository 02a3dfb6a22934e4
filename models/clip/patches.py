"""Patch features projected into CLIP's joint space: what CALIP's attention looks at."""

import torch
from torch.nn import functional as F


def patch_features(visual):
    """A function from a batch to its global features, B x D, and patch features, B x HW x D; neither normalised.

    visual: the image side of an open_clip model. Raises ValueError for one that pools its patches away.
    """
    from open_clip.modified_resnet import ModifiedResNet
    from open_clip.timm_model import TimmModel
    from open_clip.transformer import VisionTransformer

    if isinstance(visual, VisionTransformer) and visual.attn_pool is None and visual.proj is not None:
        return lambda batch: vit_features(visual, batch)
    if isinstance(visual, ModifiedResNet):
        return lambda batch: resnet_features(visual, batch)
    if isinstance(visual, TimmModel) and not hasattr(visual.head, "pool"):
        return lambda batch: timm_features(visual, batch)
    raise ValueError("text.zero_shot=calip: this text.encoder gives no patch features, use text.zero_shot=clip")


def vit_features(visual, batch):
    """The class token and the patch tokens after the last norm, both projected."""
    found = visual.forward_intermediates(batch, indices=1, normalize_intermediates=True, output_fmt="NLC")
    return found["image_features"], found["image_intermediates"][-1] @ visual.proj


def resnet_features(visual, batch):
    """The attention pool's outputs for the mean of the map and for each of its patches."""
    found = visual.forward_intermediates(batch, indices=1, intermediates_only=True)["image_intermediates"][-1]
    pool = visual.attnpool
    tokens = found.flatten(2).transpose(1, 2)  # B x HW x C
    tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], 1) + pool.positional_embedding
    heads = (
        project(tokens).unflatten(2, (pool.num_heads, -1)).transpose(1, 2)
        for project in (pool.q_proj, pool.k_proj, pool.v_proj)
    )
    out = pool.c_proj(F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))
    return out[:, 0], out[:, 1:]


def timm_features(visual, batch):
    """The map pooled and projected, and each patch pooled (as if it were the whole image) and projected."""
    trunk = visual.trunk
    found = trunk.forward_features(batch)
    if found.ndim == 3:  # tokens: B x (prefix + HW) x C
        prefix = trunk.num_prefix_tokens
        patches = found[:, prefix:].flatten(0, 1)[:, None].expand(-1, 1 + prefix, -1)
    elif getattr(trunk, "output_fmt", "NCHW") == "NHWC":
        patches = found.flatten(0, 2)[:, None, None]
    else:
        patches = found.movedim(1, 3).flatten(0, 2)[:, :, None, None]
    whole, local = (visual.head(trunk.forward_head(features)) for features in (found, patches))
    return whole, local.unflatten(0, (len(batch), -1))
