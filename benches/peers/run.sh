#!/usr/bin/env bash
# Runs our benches and the same work in ONNX Runtime and PyTorch, one after the other, and prints ratios.
#   benches/peers/run.sh [part of a name]      THREADS=2 by default
# Makes a Python environment in target/peers the first time. Without PyTorch (its package index cannot be reached) it goes on
# with ONNX Runtime alone.
set -euo pipefail
export PYTHONDONTWRITEBYTECODE=1
cd "$(dirname "$0")/../.."
filter="${1:-}"
threads="${THREADS:-2}"
folder=target/peers
python="$folder/venv/bin/python"
mkdir -p "$folder"

[ -x "$python" ] || python3 -m venv "$folder/venv"
"$python" -m pip install --quiet -r benches/peers/requirements.txt
"$python" -c 'import torch' 2>/dev/null ||
    "$python" -m pip install --quiet --index-url https://download.pytorch.org/whl/cpu \
        --extra-index-url https://pypi.org/simple -r benches/peers/requirements-torch.txt ||
    echo "PyTorch could not be installed: going on without it" >&2

rm -f "$folder"/*.jsonl
names="$("$python" - "$filter" <<'PYTHON'
import re, sys
sys.path.insert(0, "benches/peers")
from peers import CASES
print("|".join(f"^{re.escape(name)}$" for name in CASES if sys.argv[1] in name))
PYTHON
)"
[ -n "$names" ] || { echo "no case has '$filter' in its name" >&2; exit 2; }
export SARCOMERE_THREADS="$threads" SARCOMERE_BENCH_JSON="$PWD/$folder/ours.jsonl"
cargo bench --bench ops --bench networks -- "$names"
"$python" benches/peers/peers.py --peer onnxruntime --threads "$threads" --filter "$filter" >"$folder/onnxruntime.jsonl"
if "$python" -c 'import torch' 2>/dev/null; then
    "$python" benches/peers/peers.py --peer torch --threads "$threads" --filter "$filter" >"$folder/torch.jsonl"
fi
"$python" benches/peers/table.py "$folder"/*.jsonl
