"""Export a trained network: for programs that do not have this project, its weights alone, or a folder to publish.

    python export.py --checkpoint checkpoints/demo/best.pt --output demo.onnx             ONNX
    python export.py --checkpoint checkpoints/demo/best.pt --output demo.onnx --opset 17  for TensorRT, older runtimes
    python export.py --checkpoint checkpoints/demo/best.pt --output demo.pt2              a torch.export program
    python export.py --checkpoint checkpoints/demo/best.pt --output demo.safetensors      weights, or demo.pt
    python export.py --checkpoint checkpoints/demo/best.pt --output published/demo/       weights, card, scores, SHA-256
    python export.py --checkpoint published.pth --text data/RESIDE-6K/test --output published.onnx

ONNX and .pt2 take float32 images of any number and size: hazy (batch x 3 x height x width, RGB, [-1, 1]) and, with a
text fusion, prob (batch x K, each class's probability, in the order of the file's metadata "classes"). They return
batch x 3 x height x width; clamp it to [-1, 1].

    output = onnxruntime.InferenceSession("demo.onnx").run(["output"], {"hazy": hazy, "prob": prob})[0]
    output = torch.export.load("demo.pt2").module()(hazy, prob)

Weights alone serve test.py, predict.py and model.init. A folder gets the scores of the tests under results/, too.
"""

import io
import warnings
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import torch

from datasets.domains import open_domains
from models import export_program, network_of
from utils import checkpoint
from utils.files import sha256, write_bytes, write_text
from utils.results import read_metrics, score_table
from utils.script import Parser, run
from utils.settings import Text

NEEDED = ("onnx", "onnxscript", "onnxruntime")
TOLERANCE = 1e-4  # of the outputs' range
PROGRAMS, WEIGHTS = (".onnx", ".pt2"), (".safetensors", ".pt")  # endings of --output


def main(argv=None):
    parser = Parser(__doc__)
    parser.add_argument("--checkpoint", required=True, help="of this project, or a published one")
    parser.add_argument("--output", required=True, help=f"FILE{', FILE'.join(PROGRAMS + WEIGHTS)} or FOLDER/")
    parser.add_argument("--opset", type=int, default=20, choices=range(17, 24), help="of ONNX; GELU came with 20")
    parser.add_argument("--text", metavar="FOLDER", help="for a published MixCLDehazeNet: a labelled split")
    args = parser.parse_args(argv)
    folder = Path(args.output) if args.output.endswith("/") else None
    output = folder / "model.safetensors" if folder else Path(args.output)
    if output.suffix not in PROGRAMS + WEIGHTS:
        raise ValueError(f"--output {output} must end in {', '.join(PROGRAMS + WEIGHTS)}, or in / for a folder")
    if output.suffix == ".onnx" and not all(map(find_spec, NEEDED)):
        raise ValueError(f"writing ONNX needs packages that are not installed: pip install {' '.join(NEEDED)}")

    # The network, and what a user of the exported file must know.
    saved = checkpoint.load(args.checkpoint)
    domains = open_domains(args.text, Text(accept=True)) if args.text else None
    with checkpoint.naming(args.checkpoint):
        network = network_of(saved, domains and torch.from_numpy(domains.text))
    facts = {"size": network.size, "range": "-1 to 1"}
    if network.fusion is not None:
        facts["classes"] = ",".join(saved["text"]["classes"] if checkpoint.is_ours(saved) else domains.classes)

    # The file's content. A program is written if it agrees with the network.
    if output.suffix in WEIGHTS:
        if not checkpoint.is_ours(saved):
            raise ValueError(f"{args.checkpoint} holds weights alone already: --output must end in .onnx or .pt2")
        as_file = checkpoint.to_bytes if output.suffix == ".pt" else checkpoint.to_safetensors
        data = as_file(checkpoint.essentials(saved))
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, of its next versions
            program = export_program(network)
            data, exported = as_pt2(program, facts) if output.suffix == ".pt2" else as_onnx(program, facts, args.opset)
        compare(network, exported)
    write_bytes(output, data)
    print(f"{output}: {len(data) / 1e6:.2f} MB", *(f"{name} {value}" for name, value in facts.items()), sep=", ")
    print(f"SHA-256 {sha256(output)}")
    if folder:
        publish(folder, args.checkpoint, saved, network)


def as_pt2(program, facts):
    """A .pt2 file's bytes, and the function in it."""
    file = io.BytesIO()
    torch.export.save(program, file, extra_files=facts)
    return file.getvalue(), torch.export.load(io.BytesIO(file.getvalue())).module()


def as_onnx(program, facts, opset):
    """An ONNX file's bytes, and the function in it."""
    from onnxruntime import InferenceSession

    axes = {"hazy": {0: "batch", 2: "height", 3: "width"}, "prob": {0: "batch"}}
    converted = torch.onnx.export(
        program,
        dynamo=True,
        opset_version=max(opset, 18),  # the earliest that torch writes
        output_names=["output"],
        dynamic_shapes={name: axes[name] for name in program.graph_signature.user_inputs},
        verbose=False,
    )
    converted.model.metadata_props.update(facts)
    if opset == 17:
        lower_to_17(converted.model)
    converted.initialize_inference_session(partial(InferenceSession, providers=["CPUExecutionProvider"]))
    return converted.model_proto.SerializeToString(), lambda *inputs: converted(*inputs)[0]


def lower_to_17(model):
    """Turn a graph of opset 18 into one of opset 17: axes of reductions are attributes, splits count their outputs."""
    from onnx_ir import AttrInt64s

    for node in model.graph.all_nodes():
        if node.op_type.startswith("Reduce") and node.op_type != "ReduceSum" and len(node.inputs) > 1:
            node.attributes.add(AttrInt64s("axes", node.inputs[1].const_value.numpy().tolist()))
            node.attributes.pop("noop_with_empty_axes", None)
            node.resize_inputs(1)
        if node.op_type == "Split":
            node.attributes.pop("num_outputs", None)
    model.opset_imports[""] = 17


@torch.inference_mode()
def compare(network, exported):
    """Raise ValueError where both differ, on images smaller and larger than the window, in one side too."""
    window = getattr(network.fusion, "window", None) or 64
    for num, height, width in [(1, 1, 1), (3, 37, 53), (1, window + 44, 50), (2, 50, window + 44)]:
        inputs = [torch.rand(num, 3, height, width) * 2 - 1]
        if network.fusion is not None:
            inputs.append(torch.rand(num, len(network.text)).softmax(1))
        output = network(*inputs)
        difference = (exported(*inputs) - output).abs().max() / output.abs().max().clamp(min=1)
        if not difference <= TOLERANCE:  # NaN, too
            what = f"the export is off by {difference:.1e} at {width} x {height} pixels"
            raise ValueError(f"{what}, and was not written: are the checkpoint's weights finite?")


def publish(folder, path, saved, network):
    """Complete a folder that holds the weights: scores of this very checkpoint, card, and last the sums of all."""
    digest, tests = sha256(checkpoint.located(path)), {}
    for file in sorted(Path("results").glob("*/metrics.json")):
        with suppress(ValueError):  # results of another version
            metrics = read_metrics(file.parent)
            if metrics["checkpoint"] and metrics["checkpoint"]["sha256"] == digest:
                tests[f"metrics-{file.parent.name}.json"] = metrics
                write_bytes(folder / f"metrics-{file.parent.name}.json", file.read_bytes())
    name, train = folder.resolve().name, saved["settings"]["train"]
    data = Path(saved["settings"]["data"]["root"] or "rendered scenes").name
    card = [
        f"# {name}",
        "A network for single-image dehazing, trained with MixCLDehaze.",
        f"- size {network.size}, {sum(parameter.numel() for parameter in network.parameters()):,} parameters",
        f"- trained on {data}: {saved['step']:,} steps, batch {train['batch']}, crop {train['crop']}, lr {train['lr']}",
        f"- SHA-256 of the whole checkpoint `{digest}`",
        f"- use: `python predict.py --checkpoint {name}/model.safetensors --input photos --output dehazed`",
    ]
    for file, metrics in tests.items():
        data = metrics["data"]
        card += [f"## {data['name']}/{data['split']} ({file})", f"```\n{score_table(metrics)}\n```"]
        card.append(f"Protocol: {metrics['protocol']}. Fingerprint of the images: `{data['fingerprint']}`.")
        card += [f"- {note}" for note in (*metrics["notes"], f"checkpoint: {metrics['selection']}")]
    write_text(folder / "README.md", "\n\n".join(card) + "\n")
    files = ["README.md", "model.safetensors", *tests]
    write_text(folder / "SHA256SUMS", "".join(f"{sha256(folder / file)}  {file}\n" for file in files))
    print(f"{folder}: {', '.join(files)}, SHA256SUMS, scores of {len(tests)} tests")


if __name__ == "__main__":
    run(main)
