//! Batched products on a GPU.

use super::tiles::{Tiles, int, sum_parts};
use super::{MatMul, MatMulSize};
use crate::Result;
use crate::device::cuda::{Arg, Target, Types, Work};

/// Twin of `Shape` in `kernels/matmul.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct MatMulShape {
    m: i32,
    n: i32,
    k: i32,
    row_tiles: i32,
    column_tiles: i32,
    steps: i32,
    a_aligned: i32,
    b_aligned: i32,
    c_aligned: i32,
    unused: i32,
    partial: i64,
}

// SAFETY: ten 32-bit integers and a 64-bit one at a multiple of 8: no padding.
unsafe impl bytemuck::NoUninit for MatMulShape {}

pub(super) fn work(op: &MatMul, target: &Target, types: &Types<'_>) -> Result<Work> {
    const NAME: &str = "matmul";
    let mut work = Work::new();
    let MatMulSize { batch, m, n, k } = op.size(&types.inputs[0].shape, &types.inputs[1].shape)?;
    let elements = types.outputs[0].len();
    if elements == 0 {
        return Ok(work);
    }
    let tiles = Tiles::new(NAME, target, batch, m, n, k)?;
    let scratch = work.take_scratch(tiles.partial_bytes(elements));
    let aligned = |pitch: usize| i32::from(pitch % 4 == 0);
    let shape = MatMulShape {
        m: int(NAME, m)?,
        n: int(NAME, n)?,
        k: int(NAME, k)?,
        row_tiles: tiles.rows,
        column_tiles: tiles.columns,
        steps: tiles.steps,
        a_aligned: aligned(if op.transpose_a { m } else { k }),
        b_aligned: aligned(if op.transpose_b { k } else { n }),
        c_aligned: aligned(n),
        unused: 0,
        partial: if tiles.parts > 1 { elements as i64 } else { 0 },
    };
    let letter = |transposed: bool| if transposed { 't' } else { 'n' };
    let kernel = format!("matmul_{}{}", letter(op.transpose_a), letter(op.transpose_b));
    let to = if tiles.parts > 1 { Arg::Scratch(scratch) } else { Arg::Output(0) };
    work.launch(tiles.launch("matmul", &kernel).input(0).input(1).arg(to).structure(&shape));
    if tiles.parts > 1 {
        sum_parts(&mut work, tiles.parts, elements, scratch, Arg::Output(0));
    }
    Ok(work)
}
