#!/usr/bin/env bash
# Everything that is measured on a GPU, with the built program alone: no Rust, no network. At most 9 minutes.
#   benches/gpu.sh OUT [PROGRAM]      PROGRAM is target/release/sarcomere by default
# Writes into OUT: machine.txt, selftest and bench in every precision, what the sanitizer's four tools say, summary.txt.
# Exits with 1 if anything failed.
set -uo pipefail
out="${1:?usage: benches/gpu.sh OUT [PROGRAM]}"
program="$(realpath "${2:-$(dirname "$0")/../target/release/sarcomere}")"
[ -x "$program" ] || { echo "$program is not a program: build it with cargo build --release, or name it" >&2; exit 2; }
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

# The limits below add up to 540 seconds.
# Kernels for this GPU, compiled once for all that follows; where its architecture is not one that kernels are checked for, each
# program below compiles them for itself.
architecture="$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1 | tr -d '. ')"
case "$architecture" in
    75 | 80 | 86 | 89 | 90 | 100 | 120) part kernels 60 "$program" kernels compile --arch "$architecture" --out kernels.cubins ;;
    *) echo "skipped kernels: no kernels are compiled ahead for compute capability '$architecture'" | tee -a summary.txt ;;
esac
[ -s kernels.cubins ] && export SARCOMERE_CUBINS="$PWD/kernels.cubins"

part selftest_f32 120 "$program" selftest --device cuda --precision f32
part selftest_tf32 40 "$program" selftest --device cuda --precision tf32 --problems 6
part selftest_bf16 40 "$program" selftest --device cuda --precision bf16 --problems 6
for precision in f32 tf32 bf16; do
    part "bench_$precision" 40 "$program" bench --device cuda --precision "$precision" --json
done
if command -v compute-sanitizer >/dev/null; then
    for tool in memcheck racecheck initcheck synccheck; do
        part "sanitizer_$tool" 40 compute-sanitizer --tool "$tool" --error-exitcode 1 \
            "$program" selftest --device cuda --problems 1 --no-networks --guarded
    done
else
    echo "absent  compute-sanitizer" | tee -a summary.txt
fi
exit "$failed"
