"""The tensors of a TorchScript archive, such as OpenAI's CLIP files, read without running anything in it."""

import pickle
import zipfile
from collections import OrderedDict

import torch


def is_torchscript(path):
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def read_torchscript(path):
    """{dotted name: tensor} of the modules in an archive. Raises what zipfile and pickle raise for a broken one."""
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl"))
        with archive.open(name) as file:
            return dict(tensors(Reader(file, archive, name.removesuffix("data.pkl")).load()))


def tensors(module, prefix=""):
    for name, value in module.state.items():
        if isinstance(value, Module):
            yield from tensors(value, f"{prefix}{name}.")
        elif torch.is_tensor(value):
            yield f"{prefix}{name}", value


class Module:
    """Stands for any scripted module; its code is left unread."""

    def __setstate__(self, state):
        self.state = state if isinstance(state, dict) else {}


class Reader(pickle.Unpickler):
    """Makes tensors, plain containers and `Module`s; refuses any other name in the pickle."""

    def __init__(self, file, archive, root):
        super().__init__(file)
        self.archive, self.root = archive, root

    def find_class(self, module, name):
        if module.startswith("__torch__"):
            return Module
        if module == "torch" and name.endswith("Storage"):
            return getattr(torch, name).dtype
        if module == "torch.jit._pickle" and name.startswith("build_") and name.endswith("list"):
            return list
        known = {"_rebuild_tensor_v2": rebuild, "OrderedDict": OrderedDict}
        if module not in ("torch._utils", "collections") or name not in known:
            raise pickle.UnpicklingError(f"it holds {module}.{name}")
        return known[name]

    def persistent_load(self, key):
        _, dtype, name, _, num = key
        data = self.archive.read(f"{self.root}data/{name}")
        if len(data) != num * dtype.itemsize:
            raise pickle.UnpicklingError(f"storage {name} has not the size it should have")
        return torch.frombuffer(bytearray(data), dtype=dtype)


def rebuild(storage, offset, size, stride, *rest):
    return storage.as_strided(tuple(size), tuple(stride), offset)
