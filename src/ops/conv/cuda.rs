//! Convolutions on a GPU: implicit matrix products on the tiles of `kernels/device/gemm.cuh`.

use super::{Fused, Geometry};
use crate::Result;
use crate::device::cuda::{Arg, Divisor, Launch, Target, Types, Work};
use crate::ops::matmul::tiles::{Tiles, int, sum_parts};
use crate::tensor::DType;

/// One spatial axis of a correlation: result `o` reads, for tap `j`, element `o stride + offset + j distance` of the source.
/// Twin of `Axis` in `kernels/device/window.cuh`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Axis {
    results: Divisor,
    taps: Divisor,
    stride: i32,
    offset: i32,
    distance: i32,
    source: i32,
    kernel: i32,
    first_tap: i32,
    tap_step: i32,
    result: i32,
    first_result: i32,
    result_step: i32,
}

/// Axes, and how many results and taps there are on each (a divisor is never zero, they may be).
struct Axes {
    axes: [Axis; 3],
    results: [usize; 3],
    taps: [usize; 3],
}

/// Twin of `Correlation` in `kernels/conv_data.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Correlation {
    axes: [Axis; 3],
    channels: Divisor,
    group: Divisor,
    rows: i32,
    columns: i32,
    depth: i32,
    column_tiles: i32,
    steps: i32,
    parts: i32,
    source_pixels: i32,
    result_pixels: i32,
    relu: i32,
    source_aligned: i32,
    weights_aligned: i32,
    result_aligned: i32,
}

/// Twin of `WeightSums` in `kernels/conv_weights.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct WeightSums {
    axes: [Axis; 3],
    channels: Divisor,
    pixels: Divisor,
    group: Divisor,
    rows: i32,
    columns: i32,
    depth: i32,
    column_tiles: i32,
    steps: i32,
    x_pixels: i32,
    x_aligned: i32,
    dy_aligned: i32,
    unused: i32,
    partial: i64,
}

// SAFETY: 32-bit integers only: no padding.
unsafe impl bytemuck::NoUninit for Correlation {}
// SAFETY: 66 32-bit integers, then a 64-bit one at a multiple of 8: no padding.
unsafe impl bytemuck::NoUninit for WeightSums {}

/// The windows of the convolution itself: results are y's pixels, the source is x.
fn forward(op: &str, g: &Geometry) -> Result<Axes> {
    let axis = |i: usize| {
        Ok(Axis {
            results: Divisor::new(int(op, g.output[i])?),
            taps: Divisor::new(int(op, g.kernel[i])?),
            stride: int(op, g.stride[i])?,
            offset: -int(op, g.before[i])?,
            distance: int(op, g.dilation[i])?,
            source: int(op, g.input[i])?,
            kernel: int(op, g.kernel[i])?,
            first_tap: 0,
            tap_step: 1,
            result: int(op, g.output[i])?,
            first_result: 0,
            result_step: 1,
        })
    };
    Ok(Axes { axes: [axis(0)?, axis(1)?, axis(2)?], results: g.output, taps: g.kernel })
}

/// The windows of the data gradient for those of x's pixels whose index has `rest` under the stride. Pixel `rest + o stride`
/// meets tap k in dy's pixel `(rest + o stride + before - k dilation) / stride` where that is whole: those taps are an
/// arithmetic progression, and the pixels of dy too.
fn backward(op: &str, g: &Geometry, rest: [usize; 3]) -> Result<Axes> {
    let (mut results, mut taps) = ([0; 3], [0; 3]);
    let mut axis = |i: usize| {
        let [before, stride, dilation] = [g.before[i], g.stride[i], g.dilation[i]].map(|value| int(op, value));
        let (before, stride, dilation, rest) = (before?, stride?, dilation?, int(op, rest[i])?);
        let whole = |tap: &i32| (rest + before - tap * dilation) % stride == 0;
        let kernel = int(op, g.kernel[i])?;
        let first_tap = (0..kernel).find(whole);
        let tap_step =
            first_tap.and_then(|first| (first + 1..kernel).find(whole).map(|second| second - first)).unwrap_or(1);
        results[i] = g.input[i].saturating_sub(rest as usize).div_ceil(g.stride[i]);
        taps[i] = (0..kernel).filter(whole).count();
        let first_tap = first_tap.unwrap_or(0);
        Ok(Axis {
            results: Divisor::new(int(op, results[i])?),
            taps: Divisor::new(int(op, taps[i])?),
            stride: 1,
            offset: (rest + before - first_tap * dilation) / stride,
            distance: -(tap_step * dilation / stride),
            source: int(op, g.output[i])?,
            kernel,
            first_tap,
            tap_step,
            result: int(op, g.input[i])?,
            first_result: rest,
            result_step: stride,
        })
    };
    Ok(Axes { axes: [axis(0)?, axis(1)?, axis(2)?], results, taps })
}

/// The same convolution as one of a single tap where a window covers the whole input: a dense layer.
fn dense(g: &Geometry) -> Geometry {
    let covers = |i: usize| {
        g.output[i] == 1 && g.before[i] == 0 && g.kernel[i] == g.input[i] && (g.dilation[i] == 1 || g.kernel[i] == 1)
    };
    if !(0..3).all(covers) {
        return *g;
    }
    let one = [1; 3];
    Geometry { cin: g.taps() * g.cin, input: one, kernel: one, output: one, stride: one, dilation: one, ..*g }
}

/// What the launches of a correlation share.
struct Data<'a> {
    op: &'a str,
    target: &'a Target,
    kernel: &'a str,
    n: usize,
    /// Channels of source and result.
    channels: [usize; 2],
    /// Pixels of a map of the source and of the result.
    pixels: [usize; 2],
    /// Element types of the source and of the result.
    dtypes: [DType; 2],
    fused: Fused,
    groups: usize,
    relu: bool,
}

impl Data<'_> {
    /// The launches for some of the result's pixels; partial sums at the start of the scratch.
    fn add(&self, work: &mut Work, axes: &Axes) -> Result<()> {
        let op = self.op;
        let [channels, columns] = self.channels;
        let rows = self.n * axes.results.iter().product::<usize>();
        let depth = axes.taps.iter().product::<usize>() * channels;
        if rows * columns == 0 {
            return Ok(());
        }
        let tiles = Tiles::new(op, self.target, 1, rows, columns, depth)?;
        let aligned = |channels: usize| i32::from(channels % 4 == 0);
        let shape = Correlation {
            axes: axes.axes,
            channels: Divisor::new(int(op, channels)?),
            group: Divisor::new(int(op, self.n / self.groups)?),
            rows: int(op, rows)?,
            columns: int(op, columns)?,
            depth: int(op, depth)?,
            column_tiles: tiles.columns,
            steps: tiles.steps,
            parts: tiles.parts,
            source_pixels: int(op, self.pixels[0])?,
            result_pixels: int(op, self.pixels[1])?,
            relu: i32::from(self.relu),
            source_aligned: aligned(channels),
            weights_aligned: aligned(columns),
            result_aligned: aligned(columns),
        };
        let optional = |index: Option<usize>| index.map_or(Arg::Null, Arg::Input);
        let finish = |launch: Launch| {
            let f = self.fused;
            let fused = [f.bias_index(), f.residual_index(), f.mask_index(), f.counts_index()];
            fused.into_iter().fold(launch, |launch, index| launch.arg(optional(index))).output(0)
        };
        let partial = tiles.partial_bytes(rows * columns);
        work.scratch = work.scratch.max(partial);
        let partial = if partial > 0 { Arg::Scratch(0) } else { Arg::Null };
        let [source, result] = self.dtypes;
        let product = tiles.launch("conv_data", self.kernel).element("SOURCE", source).element("RESULT", result);
        let module = product.module.clone();
        let launch = finish(product.input(0).input(1));
        work.launch(launch.arg(partial.clone()).structure(&shape));
        if tiles.parts > 1 {
            let launch = Launch::new("conv_data", "conv_finish_f32").over(rows * columns);
            // The same module as the product's.
            let launch = Launch { module, ..launch };
            work.launch(finish(launch.arg(partial)).structure(&shape));
        }
        Ok(())
    }
}

/// Groups of the counts, one without.
fn groups(types: &Types<'_>, counts: Option<usize>) -> usize {
    counts.map_or(1, |index| types.inputs[index].len()).max(1)
}

pub(super) fn fprop(
    op: &str,
    g: &Geometry,
    target: &Target,
    types: &Types<'_>,
    fused: Fused,
    relu: bool,
) -> Result<Work> {
    let g = &dense(g);
    let data = Data {
        op,
        target,
        kernel: "conv_fprop",
        n: g.n,
        channels: [g.cin, g.cout],
        pixels: [g.input_pixels(), g.output_pixels()],
        dtypes: [types.inputs[0].dtype, types.outputs[0].dtype],
        fused,
        groups: groups(types, fused.counts_index()),
        relu,
    };
    let mut work = Work::new();
    data.add(&mut work, &forward(op, g)?)?;
    Ok(work)
}

pub(super) fn dgrad(
    op: &str,
    g: &Geometry,
    target: &Target,
    types: &Types<'_>,
    fused: Fused,
    relu: bool,
) -> Result<Work> {
    let g = &dense(g);
    let data = Data {
        op,
        target,
        kernel: "conv_dgrad",
        n: g.n,
        channels: [g.cout, g.cin],
        pixels: [g.output_pixels(), g.input_pixels()],
        dtypes: [types.inputs[0].dtype, types.outputs[0].dtype],
        fused,
        groups: groups(types, fused.counts_index()),
        relu,
    };
    let mut work = Work::new();
    for t in 0..g.stride[0].min(g.input[0]) {
        for y in 0..g.stride[1].min(g.input[1]) {
            for x in 0..g.stride[2].min(g.input[2]) {
                data.add(&mut work, &backward(op, g, [t, y, x])?)?;
            }
        }
    }
    Ok(work)
}

pub(super) fn wgrad(op: &str, g: &Geometry, target: &Target, types: &Types<'_>, counts: Option<usize>) -> Result<Work> {
    let g = &dense(g);
    let (rows, columns, depth) = (g.taps() * g.cin, g.cout, g.n * g.output_pixels());
    let elements = rows * columns;
    let mut work = Work::new();
    let tiles = Tiles::new(op, target, 1, rows, columns, depth)?;
    let scratch = work.take_scratch(tiles.partial_bytes(elements));
    let aligned = |channels: usize| i32::from(channels % 4 == 0);
    let shape = WeightSums {
        axes: forward(op, g)?.axes,
        channels: Divisor::new(int(op, g.cin)?),
        pixels: Divisor::new(int(op, g.output_pixels())?),
        group: Divisor::new(int(op, g.n / groups(types, counts))?),
        rows: int(op, rows)?,
        columns: int(op, columns)?,
        depth: int(op, depth)?,
        column_tiles: tiles.columns,
        steps: tiles.steps,
        x_pixels: int(op, g.input_pixels())?,
        x_aligned: aligned(g.cin),
        dy_aligned: aligned(g.cout),
        unused: 0,
        partial: if tiles.parts > 1 { elements as i64 } else { 0 },
    };
    let to = if tiles.parts > 1 { Arg::Scratch(scratch) } else { Arg::Output(0) };
    let launch = tiles.launch("conv_weights", "conv_wgrad").element("SOURCE", types.inputs[0].dtype);
    let launch = launch.element("UPSTREAM", types.inputs[1].dtype).input(0).input(1);
    let launch = launch.arg(counts.map_or(Arg::Null, Arg::Input)).arg(to);
    work.launch(launch.structure(&shape));
    if tiles.parts > 1 {
        sum_parts(&mut work, tiles.parts, elements, scratch, Arg::Output(0));
    }
    Ok(work)
}
