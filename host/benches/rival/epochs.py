"""PyTorch's side of `-- --epochs`: flips and crops of whole batches, as fast as tensors do them, and the step of `main.py`."""

import gzip
import sys
import time
from pathlib import Path

import torch
from main import Training

FOLDER, BATCH, PAD = Path("/usr/share/datasets/fashion-mnist"), 128, 2


def fashion(count):
    def read(kind, skip):
        with gzip.open(FOLDER / f"train-{kind}-ubyte.gz") as file:
            return torch.frombuffer(bytearray(file.read()[skip:]), dtype=torch.uint8)

    pictures = read("images-idx3", 16).reshape(-1, 1, 28, 28)[:count].float() / 255
    pictures = (pictures - pictures.mean()) / pictures.std()
    return pictures, read("labels-idx1", 8)[:count].long()


def augmented(x):
    """Each picture mirrored or not, then a window of its padded copy."""
    count, _, height, width = x.shape
    x = torch.where((torch.rand(count) < 0.5)[:, None, None, None], x.flip(3), x)
    x = torch.nn.functional.pad(x, [PAD] * 4)
    top, left = torch.randint(0, 2 * PAD + 1, (2, count))
    rows = top[:, None] + torch.arange(height)
    columns = left[:, None] + torch.arange(width)
    return x[torch.arange(count)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def main():
    teacher, student, count, threads, mode = sys.argv[1:]
    torch.set_num_threads(int(threads))
    torch.manual_seed(0)
    names = [name if name == "-" else f"fashion{name}" for name in (teacher, student)]
    training = Training(names, mode, [])
    training.prepare()
    pictures, labels = fashion(int(count))

    def epoch():
        order = torch.randperm(len(pictures))
        for part in order[: len(order) // BATCH * BATCH].split(BATCH):
            training.step(training.laid(augmented(pictures[part])), labels[part])

    epoch()
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        epoch()
        print(time.perf_counter() - start, flush=True)


main()
