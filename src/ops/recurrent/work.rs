//! What the passes of a GRU share: extents, packed recurrent weights, groups of sequences.

use crate::device::Cpu;
use crate::ops::disjoint::Disjoint;
use crate::ops::matmul::gemm;
use crate::ops::{Scratch, is_valid_row};

/// Most sequences that one task carries through time together.
pub(super) const MAX_GROUP: usize = 16;

#[derive(Clone, Copy, Debug)]
pub(super) struct Extents {
    pub(super) directions: usize,
    pub(super) n: usize,
    pub(super) t: usize,
    pub(super) units: usize,
}

impl Extents {
    /// Sequences of a task: few enough to feed several threads, enough to reuse each weight that is loaded.
    pub(super) fn group(&self) -> usize {
        // Small layers do too little in a step to be spread widely.
        let tasks = if self.units < 128 { 4 } else { 8 };
        (self.n * self.directions / tasks).clamp(4, MAX_GROUP).min(self.n.max(1))
    }

    /// Whether one sequence in one direction is all there is.
    pub(super) fn is_single(&self) -> bool {
        self.n * self.directions == 1
    }

    fn groups(&self) -> usize {
        self.n.div_ceil(self.group())
    }

    /// Runs `body(direction, valid rows, worker)` for every direction and every group that has a valid row.
    pub(super) fn for_groups(&self, cpu: &Cpu, counts: Option<&[i32]>, body: impl Fn(usize, &[usize], usize) + Sync) {
        cpu.parallel(self.directions * self.groups(), |task, worker| {
            let (direction, first) = (task % self.directions, task / self.directions * self.group());
            let mut rows = [0; MAX_GROUP];
            let mut count = 0;
            for row in first..self.n.min(first + self.group()) {
                if is_valid_row(row, self.n, counts) {
                    rows[count] = row;
                    count += 1;
                }
            }
            if count > 0 {
                body(direction, &rows[..count], worker);
            }
        });
    }

    /// Zeros the rows of `to [blocks, N, ..]` that are not valid.
    pub(super) fn clear_invalid(&self, counts: Option<&[i32]>, to: &mut [f32], blocks: usize) {
        let len = to.len() / (blocks * self.n).max(1);
        if counts.is_none() || len == 0 {
            return;
        }
        for (row, to) in to.chunks_exact_mut(len).enumerate() {
            if !is_valid_row(row % self.n, self.n, counts) {
                to.fill(0.0);
            }
        }
    }
}

/// Packed recurrent weights of every direction: all gates in one product with `reset_after`; otherwise z and r in one and
/// h in another, which has to wait for r.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packed {
    units: usize,
    transposed: bool,
    whole: bool,
}

impl Packed {
    /// `h U`, or `h U_zr` and `(r h) U_h`.
    pub(super) fn forward(units: usize, reset_after: bool) -> Self {
        Self { units, transposed: false, whole: reset_after }
    }

    /// `d U^T`, or `d_zr U_zr^T` and `d_h U_h^T`.
    pub(super) fn backward(units: usize, reset_after: bool) -> Self {
        Self { units, transposed: true, whole: reset_after }
    }

    /// First column and number of columns of U in each product.
    fn columns(&self) -> [(usize, usize); 2] {
        let u = self.units;
        if self.whole { [(0, 3 * u), (3 * u, 0)] } else { [(0, 2 * u), (2 * u, u)] }
    }

    /// Length of the sums and columns of a product that takes `columns` columns of U.
    fn extents(&self, columns: usize) -> (usize, usize) {
        if self.transposed { (columns, self.units) } else { (self.units, columns) }
    }

    /// Elements of each part.
    fn lens(&self) -> [usize; 2] {
        self.columns().map(|(_, columns)| {
            let (k, n) = self.extents(columns);
            if columns == 0 { 0 } else { gemm::packed_len(k, n) }
        })
    }

    /// Bytes for one direction.
    pub(super) fn bytes(&self) -> usize {
        self.lens().map(Scratch::bytes::<f32>).iter().sum()
    }

    pub(super) fn fill(&self, cpu: &Cpu, weights: &[&[f32]], packed: &mut [u8]) {
        if self.units == 0 {
            return;
        }
        let runs = Disjoint::new(packed, self.bytes());
        cpu.parallel(weights.len(), |direction, _| {
            // SAFETY: one run for each direction.
            let mut scratch = Scratch::new(unsafe { runs.run(direction) });
            for ((start, columns), len) in self.columns().into_iter().zip(self.lens()).filter(|(_, len)| *len > 0) {
                let ((k, n), to) = (self.extents(columns), scratch.take::<f32>(len));
                gemm::pack_b(cpu.isa(), &weights[direction][start..], 3 * self.units, self.transposed, k, n, to);
            }
        });
    }

    /// The products of a direction; the second is empty with `reset_after`.
    pub(super) fn parts<'a>(&self, packed: &'a [u8], direction: usize) -> [Swing<'a>; 2] {
        let mut rest: &[f32] = bytemuck::cast_slice(&packed[direction * self.bytes()..][..self.bytes()]);
        let lens = self.lens();
        [0, 1].map(|part| {
            let (k, n) = self.extents(self.columns()[part].1);
            let swing = Swing { packed: &rest[..lens[part]], k, n };
            rest = &rest[Scratch::bytes::<f32>(lens[part]) / 4..];
            swing
        })
    }
}

/// A product of a few rows with packed weights that swing: every other step goes through the weights backwards, so that
/// those it ended with are still in the cache.
#[derive(Clone, Copy)]
pub(super) struct Swing<'a> {
    pub(super) packed: &'a [f32],
    pub(super) k: usize,
    pub(super) n: usize,
}

impl Swing<'_> {
    /// As [`Swing::run`] for a single row where nothing else keeps the threads busy: each takes a share of the columns. Every column is
    /// one thread's, so the bits do not depend on how many there are.
    pub(super) fn run_spread(&self, cpu: &Cpu, backwards: bool, a: &[f32], c: &mut [f32]) {
        /// Products of a share that take longer than it takes to begin and end a loop over the threads.
        const LEAST: usize = 1 << 18;
        let shares = cpu.threads().min(self.k * self.n / LEAST).max(1);
        let panels = self.n.div_ceil(gemm::PANEL).div_ceil(shares);
        cpu.parallel_chunks(&mut c[..self.n], (panels * gemm::PANEL).max(1), |share, c| {
            let packed = &self.packed[gemm::packed_len(self.k, share * panels * gemm::PANEL)..];
            let part = Swing { packed, k: self.k, n: c.len() };
            part.run(cpu, backwards, false, 1, (a, self.k), (c, self.n), &mut []);
        });
    }

    /// `c (+)= a b` for `m` rows; rows of `a` are `lda` apart, those of `c` `ldc`.
    #[allow(clippy::too_many_arguments, reason = "a matrix product has many")]
    pub(super) fn run(
        &self,
        cpu: &Cpu,
        backwards: bool,
        accumulate: bool,
        m: usize,
        a: (&[f32], usize),
        c: (&mut [f32], usize),
        scratch: &mut [f32],
    ) {
        /// Panels at a time where the rows are too few to keep the processor busy.
        const PIECE: usize = 8;
        let panels = self.n.div_ceil(16);
        let piece = if m < 4 { PIECE } else { panels.max(1) };
        let pieces = panels.div_ceil(piece);
        let (c, ldc) = c;
        for index in 0..pieces {
            let index = if backwards { pieces - 1 - index } else { index };
            let panels = index * piece..panels.min((index + 1) * piece);
            let product = gemm::Gemm { m, k: self.k, n: self.n, panels, accumulate };
            gemm::run(cpu.isa(), &product, a.0, a.1, self.packed, c, ldc, scratch);
        }
    }
}
