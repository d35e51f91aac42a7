//! CPU body. The field is cut into blocks of rows; a task takes one block (and the rows below that its pixels pair with)
//! through all frames, a few frames at a time, so that the smoothed signals never leave the caches.

use super::LOG_ENERGY_FLOOR;
use super::plan::{LANES, Plan, Rows};
use crate::device::Cpu;
use crate::ops::Scratch;
use crate::ops::disjoint::Disjoint;
use crate::ops::per_isa::per_isa;

/// Rows of one task.
const ROWS: usize = 16;
/// Frames smoothed at a time.
const FRAMES: usize = 16;
/// Pairs whose sums are held in registers together.
const GROUP: usize = 6;
/// Vectors along a row whose sums are held in registers together.
const VECTORS: usize = 4;

impl Plan {
    /// A smoothed row of one frame with the zeros before it.
    fn stride(&self) -> usize {
        self.gap + self.row
    }

    /// The smoothed rows of a task: `[ROWS + reach][FRAMES]` of [`Plan::stride`], and zeros after the last.
    fn block_len(&self) -> usize {
        (ROWS + self.reach) * FRAMES * self.stride() + self.gap
    }

    /// Sums over the frames of one row of pixels: `[pairs][row]`.
    fn sums_len(&self) -> usize {
        self.pairs.len() * self.row
    }

    /// Scratch of one thread: means and smoothed rows.
    fn worker_bytes(&self) -> usize {
        Scratch::bytes::<f32>((ROWS + self.reach) * self.width) + Scratch::bytes::<f32>(self.block_len())
    }
}

pub(super) fn scratch_bytes(plan: &Plan, cpu: &Cpu) -> usize {
    Scratch::bytes::<f32>(plan.images * plan.height * plan.sums_len())
        + Scratch::bytes::<f32>(plan.images * 2 * plan.pixels())
        + Scratch::bytes::<f32>(plan.frames)
        + cpu.threads() * plan.worker_bytes()
}

pub(super) fn run(cpu: &Cpu, plan: &Plan, x: &[f32], maps: &mut [f32], scratch: &mut [u8]) {
    let mut scratch = Scratch::new(scratch);
    let sums = scratch.take::<f32>(plan.images * plan.height * plan.sums_len());
    let levels = scratch.take::<f32>(plan.images * 2 * plan.pixels());
    let weights = scratch.take::<f32>(plan.frames);
    let workers = Disjoint::new(scratch.take::<u8>(cpu.threads() * plan.worker_bytes()), plan.worker_bytes());
    plan.mean_weights(weights);

    let blocks = plan.height.div_ceil(ROWS);
    let rows = Disjoint::new(sums, plan.sums_len());
    cpu.parallel(plan.images * blocks, |task, worker| {
        let (image, first) = (task / blocks, task % blocks * ROWS);
        let count = ROWS.min(plan.height - first);
        // SAFETY: blocks of rows are disjoint, workers have scratch of their own.
        let (sums, own) = unsafe { (rows.runs(image * plan.height + first, count), workers.run(worker)) };
        let x = &x[image * plan.recording()..][..plan.recording()];
        sum_products(cpu, plan, x, weights, first, sums, Scratch::new(own));
    });

    let sums = &*sums;
    cpu.parallel_chunks(levels, 2 * plan.pixels(), |image, levels| {
        let energies = |p: usize| {
            let row = image * plan.height + p / plan.width;
            sums[row * plan.sums_len() + p % plan.width] as f64 / plan.frames as f64
        };
        let (inverse, log) = levels.split_at_mut(plan.pixels());
        plan.levels(energies, inverse, log);
    });

    let levels = &*levels;
    cpu.parallel_chunks(maps, plan.width * (plan.maps.len() + 1), |task, maps| {
        let (image, y) = (task / plan.height, task % plan.height);
        let sums = &sums[image * plan.height * plan.sums_len()..][..plan.height * plan.sums_len()];
        let levels = &levels[image * 2 * plan.pixels()..][..2 * plan.pixels()];
        write_maps(plan, sums, levels, y, maps);
    });
}

impl Plan {
    /// From the energies, 1 / sd (0 where sd is 0) and the log energy map; returns the mean energy.
    pub(super) fn levels(&self, energies: impl Fn(usize) -> f64, inverse: &mut [f32], log: &mut [f32]) -> f64 {
        let mean = (0..self.pixels()).map(&energies).sum::<f64>() / self.pixels() as f64;
        for (p, (inverse, log)) in inverse.iter_mut().zip(log).enumerate() {
            let energy = energies(p);
            let variance = energy + self.floor as f64 * mean;
            *inverse = if variance > 0.0 { (1.0 / variance.sqrt()) as f32 } else { 0.0 };
            let relative = if mean > 0.0 { (energy / mean) as f32 } else { 0.0 };
            *log = (relative + LOG_ENERGY_FLOOR).ln();
        }
        mean
    }
}

/// Sums over all frames of the products of every pair, for the rows from `first` on; `sums` is `[rows][pairs][row]`.
fn sum_products(
    cpu: &Cpu,
    plan: &Plan,
    x: &[f32],
    weights: &[f32],
    first: usize,
    sums: &mut [f32],
    scratch: Scratch<'_>,
) {
    let isa = cpu.isa();
    let mut scratch = scratch;
    let rows = (ROWS + plan.reach).min(plan.height - first);
    let means = scratch.take::<f32>(rows * plan.width);
    let block = scratch.take::<f32>(plan.block_len());
    plan.mean(isa, x, first * plan.width, weights, means);
    // What lies outside the field stays zero.
    block.fill(0.0);
    sums.fill(0.0);
    let stride = plan.stride();
    let layout = Rows { width: plan.width, pitch: FRAMES * stride };
    for start in (0..plan.frames).step_by(FRAMES) {
        let frames = FRAMES.min(plan.frames - start);
        for t in 0..frames {
            let y = &mut block[t * stride + plan.gap..];
            plan.smooth(isa, x, start + t, first * plan.width, means, y, layout);
        }
        for (row, sums) in sums.chunks_exact_mut(plan.sums_len()).enumerate() {
            let at = row * FRAMES * stride + plan.gap;
            let shift = |pair: (usize, isize)| (pair.0 * FRAMES * stride) as isize + pair.1;
            // Groups of even size, so that none is left with too few sums to hide the latency of an addition.
            let groups = plan.pairs.len().div_ceil(GROUP);
            let size = plan.pairs.len().div_ceil(groups);
            for (pairs, sums) in plan.pairs.chunks(size).zip(sums.chunks_mut(size * plan.row)) {
                let mut shifts = [0; GROUP];
                pairs.iter().zip(&mut shifts).for_each(|(pair, to)| *to = shift(*pair));
                let track = Track { y: block, at, stride, frames, row: plan.row };
                add_products(isa, track, &shifts[..pairs.len()], sums);
            }
        }
    }
}

/// A row of pixels over a few frames: `row` values from `at`, again every `stride`.
#[derive(Clone, Copy)]
struct Track<'a> {
    y: &'a [f32],
    at: usize,
    stride: usize,
    frames: usize,
    row: usize,
}

per_isa! {
    /// Adds to `sums` (`[shifts][row]`) the products of a track with those `shifts` further, over all its frames.
    fn add_products[](track: Track<'_>, shifts: &[isize], sums: &mut [f32]) {
        match *shifts {
            [a] => track.strips([a], sums),
            [a, b] => track.strips([a, b], sums),
            [a, b, c] => track.strips([a, b, c], sums),
            [a, b, c, d] => track.strips([a, b, c, d], sums),
            [a, b, c, d, e] => track.strips([a, b, c, d, e], sums),
            [a, b, c, d, e, f] => track.strips([a, b, c, d, e, f], sums),
            _ => unreachable!("groups have 1 to GROUP pairs"),
        }
    }
}

impl Track<'_> {
    #[inline(always)]
    fn strips<const K: usize>(self, shifts: [isize; K], sums: &mut [f32]) {
        let mut x = 0;
        while x + VECTORS * LANES <= self.row {
            self.strip::<K, VECTORS>(x, shifts, &mut sums[x..]);
            x += VECTORS * LANES;
        }
        while x < self.row {
            self.strip::<K, 1>(x, shifts, &mut sums[x..]);
            x += LANES;
        }
    }

    /// The pixels from `x` on, `V` vectors of them.
    #[inline(always)]
    fn strip<const K: usize, const V: usize>(self, x: usize, shifts: [isize; K], sums: &mut [f32]) {
        let Track { y, stride, frames, row, .. } = self;
        let at = self.at + x;
        let last = at + (frames - 1) * stride + V * LANES;
        assert!(last <= y.len());
        for shift in shifts {
            assert!(at as isize + shift >= 0 && last as isize + shift <= y.len() as isize);
        }
        let mut totals = [[[0.0f32; LANES]; V]; K];
        for t in 0..frames {
            // SAFETY: within `y`, as asserted for the first and the last frame; arrays of f32 need only be read unaligned.
            let load = |shift: isize| unsafe {
                y.as_ptr().add(at + t * stride).offset(shift).cast::<[[f32; LANES]; V]>().read_unaligned()
            };
            let here = load(0);
            for k in 0..K {
                let there = load(shifts[k]);
                for v in 0..V {
                    for lane in 0..LANES {
                        totals[k][v][lane] += here[v][lane] * there[v][lane];
                    }
                }
            }
        }
        for (total, sums) in totals.iter().zip(sums.chunks_mut(row)) {
            for (sum, total) in sums.iter_mut().zip(total.as_flattened()) {
                *sum += *total;
            }
        }
    }
}

/// All maps of row `y`, from the sums and the levels of the whole image.
fn write_maps(plan: &Plan, sums: &[f32], levels: &[f32], y: usize, maps: &mut [f32]) {
    let (inverse, log) = levels.split_at(plan.pixels());
    let (width, channels) = (plan.width, plan.maps.len() + 1);
    let scale = 1.0 / plan.frames as f32;
    maps.fill(0.0);
    for (channel, map) in plan.maps.iter().enumerate() {
        let Some(map) = map else { continue };
        let there = y as isize + map.dy;
        if there < 0 || there >= plan.height as isize {
            continue;
        }
        let there = there as usize;
        let sums = &sums[if map.opposite { there } else { y } * plan.sums_len() + map.pair * plan.row..][..width];
        let from = (-map.dx).max(0) as usize;
        let to = (width as isize - map.dx).min(width as isize) as usize;
        for x in from..to {
            let other = (x as isize + map.dx) as usize;
            let sum = sums[if map.opposite { other } else { x }] * scale;
            // One factor after the other: the product of both may be out of range where the result is not.
            maps[x * channels + channel] = sum * inverse[y * width + x] * inverse[there * width + other];
        }
    }
    for (x, log) in log[y * width..][..width].iter().enumerate() {
        maps[x * channels + channels - 1] = *log;
    }
}
