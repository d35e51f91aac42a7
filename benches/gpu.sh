#!/usr/bin/env bash
# Everything that is measured on a GPU, with the built program alone: no Rust, no network. At most 9 minutes.
#   benches/gpu.sh OUT [PROGRAM]      PROGRAM is target/release/sarcomere by default
# Writes into OUT: machine.txt, selftest and bench in every precision, what the sanitizer's four tools say, summary.txt; and where
# they are there, the same work in PyTorch, and what Nsight Compute says of the slowest kernels.
# Exits with 1 if anything failed.
set -uo pipefail
out="${1:?usage: benches/gpu.sh OUT [PROGRAM]}"
program="$(realpath "${2:-$(dirname "$0")/../target/release/sarcomere}")"
[ -x "$program" ] || { echo "$program is not a program: build it with cargo build --release, or name it" >&2; exit 2; }
here="$(realpath "$(dirname "$0")")"
mkdir -p "$out"
cd "$out"
failed=0
: >summary.txt

# part NAME SECONDS COMMAND...: its output in NAME.txt, a line in summary.txt
part() {
    local name="$1" limit="$2" begin=$SECONDS
    shift 2
    if timeout "$limit" "$@" >"$name.txt" 2>&1; then
        echo "ok      $name ($((SECONDS - begin)) s)" | tee -a summary.txt
    else
        echo "FAILED  $name (exit $?, $((SECONDS - begin)) s): $(tail -n 1 "$name.txt")" | tee -a summary.txt
        failed=1
    fi
}

{
    date -u
    "$program" --version
    nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,power.limit --format=csv 2>&1
    uname -srm
} >machine.txt

# What may run side by side does: limits of what runs one after the other add up to 540 seconds.
# Kernels for this GPU, compiled once for all that follows; where its architecture is not one that kernels are checked for, each
# program below compiles them for itself.
architecture="$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1 | tr -d '. ')"
case "$architecture" in
    75 | 80 | 86 | 89 | 90 | 100 | 120) part kernels 60 "$program" kernels compile --arch "$architecture" --out kernels.cubins ;;
    *) echo "skipped kernels: no kernels are compiled ahead for compute capability '$architecture'" | tee -a summary.txt ;;
esac
[ -s kernels.cubins ] && export SARCOMERE_CUBINS="$PWD/kernels.cubins"

# side_by_side COMMAND...: each a call of `part`; failures are read from the summary, as they happen in other shells.
side_by_side() {
    local command
    for command in "$@"; do eval "$command" & done
    wait
    ! grep -q '^FAILED' summary.txt || failed=1
}

side_by_side \
    'part selftest_f32 120 "$program" selftest --device cuda --precision f32' \
    'part selftest_tf32 120 "$program" selftest --device cuda --precision tf32' \
    'part selftest_bf16 120 "$program" selftest --device cuda --precision bf16'
for precision in f32 tf32 bf16; do
    part "bench_$precision" 50 "$program" bench --device cuda --precision "$precision" --seconds 0.3 --kernels 20
done
if python3 -c 'import torch, torchvision; assert torch.cuda.is_available()' 2>/dev/null; then
    for precision in f32 tf32 bf16; do
        part "pytorch_$precision" 40 python3 "$here/peers/gpu.py" --precision "$precision" --seconds 0.3
    done
else
    echo "absent  PyTorch with CUDA" | tee -a summary.txt
fi
if command -v compute-sanitizer >/dev/null; then
    # The program asks the driver for a parameter too many, to learn that there is none: that is no error of its own.
    sanitizer() {
        part "sanitizer_$1" 80 compute-sanitizer --tool "$1" --error-exitcode 1 --report-api-errors no \
            "$program" selftest --device cuda --precision bf16 --problems 1 --no-networks --guarded
    }
    side_by_side 'sanitizer memcheck' 'sanitizer racecheck' 'sanitizer initcheck' 'sanitizer synccheck'
else
    echo "absent  compute-sanitizer" | tee -a summary.txt
fi
if command -v ncu >/dev/null; then
    # The kernels that take most of a training step, some launches of each.
    profiled='regex:conv_(fprop|dgrad|wgrad)|gru_(step|grad_step)|roi_align_grad'
    part ncu 60 ncu --clock-control none --section SpeedOfLight --section Occupancy --section WarpStateStats \
        --kernel-name "$profiled" --launch-skip 40 --launch-count 40 \
        "$program" bench --device cuda --precision bf16 --filter train_detector_paper --runs 1 --seconds 0.001
else
    echo "absent  ncu" | tee -a summary.txt
fi
exit "$failed"
