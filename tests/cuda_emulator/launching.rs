//! Kernels compile, load and run; arguments, grids and shared memory arrive.

use crate::gpu::{Arg, Gpu};

const SCALE: &str = r#"
#include "device/prelude.cuh"
KERNEL(256) scale(const float* __restrict__ x, float* __restrict__ y, int n, float factor) {
    for (int64_t i = global_thread(); i < n; i += global_threads()) y[i] = x[i] * factor;
}
"#;

#[test]
fn a_kernel_compiles_loads_and_runs() {
    let Some(gpu) = Gpu::new() else { return };
    let module = gpu.module("kernels/scale.cu", SCALE, &[]);
    let kernel = gpu.function(module, "scale");
    let x: Vec<f32> = (0..1000).map(|i| i as f32).collect();
    let (from, to) = (gpu.upload(&x), gpu.empty(4000));
    gpu.launch(kernel, 3, 128, 0, &[Arg::Pointer(from), Arg::Pointer(to), Arg::Int(1000), Arg::Float(3.0)])
        .expect("runs");
    assert_eq!(gpu.download::<f32>(to, 1000), x.iter().map(|v| v * 3.0).collect::<Vec<_>>());
}
