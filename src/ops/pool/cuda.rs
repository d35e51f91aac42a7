//! CUDA launches of max pooling; the kernels are in `kernels/pool.cu`.

use bytemuck::NoUninit;

use super::cpu::Geometry;
use crate::Result;
use crate::device::cuda::{Launch, Types, Work};
use crate::ops::ensure;

const AXES: usize = 3;

/// A pooling as the kernels take it: axes outermost first, those missing in front of extent 1.
#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Pool {
    run: i32,
    extent: [i32; AXES],
    output: [i32; AXES],
    window: [i32; AXES],
    stride: [i32; AXES],
    before: [i32; AXES],
}

fn pool(op: &str, geometry: &Geometry) -> Result<Pool> {
    let missing = AXES.checked_sub(geometry.axes.len());
    ensure(op, missing.is_some(), || format!("the GPU pools over at most {AXES} axes, asked for {geometry:?}"))?;
    let one = [1; AXES];
    let mut pool =
        Pool { run: geometry.run as i32, extent: one, output: one, window: one, stride: one, before: [0; AXES] };
    for (i, axis) in geometry.axes.iter().enumerate() {
        let to = i + missing.unwrap_or(0);
        pool.extent[to] = axis.extent as i32;
        pool.output[to] = axis.output as i32;
        pool.window[to] = axis.window as i32;
        pool.stride[to] = axis.stride as i32;
        pool.before[to] = axis.before as i32;
    }
    Ok(pool)
}

pub(super) fn max_pool(op: &str, geometry: &Geometry, types: &Types<'_>) -> Result<Work> {
    let (pool, n) = (pool(op, geometry)?, types.outputs[0].len());
    Ok(Work::of(
        Launch::stored("pool", "max_pool", types.outputs[0].dtype).over(n).input(0).output(0).int(n).structure(&pool),
    ))
}

pub(super) fn max_pool_grad(op: &str, geometry: &Geometry, types: &Types<'_>) -> Result<Work> {
    let (pool, windows, n) = (pool(op, geometry)?, types.inputs[1].len(), types.outputs[0].len());
    let mut work = Work::new();
    let winners = work.take_scratch(windows * size_of::<i32>());
    let dtype = types.outputs[0].dtype;
    let launch = Launch::stored("pool", "max_pool_winner", dtype).over(windows).input(0).scratch(winners);
    work.launch(launch.int(windows).structure(&pool));
    let launch = Launch::stored("pool", "max_pool_grad", dtype).over(n).input(1).scratch(winners).output(0);
    work.launch(launch.int(n).structure(&pool));
    Ok(work)
}
