"""PyTorch's side of `cargo bench -p stillhouse --bench engine`: one round of steps for each line on stdin.

Networks and step as in the Rust side: CIFAR-style ResNets, SGD with momentum and weight decay, soft targets at T = 4.
"""

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

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return self.fc(self.blocks(x).mean((2, 3)))


def distil(student, teacher, labels):
    soft = F.kl_div(F.log_softmax(student / 4, 1), F.softmax(teacher / 4, 1), reduction="batchmean") * 16
    return 0.9 * soft + 0.1 * F.cross_entropy(student, labels)


def main():
    teacher_depth, student_depth, multiple, student_multiple, batch, threads = map(int, sys.argv[1:7])
    mode, steps = sys.argv[7], int(sys.argv[8])
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    widths = lambda factor: (16, 16, 32, 64) if factor == 1 else (32, 16 * factor, 32 * factor, 64 * factor)
    student = ResNet(student_depth, widths(student_multiple))
    teacher = ResNet(teacher_depth, widths(multiple)).eval() if teacher_depth else None
    x, labels = torch.randn(batch, 3, 32, 32), torch.randint(0, 100, (batch,))
    if mode in ("channels_last", "bf16", "compile"):
        x = x.contiguous(memory_format=torch.channels_last)
        student = student.to(memory_format=torch.channels_last)
        teacher = teacher and teacher.to(memory_format=torch.channels_last)
    if mode == "compile":
        student, teacher = torch.compile(student), teacher and torch.compile(teacher)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4, nesterov=True)

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mode == "bf16"):
            soft = None
            if teacher is not None:
                with torch.no_grad():
                    soft = teacher(x).float()
            logits = student(x).float()
            loss = F.cross_entropy(logits, labels) if soft is None else distil(logits, soft, labels)
        loss.backward()
        optimizer.step()

    for _ in range(3):
        step()
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        for _ in range(steps):
            step()
        print((time.perf_counter() - start) * 1e3 / steps, flush=True)


main()
