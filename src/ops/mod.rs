//! The ops: one folder per family, with attributes, shapes, gradient and cost in `mod.rs` and the body for each kind
//! of device beside it (`cpu.rs`).
//!
//! # Rows and counts
//! What varies in number (proposals, regions, motor units) is padded to a fixed size. Ops that can skip the padding take
//! an optional last input `counts`, `i32 [G]`: the leading axis of the data holds `G` groups of equal size, and row `r`
//! of group `g` is valid if `r < counts[g]`. Outputs of invalid rows are zero. See [`valid_rows`].

pub mod args;
pub mod boxes;
pub mod conv;
pub mod correlation;
pub mod detections;
pub(crate) mod disjoint;
pub mod elementwise;
pub mod loss;
pub mod matmul;
pub mod norm;
pub mod optim;
pub(crate) mod per_isa;
pub mod pool;
pub mod problem;
pub mod proposals;
pub mod random;
pub mod recurrent;
pub mod reduce;
pub mod roi;
pub mod select;
pub mod shape;
pub mod targets;
pub mod unmix;

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

pub use args::{CpuArgs, Input, Output, Scratch};

use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::graph::{GradientContext, Value};
use crate::tensor::TensorType;
use crate::{Error, Result};

/// What running a node once costs, for dumps and rooflines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Floating-point operations; a multiply-accumulate counts two.
    pub flops: u64,
    /// Bytes that must move at least: every input and output once.
    pub bytes: u64,
}

impl Cost {
    /// `flops` operations, and every input and output moved once.
    pub fn new(flops: u64, inputs: &[TensorType], outputs: &[TensorType]) -> Self {
        let bytes = inputs.iter().chain(outputs).map(|ty| ty.bytes() as u64).sum();
        Self { flops, bytes }
    }
}

/// Memory that a node's CPU body needs besides inputs and outputs, in bytes. Both parts arrive 64-byte aligned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Workspace {
    /// Rearranged copies of inputs (packed weights), filled by [`Op::cpu_pack`]. Kept between runs when the inputs named
    /// by [`Op::packed_inputs`] do not change.
    pub packed: usize,
    /// Scratch that is free again when the node has run.
    pub scratch: usize,
}

/// Values of a node that may be kept in memory as bf16: all of them or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Narrow {
    /// Positions among the inputs.
    pub inputs: Vec<usize>,
    /// Positions among the outputs.
    pub outputs: Vec<usize>,
}

impl Narrow {
    /// These inputs and outputs, together.
    pub fn new(inputs: impl IntoIterator<Item = usize>, outputs: impl IntoIterator<Item = usize>) -> Self {
        Self { inputs: inputs.into_iter().collect(), outputs: outputs.into_iter().collect() }
    }
}

/// One kind of computation: attributes (the implementing struct's fields), shapes, gradient, cost, bodies.
///
/// The contract of the bodies: inputs and outputs have the types that [`Op::infer`] gave; every output element is
/// written; results do not depend on the number of threads.
pub trait Op: Debug + Send + Sync + Any {
    /// The op's name in dumps, profiles, benches and errors: lower case, as in `conv_fprop`.
    fn name(&self) -> &'static str;

    /// Output types from input types; checks number, rank, extents and element types, naming what was expected.
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>>;

    /// Appends nodes that compute the gradient of every needed input; `None` where there is none.
    fn gradient(&self, context: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        let _ = context;
        Err(Error::op(self.name(), "has no gradient"))
    }

    /// An op and its inputs, out of this node's inputs and outputs, that makes output 0 again, bit for bit and cheaply: so that it
    /// need not be kept until a gradient reads it (see [`crate::graph::Graph::recompute`]). `None` where keeping it is better.
    fn again(&self, inputs: &[Value], outputs: &[Value]) -> Option<(Arc<dyn Op>, Vec<Value>)> {
        let _ = (inputs, outputs);
        None
    }

    /// Operations and bytes of one run.
    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::new(outputs.first().map_or(0, |ty| ty.len() as u64), inputs, outputs)
    }

    /// For an op made of others: what it computes, for dumps, as in `relu(add(x0, x1))` with `x0` the first input.
    fn formula(&self) -> Option<String> {
        None
    }

    /// Outputs that overwrite a variable, as (output, input): input is the variable's old value. The body gets that input
    /// empty and finds the old value in the output.
    fn updates(&self) -> Vec<(usize, usize)> {
        Vec::new()
    }

    /// Outputs that the body can do without: when nothing reads them it gets them empty.
    fn optional_outputs(&self) -> Vec<usize> {
        Vec::new()
    }

    /// Inputs whose memory output 0 may take over, where their types agree: the plan gives it that of the first which nothing
    /// reads any more. The body then gets that input empty and finds its values in the output.
    fn in_place(&self) -> &'static [usize] {
        &[]
    }

    /// Whether output 0 is input 0 under another shape: the plan shares the memory and the body is never called.
    fn is_view(&self) -> bool {
        false
    }

    /// Memory that the CPU body needs.
    fn cpu_workspace(&self, cpu: &Cpu, inputs: &[TensorType], outputs: &[TensorType]) -> Workspace {
        let _ = (cpu, inputs, outputs);
        Workspace::default()
    }

    /// The inputs that [`Op::cpu_pack`] reads.
    fn packed_inputs(&self) -> Vec<usize> {
        Vec::new()
    }

    /// Fills `packed` from the inputs of [`Op::packed_inputs`] (the others may be empty). Called before
    /// [`Op::cpu_run`], once for constant inputs and before every run otherwise.
    fn cpu_pack(&self, cpu: &Cpu, inputs: &[Input<'_>], packed: &mut [u8]) {
        let _ = (cpu, inputs, packed);
    }

    /// The variant that [`Op::cpu_run`] takes for these types, as in `conv_fprop_f32_avx512`.
    fn cpu_kernel(&self, cpu: &Cpu, inputs: &[TensorType], outputs: &[TensorType]) -> String {
        let _ = (inputs, outputs);
        format!("{}_{}", self.name(), cpu.isa())
    }

    /// Which values of the node a GPU may keep in memory as bf16, since its CUDA body takes them so. Where it does
    /// (see [`Plan`](crate::graph::Plan)), the types given to [`Op::cuda`] say so. Each entry goes by itself.
    fn narrow(&self, inputs: &[TensorType]) -> Vec<Narrow> {
        let _ = inputs;
        Vec::new()
    }

    /// What the op asks of a GPU in one run: launches with grids and arguments, and scratch. Depends on nothing but the
    /// arguments. Fails where the op cannot run on a GPU.
    fn cuda(&self, target: &Target, types: &Types<'_>) -> Result<Work> {
        let _ = (target, types);
        Err(Error::op(self.name(), "has no CUDA kernel"))
    }

    /// Computes the outputs on the CPU.
    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()>;
}

/// Checks the number of inputs.
pub fn expect_inputs(op: &str, inputs: &[TensorType], expected: std::ops::RangeInclusive<usize>) -> Result<()> {
    if expected.contains(&inputs.len()) {
        return Ok(());
    }
    Err(Error::op(op, format!("takes {} to {} inputs, got {}", expected.start(), expected.end(), inputs.len())))
}

/// Fails with `message` (built only then) unless `ok`.
pub fn ensure(op: &str, ok: bool, message: impl FnOnce() -> String) -> Result<()> {
    if ok { Ok(()) } else { Err(Error::op(op, message())) }
}

/// Whether row `row` of `rows` is valid under `counts` (see the module's text); all rows are when there are none.
pub fn is_valid_row(row: usize, rows: usize, counts: Option<&[i32]>) -> bool {
    match counts {
        Some(counts) if !counts.is_empty() => {
            let group = rows / counts.len();
            group > 0 && (row % group) < counts[row / group].max(0) as usize
        }
        _ => true,
    }
}

/// The valid rows of a leading axis of `rows`, in order.
pub fn valid_rows(rows: usize, counts: Option<&[i32]>) -> impl Iterator<Item = usize> + '_ {
    (0..rows).filter(move |&row| is_valid_row(row, rows, counts))
}

/// Number of valid rows.
pub fn count_valid(rows: usize, counts: Option<&[i32]>) -> usize {
    match counts {
        Some(counts) if !counts.is_empty() => {
            let group = rows / counts.len();
            counts.iter().map(|count| (*count).max(0) as usize).map(|count| count.min(group)).sum()
        }
        _ => rows,
    }
}

/// Checks a `counts` input against the leading axis of the data: `i32 [G]`, `G` dividing `rows`.
pub fn expect_counts(op: &str, counts: &TensorType, rows: usize) -> Result<()> {
    use crate::tensor::DType;
    let ok = counts.dtype == DType::I32 && counts.shape.rank() == 1 && !counts.is_empty() && rows % counts.len() == 0;
    ensure(op, ok, || format!("counts must be i32 [G] with G dividing the {rows} rows, got {counts}"))
}
