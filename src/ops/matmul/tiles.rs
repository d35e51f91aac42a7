//! How products are cut into tiles on a GPU: the host side of `kernels/device/gemm.cuh`, for products and convolutions.

use crate::device::cuda::{Arg, Launch, Precision, Target, Work};
use crate::{Error, Result};

/// Threads of a block.
const THREADS: usize = 256;

/// Sums of a tile, and of one where there are many.
const TILE: usize = 4096;
const LARGE_TILE: usize = 8192;

/// Large tiles, or parts of them, for each multiprocessor that make them worth their while.
const LARGE_TILES: usize = 2;

/// Blocks to aim for on each multiprocessor.
const BLOCKS: usize = 4;

/// Steps that make a part worth its while.
const LEAST_STEPS: usize = 8;

/// Cut of a product `[m, k] x [k, n]`, `batch` times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tiles {
    precision: Precision,
    /// Rows and columns of a tile.
    size: [usize; 2],
    /// Tiles along the rows.
    pub rows: i32,
    /// Tiles along the columns.
    pub columns: i32,
    /// Steps of the sums in a part.
    pub steps: i32,
    /// Parts that the sums are cut into; with more than one, partial sums go to scratch.
    pub parts: i32,
    batch: usize,
}

impl Tiles {
    /// The cut for a GPU. Fails if there are more tiles than a grid has blocks.
    pub fn new(op: &str, target: &Target, batch: usize, m: usize, n: usize, k: usize) -> Result<Self> {
        let precision = target.effective_precision();
        let width = match n {
            ..=16 => 16,
            17..=32 => 32,
            _ => 64,
        };
        let depth = if precision == Precision::Bf16 { 32 } else { 16 };
        let steps = k.div_ceil(depth);
        let most_parts = (steps / LEAST_STEPS).max(1);
        let large = batch * m.div_ceil(LARGE_TILE / width) * n.div_ceil(width) * most_parts;
        let large = width == 64 && m > TILE / width && large >= LARGE_TILES * target.multiprocessors as usize;
        let height = if large { LARGE_TILE } else { TILE } / width;
        let (rows, columns) = (m.div_ceil(height), n.div_ceil(width));
        let blocks = batch * rows * columns;
        let wanted = BLOCKS * target.multiprocessors as usize / blocks.max(1);
        let parts = wanted.min(steps / LEAST_STEPS).max(1);
        let each = steps.div_ceil(parts).max(1);
        let parts = steps.div_ceil(each).max(1);
        int(op, blocks)?;
        let [rows, columns, each, parts] = [rows, columns, each, parts].map(|value| int(op, value));
        Ok(Self {
            precision,
            size: [height, width],
            rows: rows?,
            columns: columns?,
            steps: each?,
            parts: parts?,
            batch,
        })
    }

    /// A launch of the variant of `kernel` for this cut.
    pub fn launch(&self, source: &'static str, kernel: &str) -> Launch {
        let Self { precision, size: [height, width], .. } = self;
        let blocks = self.batch * self.rows as usize * self.columns as usize;
        Launch::new(source, format!("{kernel}_{precision}_tile{height}x{width}"))
            .constant("PRECISION", precision)
            .constant("TILE_ROWS", height)
            .constant("TILE_COLUMNS", width)
            .grid(blocks, self.parts as usize, 1)
            .block(THREADS)
    }

    /// Bytes of the partial sums of a result of `elements`; none if there is one part.
    pub fn partial_bytes(&self, elements: usize) -> usize {
        if self.parts > 1 { self.parts as usize * elements * size_of::<f32>() } else { 0 }
    }
}

/// Adds to `work` what puts the parts of `elements` sums together, from scratch at `from` into `to`.
pub(crate) fn sum_parts(work: &mut Work, parts: i32, elements: usize, from: usize, to: Arg) {
    let launch = Launch::new("split", "sum_parts_f32").over(elements);
    work.launch(launch.scratch(from).arg(to).long(elements).int(parts));
}

/// A size as kernels take it. Fails if it is larger than they can count.
pub(crate) fn int(op: &str, value: usize) -> Result<i32> {
    let too_large =
        || Error::op(op, format!("a size of {value} is too large for a GPU (at most 2^31 - 1); split the batch"));
    i32::try_from(value).map_err(|_| too_large())
}
