//! Weight gradient of a convolution.

use super::attrs::expect_f32;
use super::{Conv, ConvAttrs, ConvDgrad, Fused, Geometry, cpu, cuda};
use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::graph::{GradientContext, Value};
use crate::ops::{Cost, CpuArgs, Narrow, Op, Workspace, expect_counts, expect_inputs};
use crate::tensor::{Shape, TensorType};
use crate::{Error, Result};

/// `dw[tap] = sum over pixels of x[pixel + tap]^T dy[pixel]`; inputs `x, dy, [counts]`. Invalid rows are left out.
#[derive(Clone, Debug)]
pub struct ConvWgrad {
    /// Attributes of the convolution (its ReLU is of no concern here).
    pub attrs: ConvAttrs,
    /// Taps per spatial dimension.
    pub kernel: Vec<usize>,
    /// Whether there are counts of valid rows.
    pub counts: bool,
}

impl ConvWgrad {
    /// Geometry of the convolution and the shape of its weights.
    pub fn geometry(&self, inputs: &[TensorType]) -> Result<(Geometry, Shape)> {
        expect_inputs(self.name(), inputs, 2 + self.counts as usize..=2 + self.counts as usize)?;
        self.geometry_of(&inputs[0].shape, &inputs[1].shape)
    }

    fn geometry_of(&self, x: &Shape, dy: &Shape) -> Result<(Geometry, Shape)> {
        let w: Vec<usize> = self.kernel.iter().copied().chain([x.last(), dy.last()]).collect();
        let w = Shape::from(w);
        let geometry = Geometry::new(self.name(), &self.attrs, x, &w)?;
        let expected = geometry.output_shape(&self.attrs, x);
        if expected != *dy {
            return Err(Error::op(self.name(), format!("a convolution of {x} with {w} gives {expected}, not {dy}")));
        }
        Ok((geometry, w))
    }
}

impl Op for ConvWgrad {
    fn name(&self) -> &'static str {
        if self.attrs.spatial() == 0 { "dense_wgrad" } else { "conv_wgrad" }
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let (geometry, w) = self.geometry(inputs)?;
        expect_f32(self.name(), &inputs[..2])?;
        if self.counts {
            expect_counts(self.name(), &inputs[2], geometry.n)?;
        }
        Ok(vec![TensorType::f32(w)])
    }

    fn gradient(&self, context: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        let (x, dy) = (context.inputs[0], context.inputs[1]);
        let upstream = context.dy()?;
        let counts = self.counts.then(|| context.inputs[2]);
        let attrs = ConvAttrs { relu: false, ..self.attrs.clone() };
        let fused = Fused::counts(self.counts);
        let graph = &mut *context.graph;
        let mut gradients = vec![None; context.inputs.len()];
        if context.needed[0] {
            let input =
                if attrs.spatial() == 0 { Vec::new() } else { graph.shape(x).dims()[1..=attrs.spatial()].to_vec() };
            let inputs: Vec<Value> = [dy, upstream].into_iter().chain(counts).collect();
            gradients[0] = Some(graph.apply1(ConvDgrad { attrs: attrs.clone(), input, fused }, &inputs)?);
        }
        if context.needed[1] {
            let inputs: Vec<Value> = [x, upstream].into_iter().chain(counts).collect();
            gradients[1] = Some(graph.apply1(Conv { attrs, fused }, &inputs)?);
        }
        Ok(gradients)
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let flops = self.geometry(inputs).map_or(0, |(geometry, _)| 2 * geometry.macs());
        Cost::new(flops, inputs, outputs)
    }

    fn cpu_workspace(&self, cpu: &Cpu, inputs: &[TensorType], _: &[TensorType]) -> Workspace {
        let geometry = self.geometry(inputs);
        geometry.map_or(Workspace::default(), |(g, _)| cpu::wgrad_workspace(cpu, &g, self.counts))
    }

    fn narrow(&self, _: &[TensorType]) -> Vec<Narrow> {
        vec![Narrow::new([0], []), Narrow::new([1], [])]
    }

    fn cuda(&self, target: &Target, types: &Types<'_>) -> Result<Work> {
        cuda::wgrad(self.name(), &self.geometry(types.inputs)?.0, target, types, self.counts.then_some(2))
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let (geometry, _) = self.geometry_of(args.inputs[0].shape(), args.inputs[1].shape())?;
        let counts = self.counts.then(|| args.inputs[2].i32());
        let (x, dy) = (args.inputs[0].f32(), args.inputs[1].f32());
        cpu::wgrad(cpu, &geometry, x, dy, counts, args.outputs[0].f32(), args.scratch);
        Ok(())
    }
}
