"""Prints our times beside the peers' and the ratio to the best of them: below 1 we are faster. Of several rounds the best counts."""
import json
import sys


def main():
    ours, peers, machine = {}, {}, None
    for path in sys.argv[1:]:
        with open(path) as lines:
            for line in map(json.loads, lines):
                if line["name"] == "machine":
                    if machine is None or line["gflops"] > machine["gflops"]:
                        machine = line
                    continue
                kept = peers.setdefault(line["peer"], {}) if "peer" in line else ours
                if line["name"] not in kept or line["ms"] < kept[line["name"]]["ms"]:
                    kept[line["name"]] = line
    if machine:
        print(f"{machine['device']}: {machine['gflops']:.0f} GFLOP/s, copy {machine['gbytes']:.1f} GB/s\n")
    names = sorted(peers)
    print("| | ours, ms | share of peak |" + "".join(f" {name}, ms |" for name in names) + " ours / best |")
    print("|---|---|---|" + "---|" * (len(names) + 1))
    for name, line in ours.items():
        lines = [peers[peer].get(name) for peer in names]
        if not any(lines):
            continue
        best = min(other["ms"] for other in lines if other)
        cells = "".join(f" {cell(other)} |" if other else " - |" for other in lines)
        share = 100 * line["gflops"] / machine["gflops"] if machine else 100 * line["share"]
        print(f"| {name} | {cell(line)} | {share:.0f} % |{cells} {line['ms'] / best:.2f} |")


def cell(line):
    """Time, and peak memory where it was measured."""
    text = f"{line['ms']:.2f}"
    return f"{text} ({line['rss_mb']:.0f} MB)" if "rss_mb" in line else text


if __name__ == "__main__":
    main()
