#!/usr/bin/env bash
# Runs our benches and the same work in ONNX Runtime and PyTorch, and prints ratios.
#   benches/peers/run.sh [part of a name]
#   THREADS=2   threads of everyone
#   ROUNDS=1    how often each case runs; the table shows each program's best round, so that a busy machine disturbs less
#   CLOCK=wall  or cpu: compare the time that all threads of a program ran, for THREADS=1 on a busy machine
# Case by case, everyone takes a turn, each in a process of its own: what else happens on the machine meets all alike.
# Makes a Python environment in target/peers the first time. A program that cannot be installed is left out.
set -euo pipefail
export PYTHONDONTWRITEBYTECODE=1
cd "$(dirname "$0")/../.."
filter="${1:-}"
threads="${THREADS:-2}"
folder=target/peers
python="$folder/venv/bin/python"
mkdir -p "$folder"

has() { "$python" -c "import $1" 2>/dev/null; }
install() { "$python" -m pip install --quiet "$@"; }
[ -x "$python" ] || python3 -m venv "$folder/venv"
install -r benches/peers/requirements.txt
# The index of CPU wheels is the small one; the general one brings GPU libraries along, which stay unused.
has torchvision ||
    install --retries 0 --timeout 20 --index-url https://download.pytorch.org/whl/cpu \
        --extra-index-url https://pypi.org/simple -r benches/peers/requirements-torch.txt ||
    install -r benches/peers/requirements-torch.txt ||
    echo "PyTorch could not be installed: going on without it" >&2
peers=()
for peer in onnxruntime torch; do
    has "$peer" && peers+=("$peer")
done

rm -f "$folder"/*.jsonl
export SARCOMERE_THREADS="$threads" SARCOMERE_BENCH_JSON="$PWD/$folder/ours.jsonl"
names="$("$python" benches/peers/peers.py --list --filter "$filter")"
steps=""
! has torchvision || steps="$("$python" benches/peers/training.py --list --filter "$filter")"
[ -n "$names$steps" ] || { echo "no case has '$filter' in its name" >&2; exit 2; }
cargo bench --no-run
ours() { cargo bench --quiet --bench "${1%%/*}" -- "^$1\$" 2>>"$folder/bench.log" | grep -a "^$1  *[0-9]" || true; }
for round in $(seq "${ROUNDS:-1}"); do
    for name in $names; do
        ours "$name"
        for peer in "${peers[@]}"; do
            "$python" benches/peers/peers.py --peer "$peer" --threads "$threads" --case "$name" >>"$folder/$peer.jsonl" ||
                echo "$name: $peer failed" >&2
        done
    done
    for name in $steps; do
        ours "$name"
        "$python" benches/peers/training.py --threads "$threads" --case "$name" >>"$folder/torch.jsonl" ||
            echo "$name: torch failed" >&2
    done
done
"$python" benches/peers/table.py --clock "${CLOCK:-wall}" "$folder"/*.jsonl
