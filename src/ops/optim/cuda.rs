//! CUDA launches of the optimizers; the kernels are in `kernels/optim.cu`. One launch works on up to `TENSORS` tensors.

use bytemuck::{NoUninit, Zeroable};

use super::{AdamAttrs, SgdAttrs};
use crate::Result;
use crate::device::cuda::{Arg, Launch, Types, Work};
use crate::ops::ensure;
use crate::tensor::TensorType;

const SOURCE: &str = "optim";
/// Tensors of one launch, as the kernels have it.
const TENSORS: usize = 512;
/// Values that a block works on.
const CHUNK: usize = 4096;
const FLOAT: usize = size_of::<f32>();
const DOUBLE: usize = size_of::<f64>();

/// How tensors are cut into chunks; see `kernels/optim.cu`.
#[repr(C)]
#[derive(Clone, Copy, NoUninit, Zeroable)]
struct Table {
    tensors: i64,
    end: [i32; TENSORS],
    length: [i64; TENSORS],
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct AdamConstants {
    beta1: f32,
    beta2: f32,
    epsilon: f32,
}

/// A number for each tensor.
#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Factors {
    of: [f32; TENSORS],
}

/// Tensors that one launch works on: which, and how they are cut.
struct Batch {
    tensors: std::ops::Range<usize>,
    table: Table,
    chunks: usize,
}

/// Cuts tensors into as few batches as there must be.
fn batches(op: &str, tensors: &[TensorType]) -> Result<Vec<Batch>> {
    let mut batches = Vec::new();
    for (i, part) in tensors.chunks(TENSORS).enumerate() {
        let mut table = Table { tensors: part.len() as i64, ..Table::zeroed() };
        let mut chunks = 0;
        for (slot, tensor) in part.iter().enumerate() {
            table.length[slot] = tensor.len() as i64;
            chunks += tensor.len().div_ceil(CHUNK);
            table.end[slot] = i32::try_from(chunks).unwrap_or(i32::MAX);
        }
        ensure(op, chunks < i32::MAX as usize, || format!("{chunks} chunks of {CHUNK} values are too many for a GPU"))?;
        let tensors = i * TENSORS..i * TENSORS + part.len();
        batches.push(Batch { tensors, table, chunks });
    }
    batches.retain(|batch| batch.chunks > 0);
    Ok(batches)
}

impl Batch {
    fn launch(&self, kernel: &str) -> Launch {
        Launch::new(SOURCE, kernel).grid(self.chunks, 1, 1)
    }

    /// The batch's part of numbers, one for each tensor; zeros where there are none.
    fn factors(&self, all: &[f32]) -> Factors {
        let mut factors = Factors { of: [0.0; TENSORS] };
        let own = all.get(self.tensors.clone()).unwrap_or_default();
        factors.of[..own.len()].copy_from_slice(own);
        factors
    }

    /// The sums of squares of the batch's chunks, from number `first` of `sums` on. Parameters follow the gradients in the inputs if
    /// there are factors.
    fn norms(&self, factors: &[f32], sums: usize, first: usize) -> Launch {
        self.penalised("norms_f32", factors).scratch(sums).int(first).structure(&self.table)
    }

    /// A launch on gradients, with parameters and factors where they are penalised.
    fn penalised(&self, kernel: &str, factors: &[f32]) -> Launch {
        let parameters = if factors.is_empty() { Vec::new() } else { self.group(Arg::Input, factors.len()) };
        let launch = self.launch(kernel).pointers(self.group(Arg::Input, 0), TENSORS);
        launch.pointers(parameters, TENSORS).structure(&self.factors(factors))
    }

    /// The batch's tensors of the group that begins at input or output `first`.
    fn group(&self, of: fn(usize) -> Arg, first: usize) -> Vec<Arg> {
        self.tensors.clone().map(|tensor| of(first + tensor)).collect()
    }
}

pub(super) fn sgd(op: &str, attrs: &SgdAttrs, factors: &[f32], types: &Types<'_>) -> Result<Work> {
    let (mut work, n) = (Work::new(), factors.len());
    for batch in batches(op, &types.outputs[..n])? {
        let launch = batch.launch("sgd_f32").input(0).input(1).pointers(batch.group(Arg::Output, 0), TENSORS);
        let launch = launch.pointers(batch.group(Arg::Input, 2 + n), TENSORS);
        let launch = launch.pointers(batch.group(Arg::Output, n), TENSORS);
        work.launch(launch.float(attrs.momentum).structure(&batch.factors(factors)).structure(&batch.table));
    }
    Ok(work)
}

pub(super) fn adam(op: &str, attrs: &AdamAttrs, decays: &[f32], types: &Types<'_>) -> Result<Work> {
    let AdamAttrs { beta1, beta2, epsilon } = *attrs;
    let constants = AdamConstants { beta1, beta2, epsilon };
    let (mut work, n) = (Work::new(), decays.len());
    for batch in batches(op, &types.outputs[..n])? {
        let launch = (0..3).fold(batch.launch("adam_f32"), Launch::input);
        let launch = launch.pointers(batch.group(Arg::Output, 0), TENSORS);
        let launch = launch.pointers(batch.group(Arg::Input, 3 + n), TENSORS);
        let launch = launch.pointers(batch.group(Arg::Output, n), TENSORS);
        let launch = launch.pointers(batch.group(Arg::Output, 2 * n), TENSORS);
        work.launch(launch.structure(&constants).structure(&batch.factors(decays)).structure(&batch.table));
    }
    Ok(work)
}

pub(super) fn global_norm(op: &str, factors: &[f32], types: &Types<'_>) -> Result<Work> {
    let gradients = if factors.is_empty() { types.inputs } else { &types.inputs[..factors.len()] };
    let batches = batches(op, gradients)?;
    let total: usize = batches.iter().map(|batch| batch.chunks).sum();
    let mut work = Work::new();
    let sums = work.take_scratch(total * DOUBLE);
    let mut first = 0;
    for batch in &batches {
        work.launch(batch.norms(factors, sums, first));
        first += batch.chunks;
    }
    work.launch(Launch::new(SOURCE, "global_norm_f32").scratch(sums).int(total).output(0));
    Ok(work)
}

pub(super) fn clip_scale(limit: f32) -> Work {
    Work::of(Launch::new(SOURCE, "clip_scale_f32").block(32).input(0).output(0).float(limit))
}

pub(super) fn clip_per_tensor(op: &str, limit: f32, factors: &[f32], types: &Types<'_>) -> Result<Work> {
    let mut work = Work::new();
    for batch in batches(op, types.outputs)? {
        let sums = work.take_scratch(batch.chunks * DOUBLE);
        let scales = work.take_scratch(batch.tensors.len() * FLOAT);
        work.launch(batch.norms(factors, sums, 0));
        let launch = Launch::new(SOURCE, "clip_scales_f32").grid(batch.tensors.len(), 1, 1).scratch(sums);
        work.launch(launch.scratch(scales).float(limit).structure(&batch.table));
        let launch = batch
            .penalised("clip_per_tensor_f32", factors)
            .pointers(batch.group(Arg::Output, 0), TENSORS)
            .scratch(scales);
        work.launch(launch.structure(&batch.table));
    }
    Ok(work)
}
