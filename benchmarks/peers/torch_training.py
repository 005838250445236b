"""The training workloads of tc_bench in PyTorch: one line per workload, median of the step times."""
import sys
import time

import torch
from torch import nn


def mlp():
    network = nn.Sequential(
        nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 10))
    return network, torch.rand(128, 784), torch.optim.SGD(network.parameters(), lr=0.01)


def lenet():
    network = nn.Sequential(
        nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(3136, 512), nn.ReLU(), nn.Linear(512, 10))
    return network, torch.rand(64, 1, 28, 28), torch.optim.Adam(network.parameters(), lr=0.001)


def step_times(network, x, optimizer, seconds):
    labels = torch.randint(0, 10, (len(x),))
    loss_of = nn.CrossEntropyLoss()
    times = []
    begin = time.perf_counter()
    while len(times) < 15 or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        loss_of(network(x), labels).backward()
        optimizer.step()
        times.append(time.perf_counter() - start)
    return sorted(times[5:])


def main():
    threads = int(sys.argv[1])
    torch.manual_seed(1)
    torch.set_num_threads(threads)
    rows = [("MLP 784-512-256-10 batch 128 SGD", mlp), ("LeNet batch 64 Adam", lenet)]
    for name, make in rows:
        times = step_times(*make(), seconds=3)
        print(f"PyTorch {torch.__version__}  {name:40} {threads} threads  "
              f"min {times[0] * 1e6:12.3f} us  median {times[len(times) // 2] * 1e6:12.3f} us")


if __name__ == "__main__":
    main()
