"""Speed and memory of the plain network, of this project's forms and, if given, of a published file.

    python benchmarks/speed.py inference                                    size s, 620x460, on this machine's CPU
    python benchmarks/speed.py training                                     training steps of 4 x 128 x 128
    python benchmarks/speed.py inference --image 3840x2160 --rows form      memory for a large image
    python benchmarks/speed.py inference --device cuda --image 620x460 1920x1080 --precision fp32 fp16
    python benchmarks/speed.py training --published MixDehazeNet.py         beside a published model file, run as it is

Prints a Markdown table, each row as soon as it is measured. A row that fails says why, and the others go on. The rows:

    published   the model file, under autocast
    plain       the network of models/mixdehazenet.py, under autocast
    form        its faster form, without CUDA graphs
    graph       the form in CUDA graphs, as train.py, test.py and predict.py run it on CUDA

"ran" is what served: where a form fails its proof, the plain network does. "ms" is the median of the repetitions,
"least" the shortest. "CPU ms" is the time that the process used of all its cores, for machines that other jobs share.
"first s" are the seconds from building the network to its first result, with the proof and the compilation of kernels.
"peak GB" is the allocator's on CUDA. On a CPU it is the whole process's, so each row is a process of its own. Weights
are random: they change neither time nor memory.
"""

import gc
import importlib.util
import inspect
import statistics
import subprocess
import sys
import time
from contextlib import redirect_stdout
from itertools import product
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from torch import nn  # noqa: E402

from benchmarks.measure import machine, peak_memory, timed  # noqa: E402
from models import build_model, inference_form, kernels_report, training_form, training_graph  # noqa: E402
from utils.evaluate import DTYPES, autocast  # noqa: E402
from utils.script import Parser, run  # noqa: E402

COLUMNS = "task size precision images row ran ms least images/s CPU_ms peak_GB first_s".split()
WARM = 2  # calls after the first that are not counted, on CUDA


def main(argv=None):
    parser = Parser(__doc__)
    parser.add_argument("task", choices=("inference", "training"))
    parser.add_argument("--size", nargs="+", default=["s"], help="of the network: n, t, s, b, l")
    parser.add_argument("--fusion", default="calip", help="of the project's rows: calip, parametric, none")
    parser.add_argument("--precision", nargs="+", default=["fp32"], choices=DTYPES)
    parser.add_argument("--image", nargs="+", metavar="WIDTHxHEIGHT", help="620x460; training: 128x128")
    parser.add_argument("--batch", type=int, help="images a batch: 1; training: 4")
    parser.add_argument("--rows", nargs="+", choices=("published", "plain", "form", "graph"), help="only these")
    parser.add_argument("--published", type=Path, metavar="FILE", help="it defines MixDehazeNet_<size>()")
    parser.add_argument("--recompute", action="store_true", help="train.recompute of the training form")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--only", type=int, help="measure this row alone, and print no head")
    args = parser.parse_args(argv)
    args.image = args.image or ["128x128" if args.task == "training" else "620x460"]
    args.batch = args.batch or (4 if args.task == "training" else 1)
    device = torch.device(args.device)
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True

    cases = list(product(args.size, args.precision, args.image, rows(args)))
    if args.only is not None:
        cases = [cases[args.only]]
    else:
        print(f"{machine(device)}\n\n| {' | '.join(COLUMNS).replace('_', ' ')} |\n|{'---|' * len(COLUMNS)}", flush=True)
    for i, case in enumerate(cases):
        if device.type == "cpu" and args.only is None:
            again = sys.argv[1:] if argv is None else argv
            subprocess.run([sys.executable, __file__, *map(str, again), "--only", str(i)])
        else:
            print(line(args, *case, device), flush=True)


def rows(args):
    """The names of the rows that the device and the arguments allow."""
    possible = ["published"] * bool(args.published) + ["plain", "form"] + ["graph"] * (args.device != "cpu")
    return [name for name in possible if name in (args.rows or possible)]


def line(args, size, precision, image, row, device):
    """Measure a row, and return it as a line of the table."""
    head = f"| {args.task} | {size} | {precision} | {args.batch} x {image} | {row} "
    try:
        figures = measure(args, size, precision, image, row, device)
    except Exception as error:  # such as too little memory: the other rows are still worth having
        text = " ".join(f"{type(error).__name__}: {error}".split())
        return f"{head}| FAILED: {text[:200]} {'|' * (len(COLUMNS) - 5)}"
    finally:
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return f"{head}| {' | '.join(figures)} |"


def measure(args, size, precision, image, row, device):
    """The cells after the row's name."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    torch.manual_seed(0)
    start = time.perf_counter()
    once, ran = (training_step if args.task == "training" else inference)(args, size, precision, image, row, device)
    timed(once, device)
    first = time.perf_counter() - start
    for _ in range(WARM if device.type == "cuda" else 0):
        once()
    before = time.process_time()
    seconds = [timed(once, device) for _ in range(args.repetitions)]
    used = (time.process_time() - before) / args.repetitions
    median = statistics.median(seconds)
    return [
        ran,
        f"{1e3 * median:.2f}",
        f"{1e3 * min(seconds):.2f}",
        f"{args.batch / median:.2f}",
        f"{1e3 * used:.0f}",
        f"{peak_memory(device) / 1e9:.2f}",
        f"{first:.1f}",
    ]


def inference(args, size, precision, image, row, device):
    """A function that runs the network on one batch, and what it runs."""
    network, inputs = make(args, size, image, row, device)
    network.eval()
    if row in ("form", "graph"):
        network = inference_form(network, DTYPES[precision])
        ran = kernels_report("inference")["path"]
        if row == "form" and ran == "graph":
            network, ran = network.form, "form"

        def once():
            network(*inputs)

        once()  # a graph is recorded at the second image of a size
        return once, ran

    def once():
        with torch.no_grad(), autocast(device, precision):
            network(*inputs)

    return once, row


def training_step(args, size, precision, image, row, device):
    """A function that makes one optimisation step, and what it runs."""
    network, inputs = make(args, size, image, row, device)
    network.train()
    ran = row
    if row in ("form", "graph"):
        network = training_form(network, DTYPES[precision], args.recompute)
        stepped = training_graph(network, *inputs, DTYPES[precision]) if row == "graph" else network
        ran = kernels_report("training")["path"]
        ran = "form" if row == "form" and ran == "graph" else ran
    else:
        stepped = network
    clear = torch.rand_like(inputs[0]) * 2 - 1
    optimizer = torch.optim.AdamW(network.parameters(), 1e-4, fused=device.type == "cuda")

    def once():
        optimizer.zero_grad()
        with autocast(device, precision):
            output = stepped(*inputs)
        nn.functional.l1_loss(output.float(), clear).backward()
        optimizer.step()

    return once, ran


def make(args, size, image, row, device):
    """The network of a row and its inputs: random images in [-1, 1], and what a fusion takes beside them."""
    width, height = map(int, image.split("x"))
    hazy = torch.rand(args.batch, 3, height, width) * 2 - 1
    text = nn.functional.normalize(torch.randn(2, 512), dim=1)
    if row == "published":
        network = published(args.published, size)
        takes_text = len(inspect.signature(network.forward).parameters) > 1
        second = text[:1].expand(args.batch, 1, 512) if takes_text else None
    else:
        network = build_model(size, args.fusion, text=text, window=256)  # that of the published crop
        second = None if args.fusion == "none" else torch.tensor([[0.9, 0.1]]).expand(args.batch, 2)
    inputs = [hazy] if second is None else [hazy, second.contiguous()]
    return network.to(device), [tensor.to(device) for tensor in inputs]


def published(path, size):
    """The network of a published model file, whose printing goes to standard error."""
    spec = importlib.util.spec_from_file_location("published", path)
    module = importlib.util.module_from_spec(spec)
    with redirect_stdout(sys.stderr):
        spec.loader.exec_module(module)
        return getattr(module, f"MixDehazeNet_{size}")()


if __name__ == "__main__":
    run(main)
