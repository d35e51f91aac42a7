"""Prints our times beside the peers' and the ratio to the best of them: below 1 we are faster."""
import json
import sys


def main():
    ours, peers, machine = {}, {}, None
    for path in sys.argv[1:]:
        with open(path) as lines:
            for line in map(json.loads, lines):
                if line["name"] == "machine":
                    machine = line
                elif "peer" in line:
                    peers.setdefault(line["peer"], {})[line["name"]] = line["ms"]
                else:
                    ours[line["name"]] = line
    if machine:
        print(f"{machine['device']}: {machine['gflops']:.0f} GFLOP/s, copy {machine['gbytes']:.1f} GB/s\n")
    names = sorted(peers)
    print("| | ours, ms | share of peak |" + "".join(f" {name}, ms |" for name in names) + " ours / best |")
    print("|---|---|---|" + "---|" * (len(names) + 1))
    for name, line in ours.items():
        times = [peers[peer].get(name) for peer in names]
        if any(times):
            best = min(ms for ms in times if ms)
            cells = "".join(f" {ms:.2f} |" if ms else " - |" for ms in times)
            print(f"| {name} | {line['ms']:.2f} | {100 * line['share']:.0f} % |{cells} {line['ms'] / best:.2f} |")


if __name__ == "__main__":
    main()
