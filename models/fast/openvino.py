"""The inference form whose U-Net OpenVINO runs (pip install openvino): faster on a CPU, at more memory.

Image, fusion and reconstruction stay ours, and with them all sizes, windows and probabilities.
"""

import copy
import importlib.util
import warnings
from functools import lru_cache

import torch
from torch import nn

from .inference import InferenceForm
from .proof import inference_form
from .trial import agree, logger

PRECISIONS = {torch.float32: "f32", torch.bfloat16: "bf16"}  # OpenVINO's names
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}  # of the largest number
KEPT = 8  # sizes of image that stay compiled
MOST = 2**20  # pixels of a frame: of more, its means lose digits (2 M: 1e-5), and it is hardly faster
NUMBERS = 20  # float32 a pixel and channel of the first stage that it takes, measured with a margin


@torch.no_grad()
def openvino_form(network, dtype=torch.float32):
    """As `inference_form`; that itself, and a line in the log, where OpenVINO cannot be used or computes otherwise."""
    form = inference_form(network, dtype)
    if not isinstance(form, InferenceForm):  # the network was edited
        return form
    problem = refusal(form.exit.weight.device, dtype)
    if not problem:
        try:
            faster = OpenVINOForm(network, dtype).eval().requires_grad_(False)
            image = torch.rand(1, 3, 52, 76, generator=torch.Generator().manual_seed(0)) * 2 - 1
            prob = None if network.fusion is None else torch.eye(len(network.text))[:1]
            if agree(form(image, prob), faster(image, prob), TOLERANCE[dtype]):
                return faster
            problem = "its outputs differ"
        except Exception as error:  # whatever it is: what is asked for is an image
            problem = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    logger.warning("note: engine openvino is left out: %s", problem)
    return form


def refusal(device, dtype):
    """Why OpenVINO cannot be used; empty where it can."""
    if device.type != "cpu":
        return f"it is for a CPU, and this runs on {device.type}"
    if dtype not in PRECISIONS:
        return f"it does not compute in {str(dtype).removeprefix('torch.')}"
    return "" if importlib.util.find_spec("openvino") else "it is not installed (pip install openvino)"


class OpenVINOForm(InferenceForm):
    """network(hazy, prob, memory) of a MixDehazeNet on a CPU: see `inference_form`."""

    def __init__(self, network, dtype):
        super().__init__(network, dtype)
        import openvino
        from openvino.frontend import FrontEndManager
        from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

        channels = network.patch_embed.out_channels
        with warnings.catch_warnings(action="ignore"):  # torch has a newer way of tracing
            traced = torch.jit.trace(Stages(network), torch.zeros(1, channels, 64, 64), check_trace=False)
        reader = FrontEndManager().load_by_framework("pytorch")  # openvino.convert_model would report itself on the net
        self.source = TorchScriptPythonDecoder(traced)  # whose weights the model reads
        model = reader.convert(reader.load(self.source))
        options = {"INFERENCE_PRECISION_HINT": PRECISIONS[dtype], "INFERENCE_NUM_THREADS": torch.get_num_threads()}

        @lru_cache(KEPT)
        def compiled(*shape):  # for any shape it would be up to a fifth slower, at nearly twice the memory
            model.reshape(list(shape))
            return openvino.compile_model(model, "CPU", options)

        self.compiled = compiled

    def features(self, image, prob, plan):
        """As the inference form's, which computes large frames, and those that OpenVINO has not the memory for."""
        batch, _, height, width = image.shape
        needed = NUMBERS * 4 * batch * self.exit.in_channels * height * width
        if height * width > MOST or (plan.memory is not None and plan.memory < needed):
            return super().features(image, prob, plan)
        x = self.entrance(image, prob, plan).float().contiguous()
        return torch.from_numpy(self.compiled(*x.shape)([x.numpy()], share_inputs=True, share_outputs=True)[0])


class Stages(nn.Module):
    """The U-Net without its first and its last convolution."""

    def __init__(self, network):
        super().__init__()
        self.network = copy.deepcopy(network).float().eval()
        self.network.patch_unembed = nn.Identity()

    def forward(self, x):
        """B x C1 x H x W to B x C5 x H x W."""
        return self.network.features(x)
