"""Networks for small images, as in the Rust side; parameters in the same order, that of the layers."""

import torch
import torch.nn.functional as F
from torch import nn


def conv_norm(inner, outer, kernel, stride=1, groups=1):
    return [nn.Conv2d(inner, outer, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(outer)]


class Block(nn.Module):
    """Residual: two 3x3 convolutions, or 1x1, 3x3 and 1x1 with four times the channels."""

    def __init__(self, inner, width, stride, bottleneck):
        super().__init__()
        outer = 4 * width if bottleneck else width
        steps = [(inner, width, 1, 1), (width, width, 3, stride), (width, outer, 1, 1)]
        steps = steps if bottleneck else [(inner, width, 3, stride), (width, width, 3, 1)]
        layers = []
        for at, step in enumerate(steps):
            layers += conv_norm(*step) + ([nn.ReLU(inplace=True)] if at + 1 < len(steps) else [])
        self.layers = nn.Sequential(*layers)
        changes = stride != 1 or inner != outer
        self.shortcut = nn.Sequential(*conv_norm(inner, outer, 1, stride)) if changes else nn.Identity()

    def forward(self, x):
        return F.relu(self.layers(x) + self.shortcut(x), inplace=True)


class ResNet(nn.Module):
    def __init__(self, stem, widths, counts, bottleneck=False, classes=100, colours=3):
        super().__init__()
        self.stem, inner, blocks = nn.Sequential(*conv_norm(colours, stem, 3)), stem, []
        self.ends = []
        for stage, (width, count) in enumerate(zip(widths, counts)):
            for at in range(count):
                blocks.append(Block(inner, width, 2 if stage > 0 and at == 0 else 1, bottleneck))
                inner = 4 * width if bottleneck else width
            self.ends.append(len(blocks))
        self.blocks, self.fc = nn.Sequential(*blocks), nn.Linear(inner, classes)

    def forward(self, x, features=()):
        """Logits, and what the named stages of blocks give."""
        x, found = F.relu(self.stem(x), inplace=True), []
        for at, block in enumerate(self.blocks, 1):
            x = block(x)
            if at in self.ends and f"layer{self.ends.index(at) + 1}" in features:
                found.append(x)
        logits = self.fc(x.mean((2, 3)))
        return (logits, found) if features else logits


class Inverted(nn.Module):
    def __init__(self, inner, outer, stride, expand):
        super().__init__()
        wide = inner * expand
        self.conv = nn.Sequential(
            *conv_norm(inner, wide, 1), nn.ReLU(inplace=True),
            *conv_norm(wide, wide, 3, stride, wide), nn.ReLU(inplace=True), *conv_norm(wide, outer, 1),
        )
        self.adds = stride == 1 and inner == outer

    def forward(self, x):
        return x + self.conv(x) if self.adds else self.conv(x)


class MobileNetV2(nn.Module):
    """Half as wide."""

    def __init__(self, classes=100):
        super().__init__()
        inner = 16
        layers = [*conv_norm(3, inner, 3, 2), nn.ReLU(inplace=True)]
        for expand, outer, count, stride in [
            (1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
        ]:
            for at in range(count):
                layers.append(Inverted(inner, outer // 2, stride if at == 0 else 1, expand))
                inner = outer // 2
        layers += [*conv_norm(inner, 1280, 1), nn.ReLU(inplace=True)]
        self.layers, self.fc = nn.Sequential(*layers), nn.Linear(1280, classes)

    def forward(self, x):
        return self.fc(self.layers(x).mean((2, 3)))


class Unit(nn.Module):
    """Of ShuffleNetV2: the first of a group halves the plane and takes all channels through both branches."""

    def __init__(self, inner, outer, halves):
        super().__init__()
        half, stride = outer // 2, 2 if halves else 1
        side = [*conv_norm(inner, inner, 3, 2, inner), *conv_norm(inner, half, 1), nn.ReLU(inplace=True)]
        self.side = nn.Sequential(*side) if halves else None
        self.main = nn.Sequential(
            *conv_norm(inner if halves else half, half, 1), nn.ReLU(inplace=True),
            *conv_norm(half, half, 3, stride, half), *conv_norm(half, half, 1), nn.ReLU(inplace=True),
        )

    def forward(self, x):
        kept, taken = x.chunk(2, 1) if self.side is None else (self.side(x), x)
        y = torch.cat([kept, self.main(taken)], 1)
        n, c, h, w = y.shape
        return y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


class ShuffleNetV2(nn.Module):
    def __init__(self, classes=100):
        super().__init__()
        inner, units = 24, []
        for outer, count in [(116, 3 + 1), (232, 7 + 1), (464, 3 + 1)]:
            for at in range(count):
                units.append(Unit(inner, outer, at == 0))
                inner = outer
        self.layers = nn.Sequential(
            *conv_norm(3, 24, 1), nn.ReLU(inplace=True), *units, *conv_norm(inner, 1024, 1), nn.ReLU(inplace=True)
        )
        self.fc = nn.Linear(1024, classes)

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


def network(name):
    if name in ("mobile", "shuffle"):
        return MobileNetV2() if name == "mobile" else ShuffleNetV2()
    if name == "ResNet50":
        return ResNet(64, (64, 128, 256, 512), (3, 4, 6, 3), bottleneck=True)
    if name.startswith("fashion"):
        return ResNet(16, (16, 32, 64), [(int(name.removeprefix("fashion")) - 2) // 6] * 3, classes=10, colours=1)
    depth, _, factor = name.removeprefix("resnet").partition("x")
    stem, factor = (32, int(factor)) if factor else (16, 1)
    return ResNet(stem, [width * factor for width in (16, 32, 64)], [(int(depth) - 2) // 6] * 3)


def regressor(channels):
    """Of features of one size: RepDistiller's ConvReg."""
    return nn.Sequential(nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
