//! Bias gradient and kept rows on a GPU.

use crate::Result;
use crate::device::cuda::{Arg, Divisor, Launch, Target, Types, Work};
use crate::ops::matmul::tiles::int;
use crate::tensor::{DType, Shape};

/// Threads of a block.
const THREADS: usize = 256;

/// Twin of `PixelSums` in `kernels/rows.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct PixelSums {
    per_row: Divisor,
    group: Divisor,
    pixels: i32,
    channels: i32,
    columns: i32,
    chunk: i32,
}

// SAFETY: 32-bit integers only: no padding.
unsafe impl bytemuck::NoUninit for PixelSums {}

/// Extent of the axis that counts are about.
fn leading(shape: &Shape) -> usize {
    if shape.rank() == 1 { 1 } else { shape[0] }
}

pub(super) fn bias_grad(target: &Target, types: &Types<'_>) -> Result<Work> {
    const NAME: &str = "bias_grad";
    let shape = &types.inputs[0].shape;
    let (channels, pixels, rows) = (shape.last(), shape.rows(), leading(shape));
    let mut work = Work::new();
    if channels == 0 {
        return Ok(work);
    }
    if pixels == 0 {
        work.zero(Arg::Output(0), types.outputs[0].bytes());
        return Ok(work);
    }
    let columns = channels.next_power_of_two().min(32);
    let column_blocks = channels.div_ceil(columns);
    // Enough chunks to fill the GPU, each of some pixels a thread.
    let wanted = (8 * target.multiprocessors as usize).div_ceil(column_blocks);
    let chunk = pixels.div_ceil(wanted).max(8 * THREADS / columns);
    let chunks = pixels.div_ceil(chunk);
    let groups = types.inputs.get(1).map_or(1, |counts| counts.len()).max(1);
    let sums = PixelSums {
        per_row: Divisor::new(int(NAME, pixels / rows)?),
        group: Divisor::new(int(NAME, rows / groups)?),
        pixels: int(NAME, pixels)?,
        channels: int(NAME, channels)?,
        columns: int(NAME, columns)?,
        chunk: int(NAME, chunk)?,
    };
    let launch = |dtype| Launch::stored("rows", "bias_grad", dtype).block(THREADS);
    let partial = work.take_scratch(if chunks > 1 { chunks * channels * size_of::<f32>() } else { 0 });
    let to = if chunks > 1 { Arg::Scratch(partial) } else { Arg::Output(0) };
    let first = launch(types.inputs[0].dtype).grid(column_blocks, chunks, 1).input(0).optional_input(types, 1);
    work.launch(first.arg(to).structure(&sums));
    if chunks > 1 {
        let chunks = int(NAME, chunks)?;
        let sums = PixelSums { pixels: chunks, chunk: chunks, ..sums };
        let second = launch(DType::F32).grid(column_blocks, 1, 1).scratch(partial).arg(Arg::Null);
        work.launch(second.output(0).structure(&sums));
    }
    Ok(work)
}

pub(super) fn keep_rows(types: &Types<'_>) -> Result<Work> {
    let shape = &types.inputs[0].shape;
    let (elements, rows) = (shape.len(), leading(shape));
    if elements == 0 {
        return Ok(Work::new());
    }
    let groups = types.inputs[1].len();
    let per_row = elements / rows;
    // A few elements for each thread.
    let blocks = per_row.div_ceil(4 * THREADS);
    let launch = Launch::stored("rows", "keep_rows", types.outputs[0].dtype).grid(rows * blocks, 1, 1).block(THREADS);
    let launch = launch.input(0).input(1).output(0).long(per_row).int(blocks);
    Ok(Work::of(launch.structure(&Divisor::new(int("keep_rows", rows / groups)?))))
}
