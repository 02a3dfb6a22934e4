"""The parametric fusion alone: attention over D tokens written out, and the scalar function that it collapses to.

    python benchmarks/fusion.py                                             256x256, D = 512

Time is the median of interleaved repetitions; memory is the peak of the tensors alive at once, inputs aside.
"""

import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from torch.multiprocessing.reductions import StorageWeakRef  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from benchmarks.measure import machine, timed  # noqa: E402
from models.fusion import ParametricFusion  # noqa: E402
from utils.script import Parser, run  # noqa: E402


def main(argv=None):
    parser = Parser(__doc__)
    parser.add_argument("--side", type=int, default=256, help="pixels")
    parser.add_argument("--width", type=int, default=512, help="numbers of a text vector, D")
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, help="of a CPU; default: all")
    args = parser.parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)

    torch.manual_seed(0)
    device = torch.device(args.device)
    fusion = ParametricFusion().to(device)
    image = torch.rand(1, 3, args.side, args.side, device=device) * 2 - 1
    text = torch.nn.functional.normalize(torch.randn(2, args.width, device=device), dim=1)
    prob = torch.tensor([[0.7, 0.3]], device=device)
    forms = {"literal": lambda: literal(fusion, image, prob @ text), "collapsed": lambda: fusion(image, text, prob)}

    seconds = {name: [] for name in forms}
    with torch.inference_mode():
        outputs = [form() for form in forms.values()]
        for _ in range(args.repetitions):
            for name, form in forms.items():
                seconds[name].append(timed(form, device))
    with torch.no_grad():
        memory = {name: peak_bytes(form) for name, form in forms.items()}

    print(f"{args.side} x {args.side}, D = {args.width}, medians of {args.repetitions}")
    print(machine(device))
    for name in forms:
        print(f"{name:10} {statistics.median(seconds[name]) * 1e3:9.2f} ms {memory[name] / 1e6:9.2f} MB")
    faster = statistics.median(seconds["literal"]) / statistics.median(seconds["collapsed"])
    print(f"{faster:.0f} times faster, {memory['literal'] / memory['collapsed']:.0f} times less memory, ", end="")
    print(f"largest difference {(outputs[0] - outputs[1]).abs().max().item():.1e}")


def literal(fusion, image, tokens):
    """Attention of every pixel over the D numbers of its text vector; tokens: B x D."""
    query = fusion.query(image).flatten(2).transpose(1, 2)  # B x HW x 5
    key = tokens[:, :, None] * fusion.key_weight  # B x D x 5
    value = tokens[:, :, None] * fusion.value_weight + fusion.value_bias
    attention = (query @ key.transpose(1, 2) / fusion.width**0.5).softmax(-1)  # B x HW x D
    return fusion.out((attention @ value).transpose(1, 2).unflatten(2, image.shape[2:]))


def peak_bytes(form):
    """The most bytes of new tensors alive after any operation."""
    with LiveBytes() as live:
        form()
    return live.peak


class LiveBytes(TorchDispatchMode):
    """Counts the storages that operations make, for as long as they live."""

    def __init__(self):
        super().__init__()
        self.sizes, self.peak = {}, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        output = function(*args, **(kwargs or {}))
        for tensor in output if isinstance(output, (tuple, list)) else [output]:
            if torch.is_tensor(tensor):
                storage = tensor.untyped_storage()
                self.sizes[StorageWeakRef(storage)] = storage.nbytes()
        self.sizes = {storage: size for storage, size in self.sizes.items() if not storage.expired()}
        self.peak = max(self.peak, sum(self.sizes.values()))
        return output


if __name__ == "__main__":
    run(main)
