//! Sum, mean and maximum over axes.

use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::graph::{GradientContext, Value};
use crate::ops::{CpuArgs, Op, Scratch, Workspace, ensure, expect_inputs};
use crate::tensor::{DType, Shape, TensorType};
use crate::{Error, Result};

/// Which reduction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReduceKind {
    /// The sum.
    Sum,
    /// The sum divided by the number of values.
    Mean,
    /// The largest value; NaN if one is NaN.
    Max,
}

/// A reduction over axes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reduce {
    /// Which one.
    pub kind: ReduceKind,
    /// The axes, ascending and distinct.
    pub axes: Vec<usize>,
    /// Whether reduced axes stay, with extent 1.
    pub keep_dims: bool,
}

/// Gradient of a maximum: `(x, dy) -> dx`; of equal maxima the first takes all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReduceMaxGrad {
    /// The reduction's axes.
    pub axes: Vec<usize>,
}

impl Reduce {
    /// Shape of the result with reduced axes of extent 1.
    fn kept_shape(&self, x: &Shape) -> Shape {
        let dims = x.iter().enumerate().map(|(axis, extent)| if self.axes.contains(&axis) { 1 } else { *extent });
        dims.collect::<Vec<_>>().into()
    }
}

impl Op for Reduce {
    fn name(&self) -> &'static str {
        match self.kind {
            ReduceKind::Sum => "reduce_sum",
            ReduceKind::Mean => "reduce_mean",
            ReduceKind::Max => "reduce_max",
        }
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1..=1)?;
        let x = &inputs[0];
        ensure(self.name(), x.dtype == DType::F32, || format!("x must be f32, got {x}"))?;
        let ascending = self.axes.windows(2).all(|pair| pair[0] < pair[1]);
        ensure(self.name(), ascending && self.axes.iter().all(|axis| *axis < x.shape.rank()), || {
            format!("axes {:?} must be distinct, ascending axes of {x}", self.axes)
        })?;
        let empty = self.axes.iter().any(|axis| x.shape[*axis] == 0);
        ensure(self.name(), self.kind == ReduceKind::Sum || !empty, || format!("nothing to reduce in {x}"))?;
        if self.keep_dims {
            return Ok(vec![TensorType::f32(self.kept_shape(&x.shape))]);
        }
        let kept = x.shape.iter().enumerate().filter(|(axis, _)| !self.axes.contains(axis));
        Ok(vec![TensorType::f32(kept.map(|(_, extent)| *extent).collect::<Vec<_>>())])
    }

    fn gradient(&self, context: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        let dy = context.dy()?;
        let (g, x) = (&mut *context.graph, context.inputs[0]);
        let shape = g.shape(x).clone();
        let kept = self.kept_shape(&shape);
        let dy = g.reshape(dy, &kept)?;
        let dx = match self.kind {
            ReduceKind::Max => g.apply1(ReduceMaxGrad { axes: self.axes.clone() }, &[x, dy])?,
            ReduceKind::Sum => g.broadcast_to(dy, &shape)?,
            ReduceKind::Mean => {
                let scaled = g.scale(dy, kept.len() as f32 / shape.len() as f32)?;
                g.broadcast_to(scaled, &shape)?
            }
        };
        Ok(vec![Some(dx)])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> crate::ops::Cost {
        crate::ops::Cost::new(inputs[0].len() as u64, inputs, outputs)
    }

    fn cpu_workspace(&self, _: &Cpu, inputs: &[TensorType], _: &[TensorType]) -> Workspace {
        let plan = super::cpu::Plan::new(&inputs[0].shape, &self.axes);
        Workspace { packed: 0, scratch: Scratch::bytes::<f32>(plan.scratch()) }
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        super::cuda::reduce(self.name(), self.kind, &self.axes, types)
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let x = &args.inputs[0];
        let plan = super::cpu::Plan::new(x.shape(), &self.axes);
        let scratch = Scratch::new(args.scratch).take::<f32>(plan.scratch());
        super::cpu::reduce(cpu, self.kind, &plan, x.f32(), args.outputs[0].f32(), scratch);
        Ok(())
    }
}

impl Op for ReduceMaxGrad {
    fn name(&self) -> &'static str {
        "reduce_max_grad"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 2..=2)?;
        let (x, dy) = (&inputs[0], &inputs[1]);
        let reduce = Reduce { kind: ReduceKind::Max, axes: self.axes.clone(), keep_dims: true };
        let expected = reduce.infer(std::slice::from_ref(x))?;
        ensure(self.name(), expected[0] == *dy, || format!("dy must be {}, got {dy}", expected[0]))?;
        Ok(vec![x.clone()])
    }

    fn gradient(&self, _: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        Err(Error::op(self.name(), "has no gradient: second derivatives are not supported"))
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        super::cuda::reduce_max_grad(self.name(), &self.axes, types)
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let (x, dy) = (&args.inputs[0], args.inputs[1].f32());
        super::cpu::reduce_max_grad(cpu, x.f32(), x.shape(), &self.axes, dy, args.outputs[0].f32());
        Ok(())
    }
}
