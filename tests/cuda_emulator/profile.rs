//! The access profile: wavefronts of shared memory and sectors of global memory by line.

use crate::gpu::{Arg, Gpu};

const TEXT: &str = r#"#include "device/copy.cuh"
KERNEL(32) accesses(const float* x, float* y) {
    SHARED(float, tile, [32][32]);
    SHARED(float, padded, [32][33]);
    for (int row = 0; row < 32; ++row) tile[row][threadIdx.x] = x[row * 32 + threadIdx.x];
    __syncwarp();
    for (int row = 0; row < 32; ++row) padded[row][threadIdx.x] = tile[threadIdx.x][row];
    __syncwarp();
    for (int row = 0; row < 32; ++row) y[row * 32 + threadIdx.x] = padded[threadIdx.x][row];
    y[1024 + threadIdx.x] = x[threadIdx.x * 8];
    const float4 four = load4(x + 4 * threadIdx.x);
    y[1056 + threadIdx.x] = four.x + tile[0][0];
}
"#;

#[test]
fn conflicts_and_wasted_sectors_are_counted() {
    let Some(gpu) = Gpu::new() else { return };
    gpu.emulator.profile(true);
    let module = gpu.module("profile.cu", TEXT, &[]);
    let (x, y) = (gpu.upload(&[1.0f32; 1024]), gpu.empty(8192));
    gpu.launch(gpu.function(module, "accesses"), 1, 32, 0, &[Arg::Pointer(x), Arg::Pointer(y)]).expect("runs");
    let report = gpu.emulator.profile_report();
    let line = |number: &str, what: &str| {
        let found = report.lines().find(|line| line.contains(&format!("profile.cu:{number}: ")) && line.contains(what));
        found.unwrap_or_else(|| panic!("nothing on {what} in line {number}:\n{report}")).to_owned()
    };
    let says = |number, what, words: &str| {
        let found = line(number, what);
        assert!(found.contains(words), "{found}");
    };
    // A row of 32 floats: 4 sectors, one wavefront; a column of the unpadded tile: one bank, 32 wavefronts.
    says("5", "global read", "32 requests, 128 sectors (ideal 128");
    says("5", "shared write", "32 requests, 32 wavefronts (ideal 32");
    says("7", "shared read", "32 requests, 1024 wavefronts (ideal 32");
    says("7", "shared write", "32 requests, 32 wavefronts (ideal 32");
    says("9", "shared read", "32 requests, 32 wavefronts (ideal 32");
    // Every eighth float: each lane its own sector.
    says("10", "global read", "1 requests, 32 sectors (ideal 4");
    // 16 bytes a lane: 16 sectors in all; all lanes one word: one wavefront.
    says("11", "global read of 16 bytes", "1 requests, 16 sectors (ideal 16");
    says("12", "shared read", "1 requests, 1 wavefronts (ideal 1");
}
