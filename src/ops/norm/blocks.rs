//! How rows are cut into blocks: by shape alone, so that results do not depend on the number of threads.

use crate::ops::is_valid_row;
use crate::tensor::Shape;

/// Elements of a block.
const CHUNK: usize = 16 * 1024;
/// Rows of a block at least: keeps the partial sums of wide layers small beside the data.
const MIN_ROWS: usize = 64;
/// Width below which several rows are handled side by side.
const MIN_WIDTH: usize = 64;

/// The rows of `[N, ..., C]` in blocks: pieces of one entry of the leading axis, or groups of several whole ones.
#[derive(Clone, Copy, Debug)]
pub(super) struct Blocks {
    pub(super) channels: usize,
    samples: usize,
    sample_rows: usize,
    /// Whole samples in a block.
    group: usize,
    /// Pieces of a sample, and their rows.
    pieces: usize,
    piece_rows: usize,
}

impl Blocks {
    pub(super) fn new(shape: &Shape) -> Self {
        let (samples, channels) = (shape[0], shape.last());
        let sample_rows: usize = shape.dims()[1..shape.rank() - 1].iter().product();
        let rows = (CHUNK / channels.max(1)).max(MIN_ROWS);
        let group = (rows / sample_rows.max(1)).max(1);
        let pieces = sample_rows.div_ceil(rows).max(1);
        Self { channels, samples, sample_rows, group, pieces, piece_rows: sample_rows.div_ceil(pieces) }
    }

    pub(super) fn len(&self) -> usize {
        self.samples.div_ceil(self.group) * self.pieces
    }

    /// Channels times the rows handled side by side.
    pub(super) fn width(&self) -> usize {
        self.channels * MIN_WIDTH.div_ceil(self.channels.max(1))
    }

    /// First row and number of rows of a block.
    pub(super) fn range(&self, block: usize) -> (usize, usize) {
        let (first, piece) = (block / self.pieces * self.group, block % self.pieces);
        let last = self.samples.min(first + self.group);
        let start = piece * self.piece_rows;
        let rows = if self.pieces > 1 {
            self.piece_rows.min(self.sample_rows.saturating_sub(start))
        } else {
            (last - first) * self.sample_rows
        };
        (first * self.sample_rows + start, rows)
    }

    /// Calls `body(first element in the block, elements, valid)` for the runs of rows of a block.
    pub(super) fn runs(&self, block: usize, counts: Option<&[i32]>, mut body: impl FnMut(usize, usize, bool)) {
        let (_, rows) = self.range(block);
        if counts.is_none() {
            return body(0, rows * self.channels, true);
        }
        let first = block / self.pieces * self.group;
        if self.pieces > 1 {
            return body(0, rows * self.channels, is_valid_row(first, self.samples, counts));
        }
        let len = self.sample_rows * self.channels;
        for (i, sample) in (first..self.samples.min(first + self.group)).enumerate() {
            body(i * len, len, is_valid_row(sample, self.samples, counts));
        }
    }

    /// Valid rows of a block.
    pub(super) fn block_rows(&self, block: usize, counts: Option<&[i32]>) -> usize {
        let mut elements = 0;
        self.runs(block, counts, |_, len, valid| elements += if valid { len } else { 0 });
        elements / self.channels.max(1)
    }

    /// Valid rows of all.
    pub(super) fn valid_rows(&self, counts: Option<&[i32]>) -> usize {
        crate::ops::count_valid(self.samples, counts) * self.sample_rows
    }
}
