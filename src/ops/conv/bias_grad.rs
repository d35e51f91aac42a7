//! Gradients of what a convolution fuses: the bias, and the residual of padded rows.

use super::cuda_rows;
use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::graph::{GradientContext, Value};
use crate::ops::{Cost, CpuArgs, Narrow, Op, Scratch, Workspace, expect_counts, expect_inputs, is_valid_row};
use crate::tensor::{DType, TensorType};
use crate::{Error, Result};

/// Sum over all axes but the last; inputs `dy [.., C], [counts]`, output `[C]`. Invalid rows of the leading axis are left
/// out.
#[derive(Clone, Debug)]
pub struct BiasGrad;

/// Pixels that one partial sum covers.
const CHUNK: usize = 4096;

fn check_rows(op: &str, inputs: &[TensorType]) -> Result<()> {
    let x = &inputs[0];
    if x.dtype != DType::F32 || x.shape.rank() == 0 {
        return Err(Error::op(op, format!("takes f32 [.., C], got {x}")));
    }
    let rows = if x.shape.rank() == 1 { 1 } else { x.shape[0] };
    inputs.get(1).map_or(Ok(()), |counts| expect_counts(op, counts, rows))
}

impl Op for BiasGrad {
    fn name(&self) -> &'static str {
        "bias_grad"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 1..=2)?;
        check_rows(self.name(), inputs)?;
        Ok(vec![TensorType::f32([inputs[0].shape.last()])])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::new(inputs[0].len() as u64, inputs, outputs)
    }

    fn cpu_workspace(&self, _: &Cpu, inputs: &[TensorType], _: &[TensorType]) -> Workspace {
        let shape = &inputs[0].shape;
        Workspace { packed: 0, scratch: Scratch::bytes::<f32>(shape.rows().div_ceil(CHUNK) * shape.last()) }
    }

    fn narrow(&self, _: &[TensorType]) -> Vec<Narrow> {
        vec![Narrow::new([0], [])]
    }

    fn cuda(&self, target: &Target, types: &Types<'_>) -> Result<Work> {
        cuda_rows::bias_grad(target, types)
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let (dy, shape) = (args.inputs[0].f32(), args.inputs[0].shape());
        let counts = args.inputs.get(1).map(|counts| counts.i32());
        let (channels, pixels) = (shape.last(), shape.rows());
        let rows = if shape.rank() == 1 { 1 } else { shape[0] };
        let db = args.outputs[0].f32();
        db.fill(0.0);
        if dy.is_empty() {
            return Ok(());
        }
        let per_row = pixels / rows;
        let partial = Scratch::new(args.scratch).take::<f32>(pixels.div_ceil(CHUNK) * channels);
        cpu.parallel_chunks(partial, channels, |chunk, sum| {
            sum.fill(0.0);
            for pixel in chunk * CHUNK..((chunk + 1) * CHUNK).min(pixels) {
                if is_valid_row(pixel / per_row, rows, counts) {
                    let dy = &dy[pixel * channels..][..channels];
                    sum.iter_mut().zip(dy).for_each(|(sum, dy)| *sum += dy);
                }
            }
        });
        for sum in partial.chunks_exact(channels) {
            db.iter_mut().zip(sum).for_each(|(db, sum)| *db += sum);
        }
        Ok(())
    }
}

/// Copies valid rows of the leading axis and sets the others to zero; inputs `x, counts`.
#[derive(Clone, Debug)]
pub struct KeepRows;

impl Op for KeepRows {
    fn name(&self) -> &'static str {
        "keep_rows"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 2..=2)?;
        check_rows(self.name(), inputs)?;
        Ok(vec![inputs[0].clone()])
    }

    fn gradient(&self, context: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        let dy = context.dy()?;
        Ok(vec![Some(context.graph.keep_rows(dy, context.inputs[1])?), None])
    }

    fn narrow(&self, _: &[TensorType]) -> Vec<Narrow> {
        vec![Narrow::new([0], [0])]
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        cuda_rows::keep_rows(types)
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let (x, shape, counts) = (args.inputs[0].f32(), args.inputs[0].shape(), args.inputs[1].i32());
        let rows = if shape.rank() == 1 { 1 } else { shape[0] };
        let per_row = shape.len() / rows.max(1);
        cpu.parallel_chunks(args.outputs[0].f32(), per_row, |row, y| {
            if is_valid_row(row, rows, Some(counts)) {
                y.copy_from_slice(&x[row * per_row..][..per_row]);
            } else {
                y.fill(0.0);
            }
        });
        Ok(())
    }
}
