#!/usr/bin/env bash
# Runs our benches and the same work in ONNX Runtime, PyTorch and TensorFlow, and prints ratios.
#   benches/peers/run.sh [part of a name]...
#   THREADS=2   threads of everyone
#   ROUNDS=1    how often each case runs; the table shows each program's best round, so that a busy machine disturbs less
#   CLOCK=wall  or cpu: compare the time that all threads of a program ran, for THREADS=1 on a busy machine
# Case by case, everyone takes a turn, each in a process of its own: what else happens on the machine meets all alike.
# Makes a Python environment in target/peers the first time. A program that cannot be installed is left out.
set -euo pipefail
export PYTHONDONTWRITEBYTECODE=1
cd "$(dirname "$0")/../.."
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
has tensorflow ||
    install -r benches/peers/requirements-tensorflow.txt ||
    echo "TensorFlow could not be installed: going on without it" >&2
peers=() trainers=()
! has onnxruntime || peers+=(onnxruntime)
! has torch || peers+=(torch)
! has torchvision || trainers+=(torch)
! has tensorflow || { peers+=(tensorflow) && trainers+=(tensorflow); }

rm -f "$folder"/*.jsonl "$folder"/*.log
export SARCOMERE_THREADS="$threads" SARCOMERE_BENCH_JSON="$PWD/$folder/ours.jsonl"
chosen() { # of the names read, those that have one of the parts, without any part all
    if [ "${#parts[@]}" = 0 ]; then cat; else grep -F "${parts[@]/#/--regexp=}" || true; fi
}
parts=("$@")
names="$("$python" benches/peers/peers.py --list | chosen)"
steps="$("$python" benches/peers/training.py --list | chosen)"
[ -n "$names$steps" ] || { echo "no case has one of '$*' in its name" >&2; exit 2; }
cargo bench --no-run
ours() { cargo bench --quiet --bench "${1%%/*}" -- "^$1\$" 2>>"$folder/bench.log" | grep -a "^$1  *[0-9]" || true; }
theirs() { # script, peer, case
    "$python" "benches/peers/$1.py" --peer "$2" --threads "$threads" --case "$3" >>"$folder/$2.jsonl" 2>>"$folder/$2.log" ||
        echo "$3: $2 failed, see $folder/$2.log" >&2
}
for round in $(seq "${ROUNDS:-1}"); do
    for name in $names; do
        ours "$name"
        for peer in "${peers[@]}"; do theirs peers "$peer" "$name"; done
    done
    for name in $steps; do
        ours "$name"
        for peer in "${trainers[@]}"; do theirs training "$peer" "$name"; done
    done
done
"$python" benches/peers/table.py --clock "${CLOCK:-wall}" "$folder"/*.jsonl
