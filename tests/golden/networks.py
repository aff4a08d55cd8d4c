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
        elif name.endswith(("running_mean", "bias")):
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
    print(json.dumps({"torch": torch.__version__, "cases": cases}, indent=1))


main()
