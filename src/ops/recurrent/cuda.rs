//! The sequential part of a GRU on a GPU: launches of one step each, captured and replayed with everything else.

use super::cell;
use super::grad::GruScanGrad;
use super::scan::GruScan;
use super::work::Extents;
use crate::device::cuda::{Arg, Divisor, Launch, Types, Work};
use crate::ops::matmul::tiles::int;
use crate::{Error, Result};

/// Threads, sequences and units of a block, as in `kernels/device/gru.cuh`.
const THREADS: usize = 256;
const LINES: usize = 8;
const UNITS: usize = 16;

/// Tile of the transposition in `kernels/gru_grad.cu`.
const TRANSPOSE: usize = 32;

/// Twin of `Step` in `kernels/device/gru.cuh`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Step {
    group: Divisor,
    n: i32,
    steps: i32,
    units: i32,
    directions: i32,
    first_direction: i32,
    now: [i32; 2],
    before: [i32; 2],
    after: [i32; 2],
    hard: i32,
}

// SAFETY: 32-bit integers only: no padding.
unsafe impl bytemuck::NoUninit for Step {}

/// Up to two directions that go side by side.
struct Pair<'a> {
    scan: &'a GruScan,
    extents: Extents,
    /// Sequences in a group of the counts.
    group: i32,
    first: usize,
    count: usize,
}

impl<'a> Pair<'a> {
    /// All pairs. Fails if the extents are too large; there are none if there is nothing to do.
    fn all(op: &str, scan: &'a GruScan, extents: Extents, groups: usize) -> Result<Vec<Self>> {
        let Extents { directions, n, t, units } = extents;
        if n == 0 || units == 0 {
            return Ok(Vec::new());
        }
        if t == 0 {
            return Err(Error::op(op, "needs sequences of at least one step on a GPU"));
        }
        for size in [n, t + 1, directions * units, 4 * units] {
            int(op, size)?;
        }
        let group = int(op, n / groups.max(1))?;
        let pair = |first| Self { scan, extents, group, first, count: (directions - first).min(2) };
        Ok((0..directions).step_by(2).map(pair).collect())
    }

    /// The directions; the second stands for itself and for the one that is missing.
    fn directions(&self) -> [usize; 2] {
        [self.first, self.first + self.count - 1]
    }

    /// One argument for each of two directions.
    fn each(&self, launch: Launch, arg: impl Fn(usize) -> Arg) -> Launch {
        self.directions().into_iter().fold(launch, |launch, direction| launch.arg(arg(direction)))
    }

    /// Step number `step` in the directions' own order; `step = -1` is what comes before the first.
    fn step(&self, step: isize) -> Step {
        let steps = self.extents.t as isize;
        let time = |step: isize| {
            self.directions().map(|direction| match self.scan.reverse[direction] {
                _ if step < 0 || step >= steps => -1,
                true => (steps - 1 - step) as i32,
                false => step as i32,
            })
        };
        Step {
            group: Divisor::new(self.group),
            n: self.extents.n as i32,
            steps: steps as i32,
            units: self.extents.units as i32,
            directions: self.extents.directions as i32,
            first_direction: self.first as i32,
            now: time(step),
            before: time(step - 1),
            after: time(step + 1),
            hard: i32::from(cell::is_hard(self.scan.recurrent_activation)),
        }
    }

    /// A launch over all units, sequences and directions of the pair.
    fn launch(&self, source: &'static str, kernel: &str) -> Launch {
        let Extents { n, units, .. } = self.extents;
        Launch::new(source, kernel).grid(units.div_ceil(UNITS), n.div_ceil(LINES), self.count).block(THREADS)
    }
}

pub(super) fn forward(op: &GruScan, types: &Types<'_>) -> Result<Work> {
    let d = op.directions();
    let extents = op.extents(&types.inputs[0], &types.inputs[d]);
    let initial = if op.initial_state { Arg::Input(op.first_optional()) } else { Arg::Null };
    let counts = op.first_optional() + usize::from(op.initial_state);
    let groups = types.inputs.get(counts).map_or(1, |counts| counts.len());
    let mut work = Work::new();
    let state_bytes = d * extents.n * extents.units * size_of::<f32>();
    let halves = if op.reset_after { None } else { Some([(); 2].map(|()| work.take_scratch(state_bytes))) };
    for pair in Pair::all("gru_scan", op, extents, groups)? {
        for index in 0..extents.t {
            let step = pair.step(index as isize);
            let last = if index + 1 == extents.t { Arg::Output(1) } else { Arg::Null };
            let operands = |kernel: &str| {
                let launch = pair.each(pair.launch("gru", kernel), Arg::Input);
                pair.each(launch, |direction| Arg::Input(d + direction))
            };
            let Some([gate, reset]) = halves else {
                let launch = pair.each(operands("gru_step_after_f32"), |direction| Arg::Input(2 * d + direction));
                let launch = launch.arg(initial.clone()).optional_input(types, counts);
                work.launch(launch.output(0).arg(last).output(2).structure(&step));
                continue;
            };
            let first = operands("gru_step_gates_f32").arg(initial.clone()).optional_input(types, counts);
            work.launch(first.output(0).output(2).scratch(gate).scratch(reset).structure(&step));
            let second = operands("gru_step_candidate_f32").arg(initial.clone()).optional_input(types, counts);
            work.launch(second.scratch(gate).scratch(reset).output(0).arg(last).output(2).structure(&step));
        }
    }
    Ok(work)
}

pub(super) fn backward(op: &GruScanGrad, types: &Types<'_>) -> Result<Work> {
    let (scan, places) = (&op.scan, op.places());
    let d = scan.directions();
    let extents = op.extents(&types.inputs[0], &types.inputs[places.states]);
    let Extents { n, t, units, .. } = extents;
    let groups = types.inputs.get(places.counts).map_or(1, |counts| counts.len());
    let optional = |index: Option<usize>| index.map_or(Arg::Null, Arg::Input);
    let mut work = Work::new();
    let weight_bytes = 3 * units * units * size_of::<f32>();
    let transposed = work.take_scratch(d * weight_bytes);
    let direct = work.take_scratch(d * n * units * size_of::<f32>());
    for pair in Pair::all("gru_scan_grad", scan, extents, groups)? {
        let transposed = transposed + pair.first * weight_bytes;
        let tiles = [3 * units, units].map(|extent| extent.div_ceil(TRANSPOSE));
        let launch = Launch::new("gru_grad", "gru_transpose_f32").grid(tiles[0], tiles[1], pair.count).block(THREADS);
        let launch = pair.each(launch, Arg::Input).scratch(transposed);
        work.launch(launch.int(units).int(3 * units));
        let kernel = if scan.reset_after { "gru_grad_step_after_f32" } else { "gru_grad_step_before_f32" };
        // The initial state's gradient is one more step, with nothing but the product.
        let first = if types.needed[2 * d] { -1 } else { 0 };
        for index in (first..t as isize).rev() {
            let step = pair.step(index);
            let launch = pair.launch("gru_grad", kernel).scratch(transposed);
            let launch = launch.input(places.states).input(places.saved).input(places.dstates);
            let launch = launch.arg(optional(places.dlast)).arg(optional(places.initial));
            let launch = launch.optional_input(types, places.counts);
            let launch = [0, d].into_iter().fold(launch, |launch, kind| pair.each(launch, |at| Arg::Output(kind + at)));
            work.launch(launch.scratch(direct).output(2 * d).structure(&step));
            if !scan.reset_after && index >= 0 {
                let launch = pair.launch("gru_grad", "gru_grad_reset_f32").scratch(transposed);
                let launch = launch.input(places.states).input(places.saved).arg(optional(places.initial));
                let launch = pair.each(launch.optional_input(types, places.counts), Arg::Output);
                work.launch(launch.scratch(direct).structure(&step));
            }
        }
    }
    Ok(work)
}
