"""Export a trained network: for programs that do not have this project, its weights alone, or a folder to publish.

    python export.py --checkpoint checkpoints/demo/best.pt --output demo.onnx             ONNX
    python export.py --checkpoint checkpoints/demo/best.pt --output demo.onnx --opset 17  for TensorRT, older runtimes
    python export.py --checkpoint checkpoints/demo/best.pt --output demo.pt2              a torch.export program
    python export.py --checkpoint checkpoints/demo/best.pt --output demo.safetensors      weights, or demo.pt
    python export.py --checkpoint checkpoints/demo/best.pt --output published/demo/       weights, card, scores, SHA-256
    python export.py --checkpoint published.pth --text data/RESIDE-6K/test --output published.onnx

ONNX and .pt2 take any number of images of any size, in float32: hazy (batch x 3 x height x width, RGB, [-1, 1]) and,
where the network has a text fusion, prob (batch x K, the probability of each class: 1 for the known domain, 0 for the
others). They return batch x 3 x height x width; clamp it to [-1, 1].

    session = onnxruntime.InferenceSession("demo.onnx")
    session.get_modelmeta().custom_metadata_map["classes"]                  "indoor,outdoor": the order of prob
    output = session.run(["output"], {"hazy": hazy, "prob": prob})[0]
    output = torch.export.load("demo.pt2").module()(hazy, prob)

Weights alone (.safetensors, .pt) serve test.py, predict.py and model.init. A folder (its name ends in /) gets them as
model.safetensors, with the metrics.json of the checkpoint's tests under results/.
"""

import io
import warnings
from contextlib import suppress
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
OPSETS = range(17, 24)  # torch's converter writes 18 and later
TOLERANCE = 1e-4  # of the outputs' range
PROGRAMS, WEIGHTS = (".onnx", ".pt2"), (".safetensors", ".pt")  # endings of --output


def main(argv=None):
    parser = Parser(__doc__)
    parser.add_argument("--checkpoint", required=True, help="of this project, or a published one")
    parser.add_argument("--output", required=True, help=f"FILE{', FILE'.join(PROGRAMS + WEIGHTS)} or FOLDER/")
    parser.add_argument("--opset", type=int, default=20, choices=OPSETS, help="of ONNX; 20 is the first with GELU")
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

    # The file's content; a program is compared with the network before it is written.
    if output.suffix in WEIGHTS:
        if not checkpoint.is_ours(saved):
            raise ValueError(f"{args.checkpoint} holds weights alone already: --output must end in .onnx or .pt2")
        as_file = checkpoint.to_bytes if output.suffix == ".pt" else checkpoint.to_safetensors
        data, checked = as_file(checkpoint.essentials(saved)), "weights"
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, of its next versions
            program = export_program(network)
            data, exported = as_pt2(program, facts) if output.suffix == ".pt2" else as_onnx(program, facts, args.opset)
        checked = compare(network, exported)
    write_bytes(output, data)
    described = ", ".join(f"{name} {value}" for name, value in facts.items())
    print(f"{output}: {len(data) / 1e6:.2f} MB, {described}, {checked}\nSHA-256 {sha256(output)}")
    if folder:
        publish(folder, args.checkpoint, saved, network)


def as_pt2(program, facts):
    """A .pt2 file's bytes, and the function in it."""
    file = io.BytesIO()
    torch.export.save(program, file, extra_files=facts)
    return file.getvalue(), torch.export.load(io.BytesIO(file.getvalue())).module()


def as_onnx(program, facts, opset):
    """An ONNX file's bytes, and the function in it."""
    import onnxruntime

    names = [spec.arg.name for spec in program.graph_signature.input_specs if spec.kind.name == "USER_INPUT"]
    axes = {"hazy": {0: "batch", 2: "height", 3: "width"}, "prob": {0: "batch"}}
    converted = torch.onnx.export(
        program,
        dynamo=True,
        opset_version=max(opset, 18),
        input_names=names,
        output_names=["output"],
        dynamic_shapes={name: axes[name] for name in names},
        verbose=False,
    )
    converted.model.metadata_props.update(facts)
    if opset == 17:
        lower_to_17(converted.model)
    data = converted.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])

    def exported(*inputs):
        arrays = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
        return torch.from_numpy(session.run(["output"], arrays)[0])

    return data, exported


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
    """Run both on images smaller and larger than the window, in one side too; returns the result in words.

    Raises ValueError where they differ.
    """
    window = getattr(network.fusion, "window", None) or 64
    sizes = [(1, 1, 1), (3, 37, 53), (1, window + 1, window + 1), (2, 50, window + 44), (1, window + 44, 50)]
    differences = []
    for num, height, width in sizes:
        inputs = [torch.rand(num, 3, height, width) * 2 - 1]
        if network.fusion is not None:
            inputs.append(torch.rand(num, len(network.text)).softmax(1))
        output = network(*inputs)
        differences.append(((exported(*inputs) - output).abs().max() / output.abs().max().clamp(min=1)).item())
        if not differences[-1] <= TOLERANCE:  # NaN, too
            what = f"the export is off by {differences[-1]:.1e} at {width} x {height} pixels"
            raise ValueError(f"{what}, and was not written: are the checkpoint's weights finite?")
    return f"equal to the network to {max(differences):.0e} at {len(sizes)} sizes"


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
    ]
    for file, metrics in tests.items():
        data = metrics["data"]
        card += [f"## {data['name']}/{data['split']} ({file})", f"```\n{score_table(metrics)}\n```"]
        card.append(f"Protocol: {metrics['protocol']}. Fingerprint of the images: `{data['fingerprint']}`.")
        card += [f"- {note}" for note in (*metrics["notes"], f"checkpoint: {metrics['selection']}")]
    use = f"python predict.py --checkpoint {name}/model.safetensors --input photos --output dehazed"
    write_text(folder / "README.md", "\n\n".join([*card, "## Use", f"```\n{use}\n```"]) + "\n")
    files = ["README.md", "model.safetensors", *tests]
    write_text(folder / "SHA256SUMS", "".join(f"{sha256(folder / file)}  {file}\n" for file in files))
    print(f"{folder}: {', '.join(files)}, SHA256SUMS")
    if not tests:
        print("note: the card has no scores: results/ holds no test of this checkpoint")


if __name__ == "__main__":
    run(main)
