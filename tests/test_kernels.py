"""Triton's kernels against torch's own operations: on a GPU, or under Triton's interpreter on a CPU.

The yardstick is float64: a kernel may be off by at most twice what torch's operations in that type are off. All of it
on a CPU: TRITON_INTERPRET=1 python -m pytest tests/test_kernels.py
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

triton = pytest.importorskip("triton", reason="Triton is not installed")

from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402
from triton.runtime.jit import JITFunction  # noqa: E402

from models.fast.kernels import depthwise, gated, pad  # noqa: E402
from models.fast.training_network import GeluMlp  # noqa: E402

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
SIDES = [(11, 13)] if DEVICE.type == "cpu" else [(11, 13), (115, 155)]
TYPES = torch.float32, torch.bfloat16, torch.float16


# ---- the operations in torch's own words, and arguments for them ----


def pad_reference(x, padding):
    return F.pad(x, (padding,) * 4, "reflect")


def depthwise_reference(y, *parameters):
    weights, biases = ([tensor.to(y.dtype) for tensor in part] for part in (parameters[:3], parameters[3:]))
    padded = [pad_reference(y, padding) for padding in (9, 6, 3)]
    return torch.cat(
        [F.conv2d(*layer, dilation=3, groups=y.shape[1]) for layer in zip(padded, weights, biases, strict=True)], dim=1
    )


def gated_reference(value, bias, y, gate, channel, pixel):
    return torch.cat([(value + bias.to(y.dtype)[:, None, None]) * gate, channel * y, pixel * y], dim=1)


def mlp_reference(x, *layers):
    weight1, bias1, weight2, bias2 = (tensor.to(x.dtype) for tensor in layers)
    return F.linear(F.gelu(F.linear(x, weight1, bias1)), weight2, bias2)


def arguments(name, channels, height, width):
    """Tensors of an operation, by whether they are maps (of the type under test) or weights (float32)."""
    torch.manual_seed(0)

    def random(*shape):
        return torch.randn(shape, device=DEVICE)

    map, column, row = (2, channels, height, width), (2, channels, 1, 1), (2, 1, height, width)
    weights = [random(channels, 1, side, side) / side for side in (7, 5, 3)]
    if name == "pad":
        return [random(*map)], []
    if name == "depthwise":
        return [random(*map)], [*weights, *(random(channels) for _ in weights)]
    if name == "gated":
        return [random(*map), random(channels), random(*map), random(*column), random(*column), random(*row)], []
    hidden = 4 * channels
    layers = [random(hidden, channels) / channels**0.5, random(hidden)]
    layers += [random(channels, hidden) / hidden**0.5, random(channels)]
    return [random(2 * height * width, channels)], layers


OPERATIONS = {
    "pad": (lambda x: pad.reflect_pad(x, 9), lambda x: pad_reference(x, 9)),
    "depthwise": (lambda y, *rest: depthwise.depthwise(y, rest[:3], rest[3:]), depthwise_reference),
    "gated": (gated.gated, gated_reference),
    "mlp": (GeluMlp.apply, mlp_reference),
}


@pytest.fixture(autouse=True)
def few_programs(monkeypatch):
    """The interpreter's time goes with the number of programs: two or three a dimension."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    if INTERPRETED:
        names = ((pad, "LANES", 256), (depthwise, "LANES", 256), (depthwise, "SUMS", 2), (gated, "SUMS", 2))
        for module, name, value in (*names, (gated, "TILE", 4096)):
            monkeypatch.setattr(module, name, value)


def with_gradients(operation, inputs):
    inputs = [x.detach().requires_grad_() for x in inputs]
    output = operation(*inputs)
    torch.manual_seed(1)
    cotangent = torch.randn(output.shape, device=DEVICE).to(output.dtype)
    return [output, *torch.autograd.grad(output, inputs, cotangent)]


@pytest.mark.cuda
@pytest.mark.skipif(DEVICE.type == "cpu" and not INTERPRETED, reason="needs a GPU or Triton's interpreter")
@pytest.mark.parametrize("sides", SIDES, ids=str)
@pytest.mark.parametrize("channels", [8, 24, 48, 96])
@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_and_its_gradients_are_as_exact_as_torchs(name, dtype, channels, sides):
    operation, reference = OPERATIONS[name]
    maps, weights = arguments(name, channels, *sides)
    maps = [x.to(dtype) for x in maps]
    exact = with_gradients(reference, [x.double() for x in (*maps, *weights)])
    ours, torchs = (with_gradients(way, (*maps, *weights)) for way in (operation, reference))
    assert ours[0].dtype == dtype
    assert ours[0].ndim == 2 or ours[0].is_contiguous(memory_format=torch.channels_last)
    for i, (a, b, wanted) in enumerate(zip(ours, torchs, exact, strict=True)):
        error, allowed = ((x.double() - wanted).norm() / wanted.norm() for x in (a, b))
        assert a.shape == b.shape and error <= 2 * allowed + 1e-6, f"{i}: off by {error:.1e}, torch by {allowed:.1e}"


@pytest.mark.skipif(INTERPRETED or DEVICE.type == "cuda", reason="runs directly")
def test_the_kernels_agree_under_the_interpreter():
    chosen = "test_an_operation and (float16-8 or bfloat16-8)"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", __file__, "-k", chosen]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(command, env=environment, cwd=Path(__file__).parent.parent, capture_output=True, text=True)
    assert done.returncode == 0 and "passed" in done.stdout, done.stdout


# ---- compiled for GPUs that are not there ----


def launches(monkeypatch, dtype, channels):
    """{name and numbers: (kernel, arguments of its launch)} of all variants of all kernels."""
    found = {}

    class Recorder:
        def __init__(self, kernel):
            self.kernel = kernel

        def __getitem__(self, grid):
            return self.launch

        def launch(self, *arguments):
            numbers = [value for value in arguments if not torch.is_tensor(value)]
            found[f"{self.kernel.__name__} {numbers}"] = self.kernel, arguments

    for module in (depthwise, gated, pad):
        for name, value in vars(module).items():
            if isinstance(value, JITFunction) and name.endswith("_kernel"):
                monkeypatch.setattr(module, name, Recorder(value))
    for name, (operation, _) in OPERATIONS.items():
        maps, weights = arguments(name, channels, 11, 13)
        with_gradients(operation, [*(x.to(dtype) for x in maps), *weights])
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


@pytest.mark.skipif(INTERPRETED, reason="compiles")
@pytest.mark.parametrize(("arch", "dtype", "channels"), [(80, torch.float32, 96), (90, torch.bfloat16, 24)], ids=str)
def test_every_kernel_compiles_and_none_spills(monkeypatch, tmp_path, arch, dtype, channels):
    found = launches(monkeypatch, dtype, channels)
    assert len(found) == 8
    for name, (kernel, values) in found.items():
        assert not spilled(compiled(kernel, values, arch).asm["ptx"], arch, tmp_path), name
