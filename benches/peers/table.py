"""Prints our times beside the peers' and the ratio to the best of them: below 1 we are faster. Of several rounds the best counts.

`--clock cpu` compares the time that all threads of a process ran together instead of time on the clock: with one thread that
is the time the work takes on a machine of its own, whatever else runs on this one (caches and memory apart).
"""
import argparse
import json


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("files", nargs="+")
    arguments = parser.parse_args()
    clock = {"wall": "ms", "cpu": "cpu_ms"}[arguments.clock]
    ours, peers, machine = {}, {}, None
    for path in arguments.files:
        with open(path) as lines:
            for line in map(json.loads, lines):
                if line["name"] == "machine":
                    if machine is None or line["gflops"] > machine["gflops"]:
                        machine = line
                    continue
                kept = peers.setdefault(line["peer"], {}) if "peer" in line else ours
                if line["name"] not in kept or line[clock] < kept[line["name"]][clock]:
                    kept[line["name"]] = line
    if machine and arguments.clock == "wall":
        print(f"{machine['device']}: {machine['gflops']:.0f} GFLOP/s, copy {machine['gbytes']:.1f} GB/s\n")
    names = sorted(peers)
    print("| | ours, ms | GFLOP/s |" + "".join(f" {name}, ms |" for name in names) + " ours / best |")
    print("|---|---|---|" + "---|" * (len(names) + 1))
    for name, line in ours.items():
        lines = [peers[peer].get(name) for peer in names]
        if not any(lines):
            continue
        best = min(other[clock] for other in lines if other)
        cells = "".join(f" {cell(other, clock)} |" if other else " - |" for other in lines)
        rate = f"{line['gflop'] / line[clock] * 1e3:.0f}" if line.get("gflop") else "-"
        print(f"| {name} | {cell(line, clock)} | {rate} |{cells} {line[clock] / best:.2f} |")


def cell(line, clock):
    """Time, and peak memory where it was measured."""
    text = f"{line[clock]:.2f}"
    return f"{text} ({line['rss_mb']:.0f} MB)" if "rss_mb" in line else text


if __name__ == "__main__":
    main()
