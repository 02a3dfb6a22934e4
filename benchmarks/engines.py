"""OpenVINO and ONNX Runtime, which run a network's ONNX file on a CPU. Imports torch only to write the file."""

import importlib.util
import warnings

import numpy as np

ENGINES = {"openvino": ("fp32", "bf16"), "onnxruntime": ("fp32",)}  # and the precisions that they know


def missing(engine):
    """Names of the packages that this engine lacks, with a space between; none: it can be used."""
    return " ".join(name for name in (engine, "onnx", "onnxscript") if not importlib.util.find_spec(name))


def export(network, inputs, folder):
    """Write a network and its inputs, {"hazy": B x 3 x H x W, "prob": B x K or None}, for `load`."""
    from export import as_onnx
    from models import export_program

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, of its next versions
        data, _ = as_onnx(export_program(network), {})
    (folder / "network.onnx").write_bytes(data)
    np.savez(folder / "inputs.npz", **{name: value for name, value in inputs.items() if value is not None})


def load(folder, engine, precision, num_threads):
    """A function that runs the network on its inputs once, by a number of threads; None: all."""
    file, inputs = folder / "network.onnx", dict(np.load(folder / "inputs.npz"))
    if engine == "onnxruntime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads or 0
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        return lambda: session.run(None, inputs)

    import openvino

    network = openvino.Core().read_model(file)
    network.reshape({name: list(value.shape) for name, value in inputs.items()})  # any size would be slower
    options = {
        "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
        "INFERENCE_NUM_THREADS": num_threads or 0,
    }
    compiled = openvino.compile_model(network, "CPU", options)
    return lambda: compiled(inputs)
