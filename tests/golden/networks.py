"""Makes networks.json: outputs and gradients of whole networks in PyTorch, float64, from parameters that a formula gives.

    pip install torch
    python3 tests/golden/networks.py > tests/golden/networks.json

Of each gradient the file has its norm and its product with other values of the formula; `single` is the largest relative
error of these norms when PyTorch itself computes in float32: activations that change sides at a corner make most of it.
"""

import copy
import json
import math

import torch
import torch.nn.functional as F
from torch import nn


def values(shape, seed):
    count = math.prod(shape)
    at = torch.arange(count, dtype=torch.float64)
    v = (at * 7919 + seed * 104729 + 17) * 0.61803398875
    return ((v - v.floor()) * 2 - 1).reshape(shape)


def seed_of(name):
    return sum(name.encode()) % 1000


def fill(network):
    for name, p in list(network.named_parameters()) + list(network.named_buffers()):
        v = values(p.shape, seed_of(name))
        if name.endswith("running_var"):
            v = 1 + 0.3 * v
        elif name.endswith("running_mean") or name.rpartition(".")[2].startswith("bias"):
            v = 0.1 * v
        elif p.dim() == 1:
            v = 1 + 0.2 * v
        elif p.dim() > 1:
            v = v * math.sqrt(3.0 / math.prod(p.shape[1:]))
        if p.dim() > 0:
            p.data.copy_(v)


class Block(nn.Module):
    def __init__(self, inner, outer, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inner, outer, 3, stride, 1, bias=False), nn.BatchNorm2d(outer)
        self.conv2, self.bn2 = nn.Conv2d(outer, outer, 3, 1, 1, bias=False), nn.BatchNorm2d(outer)
        self.downsample = None
        if stride != 1 or inner != outer:
            self.downsample = nn.Sequential(nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    def __init__(self, depth, classes):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        inner = 16
        for group, outer in enumerate((16, 32, 64), 1):
            blocks = []
            for at in range((depth - 2) // 6):
                blocks.append(Block(inner, outer, 2 if group > 1 and at == 0 else 1))
                inner = outer
            setattr(self, f"layer{group}", nn.Sequential(*blocks))
        self.fc = nn.Linear(64, classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        return self.fc(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))


def triple(inner, outer, kernel, stride, groups):
    conv = nn.Conv2d(inner, outer, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outer), nn.ReLU6())


class Inverted(nn.Module):
    def __init__(self, inner, outer, stride, expand):
        super().__init__()
        wide = inner * expand
        steps = [triple(inner, wide, 1, 1, 1)] if expand > 1 else []
        steps += [triple(wide, wide, 3, stride, wide), nn.Conv2d(wide, outer, 1, bias=False), nn.BatchNorm2d(outer)]
        self.conv = nn.Sequential(*steps)
        self.adds = stride == 1 and inner == outer

    def forward(self, x):
        return x + self.conv(x) if self.adds else self.conv(x)


class MobileNetV2(nn.Module):
    def __init__(self, width, classes):
        super().__init__()

        def channels(of):
            near = max(8, int(of * width + 4) // 8 * 8)
            return near + 8 if near < 0.9 * of * width else near

        inner = channels(32)
        features = [triple(3, inner, 3, 2, 1)]
        for expand, outer, count, stride in [
            (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
        ]:
            for at in range(count):
                features.append(Inverted(inner, channels(outer), stride if at == 0 else 1, expand))
                inner = channels(outer)
        features.append(triple(inner, 1280, 1, 1, 1))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(0.0), nn.Linear(1280, classes))

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


class Sequence(nn.Module):
    """Cells over rows, one above another, and a linear layer for each frame."""

    def __init__(self, cell, inner, hidden, depth, classes):
        super().__init__()
        self.cells = nn.ModuleList(cell(inner if at == 0 else hidden, hidden) for at in range(depth))
        self.fc = nn.Linear(hidden, classes)

    def forward(self, x):
        states, outputs, memories = [None] * len(self.cells), [], []
        for at in range(x.shape[1]):
            y = x[:, at]
            for depth, cell in enumerate(self.cells):
                states[depth] = cell(y, states[depth])
                y = states[depth][0] if isinstance(cell, nn.LSTMCell) else states[depth]
            outputs.append(self.fc(y))
            memories.append(states[0][1] if isinstance(self.cells[0], nn.LSTMCell) else states[0])
        return outputs, memories


class ConvCell(nn.Module):
    """As thuml/transferable-memory: core/layers/ConvLSTMCell.py has it."""

    def __init__(self, inner, hidden, kernel):
        super().__init__()
        self.conv, self.hidden = nn.Sequential(nn.Conv2d(inner + hidden, 4 * hidden, kernel, 1, kernel // 2)), hidden

    def forward(self, x, h, c):
        i, f, o, g = torch.split(self.conv(torch.cat([x, h], 1)), self.hidden, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class ConvLstm(nn.Module):
    """Next frames from patches; of a patch the pixels row by row, of a pixel its channels."""

    def __init__(self, channels, hidden, depth, kernel, patch):
        super().__init__()
        inner = channels * patch**2
        self.cell_list = nn.ModuleList(ConvCell(inner if at == 0 else hidden, hidden, kernel) for at in range(depth))
        self.conv_last = nn.Conv2d(hidden, inner, 1, bias=False)
        self.patch, self.hidden = patch, hidden

    def forward(self, x):
        n, frames, c, height, width = x.shape
        p, rows, columns = self.patch, height // self.patch, width // self.patch
        start = torch.zeros(n, self.hidden, rows, columns, dtype=x.dtype)
        states, outputs, memories = [(start, start)] * len(self.cell_list), [], []
        for at in range(frames):
            y = x[:, at].reshape(n, c, rows, p, columns, p).permute(0, 3, 5, 1, 2, 4).reshape(n, -1, rows, columns)
            for depth, cell in enumerate(self.cell_list):
                states[depth] = cell(y, *states[depth])
                y = states[depth][0]
            y = self.conv_last(y).reshape(n, p, p, c, rows, columns).permute(0, 3, 4, 1, 5, 2)
            outputs.append(y.reshape(n, c, height, width))
            memories.append(states[0][1])
        return outputs, memories


def sketch(tensor, seed):
    return [tensor.norm().item(), (tensor * values(tensor.shape, seed).to(tensor.dtype)).sum().item()]


def sequence(name, arch, network, frame, tap):
    """Squared distance of each frame's output from values of the formula; of outputs and of the first cell's memory as of
    gradients."""
    network = network.double()
    fill(network)
    outputs, memories = network(values((3, 4, *frame), 1))
    sum(F.mse_loss(output, values(output.shape, 2 + at)) for at, output in enumerate(outputs)).backward()
    gradients = {name: sketch(p.grad, seed_of(name) + 1) for name, p in network.named_parameters()}
    return {
        "name": name, "arch": arch, "frame": frame, "batch": 3, "tap": tap,
        "outputs": [sketch(output, 5) for output in outputs], "memories": [sketch(memory, 6) for memory in memories],
        "gradients": gradients,
    }


def gradient_norms(network, size, batch):
    loss = F.cross_entropy(network(values((batch, 3, size, size), 1).float()), torch.arange(batch) % 10)
    loss.backward()
    return {name: p.grad.double().norm().item() for name, p in network.named_parameters()}


def case(name, arch, network, size, batch):
    network = network.double()
    fill(network)
    single = gradient_norms(copy.deepcopy(network).float(), size, batch)
    x = values((batch, 3, size, size), 1)
    labels = torch.arange(batch) % 10
    network.eval()
    evaluated = network(x).detach()
    network.train()
    logits = network(x)
    loss = F.cross_entropy(logits, labels)
    loss.backward()
    gradients = {
        name: [p.grad.norm().item(), (p.grad * values(p.shape, seed_of(name) + 1)).sum().item()]
        for name, p in network.named_parameters()
    }
    errors = [abs(single[name] - norm) / max(norm, 1e-3) for name, (norm, _) in gradients.items()]
    return {
        "name": name, "single": max(errors), "arch": arch, "size": size, "batch": batch, "loss": loss.item(),
        "evaluated": evaluated.flatten().tolist(), "logits": logits.detach().flatten().tolist(), "gradients": gradients,
    }


def main():
    torch.manual_seed(0)
    cases = [
        case("resnet20", {"kind": "resnet", "depth": 20}, ResNet(20, 10), 32, 4),
        case("mobilenet_v2", {"kind": "mobilenet_v2", "width": 0.5, "dropout": 0.0}, MobileNetV2(0.5, 10), 64, 4),
    ]
    sequences = [
        sequence("lstm", {"kind": "lstm", "hidden": 7, "depth": 2}, Sequence(nn.LSTMCell, 5, 7, 2, 3), [5], "cells.0.cell"),
        sequence(
            "gru", {"kind": "lstm", "hidden": 7, "depth": 2, "cell": "gru"}, Sequence(nn.GRUCell, 5, 7, 2, 3), [5],
            "cells.0.hidden",
        ),
    ]
    for kernel, hidden in ((3, 5), (5, 16)):
        arch = {"kind": "conv_lstm", "hidden": hidden, "depth": 2, "kernel": kernel, "patch": 2}
        network = ConvLstm(2, hidden, 2, kernel, 2)
        sequences.append(sequence(f"conv_lstm {kernel}", arch, network, [2, 8, 12], "cell_list.0.cell"))
    print(json.dumps({"torch": torch.__version__, "cases": cases, "sequences": sequences}, indent=1))


main()
