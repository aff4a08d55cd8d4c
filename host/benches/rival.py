"""PyTorch's side of `cargo bench -p stillhouse --bench engine`: one round of steps for each line on stdin; the peak of its
memory for the line `memory`.

Networks and step as in the Rust side: CIFAR-style networks, SGD with momentum and weight decay, soft targets at T = 4.
"""

import resource
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    def __init__(self, inner, outer, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outer)
        self.conv2 = nn.Conv2d(outer, outer, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outer)
        self.shortcut = nn.Identity()
        if stride != 1 or inner != outer:
            self.shortcut = nn.Sequential(nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x), inplace=True)


class ResNet(nn.Module):
    def __init__(self, depth, widths, classes=100):
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        blocks, inner = [], widths[0]
        for stage, outer in enumerate(widths[1:]):
            for position in range((depth - 2) // 6):
                blocks.append(Block(inner, outer, 2 if stage > 0 and position == 0 else 1))
                inner = outer
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(inner, classes)

    def forward(self, x, features=()):
        """Logits, and what the named stages of blocks give."""
        x, found = F.relu(self.bn1(self.conv1(x)), inplace=True), []
        per_stage = len(self.blocks) // 3
        for at, block in enumerate(self.blocks):
            x = block(x)
            if (at + 1) % per_stage == 0 and f"layer{(at + 1) // per_stage}" in features:
                found.append(x)
        logits = self.fc(x.mean((2, 3)))
        return (logits, found) if features else logits


class Inverted(nn.Module):
    def __init__(self, inner, outer, stride, expand):
        super().__init__()
        wide = inner * expand
        self.conv = nn.Sequential(
            nn.Conv2d(inner, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU(inplace=True),
            nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False), nn.BatchNorm2d(wide), nn.ReLU(inplace=True),
            nn.Conv2d(wide, outer, 1, bias=False), nn.BatchNorm2d(outer),
        )
        self.adds = stride == 1 and inner == outer

    def forward(self, x):
        return x + self.conv(x) if self.adds else self.conv(x)


class MobileNetV2(nn.Module):
    """Half as wide, for small images."""

    def __init__(self, classes=100):
        super().__init__()
        inner = 16
        layers = [nn.Conv2d(3, inner, 3, 2, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU(inplace=True)]
        for expand, outer, count, stride in [
            (1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
        ]:
            for at in range(count):
                layers.append(Inverted(inner, outer // 2, stride if at == 0 else 1, expand))
                inner = outer // 2
        layers += [nn.Conv2d(inner, 1280, 1, bias=False), nn.BatchNorm2d(1280), nn.ReLU(inplace=True)]
        self.layers, self.fc = nn.Sequential(*layers), nn.Linear(1280, classes)

    def forward(self, x):
        return self.fc(self.layers(x).mean((2, 3)))


class Cell(nn.Module):
    def __init__(self, inner, hidden, kernel):
        super().__init__()
        self.conv, self.hidden = nn.Conv2d(inner + hidden, 4 * hidden, kernel, 1, kernel // 2), hidden

    def forward(self, x, h, c):
        i, f, o, g = torch.split(self.conv(torch.cat([x, h], 1)), self.hidden, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class ConvLstm(nn.Module):
    """Four cells of 64 channels over patches of 4x4; predicts each next frame."""

    def __init__(self, kernel):
        super().__init__()
        self.cells = nn.ModuleList(Cell(16 if at == 0 else 64, 64, kernel) for at in range(4))
        self.last = nn.Conv2d(64, 16, 1, bias=False)

    def forward(self, x, layout):
        batch, frames, _, height, width = x.shape
        start = torch.zeros(batch, 64, height // 4, width // 4).contiguous(memory_format=layout)
        states, outputs = [(start, start)] * 4, []
        for at in range(frames):
            y = F.pixel_unshuffle(x[:, at], 4).contiguous(memory_format=layout)
            for depth, cell in enumerate(self.cells):
                y, c = cell(y, *states[depth])
                states[depth] = (y, c)
            outputs.append(F.pixel_shuffle(self.last(y), 4))
        return outputs


def clip_step(student, batch, mode):
    _, kernel, frames = student.split(":")
    layout = torch.channels_last if mode in ("channels_last", "bf16") else torch.contiguous_format
    network = ConvLstm(int(kernel)).to(memory_format=layout)
    x, y = (torch.randn(batch, int(frames), 1, 64, 64) for _ in range(2))

    def step():
        network.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mode == "bf16"):
            outputs = network(x, layout)
        sum(F.mse_loss(output.float(), y[:, at]) for at, output in enumerate(outputs)).backward()

    return step


def network(name):
    if name == "mobilenet":
        return MobileNetV2()
    depth, _, factor = name.removeprefix("resnet").partition("x")
    return ResNet(int(depth), (32, 64, 128, 256) if factor == "4" else (16, 16, 32, 64))


def distil(student, teacher, labels):
    soft = F.kl_div(F.log_softmax(student / 4, 1), F.softmax(teacher / 4, 1), reduction="batchmean") * 16
    return 0.9 * soft + 0.1 * F.cross_entropy(student, labels)


def regressor(channels):
    """Of features of one size: RepDistiller's ConvReg."""
    return nn.Sequential(nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


def main():
    names, (batch, threads), mode, steps = sys.argv[1:3], map(int, sys.argv[3:5]), sys.argv[5], int(sys.argv[6])
    features = sys.argv[7].split(",") if len(sys.argv) > 7 and sys.argv[7] else []
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    if ":" in names[1]:
        return serve(clip_step(names[1], batch, mode), steps)
    teacher, student = (None if name == "-" else network(name) for name in names)
    teacher = teacher and teacher.eval()
    regressors = nn.ModuleList([regressor({"layer1": 16, "layer2": 32, "layer3": 64}[name]) for name in features])
    x, labels = torch.randn(batch, 3, 32, 32), torch.randint(0, 100, (batch,))
    if mode in ("channels_last", "bf16", "compile"):
        x = x.contiguous(memory_format=torch.channels_last)
        regressors = regressors.to(memory_format=torch.channels_last)
        student = student and student.to(memory_format=torch.channels_last)
        teacher = teacher and teacher.to(memory_format=torch.channels_last)
    if mode == "compile":
        student, teacher = student and torch.compile(student), teacher and torch.compile(teacher)
    trained = student and [*student.parameters(), *regressors.parameters()]
    optimizer = student and torch.optim.SGD(trained, lr=0.05, momentum=0.9, weight_decay=5e-4, nesterov=True)

    def step():
        if student is not None:
            optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mode == "bf16"):
            soft, wanted = None, []
            if teacher is not None:
                with torch.no_grad():
                    soft = teacher(x, features) if features else teacher(x)
                    soft, wanted = soft if features else (soft, [])
            if student is None:
                return
            logits, found = student(x, features) if features else (student(x), [])
            logits = logits.float()
            loss = F.cross_entropy(logits, labels) if soft is None else distil(logits, soft.float(), labels)
            for part, one, other in zip(regressors, found, wanted):
                loss = loss + F.mse_loss(part(one).float(), other.float())
        loss.backward()
        optimizer.step()

    serve(step, steps)


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


main()
