"""The section "device" of tc_bench in PyTorch: every workload eager, as a replayed CUDA graph, and
compiled, each where PyTorch can; inputs lie on the device.

    torch_gpu_peer.py [FILTER]     a line per workload and mode: minimum and median of a step, peak memory
    torch_gpu_peer.py --start      time from the start of the process to the end of a first training step
"""
import sys
import time

BEGIN = time.time()

import torch
from torch.nn import functional as F

from torch_peer import GPT, lenet_network, resnet50_network, small_mlp

DEVICE = "cuda:0"
SECONDS = 2.0


def training(network, x, labels, optimizer, precision=None):
    network, x, labels = network.to(DEVICE), x.to(DEVICE), labels.to(DEVICE)
    step_of = optimizer(network.parameters())

    def step():
        step_of.zero_grad(set_to_none=True)
        with torch.autocast("cuda", precision or torch.float32, enabled=precision is not None):
            logits = network(x)
            loss = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1))
        loss.backward()
        step_of.step()
    return step


def inference(network, x, precision=None):
    network, x = network.to(DEVICE).eval(), x.to(DEVICE)
    if precision:
        network, x = network.to(precision), x.to(precision)

    def step():
        with torch.inference_mode():
            network(x)
    return step


def classes(*shape, below=10):
    return torch.randint(0, below, shape)


def adam(rate):
    return lambda parameters: torch.optim.Adam(parameters, lr=rate, fused=True, capturable=True)


def adamw(parameters):
    return torch.optim.AdamW(parameters, lr=0.0003, fused=True, capturable=True)


def sgd(rate, momentum=0.0):
    return lambda parameters: torch.optim.SGD(parameters, lr=rate, momentum=momentum, foreach=True)


def product(dtype, tf32=False):
    def make():
        torch.backends.cuda.matmul.allow_tf32 = tf32
        x, y = (torch.rand(8192, 8192, device=DEVICE).mul_(2).sub_(1).to(dtype) for _ in range(2))
        out = torch.empty_like(x)
        return lambda: torch.matmul(x, y, out=out)
    return make


def attention(depth, sequence, backward):
    def make():
        from torch.nn.attention import SDPBackend, sdpa_kernel
        shape = (16384 // sequence, 16, sequence, depth)
        q, k, v, dy = (torch.rand(shape, device=DEVICE, dtype=torch.bfloat16) for _ in range(4))
        for t in (q, k, v):
            t.requires_grad_(backward)

        def step():
            with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
                y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            if backward:
                torch.autograd.grad(y, (q, k, v), dy)
        return step
    return make


def stream(function, inputs=1):
    def make():
        tensors = [torch.rand(262144, 1024, device=DEVICE) for _ in range(inputs)]
        return lambda: function(*tensors)
    return make


def images(batch):
    return torch.rand(batch, 3, 224, 224).to(memory_format=torch.channels_last)


def gpt2():
    return GPT(layers=12, width=768, heads=12, sequence=1024, vocabulary=50304)


BF16 = torch.bfloat16
WORKLOADS = {
    "bf16 product 8192": product(BF16),
    "tf32 product 8192": product(torch.float32, True),
    "f32 product 8192": product(torch.float32),
    **{f"attention{' and gradient' if backward else ''} d {depth} sequence {sequence}":
       attention(depth, sequence, backward)
       for backward in (False, True) for depth in (64, 128) for sequence in (1024, 4096, 16384)},
    "256Mi x + 1": stream(lambda x: x + 1),
    "256Mi relu(x * a + b)": stream(lambda x, a, b: torch.relu(x * a + b), 3),
    "256Mi gelu(x)": stream(F.gelu),
    "256Mi sum": stream(torch.sum),
    "softmax 262144 x 1024": stream(lambda x: torch.softmax(x, -1)),
    "layer norm 262144 x 1024": stream(lambda x: F.layer_norm(x, (1024,))),
    "transpose 262144 x 1024": stream(lambda x: x.t().contiguous()),
    "256Mi copy": stream(torch.clone),
    "MLP 4-8-8-2 SGD step": lambda: training(small_mlp(), torch.rand(1, 4), classes(1, below=2), sgd(0.01)),
    "LeNet batch 4096 Adam": lambda: training(
        lenet_network(), torch.rand(4096, 1, 28, 28), classes(4096), adam(0.001)),
    "LeNet batch 4096 Adam, bf16": lambda: training(
        lenet_network(), torch.rand(4096, 1, 28, 28), classes(4096), adam(0.001), BF16),
    "ResNet-50 batch 256": lambda: inference(resnet50_network(), images(256)),
    "ResNet-50 batch 256, bf16": lambda: inference(
        resnet50_network().to(memory_format=torch.channels_last), images(256), BF16),
    "ResNet-50 batch 256 training": lambda: training(
        resnet50_network(), images(256), classes(256, below=1000), sgd(0.1, 0.9)),
    "ResNet-50 batch 256 training, bf16": lambda: training(
        resnet50_network().to(memory_format=torch.channels_last), images(256),
        classes(256, below=1000), sgd(0.1, 0.9), BF16),
    "GPT-2 124M 64 x 1024 tokens AdamW, bf16": lambda: training(
        gpt2(), classes(64, 1024, below=50257), classes(64, 1024, below=50257), adamw, BF16),
}


def eager(step):
    return step


def graphed(step):
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def compiled(step):
    return torch.compile(step)


def step_times(step):
    for _ in range(3):
        step()
    torch.cuda.synchronize()
    times, begin = [], time.perf_counter()
    while len(times) < 5 or time.perf_counter() - begin < SECONDS:
        start = time.perf_counter()
        step()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return sorted(times)


def measure(name, make, mode):
    torch.manual_seed(1)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    try:
        times = step_times(mode(make()))
    except Exception as error:  # a mode that PyTorch refuses is named, not fatal
        print(f"PyTorch {torch.__version__}  {name:42} {mode.__name__:8} refused: "
              f"{str(error).splitlines()[0][:80] if str(error) else type(error).__name__}", flush=True)
        return
    print(f"PyTorch {torch.__version__}  {name:42} {mode.__name__:8} "
          f"min {times[0] * 1e6:12.3f} us  median {times[len(times) // 2] * 1e6:12.3f} us  "
          f"peak {torch.cuda.max_memory_allocated() / 2**20:.1f} MB", flush=True)


def main():
    if len(sys.argv) > 1 and sys.argv[1] == "--start":
        training(small_mlp(), torch.rand(1, 4), classes(1, below=2), sgd(0.01))()
        torch.cuda.synchronize()
        print(f"PyTorch {torch.__version__}  process start to first step {time.time() - BEGIN:.3f} s")
        return
    for name, make in WORKLOADS.items():
        if len(sys.argv) > 1 and sys.argv[1] not in name:
            continue
        for mode in (eager, graphed, compiled):
            measure(name, make, mode)
            torch._dynamo.reset()


if __name__ == "__main__":
    main()
