"""Score a network: the same function for validation and for testing."""

import torch

from . import distributed
from .metrics import psnr, ssim

SCORES = ("psnr", "ssim", "input_psnr", "input_ssim")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device, precision):
    """The precision setting as a context: full, bfloat16 or float16 with float32 where it matters."""
    return torch.autocast(device.type, DTYPES[precision], enabled=precision != "fp32")


@torch.inference_mode()
def evaluate(network, batches, precision="fp32", keep=None):
    """Score a network over all processes.

    batches: of EvaluationSamples, each process its share. keep: called with each batch's list of indices and outputs.
    Returns rows {"index", "psnr", "ssim", "input_psnr", "input_ssim"} in order of index, the same on every process;
    the input's scores are those of the hazy image itself.
    """
    network.eval()
    rows = []
    for batch in batches:
        hazy, clear = batch["hazy"], batch["clear"]
        with autocast(hazy.device, precision):
            output = network(hazy, batch["prob"])
        if keep:
            keep(batch["index"].tolist(), output)
        hazy, clear, output = (image.float().clamp(-1, 1) * 0.5 + 0.5 for image in (hazy, clear, output))
        scores = [batch["index"], psnr(output, clear), ssim(output, clear), psnr(hazy, clear), ssim(hazy, clear)]
        for values in zip(*(score.tolist() for score in scores), strict=True):
            rows.append(dict(zip(("index", *SCORES), values, strict=True)))
    return sorted(distributed.gather(rows), key=lambda row: row["index"])


def mean_scores(rows):
    """The means over images: {"psnr", "ssim", "num_images", "input": {"psnr", "ssim"}}."""
    psnr, ssim, input_psnr, input_ssim = (sum(row[name] for row in rows) / len(rows) for name in SCORES)
    return {"psnr": psnr, "ssim": ssim, "num_images": len(rows), "input": {"psnr": input_psnr, "ssim": input_ssim}}


@torch.inference_mode()
def picture(network, batch):
    """hazy | dehazed | clear of a batch of one, side by side: 3 x H x 3 W in [0, 1]."""
    row = torch.cat([batch["hazy"], network(batch["hazy"], batch["prob"]), batch["clear"]], dim=3)
    return row[0].cpu().nan_to_num().clamp(-1, 1) * 0.5 + 0.5
