"""The Triton kernels without a GPU: compiled for real architectures, and run as operations by Triton's interpreter."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

triton = pytest.importorskip("triton", reason="Triton is not installed")

from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402
from triton.runtime.jit import JITFunction  # noqa: E402

from models.fast import (  # noqa: E402
    attending_triton,
    depthwise_triton,
    depthwise_weights_triton,
    gating_triton,
    gelu_triton,
    padding_triton,
)
from models.fast.trial import agree  # noqa: E402

ROOT = Path(__file__).parent.parent
MODULES = (
    attending_triton,
    depthwise_triton,
    depthwise_weights_triton,
    gating_triton,
    gelu_triton,
    padding_triton,
)


def launches(monkeypatch, dtype, channels=24):
    """The kernels that the operations launch, by name, with the arguments of the launch."""
    found = {}

    class Recorder:
        def __init__(self, kernel):
            self.kernel = kernel

        def __getitem__(self, grid):
            return lambda *arguments: found.update({self.kernel.__name__: (self.kernel, arguments)})

    for module in MODULES:
        for name, value in vars(module).items():
            if isinstance(value, JITFunction) and name.endswith("_kernel"):
                monkeypatch.setattr(module, name, Recorder(value))
    y = torch.empty(1, channels, 30, 31, dtype=dtype).to(memory_format=torch.channels_last)
    weights = [torch.empty(channels, 1, side, side) for side in (7, 5, 3)]
    z = depthwise_triton.forward(y, weights, [torch.empty(channels) for _ in weights])
    depthwise_triton.backward(y, z, weights)
    padding_triton.reflect_pad(y, 1)
    gates = [torch.empty(1, *shape, dtype=dtype) for shape in ((channels, 1, 1), (channels, 1, 1), (1, 30, 31))]
    gating_triton.backward(gating_triton.forward(y, y, *gates), y, y, *gates)
    gelu_triton.backward(y, y)
    kernel = torch.empty(channels, 1, 3, 3, dtype=dtype), torch.empty(channels, dtype=dtype)
    vectors = [torch.empty(1, channels, 1, 1, dtype=kind) for kind in (dtype, torch.float32) for _ in range(2)]
    attending_triton.attended(y, 0, y, kernel, vectors[:2], vectors[2:], gates[2])
    return found


def compiled(kernel, arguments, arch):
    """A kernel compiled as its launcher would do it: pointers of torch's are aligned to 16 bytes, numbers vary."""
    types = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.float16: "*fp16"}
    signature, constants, aligned = {}, {}, {}
    for position, (parameter, value) in enumerate(zip(kernel.params, arguments, strict=True)):
        if parameter.is_constexpr:
            signature[parameter.name], constants[parameter.name] = "constexpr", value
        elif torch.is_tensor(value):
            signature[parameter.name] = types[value.dtype]
            aligned[position,] = [["tt.divisibility", 16]]
        else:
            assert parameter.do_not_specialize, f"{kernel.__name__} is compiled anew for values of {parameter.name}"
            signature[parameter.name] = "i32"
    return triton.compile(ASTSource(kernel, signature, constants, aligned), target=GPUTarget("cuda", arch, 32))


def spilled(ptx, arch, folder):
    """Bytes of registers that do not fit, by ptxas, which Triton brings."""
    (folder / "kernel.ptx").write_text(ptx)
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/ptxas"
    command = [tool, "-v", f"--gpu-name=sm_{arch}{'a' * (arch >= 90)}", "kernel.ptx", "-o", "kernel.cubin"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return sum(map(int, re.findall(r"(\d+) bytes spill", done.stderr)))


@pytest.mark.parametrize("arch", [80, 90])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_every_kernel_compiles_and_none_spills(monkeypatch, tmp_path, dtype, arch):
    found = launches(monkeypatch, dtype)
    assert len(found) == 11
    for name, (kernel, arguments) in found.items():
        assert not spilled(compiled(kernel, arguments, arch).asm["ptx"], arch, tmp_path), name


AS_OPERATIONS = """
import sys
import torch
from models.fast import depthwise_triton, depthwise_weights_triton, gating_triton, padding_triton
from models.fast.depthwise import depthwise
from models.fast.gating import gated_forward
from models.fast.gelu import GeluPointwise
from models.fast.padding import reflect_pad
from models.fast.trial import Fused, flat
from torch.autograd import grad

depthwise_weights_triton.SUMS = 2  # programs without work cost the interpreter as much as others
depthwise_triton.LANES = padding_triton.LANES = 64  # two programs a row of the padded map
gating_triton.SUMS, gating_triton.TILE = 2, 256
plain_call, dtype = Fused.__call__, getattr(torch, sys.argv[1])
torch.manual_seed(0)
y = torch.randn(int(sys.argv[2]), 6, 10, 11).to(dtype).requires_grad_()
weights = [torch.randn(6, 1, k, k, requires_grad=True) for k in (7, 5, 3)]
biases = [torch.randn(6, requires_grad=True) for _ in weights]
gates = [torch.rand(len(y), *shape).to(dtype).requires_grad_() for shape in ((6, 1, 1), (6, 1, 1), (1, 10, 11))]
last = torch.randn(4, 18, 1, 1, requires_grad=True), torch.randn(4, requires_grad=True)
results = []
for call in (plain_call, lambda self, x, *rest: self.fused(x, *rest)):
    Fused.__call__ = call
    z, padded = depthwise(y, weights, biases), reflect_pad(y, 2)
    side_by_side = gated_forward(y, y.flip(2), *gates)
    mixed = GeluPointwise.apply(side_by_side, *last)
    loss = sum((x.float() * torch.arange(x.numel()).view_as(x).sin()).sum() for x in (z, mixed))
    loss = loss + (padded.float() ** 2).sum()
    results.append([z, padded, side_by_side, mixed, *grad(loss, [y, *weights, *biases, *gates, *last])])
for plain, fused in zip(*results):
    assert fused.dtype == plain.dtype and fused.shape == plain.shape
    error = (fused.float() - plain.float()).abs().max() / plain.float().abs().max()
    assert error <= {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 3e-3}[dtype], error
"""


ATTENDED = """
import sys
import torch
from models.fast import attending_triton, padding_triton
from models.fast.attending import ATTENDED

attending_triton.LANES = padding_triton.LANES = 16  # several programs a row
dtype, images = getattr(torch, sys.argv[1]), int(sys.argv[2])
torch.manual_seed(0)
def random(*shape, dtype=dtype):
    x = torch.randn(shape).to(dtype)
    return x.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else x
kernel, affine = [random(6, 1, 3, 3), random(6)], [random(6, 1, 1), random(6, 1, 1)]
gates = [random(images, 6, 1, 1, dtype=torch.float32) for _ in range(2)]
for above, below in ((0, 0), (0, 1), (1, 0), (1, 1)):
    value, x = random(images, 6, 7 + above + below, 11), random(images, 6, 7, 11)
    arguments = value, above, x, kernel, affine, gates, random(images, 1, 7, 11)
    plain, fused = ATTENDED.plain(*arguments), ATTENDED.fused(*arguments)
    assert fused.dtype == plain.dtype and fused.shape == plain.shape and fused.stride() == fused.contiguous(
        memory_format=torch.channels_last).stride()
    error = (fused.float() - plain.float()).abs().max() / plain.float().abs().max()
    assert error <= {torch.float32: 1e-5, torch.bfloat16: 2e-2}[dtype], error
"""


@pytest.mark.parametrize("script", [AS_OPERATIONS, ATTENDED], ids=["training's", "inference's"])
@pytest.mark.parametrize(("dtype", "images"), [("float32", "2"), ("bfloat16", "1")])
def test_the_operations_with_the_kernels_equal_those_without_forward_and_backward(dtype, images, script):
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", script, dtype, images]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_trial_fails_on_one_number_that_is_off_or_not_finite():
    plain = torch.linspace(-2, 2, 50)
    for wrong in (0.01, float("nan"), float("inf")):
        fused = plain * (1 + 1e-6)
        assert agree(plain, fused, 1e-4)
        fused[3] += wrong
        assert not agree(plain, fused, 1e-4)
