"""Speed and memory, side by side in one run: the plain network, this project's forms and, if given, a published file.

    python benchmarks/speed.py                                              size s, 620x460, fp32 and bf16, this machine
    python benchmarks/speed.py --train --crop 128 --batch 4                 training steps instead of inference
    python benchmarks/speed.py --peer MixDehazeNet.py --json speed.json     beside a published model file, run as it is
    python benchmarks/speed.py --train --contrastive resnet152              with the contrastive loss (random weights)

Every row is a process of its own, so that its peak memory is its own; the rows take turns, one repetition each, and the
table shows medians and ratios to the first row. "CPU ms" is what the process used of its cores; with --threads 1 it
says the same as "ms" on an idle machine, and still does where other processes run. Memory is the whole process's peak
(VmHWM) on a CPU, the allocator's on CUDA. Where OpenVINO or ONNX Runtime is installed, a row runs the network's ONNX
file by it, in a process without torch. "limit" is the time that the convolutions need at least on this device: each
input and weight read and each output written once at the measured bandwidth, or all multiply-adds done at the measured
rate, whichever is longer.
"""

import argparse
import importlib.util
import inspect
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import engines  # noqa: E402
from benchmarks.engines import ENGINES, missing  # noqa: E402
from benchmarks.measure import machine, peak_memory, timed  # noqa: E402
from utils.script import Parser, run  # noqa: E402

FORMS = "peer", "plain", "form", "form-recompute", "form-compiled", "form-openvino"

# The processes import torch in their own time: `main` stays a small process without it.


def main(argv=None):
    parser = Parser(__doc__)
    parser.add_argument("--size", default="s", help="n, t, s, b, l")
    parser.add_argument("--fusion", default="calip", help="of the project's rows: calip, parametric, none")
    parser.add_argument("--train", action="store_true", help="training steps instead of inference")
    parser.add_argument("--height", type=int, default=460, help="pixels, inference")
    parser.add_argument("--width", type=int, default=620)
    parser.add_argument("--crop", type=int, default=128, help="pixels, training")
    parser.add_argument("--batch", type=int, help="default: 1, training 4")
    parser.add_argument("--precision", nargs="+", default=["fp32", "bf16"], help="the first is that of the first row")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, help="of a CPU; default: all")
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--peer", type=Path, help="a published model file, which defines MixDehazeNet_<size>()")
    parser.add_argument("--contrastive", metavar="RESNET", help="train with the contrastive loss, too")
    parser.add_argument("--rows", nargs="+", choices=(*FORMS, *ENGINES), help="only these")
    parser.add_argument("--no-limits", action="store_true", help="leave the device's limits unmeasured")
    parser.add_argument("--json", type=Path, help="file to keep the figures in")
    parser.add_argument("--row", help=argparse.SUPPRESS)  # what a child process runs
    parser.add_argument("--exported", type=Path, help=argparse.SUPPRESS)  # folder of the ONNX file and its inputs
    args = parser.parse_args(argv)
    args.batch = args.batch or (4 if args.train else 1)
    if args.row:
        return child(args)

    names = rows(args)
    timings = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        device = ask(start(argv, "limits", folder), "go")
        if any(name.split()[0] in ENGINES for name in names):
            ask(start(argv, "export", folder), "go")
        children = {name: start(argv, name, folder) for name in names}
        for repetition in range(args.repetitions + 1):
            for name, process in children.items():
                figures = ask(process, "go")
                if repetition:  # the first warms up
                    timings[name].append(figures)
        memory = {name: ask(process, "end") for name, process in children.items()}
    results = {
        "settings": {key: str(value) if isinstance(value, Path) else value for key, value in vars(args).items()},
        **device,
        "rows": {
            name: {**{key: [t[key] for t in timings[name]] for key in ("seconds", "cpu_seconds")}, **memory[name]}
            for name in names
        },
    }
    print(table(results, args))
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


def rows(args):
    """Names "form precision", in order; the first is what the others are compared with."""
    default = ["peer"] * bool(args.peer) + ["plain", "form"] + ["form-recompute"] * args.train
    if args.device == "cpu" and not args.train:
        default += ["form-openvino"] * bool(importlib.util.find_spec("openvino"))
        default += [engine for engine in ENGINES if not missing(engine)]
    for engine in ENGINES.keys() & set(args.rows or ()):
        if args.device != "cpu" or args.train:
            raise ValueError(f"row {engine} is of inference on a CPU")
        if missing(engine):
            raise ValueError(f"row {engine} needs packages that are not installed: pip install {missing(engine)}")
    pairs = ((form, precision) for precision in args.precision for form in args.rows or default)
    names = [f"{form} {precision}" for form, precision in pairs if precision in ENGINES.get(form, args.precision)]
    if not names:
        raise ValueError(f"--rows {' '.join(args.rows)} has nothing to run in {' or '.join(args.precision)}")
    return names


def start(argv, name, folder):
    command = [sys.executable, __file__, *(sys.argv[1:] if argv is None else argv), "--exported", folder, "--row", name]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def ask(process, word):
    """Send a child process one word and read its answer, a line of JSON."""
    print(word, file=process.stdin, flush=True)
    line = process.stdout.readline()
    if not line:
        raise ValueError(f"row {process.args[-1]!r} ended early: its error is above")
    return json.loads(line)


def table(results, args):
    shape = (
        f"{args.batch} x {args.crop} x {args.crop}" if args.train else f"{args.batch} x {args.height} x {args.width}"
    )
    base = next(iter(results["rows"].values()))
    columns = ("ms", 9), ("CPU ms", 9), ("images/s", 10), ("MB", 8), ("speed", 9), ("memory", 9), ("limit ms", 10)
    lines = [
        f"{'training step' if args.train else 'inference'}, {shape}, size {args.size}, medians of {args.repetitions}",
        results["machine"],
        " " * 22 + "".join(f"{name:>{width}}" for name, width in columns) + " of limit",
    ]
    for name, row in results["rows"].items():
        median, cpu, memory = statistics.median(row["seconds"]), statistics.median(row["cpu_seconds"]), row["memory"]
        line = f"{name:22}{median * 1e3:9.0f}{cpu * 1e3:9.0f}{args.batch / median:10.2f}{memory / 1e6:8.0f}"
        line += f"{statistics.median(base['seconds']) / median:8.2f}x{memory / base['memory']:8.2f}x"
        if results["limits"]:
            limit = results["limits"][name.split()[1]]["seconds"]
            line += f"{limit * 1e3:10.1f}{limit / median:9.0%}"
        lines.append(line)
    for precision, limit in results["limits"].items():
        work, rate = limit["multiply_adds"] / 1e9, limit["multiply_adds_per_second"] / 1e9
        traffic, bandwidth = limit["bytes"] / 1e6, limit["bytes_per_second"] / 1e9
        lines.append(
            f"{precision}: {work:.1f} G multiply-adds at {rate:.0f} G/s, {traffic:.0f} MB at {bandwidth:.1f} GB/s"
        )
    lines.append(f"memory before the network is built: {base['before'] / 1e6:.0f} MB")
    return "\n".join(lines)


# ---- in a child process ----


def child(args):
    """Answer words on standard input with lines of JSON: "go" runs the row once, "end" gives its memory."""
    name, _, precision = args.row.partition(" ")
    if name not in ENGINES:
        import torch

        if args.threads:
            torch.set_num_threads(args.threads)
        torch.backends.cudnn.allow_tf32 = False
    answers = os.fdopen(os.dup(1), "w")  # what a published file prints must not mix with the answers
    os.dup2(2, 1)
    device = args.device if name in ENGINES else torch.device(args.device)
    once, before = None, peak_memory(device)
    for word in sys.stdin:
        if name == "limits":
            answer = {"machine": machine(device), "limits": {} if args.no_limits else all_limits(args, device)}
        elif name == "export":
            export(args)
            answer = {}
        elif word.strip() == "end":
            answer = {"memory": peak_memory(device), "before": before}
        else:
            once = once or build(args, name, precision, device)
            before_cpu = time.process_time()
            answer = {"seconds": timed(once, device), "cpu_seconds": time.process_time() - before_cpu}
        print(json.dumps(answer), file=answers, flush=True)


def build(args, form, precision, device):
    """A function that runs one image batch or one training step."""
    if form in ENGINES:
        return engines.load(args.exported, form, precision, args.threads)

    import torch

    from utils.evaluate import DTYPES, autocast

    torch.manual_seed(0)
    network, second = peer(args) if form == "peer" else plain(args)
    network.to(device).train(args.train)
    side = (args.crop, args.crop) if args.train else (args.height, args.width)
    hazy, clear = (torch.rand(args.batch, 3, *side, device=device) * 2 - 1 for _ in range(2))
    inputs = [hazy] if second is None else [hazy, second.to(device)]
    if not args.train:
        if form.startswith("form"):
            from models import inference_form, openvino_form

            network = (openvino_form if form == "form-openvino" else inference_form)(network, DTYPES[precision])
            network = torch.compile(network) if form == "form-compiled" else network

        def once():
            with torch.no_grad(), autocast(device, precision):
                network(*inputs)

        return once

    if form.startswith("form"):
        from models import training_form

        network = training_form(network, recompute=form == "form-recompute")
        network = torch.compile(network) if form == "form-compiled" else network
    optimizer = torch.optim.AdamW(network.parameters(), 1e-4)
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
    term = contrastive(args.contrastive, published=not form.startswith("form"))

    def once():
        optimizer.zero_grad()
        with autocast(device, precision):
            output = network(*inputs)
            loss = torch.nn.functional.l1_loss(output.float(), clear)
            if term is not None:
                loss = loss + 0.1 * term.to(device)(output.float(), clear, hazy)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    return once


def export(args):
    """Write the plain network, with what `build` would give it, for an engine."""
    import torch

    torch.manual_seed(0)
    network, prob = plain(args)
    hazy = torch.rand(args.batch, 3, args.height, args.width) * 2 - 1
    engines.export(network, {"hazy": hazy, "prob": prob}, args.exported)


def plain(args):
    import torch

    from models import build_model

    text = torch.nn.functional.normalize(torch.randn(2, 512), dim=1)
    prob = torch.tensor([[0.9, 0.1]]).expand(args.batch, 2)
    network = build_model(args.size, args.fusion, text=text, window=256)  # that of the published crop
    return network, None if args.fusion == "none" else prob


def peer(args):
    """The network of a published model file, and the text that it takes beside the image, B x 1 x 512, if it does."""
    import torch

    spec = importlib.util.spec_from_file_location("peer", args.peer)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network = getattr(module, f"MixDehazeNet_{args.size}")()
    takes_text = len(inspect.signature(network.forward).parameters) > 1
    text = torch.nn.functional.normalize(torch.randn(1, 1, 512), dim=2).expand(args.batch, 1, 512)
    return network, text if takes_text else None


def all_limits(args, device):
    from benchmarks.limits import limit
    from utils.evaluate import DTYPES

    return {precision: limit(*one_run(args), DTYPES[precision], device) for precision in args.precision}


def one_run(args):
    """What `limits` needs to know of a row's run: the plain network, its inputs, whether it is a training step."""
    import torch

    side = (args.crop, args.crop) if args.train else (args.height, args.width)
    network, second = plain(args)
    return network, torch.empty(args.batch, 3, *side), second, args.train


def contrastive(name, published):
    if name is None:
        return None
    from torchvision import models

    from utils.losses import Contrastive

    return Contrastive(models.get_model(name), published)


if __name__ == "__main__":
    run(main)
