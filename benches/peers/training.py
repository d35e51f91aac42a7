"""Training steps of the paper's networks in PyTorch and TensorFlow: time of one step and peak memory, a line of JSON for each.

A step is forward, losses, backward, clipping of the global norm and the optimizer's update, on random data. The detector gets
its regions and targets for nothing: 200 regions an image, 66 of them with masks, where ours makes proposals and samples them.
Batch norms of the detector's ResNet and heads use moving statistics, those of its stem and of the twitch network the batch's.
"""
import argparse
import importlib
import json
import resource
import time

# Names are those of our benches; what makes each step is a function of `training_*.py`.
CASES = {"networks/train_twitch_paper": "twitch", "networks/train_detector_paper": "detector"}
PEERS = {"torch": "PyTorch", "tensorflow": "TensorFlow"}


def resident_mb():
    """Most memory this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", action="store_true", help="print the names of the cases")
    parser.add_argument("--peer", choices=list(PEERS))
    parser.add_argument("--case", choices=list(CASES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3, help="steps timed, after one that is not")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(CASES))
        return
    peer = importlib.import_module(f"training_{arguments.peer or parser.error('--peer is missing')}")
    peer.use_threads(arguments.threads)
    empty = resident_mb()
    step = getattr(peer, CASES[arguments.case or parser.error("--case is missing")])()
    times, cpu = [], []
    for _ in range(arguments.steps + 1):
        begin, cpu_begin = time.perf_counter(), time.process_time()
        step()
        times.append(time.perf_counter() - begin)
        cpu.append(time.process_time() - cpu_begin)
    ms, cpu_ms = (sorted(each[1:])[arguments.steps // 2] * 1e3 for each in (times, cpu))
    line = {"name": arguments.case, "peer": PEERS[arguments.peer], "ms": ms, "cpu_ms": cpu_ms}
    print(json.dumps({**line, "rss_mb": resident_mb(), "empty_mb": empty}))


if __name__ == "__main__":
    main()
