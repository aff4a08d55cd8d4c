"""PyTorch's side of `cargo bench -p stillhouse --bench engine`: one round of steps for each line on stdin; the peak of its
memory for the line `memory`. With a file of parameters and batches in place of the number of steps: its losses.

Step as in the Rust side: SGD with momentum and weight decay, soft targets at T = 4.
"""

import json
import resource
import sys
import time

import torch
import torch.nn.functional as F
from networks import ConvLstm, network, regressor
from torch import nn

WIDTHS = {"layer1": 16, "layer2": 32, "layer3": 64}
STEPS, BATCHES, RATE, FRAMES_RATE = 50, 4, 0.02, 0.02


class Frames:
    """A network that is to give the frames of clips again."""

    def __init__(self, student, batch, mode, given=None):
        _, kernel, frames = student.split(":")
        self.cells, self.mode = ConvLstm(int(kernel)), mode
        if given:
            fill(self.cells, "student.", given)
        self.layout = torch.contiguous_format if mode == "default" else torch.channels_last
        self.cells.to(memory_format=self.layout)
        self.x = given["x"] if given else torch.randn(batch, int(frames), 1, 64, 64)
        self.run = torch.compile(self.cells) if "compile" in mode else self.cells

    def step(self):
        self.cells.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled="bf16" in self.mode):
            outputs = self.run(self.x, self.layout)
        loss = sum(F.mse_loss(output.float(), self.x[:, at]) for at, output in enumerate(outputs))
        loss.backward()
        return loss

    def losses(self):
        print("ready", flush=True)
        found = []
        for _ in range(STEPS):
            found.append(self.step().item())
            with torch.no_grad():
                for parameter in self.cells.parameters():
                    parameter -= FRAMES_RATE * parameter.grad
        print(*found, flush=True)


def distil(student, teacher, labels):
    soft = F.kl_div(F.log_softmax(student / 4, 1), F.softmax(teacher / 4, 1), reduction="batchmean") * 16
    return 0.9 * soft + 0.1 * F.cross_entropy(student, labels)


class Training:
    def __init__(self, names, mode, features):
        self.mode, self.features = mode, features
        self.teacher, self.student = (None if name == "-" else network(name) for name in names)
        self.teacher = self.teacher and self.teacher.eval()
        self.regressors = nn.ModuleList([regressor(WIDTHS[name]) for name in features])
        self.optimizer = None

    def prepare(self, rate=1.0):
        """To the layout of the mode, when the parameters are there."""
        if self.mode != "default":
            for each in (self.student, self.teacher, self.regressors):
                each and each.to(memory_format=torch.channels_last)
        trained = self.student and [*self.student.parameters(), *self.regressors.parameters()]
        if self.student:
            self.optimizer = torch.optim.SGD(trained, lr=0.05 * rate, momentum=0.9, weight_decay=5e-4, nesterov=True)
        if "compile" in self.mode:
            self.student = self.student and torch.compile(self.student)
            self.teacher = self.teacher and torch.compile(self.teacher)

    def laid(self, x):
        return x.contiguous(memory_format=torch.channels_last) if self.mode != "default" else x

    def step(self, x, labels):
        if self.student is not None:
            self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled="bf16" in self.mode):
            soft, wanted = None, []
            if self.teacher is not None:
                with torch.no_grad():
                    soft = self.teacher(x, self.features) if self.features else self.teacher(x)
                    soft, wanted = soft if self.features else (soft, [])
            if self.student is None:
                return None
            logits, found = self.student(x, self.features) if self.features else (self.student(x), [])
            logits = logits.float()
            loss = F.cross_entropy(logits, labels) if soft is None else distil(logits, soft.float(), labels)
            for part, one, other in zip(self.regressors, found, wanted):
                loss = loss + F.mse_loss(part(one).float(), other.float())
        loss.backward()
        self.optimizer.step()
        return loss


def read(path):
    with open(path, "rb") as file:
        shapes, everything = json.loads(file.readline()), {}
        for name, shape in shapes.items():
            count = torch.Size(shape).numel()
            everything[name] = torch.frombuffer(bytearray(file.read(4 * count)), dtype=torch.float32).reshape(shape)
    return everything


def fill(modules, prefix, given):
    """Parameters in the order of layers, which both sides share."""
    given = [value for name, value in given.items() if name.startswith(prefix)]
    own = list(modules.parameters())
    if [value.shape for value in own] != [value.shape for value in given]:
        sys.exit(f"{prefix} the networks of both sides are not the same")
    for parameter, value in zip(own, given):
        parameter.data.copy_(value)


def losses(training, path, batch):
    given = read(path)
    for prefix, modules in [
        ("teacher.", training.teacher), ("student.", training.student), ("connector.", training.regressors),
    ]:
        if modules:
            fill(modules, prefix, given)
    training.prepare(RATE)
    print("ready", flush=True)
    found = []
    for step in range(STEPS):
        part = slice(step % BATCHES * batch, (step % BATCHES + 1) * batch)
        found.append(training.step(training.laid(given["x"][part]), given["labels"][part].long()).item())
    print(*found, flush=True)


def serve(step, steps):
    for _ in range(3):
        step()
    print("ready", flush=True)
    for line in sys.stdin:
        if line.strip() == "memory":
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, flush=True)
            continue
        start = time.perf_counter()
        for _ in range(steps):
            step()
        print((time.perf_counter() - start) * 1e3 / steps, flush=True)


def main():
    names, (batch, threads), mode, last = sys.argv[1:3], map(int, sys.argv[3:5]), sys.argv[5], sys.argv[6]
    features = sys.argv[7].split(",") if len(sys.argv) > 7 and sys.argv[7] else []
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    if ":" in names[1]:
        frames = Frames(names[1], batch, mode, None if last.isdigit() else read(last))
        return serve(frames.step, int(last)) if last.isdigit() else frames.losses()
    training = Training(names, mode, features)
    if not last.isdigit():
        return losses(training, last, batch)
    training.prepare()
    x, labels = training.laid(torch.randn(batch, 3, 32, 32)), torch.randint(0, 100, (batch,))
    return serve(lambda: training.step(x, labels), int(last))


if __name__ == "__main__":
    main()
