//! CPU bodies of max pooling: contiguous runs of channels against each other.

use super::MaxPool;
use crate::device::Cpu;
use crate::device::cpu::SendPtr;
use crate::ops::per_isa::per_isa;
use crate::tensor::Shape;

/// Elements of one task.
const CHUNK: usize = 16 * 1024;
/// Channels whose best entries are kept in registers in the backward pass.
const LANES: usize = 64;

/// One spatial axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    pub(super) extent: usize,
    pub(super) output: usize,
    pub(super) window: usize,
    pub(super) stride: usize,
    pub(super) before: usize,
}

/// The pooling with trailing axes that are not pooled joined to the channels.
#[derive(Debug)]
pub(super) struct Geometry {
    pub(super) axes: Vec<Axis>,
    samples: usize,
    /// Elements of a contiguous run.
    pub(super) run: usize,
}

impl Geometry {
    pub(super) fn new(pool: &MaxPool, x: &Shape, y: &Shape) -> Self {
        let mut axes: Vec<Axis> = (0..pool.window.len())
            .map(|i| Axis {
                extent: x[i + 1],
                output: y[i + 1],
                window: pool.window[i],
                stride: pool.stride[i],
                before: pool.padding[i][0],
            })
            .collect();
        let mut run = x.last();
        while let Some(last) = axes.last().filter(|axis| axis.window == 1 && axis.stride == 1) {
            run *= last.extent;
            axes.pop();
        }
        Self { axes, samples: x[0], run }
    }

    fn inputs(&self) -> usize {
        self.axes.iter().map(|axis| axis.extent).product()
    }

    fn outputs(&self) -> usize {
        self.axes.iter().map(|axis| axis.output).product()
    }

    fn window(&self) -> usize {
        self.axes.iter().map(|axis| axis.window).product()
    }

    /// The entry of `x` (in runs, within a sample) under tap `tap` of the window of output `output`; `None` in padding.
    #[inline(always)]
    fn tap(&self, output: usize, tap: usize) -> Option<usize> {
        let (mut output, mut tap, mut at, mut step) = (output, tap, 0, 1);
        for axis in self.axes.iter().rev() {
            let i = (output % axis.output * axis.stride + tap % axis.window).wrapping_sub(axis.before);
            if i >= axis.extent {
                return None;
            }
            at += i * step;
            step *= axis.extent;
            output /= axis.output;
            tap /= axis.window;
        }
        Some(at)
    }
}

per_isa! {
    fn keep_larger[](x: &[f32], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            // Written so that NaN passes through.
            *y = if *x > *y || x.is_nan() { *x } else { *y };
        }
    }
}

pub(super) fn max_pool(cpu: &Cpu, geometry: &Geometry, x: &[f32], y: &mut [f32]) {
    let (run, window, outputs) = (geometry.run, geometry.window(), geometry.outputs());
    let sample = geometry.inputs() * run;
    // A task is several whole runs, or a piece of one.
    let piece = run.min(CHUNK / 4);
    let pieces = if run == 0 { return } else { run.div_ceil(piece) };
    let runs_per_task = (CHUNK / 4 / run).max(1);
    let rows = geometry.samples * outputs;
    let out = SendPtr(y.as_mut_ptr());
    cpu.parallel(rows.div_ceil(runs_per_task) * pieces, |task, _| {
        let start = task % pieces * piece;
        let len = piece.min(run - start);
        let first = task / pieces * runs_per_task;
        for row in first..rows.min(first + runs_per_task) {
            // SAFETY: every piece of every run is one task's own.
            let y = unsafe { std::slice::from_raw_parts_mut(out.get().add(row * run + start), len) };
            let x = &x[row / outputs * sample..][..sample];
            y.fill(f32::NEG_INFINITY);
            for tap in 0..window {
                if let Some(at) = geometry.tap(row % outputs, tap) {
                    keep_larger(cpu.isa(), &x[at * run + start..][..len], y);
                }
            }
        }
    });
}

per_isa! {
    /// Hands `dy` of up to `LANES` channels of one window to the first largest entry of each.
    fn hand_back[](geometry: &Geometry, output: usize, start: usize, x: &[f32], dy: &[f32], dx: &mut [f32]) {
        let (run, len) = (geometry.run, dy.len());
        let mut best = [f32::NEG_INFINITY; LANES];
        let mut winner = [u32::MAX; LANES];
        for tap in 0..geometry.window() {
            let Some(at) = geometry.tap(output, tap) else { continue };
            let x = &x[at * run + start..][..len];
            for ((best, winner), x) in best.iter_mut().zip(&mut winner).zip(x) {
                let wins = *x > *best || *winner == u32::MAX;
                *best = if wins { *x } else { *best };
                *winner = if wins { tap as u32 } else { *winner };
            }
        }
        for tap in 0..geometry.window() {
            let Some(at) = geometry.tap(output, tap) else { continue };
            let dx = &mut dx[at * run + start..][..len];
            for ((dx, dy), winner) in dx.iter_mut().zip(dy).zip(&winner) {
                *dx += if *winner == tap as u32 { *dy } else { 0.0 };
            }
        }
    }
}

/// Windows may overlap, so a task owns a band of channels of one sample.
pub(super) fn max_pool_grad(cpu: &Cpu, geometry: &Geometry, x: &[f32], dy: &[f32], dx: &mut [f32]) {
    let (run, outputs, inputs) = (geometry.run, geometry.outputs(), geometry.inputs());
    if run == 0 {
        return;
    }
    let band = (CHUNK / 4 / inputs.max(1)).div_ceil(LANES).max(1) * LANES;
    let bands = run.div_ceil(band);
    let sample = inputs * run;
    let out = SendPtr(dx.as_mut_ptr());
    cpu.parallel(geometry.samples * bands, |task, _| {
        let (n, start) = (task / bands, task % bands * band);
        let len = band.min(run - start);
        // SAFETY: this task touches only channels `start..start + len` of sample `n`; no other task does.
        let dx = unsafe { std::slice::from_raw_parts_mut(out.get().add(n * sample), sample) };
        for row in dx.chunks_exact_mut(run) {
            row[start..start + len].fill(0.0);
        }
        let x = &x[n * sample..][..sample];
        for output in 0..outputs {
            let dy = &dy[(n * outputs + output) * run + start..][..len];
            for (i, dy) in dy.chunks(LANES).enumerate() {
                hand_back(cpu.isa(), geometry, output, start + i * LANES, x, dy, dx);
            }
        }
    });
}
