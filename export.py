"""Export a trained network: for programs that do not have this project, its weights alone, or a folder to publish.

    python export.py --checkpoint checkpoints/demo/best.pt --output demo.onnx             ONNX
    python export.py --checkpoint checkpoints/demo/best.pt --output demo.onnx --opset 17  for TensorRT, older runtimes
    python export.py --checkpoint checkpoints/demo/best.pt --output demo.pt2              a torch.export program
    python export.py --checkpoint checkpoints/demo/best.pt --output demo.safetensors      weights, or demo.pt
    python export.py --checkpoint checkpoints/demo/best.pt --output published/demo/       weights, card, scores, SHA-256
    python export.py --checkpoint checkpoints/plain/best.pt --output plain.pth --format published
    python export.py --checkpoint published.pth --text data/RESIDE-6K/test --output published.onnx

ONNX and .pt2 take any number of images of any size, in float32: hazy (batch x 3 x height x width, RGB, [-1, 1]) and,
where the network has a text fusion, prob (batch x K, the probability of each class: 1 for the known domain, 0 for the
others). They return batch x 3 x height x width; clamp it to [-1, 1]. Writing ONNX needs pip install onnx onnxscript.

    session = onnxruntime.InferenceSession("demo.onnx")
    session.get_modelmeta().custom_metadata_map["classes"]                  "indoor,outdoor": the order of prob
    output = session.run(["output"], {"hazy": hazy, "prob": prob})[0]
    output = torch.export.load("demo.pt2").module()(hazy, prob)

Weights alone (.safetensors, .pt, .pth) serve test.py, predict.py and model.init. A folder (its name ends in /) gets
them as model.safetensors, with the metrics.json of the checkpoint's tests under results/. --format published writes
weights under the published names: without fusion a MixDehazeNet, which the published code reads from .pth, with fusion
parametric a MixCLDehazeNet without its text embeddings. calip has no published form.
"""

import hashlib
import importlib.util
import io
import warnings
from contextlib import suppress
from pathlib import Path

import safetensors.torch
import torch

from datasets.domains import load_domains
from models import export_program, load_published, network_of, published_state
from utils import checkpoint
from utils.files import sha256, write_bytes, write_text
from utils.results import read_metrics, score_table
from utils.script import Parser, run

OPSETS = range(17, 24)  # torch's converter writes 18 and later
NEEDED = ("onnx", "onnxscript")
TOLERANCE = 1e-4  # of the outputs' range
PROGRAMS, WEIGHTS = (".onnx", ".pt2"), (".safetensors", ".pt", ".pth")  # endings of --output


def main(argv=None):
    parser = Parser(__doc__)
    parser.add_argument("--checkpoint", required=True, help="of this project, or a published one")
    parser.add_argument("--output", required=True, help=f"FILE{', FILE'.join(PROGRAMS + WEIGHTS)} or FOLDER/")
    parser.add_argument("--format", default="own", choices=("own", "published"), help="the names of the weights")
    parser.add_argument("--opset", type=int, default=20, choices=OPSETS, help="of ONNX; 20 is the first with GELU")
    parser.add_argument("--text", metavar="FOLDER", help="for a published MixCLDehazeNet: a labelled split")
    args = parser.parse_args(argv)
    folder = Path(args.output) if args.output.endswith("/") or Path(args.output).is_dir() else None
    output = folder / "model.safetensors" if folder else Path(args.output)
    if output.suffix not in PROGRAMS + WEIGHTS:
        raise ValueError(f"--output {output} must end in {', '.join(PROGRAMS + WEIGHTS)}, or in / for a folder")
    if output.suffix in PROGRAMS and args.format == "published":
        raise ValueError(f"--format published is for weights: --output must end in {', '.join(WEIGHTS)}")
    if output.suffix == ".onnx" and not all(map(importlib.util.find_spec, NEEDED)):
        raise ValueError(f"writing ONNX needs packages that are not installed: pip install {' '.join(NEEDED)}")

    saved = checkpoint.load(args.checkpoint)
    network, facts = open_network(saved, args.checkpoint, args.text)
    if output.suffix in WEIGHTS:
        published = args.format == "published" or not checkpoint.is_ours(saved)
        data, exported = as_published(network, output.suffix) if published else as_own(saved, output.suffix)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, of its next versions
            data, exported = as_program(network, facts, args.opset if output.suffix == ".onnx" else None)
    checked = compare(network, exported) if exported else "not compared: onnxruntime is not installed"
    write_bytes(output, data)
    described = ", ".join(f"{name} {value}" for name, value in facts.items())
    print(f"{output}: {len(data) / 1e6:.2f} MB, {described}, {checked}")
    print(f"SHA-256 {hashlib.sha256(data).hexdigest()}")
    if folder:
        publish(folder, args.checkpoint, saved, network)


def open_network(saved, path, folder):
    """The network of a loaded checkpoint, and what a user of the exported file must know, as {name: text}."""
    domains = load_domains(folder, corrected=False) if folder else None
    if folder and domains is None:
        raise ValueError(f"--text {folder} holds no domains.npz: run clip_text.py on its data set first")
    with checkpoint.naming(path):
        network = network_of(saved, torch.from_numpy(domains.text) if domains else None)
    if checkpoint.is_ours(saved):
        classes = saved["text"]["classes"] if saved["text"] else ()
    else:
        classes = domains.classes if network.fusion else ()
    return network, {"size": network.size, "range": "-1 to 1"} | ({"classes": ",".join(classes)} if classes else {})


def as_own(saved, ending):
    """A file's bytes, and the network in it."""
    write = checkpoint.to_safetensors if ending == ".safetensors" else checkpoint.to_bytes
    kept = checkpoint.essentials(saved)
    return write(kept), network_of(kept | {"format": checkpoint.FORMAT})


def as_published(network, ending):
    """A file's bytes, and the network in it. The published code cuts 7 letters off every name in a .pth."""
    state = {name: value.contiguous() for name, value in published_state(network).items()}
    exported = load_published(state, getattr(network, "text", None))
    if ending == ".safetensors":
        return safetensors.torch.save(state, {"format": "pt"}), exported
    file = io.BytesIO()
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, file)
    return file.getvalue(), exported


def as_program(network, facts, opset=None):
    """A file's bytes, and the function in it. opset: of an ONNX file; None: a torch.export program."""
    program = export_program(network)
    if opset:
        return as_onnx(program, facts, opset)
    file = io.BytesIO()
    torch.export.save(program, file, extra_files=facts)
    return file.getvalue(), torch.export.load(io.BytesIO(file.getvalue())).module()


def as_onnx(program, facts, opset):
    """A file's bytes, and the function in it; None in its place without ONNX Runtime."""
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
    if not importlib.util.find_spec("onnxruntime"):
        return data, None
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return data, lambda *inputs: torch.from_numpy(
        session.run(["output"], {name: value.numpy() for name, value in zip(names, inputs, strict=True)})[0]
    )


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
                name = f"metrics-{file.parent.name}.json" if tests else "metrics.json"
                write_bytes(folder / name, file.read_bytes())
                tests[name] = metrics
    write_text(folder / "README.md", card(folder.resolve().name, saved, network, digest, tests))
    files = ["README.md", "model.safetensors", *tests]
    write_text(folder / "SHA256SUMS", "".join(f"{sha256(folder / name)}  {name}\n" for name in files))
    print(f"{folder}: {', '.join(files)}, SHA256SUMS")
    if not tests:
        print("note: the card has no scores: results/ holds no test of this checkpoint")


def card(name, saved, network, digest, tests):
    """The text of README.md. digest: of the checkpoint. tests: {file: content of a metrics.json}."""
    parameters = sum(parameter.numel() for parameter in network.parameters())
    facts = [f"size {network.size}, {parameters:,} parameters", f"SHA-256 of the whole checkpoint `{digest}`"]
    if checkpoint.is_ours(saved) and saved["settings"]:
        data, train = saved["settings"]["data"]["root"] or "rendered scenes", saved["settings"]["train"]
        of = f"batch {train['batch']}, crop {train['crop']}, learning rate {train['lr']}"
        facts.append(f"trained on {Path(data).name}: {saved['step']:,} steps, {of}")
    text = [f"# {name}", "A network for single-image dehazing, trained with MixCLDehaze.", *(f"- {x}" for x in facts)]
    for file, metrics in tests.items():
        data = metrics["data"]
        text += [f"## {data['name']}/{data['split']} ({file})", f"```\n{score_table(metrics)}\n```"]
        text.append(f"Protocol: {metrics['protocol']}. Fingerprint of the images: `{data['fingerprint']}`.")
        text += [f"- {note}" for note in (*metrics["notes"], f"checkpoint: {metrics['selection']}")]
    use = f"python predict.py --checkpoint {name}/model.safetensors --input photos --output dehazed"
    return "\n\n".join([*text, "## Use", f"```\n{use}\n```"]) + "\n"


if __name__ == "__main__":
    run(main)
