"""The networks of tc_bench in PyTorch.

    torch_peer.py THREADS [FILTER]    a line per workload: minimum and median of the times of a step
    torch_peer.py --memory NAME       peak resident memory of a process that runs one workload
"""
import resource
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F


def classes(*shape, below=10):
    return torch.randint(0, below, shape)


def training(network, x, labels, optimizer):
    loss_of = nn.CrossEntropyLoss()

    def step():
        optimizer.zero_grad(set_to_none=True)
        logits = network(x)
        loss_of(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1)).backward()
        optimizer.step()
    return step


def inference(network, x):
    network.eval()
    with torch.no_grad():
        frozen = torch.jit.optimize_for_inference(torch.jit.trace(network, x))

    def step():
        with torch.inference_mode():
            frozen(x)
    return step


def mlp():
    network = nn.Sequential(
        nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 10))
    return training(network, torch.rand(128, 784), classes(128),
                    torch.optim.SGD(network.parameters(), lr=0.01))


def lenet_network():
    return nn.Sequential(
        nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(3136, 512), nn.ReLU(), nn.Linear(512, 10))


def lenet():
    network = lenet_network()
    return training(network, torch.rand(64, 1, 28, 28), classes(64),
                    torch.optim.Adam(network.parameters(), lr=0.001))


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x):
        n, t, d = x.shape
        q, k, v = (y.reshape(n, t, self.heads, d // self.heads).transpose(1, 2)
                   for y in self.qkv(x).split(d, dim=2))
        if hasattr(F, "scaled_dot_product_attention"):
            y = F.scaled_dot_product_attention(q, k, v, is_causal=t > 1)
        else:
            scores = q @ k.transpose(-2, -1) * (d // self.heads) ** -0.5
            mask = torch.ones(t, t, dtype=torch.bool).tril()
            y = torch.softmax(scores.masked_fill(~mask, float("-inf")), -1) @ v
        return self.out(y.transpose(1, 2).reshape(n, t, d))


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    def __init__(self, layers=6, width=384, heads=6, sequence=256, vocabulary=65):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Parameter(torch.randn(sequence, width) * 0.02)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.logits = nn.Linear(width, vocabulary)

    def forward(self, ids):
        return self.logits(self.norm(self.blocks(self.tokens(ids) + self.positions)))


def gpt():
    network = GPT()
    return training(network, classes(8, 256, below=65), classes(8, 256, below=65),
                    torch.optim.AdamW(network.parameters(), lr=0.0003))


def convolve(inputs, filters, size, stride=1, relu=True):
    layers = [nn.Conv2d(inputs, filters, size, stride, size // 2, bias=False), nn.BatchNorm2d(filters)]
    return nn.Sequential(*layers, *([nn.ReLU()] if relu else []))


class Bottleneck(nn.Module):
    def __init__(self, inputs, width, stride, project):
        super().__init__()
        self.shortcut = convolve(inputs, 4 * width, 1, stride, False) if project else nn.Identity()
        self.path = nn.Sequential(
            convolve(inputs, width, 1), convolve(width, width, 3, stride),
            convolve(width, 4 * width, 1, relu=False))

    def forward(self, x):
        return torch.relu(self.path(x) + self.shortcut(x))


def resnet50_network():
    layers, inputs = [convolve(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)], 64
    for stage, depth in enumerate((3, 4, 6, 3)):
        width = 64 << stage
        for block in range(depth):
            layers.append(Bottleneck(inputs, width, 2 if block == 0 and stage > 0 else 1, block == 0))
            inputs = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000))


def resnet50(batch):
    return lambda: inference(resnet50_network(), torch.rand(batch, 3, 224, 224))


def gpt2_stack(sequence):
    return lambda: inference(nn.Sequential(*(Block(768, 12) for _ in range(12))),
                             torch.rand(1, sequence, 768))


def small_mlp():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))


def small_inference():
    return inference(small_mlp(), torch.rand(1, 4))


def small_training():
    network = small_mlp()
    return training(network, torch.rand(1, 4), classes(1, below=2),
                    torch.optim.SGD(network.parameters(), lr=0.01))


WORKLOADS = {
    "MLP 4-8-8-2 inference": small_inference,
    "MLP 4-8-8-2 SGD training step": small_training,
    "MLP 784-512-256-10 batch 128 SGD": mlp,
    "LeNet batch 64 Adam": lenet,
    "tiny GPT 6 x 384, 8 x 256 tokens AdamW": gpt,
    "ResNet-50 batch 1": resnet50(1),
    "ResNet-50 batch 8": resnet50(8),
    "GPT-2 blocks 12 x 768, sequence 128": gpt2_stack(128),
    "GPT-2 blocks 12 x 768, sequence 1": gpt2_stack(1),
}


def step_times(step, seconds=3.0):
    for _ in range(3):
        step()
    times, begin = [], time.perf_counter()
    while len(times) < 5 or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return sorted(times)


def main():
    torch.manual_seed(1)
    if sys.argv[1] == "--memory":
        step = WORKLOADS[sys.argv[2]]()
        for _ in range(3):
            step()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"PyTorch {torch.__version__}  {sys.argv[2]:40} peak resident {peak:.1f} MB")
        return
    threads = int(sys.argv[1])
    torch.set_num_threads(threads)
    for name, make in WORKLOADS.items():
        if len(sys.argv) > 2 and sys.argv[2] not in name:
            continue
        times = step_times(make())
        print(f"PyTorch {torch.__version__}  {name:40} {threads} threads  "
              f"min {times[0] * 1e6:12.3f} us  median {times[len(times) // 2] * 1e6:12.3f} us", flush=True)


if __name__ == "__main__":
    main()
