"""Export a trained network: for programs that do not have this project, or its weights alone.

    python export.py --checkpoint checkpoints/demo/best.pt --output demo.onnx             ONNX
    python export.py --checkpoint checkpoints/demo/best.pt --output demo.pt2              a torch.export program
    python export.py --checkpoint checkpoints/demo/best.pt --output demo.safetensors      weights, or demo.pt
    python export.py --checkpoint checkpoints/plain/best.pt --output plain.pth --format published
    python export.py --checkpoint published.pth --text data/RESIDE-6K/test --output published.onnx

ONNX and .pt2 take any number of images of any size, in float32: hazy (B x 3 x H x W, RGB, [-1, 1]) and, where the
network has a text fusion, prob (B x K, the probability of each class: 1 for the known domain, 0 for the others). They
return B x 3 x H x W; clamp it to [-1, 1]. Writing ONNX (opset 20) needs pip install onnx onnxscript. To run them:

    session = onnxruntime.InferenceSession("demo.onnx")
    session.get_modelmeta().custom_metadata_map["classes"]                  "indoor,outdoor": the order of prob
    output = session.run(["output"], {"hazy": hazy, "prob": prob})[0]
    output = torch.export.load("demo.pt2").module()(hazy, prob)

Weights alone (.safetensors, .pt, .pth) serve test.py, predict.py and model.init. --format published writes them under
the published names: without fusion a MixDehazeNet, which the published code reads from .pth and chaiNNer from .pth or
.safetensors; with fusion parametric a MixCLDehazeNet without its text embeddings. calip has no published form.
"""

import hashlib
import importlib.util
import io
import warnings
from pathlib import Path

import safetensors.torch
import torch

from datasets.domains import read_domains
from models import export_program, load_published, network_of, published_state
from utils import checkpoint
from utils.files import write_bytes
from utils.script import Parser, run

OPSET = 20  # the first that has GELU
NEEDED = ("onnx", "onnxscript")
TOLERANCE = 1e-4  # of the outputs' range
PROGRAMS, WEIGHTS = (".onnx", ".pt2"), (".safetensors", ".pt", ".pth")  # endings of --output


def main(argv=None):
    parser = Parser(__doc__)
    parser.add_argument("--checkpoint", required=True, help="of this project, or a published one")
    parser.add_argument("--output", required=True, type=Path, help=f"the file: {', '.join(PROGRAMS + WEIGHTS)}")
    parser.add_argument("--format", default="own", choices=("own", "published"), help="the names of the weights")
    parser.add_argument("--text", metavar="FOLDER", help="for a published MixCLDehazeNet: a labelled split")
    args = parser.parse_args(argv)
    ending = args.output.suffix
    if ending not in PROGRAMS + WEIGHTS:
        raise ValueError(f"--output {args.output} must end in {', '.join(PROGRAMS + WEIGHTS)}")
    if ending in PROGRAMS and args.format == "published":
        raise ValueError(f"--format published is for weights: --output must end in {', '.join(WEIGHTS)}")
    if ending == ".onnx" and not all(map(importlib.util.find_spec, NEEDED)):
        raise ValueError(f"writing ONNX needs packages that are not installed: pip install {' '.join(NEEDED)}")
    saved = checkpoint.load(args.checkpoint)
    network, facts = open_network(saved, args.checkpoint, args.text)
    if ending in WEIGHTS:
        published = args.format == "published" or not checkpoint.is_ours(saved)
        data, exported = as_published(network, ending) if published else as_own(saved, ending)
        checked = compare(network, exported)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, of its next versions
            data, exported = (as_program if ending == ".pt2" else as_onnx)(export_program(network), facts)
            checked = compare(network, exported) if exported else "not compared: onnxruntime is not installed"
    args.output.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(args.output, data)
    described = ", ".join(f"{name} {value}" for name, value in facts.items())
    print(f"{args.output}: {len(data) / 1e6:.2f} MB, {described}, {checked}")
    print(f"SHA-256 {hashlib.sha256(data).hexdigest()}")


def open_network(saved, path, folder):
    """The network of a loaded checkpoint, and what a user of the exported file must know, as {name: text}."""
    domains = read_domains(folder) if folder else None
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
    """A file's bytes, and the network of what is in it."""
    write = checkpoint.to_safetensors if ending == ".safetensors" else checkpoint.to_bytes
    kept = checkpoint.essentials(saved)
    return write(kept), network_of(kept | {"format": checkpoint.FORMAT})


def as_published(network, ending):
    """A file's bytes, and the network of what is in it. The published code cuts 7 letters off every name in a .pth."""
    state = {name: value.contiguous() for name, value in published_state(network).items()}
    exported = load_published(state, getattr(network, "text", None))
    if ending == ".safetensors":
        return safetensors.torch.save(state, {"format": "pt"}), exported
    file = io.BytesIO()
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, file)
    return file.getvalue(), exported


def as_program(program, facts):
    """A file's bytes, and the function that it holds."""
    file = io.BytesIO()
    torch.export.save(program, file, extra_files=facts)
    return file.getvalue(), torch.export.load(io.BytesIO(file.getvalue())).module()


def as_onnx(program, facts):
    """A file's bytes, and the function that it holds; None in its place where there is no ONNX Runtime."""
    names = [spec.arg.name for spec in program.graph_signature.input_specs if spec.kind.name == "USER_INPUT"]
    converted = torch.onnx.export(
        program, dynamo=True, opset_version=OPSET, input_names=names, output_names=["output"], verbose=False
    )
    converted.model.metadata_props.update(facts)
    data = converted.model_proto.SerializeToString()
    if not importlib.util.find_spec("onnxruntime"):
        return data, None
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return data, lambda *inputs: torch.from_numpy(
        session.run(["output"], {name: value.numpy() for name, value in zip(names, inputs, strict=True)})[0]
    )


@torch.inference_mode()
def compare(network, exported):
    """Run both on images smaller and larger than the window, a side each way, too; returns what came of it, in words.

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
        if not differences[-1] <= TOLERANCE:  # nor if it is no number
            what = f"the export is off by {differences[-1]:.1e} at {width} x {height} pixels"
            raise ValueError(f"{what}, and was not written: are the checkpoint's weights finite?")
    return f"equal to the network to {max(differences):.0e} at {len(sizes)} sizes"


if __name__ == "__main__":
    run(main)
