"""PyTorch's side of `-- --epochs`: flips and crops of whole batches, as fast as tensors do them, and the step of `main.py`."""

import gzip
import sys
import time
from pathlib import Path

import torch
from main import Training

FOLDER, BATCH, PAD = Path("/usr/share/datasets/fashion-mnist"), 128, 2


def fashion(count, part="train"):
    """Pictures in 0..=1 and labels of the first `count` samples."""

    def read(kind, skip):
        with gzip.open(FOLDER / f"{part}-{kind}-ubyte.gz") as file:
            return torch.frombuffer(bytearray(file.read()[skip:]), dtype=torch.uint8)

    return read("images-idx3", 16).reshape(-1, 1, 28, 28)[:count].float() / 255, read("labels-idx1", 8)[:count].long()


def drawn(count):
    """What is drawn for pictures: mirrored or not, and the corners of their windows."""
    return torch.rand(count) < 0.5, torch.randint(0, 2 * PAD + 1, (2, count))


def augmented(x, flips, corners):
    """Each picture mirrored or not, then a window of its copy with a black border, as on the other side."""
    count, _, height, width = x.shape
    x = torch.where(flips[:, None, None, None], x.flip(3), x)
    x = torch.nn.functional.pad(x, [PAD] * 4, value=x.min().item())
    rows, columns = corners[0][:, None] + torch.arange(height), corners[1][:, None] + torch.arange(width)
    return x[torch.arange(count)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def main():
    teacher, student, count, threads, mode = sys.argv[1:]
    torch.set_num_threads(int(threads))
    torch.manual_seed(0)
    names = [name if name == "-" else f"fashion{name}" for name in (teacher, student)]
    training = Training(names, mode, [])
    training.prepare()
    pictures, labels = fashion(int(count))
    pictures = (pictures - pictures.mean()) / pictures.std()

    def epoch():
        order = torch.randperm(len(pictures))
        for part in order[: len(order) // BATCH * BATCH].split(BATCH):
            training.step(training.laid(augmented(pictures[part], *drawn(len(part)))), labels[part])

    epoch()
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        epoch()
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
