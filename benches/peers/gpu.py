"""The paper's networks in PyTorch on a GPU, as `sarcomere bench --device cuda` times them: one line of JSON for each.

Whole runs: inputs handed in from page-locked memory, the first result read back. Inference is replayed as a CUDA graph, which
suits PyTorch best here; training steps run eagerly, with cuDNN's own choice of algorithms (`benchmark`). Precisions: f32 with
tensor cores off, tf32, bf16 by autocast.
"""
import argparse
import json
import statistics
import time

import torch

import layers
import layers_torch
import peers
import training_torch

# Ours by name: the peers' case.
INFERENCE = {
    "trunk_paper_b1": "networks/trunk_paper_b1",
    "box_head_paper_b1000": "networks/box_head_paper_1000",
    "mask_head_paper_b100": "networks/mask_head_paper_100",
    "twitch_paper_b1": "networks/twitch_paper_b1",
    "twitch_paper_b32": "networks/twitch_paper_b32",
}
TRAINING = {"train_detector_paper_b8": training_torch.detector, "train_twitch_paper_b32": training_torch.twitch}


class Gpu(layers_torch.Layers):
    """Layers whose weights are on the GPU."""

    def keep(self, make):
        def on_gpu():
            made = make()
            return tuple(part.cuda() for part in made) if isinstance(made, tuple) else made.cuda()

        return super().keep(on_gpu)


def inference(name, precision):
    shape, network = peers.CASES[INFERENCE[name]]
    shape = Gpu.maps(shape) if isinstance(shape, peers.Maps) else shape
    gpu = Gpu(shape, 1)
    host = torch.from_numpy(layers.random(*shape)).pin_memory()
    data = host.cuda()
    cast = torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16", cache_enabled=False)

    def compute():
        gpu.at = 0
        with torch.inference_mode(), cast:
            result = network(gpu, data)
            return result[0] if isinstance(result, (list, tuple)) else result

    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            compute()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = compute()

    def run():
        data.copy_(host, non_blocking=True)
        graph.replay()
        result.cpu()

    return run


def step(name, precision):
    torch.set_default_device("cuda")
    train = TRAINING[name]()
    cast = torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16")

    def run():
        with cast:
            train()
        torch.cuda.synchronize()

    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--precision", choices=["f32", "tf32", "bf16"], default="f32")
    parser.add_argument("--filter", default="", help="part of a name")
    parser.add_argument("--seconds", type=float, default=0.5, help="time for each case")
    arguments = parser.parse_args()
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = arguments.precision == "tf32"
    for name in [*INFERENCE, *TRAINING]:
        if arguments.filter not in name:
            continue
        torch.cuda.reset_peak_memory_stats()
        try:
            run = (inference if name in INFERENCE else step)(name, arguments.precision)
            for _ in range(3):
                run()
            times, end = [], time.perf_counter() + arguments.seconds
            while len(times) < 5 or time.perf_counter() < end:
                begin = time.perf_counter()
                run()
                times.append((time.perf_counter() - begin) * 1e3)
            line = {"median_ms": statistics.median(times), "fastest_ms": min(times), "runs": len(times),
                    "peak_bytes": torch.cuda.max_memory_allocated()}
        except Exception as error:  # one case that fails is told, the others still count
            line = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps({"case": name, "peer": "PyTorch", "precision": arguments.precision, **line}), flush=True)


if __name__ == "__main__":
    main()
