"""PyTorch's side of `-- --cached`: a whole distillation, the teacher run for each batch, or its logits kept for a fixed number of
augmentations of each picture and computed when they are first asked for. Prints seconds of training and the accuracy in percent.
"""

import math
import sys
import time

import torch
from epochs import BATCH, augmented, drawn, fashion
from main import Training, fill, read


class Kept:
    """Logits of a teacher by picture and augmentation."""

    def __init__(self, training, count, variants):
        self.training, self.teacher, self.variants = training, training.teacher, variants
        self.draws = [drawn(count) for _ in range(variants)]
        self.logits = torch.zeros(count, variants, 10)
        self.known = torch.zeros(count, variants, dtype=torch.bool)

    def batch(self, pictures, part):
        which = torch.randint(0, self.variants, part.shape)
        flips = torch.stack([flips for flips, _ in self.draws])[which, part]
        corners = torch.stack([corners for _, corners in self.draws])[which, :, part].T
        x = self.training.laid(augmented(pictures[part], flips, corners))
        missing = ~self.known[part, which]
        if missing.any():
            with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled="bf16" in self.training.mode):
                self.logits[part[missing], which[missing]] = self.teacher(x[missing]).float()
            self.known[part[missing], which[missing]] = True
        kept = self.logits[part, which]
        self.training.teacher = lambda _: kept
        return x


def main():
    file, teacher, student, count, threads, mode, variants, epochs, seed = sys.argv[1:]
    torch.set_num_threads(int(threads))
    torch.manual_seed(int(seed))
    training = Training([f"fashion{name}" for name in (teacher, student)], mode, [])
    # As on the other side: with PyTorch's own start, which is smaller, this short training ends elsewhere.
    for layer in training.student.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    given = read(file)
    fill(training.teacher, "teacher.", given)
    statistics = [value for name, value in given.items() if name.startswith("buffer.")]
    buffers = [buffer for name, buffer in training.teacher.named_buffers() if "running" in name]
    for buffer, value in zip(buffers, statistics, strict=True):
        buffer.copy_(value)
    training.prepare()
    pictures, labels = fashion(int(count))
    mean, deviation = pictures.mean(), pictures.std()
    pictures = (pictures - mean) / deviation
    kept = Kept(training, len(pictures), int(variants)) if int(variants) else None
    steps = len(pictures) // BATCH * int(epochs)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        training.optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / steps))
    )
    start = time.perf_counter()
    for _ in range(int(epochs)):
        order = torch.randperm(len(pictures))
        for part in order[: len(order) // BATCH * BATCH].split(BATCH):
            if kept:
                x = kept.batch(pictures, part)
            else:
                x = training.laid(augmented(pictures[part], *drawn(len(part))))
            training.step(x, labels[part])
            schedule.step()
    seconds = time.perf_counter() - start

    x, wanted = fashion(10_000, "t10k")
    x = (x - mean) / deviation
    training.student.eval()
    with torch.no_grad():
        right = sum(
            (training.student(training.laid(x[at : at + 500])).argmax(1) == wanted[at : at + 500]).sum()
            for at in range(0, len(x), 500)
        )
    print(seconds, 100 * right.item() / len(x))


if __name__ == "__main__":
    main()
