//! Matrix products: `c = op(a) op(b)`, single or batched. Dense layers are convolutions without spatial axes
//! ([`Graph::dense`]).

mod cpu;
mod cuda;
pub mod finish;
pub mod gemm;
pub mod kernel;
pub mod pack;
pub mod problem;
pub(crate) mod tiles;

use crate::Result;
use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::graph::{GradientContext, Graph, Value};
use crate::ops::{Cost, CpuArgs, Op, Workspace, ensure, expect_inputs};
use crate::tensor::{DType, Shape, TensorType};

/// `c [.., M, N] = op(a) op(b)`, op(a) `[.., M, K]`, op(b) `[.., K, N]`, equal leading axes, each optionally transposed.
#[derive(Clone, Debug)]
pub struct MatMul {
    /// Whether `a` is stored `[.., K, M]`.
    pub transpose_a: bool,
    /// Whether `b` is stored `[.., N, K]`.
    pub transpose_b: bool,
}

/// Extents of a batched product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatMulSize {
    /// Number of products.
    pub batch: usize,
    /// Rows of the result.
    pub m: usize,
    /// Columns of the result.
    pub n: usize,
    /// Length of the sums.
    pub k: usize,
}

impl MatMul {
    /// The extents for operands of these shapes. Fails if they do not fit together.
    pub fn size(&self, a: &Shape, b: &Shape) -> Result<MatMulSize> {
        let axes = a.rank();
        ensure(self.name(), axes >= 2 && b.rank() == axes && a.dims()[..axes - 2] == b.dims()[..axes - 2], || {
            format!("needs two operands of rank 2 or more with equal leading axes, got {a} and {b}")
        })?;
        let [(m, k), (k2, n)] = [(a, self.transpose_a), (b, self.transpose_b)].map(|(shape, transposed)| {
            let (rows, columns) = (shape[axes - 2], shape[axes - 1]);
            if transposed { (columns, rows) } else { (rows, columns) }
        });
        ensure(self.name(), k == k2, || {
            let (ta, tb) = (self.transpose_a, self.transpose_b);
            format!("inner extents differ: a {a} (transposed: {ta}) sums over {k}, b {b} (transposed: {tb}) over {k2}")
        })?;
        Ok(MatMulSize { batch: a.dims()[..axes - 2].iter().product(), m, n, k })
    }
}

impl Op for MatMul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 2..=2)?;
        for ty in inputs {
            ensure(self.name(), ty.dtype == DType::F32, || format!("works on f32, got {ty}"))?;
        }
        let size = self.size(&inputs[0].shape, &inputs[1].shape)?;
        let axes = inputs[0].shape.rank();
        let mut dims = inputs[0].shape.dims().to_vec();
        (dims[axes - 2], dims[axes - 1]) = (size.m, size.n);
        Ok(vec![TensorType::f32(dims)])
    }

    fn gradient(&self, context: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        let (a, b, dc) = (context.inputs[0], context.inputs[1], context.dy()?);
        let (ta, tb) = (self.transpose_a, self.transpose_b);
        let graph = &mut *context.graph;
        // da = dc b^T and db = a^T dc, each transposed once more if the operand is stored transposed.
        let da = match (context.needed[0], ta) {
            (false, _) => None,
            (true, false) => Some(graph.matmul(dc, b, false, !tb)?),
            (true, true) => Some(graph.matmul(b, dc, tb, true)?),
        };
        let db = match (context.needed[1], tb) {
            (false, _) => None,
            (true, false) => Some(graph.matmul(a, dc, !ta, false)?),
            (true, true) => Some(graph.matmul(dc, a, true, ta)?),
        };
        Ok(vec![da, db])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let size = self.size(&inputs[0].shape, &inputs[1].shape);
        Cost::new(size.map_or(0, |s| 2 * (s.batch * s.m * s.n * s.k) as u64), inputs, outputs)
    }

    fn cpu_workspace(&self, cpu: &Cpu, inputs: &[TensorType], _: &[TensorType]) -> Workspace {
        let size = self.size(&inputs[0].shape, &inputs[1].shape);
        Workspace { packed: 0, scratch: size.map_or(0, |size| cpu::scratch_bytes(cpu, self, size)) }
    }

    fn cuda(&self, target: &Target, types: &Types<'_>) -> Result<Work> {
        cuda::work(self, target, types)
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let size = self.size(args.inputs[0].shape(), args.inputs[1].shape())?;
        let (a, b) = (args.inputs[0].f32(), args.inputs[1].f32());
        cpu::matmul(cpu, self, size, a, b, args.outputs[0].f32(), args.scratch);
        Ok(())
    }
}

impl Graph {
    /// Matrix product `op(a) op(b)` of operands of rank 2, or of as many as the (equal) leading axes say; op transposes
    /// the last two axes or not.
    pub fn matmul(&mut self, a: Value, b: Value, transpose_a: bool, transpose_b: bool) -> Result<Value> {
        self.apply1(MatMul { transpose_a, transpose_b }, &[a, b])
    }
}
