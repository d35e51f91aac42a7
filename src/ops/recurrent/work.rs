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
        (self.n * self.directions / 8).clamp(4, MAX_GROUP).min(self.n.max(1))
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

/// Two packed products in one buffer, for every direction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packed {
    units: usize,
    transposed: bool,
}

impl Packed {
    /// `h U_zr` and `h U_h`.
    pub(super) fn forward(units: usize) -> Self {
        Self { units, transposed: false }
    }

    /// `d_zr U_zr^T` and `d_h U_h^T`.
    pub(super) fn backward(units: usize) -> Self {
        Self { units, transposed: true }
    }

    /// Elements of each part.
    fn lens(&self) -> [usize; 2] {
        let u = self.units;
        let len = |k, n| gemm::packed_len(k, n).next_multiple_of(16);
        if self.transposed { [len(2 * u, u), len(u, u)] } else { [len(u, 2 * u), len(u, u)] }
    }

    /// Bytes for one direction.
    pub(super) fn bytes(&self) -> usize {
        Scratch::bytes::<f32>(self.lens().iter().sum())
    }

    pub(super) fn fill(&self, cpu: &Cpu, weights: &[&[f32]], packed: &mut [u8]) {
        let (u, [zr, h]) = (self.units, self.lens());
        let runs = Disjoint::new(bytemuck::cast_slice_mut::<u8, f32>(packed), self.bytes() / 4);
        cpu.parallel(weights.len(), |direction, _| {
            // SAFETY: one run for each direction.
            let (to_zr, to_h) = unsafe { runs.run(direction) }.split_at_mut(zr);
            let (isa, weight) = (cpu.isa(), weights[direction]);
            let transposed = self.transposed;
            let (zr_extents, h_extents) = if transposed { ((2 * u, u), (u, u)) } else { ((u, 2 * u), (u, u)) };
            let used = |(k, n)| gemm::packed_len(k, n);
            gemm::pack_b(isa, weight, 3 * u, transposed, zr_extents.0, zr_extents.1, &mut to_zr[..used(zr_extents)]);
            let weight = weight.get(2 * u..).unwrap_or(&[]);
            gemm::pack_b(isa, weight, 3 * u, transposed, h_extents.0, h_extents.1, &mut to_h[..h][..used(h_extents)]);
        });
    }

    /// The two parts of a direction.
    pub(super) fn parts<'a>(&self, packed: &'a [u8], direction: usize) -> [&'a [f32]; 2] {
        let all: &[f32] = bytemuck::cast_slice(&packed[direction * self.bytes()..][..self.bytes()]);
        let [zr, h] = self.lens();
        [&all[..zr], &all[zr..zr + h]]
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
