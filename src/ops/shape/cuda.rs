//! CUDA launches of the ops that move values; the kernels are in `kernels/shape.cu`.

use bytemuck::NoUninit;

use super::{Slice, around};
use crate::Result;
use crate::device::cuda::{Launch, Types, Work};
use crate::ops::ensure;
use crate::tensor::{DType, Shape};

const SOURCE: &str = "shape";
const MAX_AXES: usize = 8;
/// Side of the squares that transpositions go through shared memory in, and the extent from which that pays.
const TILE: usize = 32;
const TILE_PAYS: usize = 8;
const BLOCK: usize = 256;

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct SliceAxes {
    extent: i32,
    after: i32,
    start: i32,
    len: i32,
    step: i32,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Padding {
    axes: i32,
    y: [i32; MAX_AXES],
    x: [i32; MAX_AXES],
    before: [i32; MAX_AXES],
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Walk {
    axes: i32,
    extent: [i32; MAX_AXES],
    step: [i32; MAX_AXES],
}

/// The axes' numbers, innermost first, in an array as kernels take it.
fn reversed<T>(axes: &[T], of: impl Fn(&T) -> usize) -> [i32; MAX_AXES] {
    let mut to = [0; MAX_AXES];
    // Sizes of a tensor whose number of elements is an `int` fit too.
    to.iter_mut().zip(axes.iter().rev()).for_each(|(to, axis)| *to = of(axis) as i32);
    to
}

fn expect_axes(op: &str, axes: usize) -> Result<()> {
    ensure(op, axes <= MAX_AXES, || format!("the GPU takes at most {MAX_AXES} separate axes, this needs {axes}"))
}

/// A thread for each of `n` words: the kernel's first arguments are input, output, `n`.
fn over_words(kernel: &str, n: usize) -> Launch {
    Launch::new(SOURCE, kernel).over(n).input(0).output(0).int(n)
}

fn slice_axes(slice: &Slice, whole: (usize, usize, usize)) -> SliceAxes {
    let (_, extent, after) = whole;
    let Slice { start, len, step, .. } = *slice;
    let [extent, after, start, len, step] = [extent, after, start, len, step].map(|size| size as i32);
    SliceAxes { extent, after, start, len, step }
}

pub(super) fn slice(slice: &Slice, types: &Types<'_>) -> Work {
    let axes = slice_axes(slice, around(&types.inputs[0].shape, slice.axis));
    let kernel = if types.outputs[0].dtype == DType::Bf16 { "slice_b16" } else { "slice_b32" };
    Work::of(over_words(kernel, types.outputs[0].len()).structure(&axes))
}

pub(super) fn slice_grad(slice: &Slice, types: &Types<'_>) -> Work {
    let axes = slice_axes(slice, around(&types.outputs[0].shape, slice.axis));
    let n = types.outputs[0].len();
    let launch = Launch::stored(SOURCE, "slice_grad", types.outputs[0].dtype).over(n).input(0).output(0).int(n);
    Work::of(launch.structure(&axes))
}

pub(super) fn concat(axis: usize, types: &Types<'_>) -> Work {
    let (_, extent, after) = around(&types.outputs[0].shape, axis);
    let mut work = Work::new();
    let mut start = 0;
    for (i, x) in types.inputs.iter().enumerate().filter(|(_, x)| !x.is_empty()) {
        let run = x.shape[axis] * after;
        let launch = Launch::new(SOURCE, "concat_b32").over(x.len()).input(i).output(0);
        work.launch(launch.int(x.len()).int(run).int(extent * after).int(start));
        start += run;
    }
    work
}

pub(super) fn pad(op: &str, padding: &[[usize; 2]], bits: u32, types: &Types<'_>) -> Result<Work> {
    // (extent of y, extent of x, before), an axis without padding joined to the one before it.
    let mut axes: Vec<[usize; 3]> = Vec::new();
    for ((&x, &y), [before, _]) in types.inputs[0].shape.iter().zip(types.outputs[0].shape.iter()).zip(padding) {
        match axes.last_mut() {
            Some(last) if x == y => last.iter_mut().for_each(|size| *size *= x),
            _ => axes.push([y, x, *before]),
        }
    }
    expect_axes(op, axes.len())?;
    let of = |i: usize| reversed(&axes, |axis| axis[i]);
    let structure = Padding { axes: axes.len() as i32, y: of(0), x: of(1), before: of(2) };
    let launch = over_words("pad_b32", types.outputs[0].len());
    Ok(Work::of(launch.structure(&bits).structure(&structure)))
}

pub(super) fn transpose(op: &str, permutation: &[usize], types: &Types<'_>) -> Result<Work> {
    let n = types.outputs[0].len();
    if n == 0 {
        return Ok(Work::new());
    }
    let axes = super::cpu::merged_permutation(&types.inputs[0].shape, permutation);
    expect_axes(op, axes.len())?;
    let walk = |axes: &[(usize, usize)]| Walk {
        axes: axes.len() as i32,
        extent: reversed(axes, |axis| axis.0),
        step: reversed(axes, |axis| axis.1),
    };
    let contiguous = axes.iter().position(|(_, step)| *step == 1);
    let last = axes.len().wrapping_sub(1);
    match contiguous {
        Some(contiguous) if contiguous != last && axes[contiguous].0.min(axes[last].0) >= TILE_PAYS => {
            let ((columns, _), (rows, row_step)) = (axes[contiguous], axes[last]);
            let extents: Shape = axes.iter().map(|axis| axis.0).collect::<Vec<_>>().into();
            let strides = extents.strides();
            let planes: Vec<usize> = (0..axes.len()).filter(|axis| ![contiguous, last].contains(axis)).collect();
            let x_planes: Vec<_> = planes.iter().map(|axis| axes[*axis]).collect();
            let y_planes: Vec<_> = planes.iter().map(|axis| (axes[*axis].0, strides[*axis])).collect();
            let blocks = n / (rows * columns) * rows.div_ceil(TILE) * columns.div_ceil(TILE);
            let launch = Launch::new(SOURCE, "transpose_b32_tile32").grid(blocks, 1, 1).block(BLOCK);
            let launch = launch.input(0).output(0).int(rows).int(row_step).int(columns).int(strides[contiguous]);
            Ok(Work::of(launch.structure(&walk(&x_planes)).structure(&walk(&y_planes))))
        }
        _ => Ok(Work::of(over_words("transpose_b32", n).structure(&walk(&axes)))),
    }
}

/// `kernel` for images of which the smaller are `[N,H,W,C]`.
pub(super) fn upsample(kernel: &str, small: &Shape, types: &Types<'_>) -> Work {
    let (w, c, n) = (small[2], small[3], types.outputs[0].len());
    let launch = Launch::stored(SOURCE, kernel, types.outputs[0].dtype).over(n).input(0).output(0).int(n);
    Work::of(launch.int(w * c).int(c))
}

pub(super) fn crop_windows(types: &Types<'_>) -> Work {
    let (x, y) = (&types.inputs[0].shape, &types.outputs[0].shape);
    let launch = Launch::new(SOURCE, "crop_windows_f32").over(y.len()).input(0).input(1).output(0).int(y.len());
    Work::of(launch.fields(&[x[1], x[2], x[3], y[2], y[3]], &[]))
}

pub(super) fn gather_rows(types: &Types<'_>) -> Work {
    let (rows, n) = (types.inputs[0].shape[0], types.outputs[0].len());
    let len = n.checked_div(types.inputs[1].len()).unwrap_or(0);
    let launch = Launch::new(SOURCE, "gather_rows_b32").over(n);
    Work::of(launch.input(0).input(1).output(0).int(n).int(rows).int(len))
}

pub(super) fn gather_rows_grad(rows: usize, types: &Types<'_>) -> Work {
    let len = types.outputs[0].len().checked_div(rows).unwrap_or(0);
    if len == 0 {
        return Work::new();
    }
    let launch = Launch::new(SOURCE, "gather_rows_grad_f32").grid(rows, len.div_ceil(BLOCK), 1).block(BLOCK);
    Work::of(launch.input(0).input(1).output(0).int(types.inputs[1].len()).int(len))
}
