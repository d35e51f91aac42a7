//! Data gradient of a convolution, which is also transposed convolution.

use super::attrs::expect_f32;
use super::cpu::Direction;
use super::fprop::fused_gradients;
use super::{Conv, ConvAttrs, ConvWgrad, Fused, Geometry, cpu, cuda};
use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::graph::{GradientContext, Value};
use crate::ops::{Cost, CpuArgs, Input, Narrow, Op, Workspace, expect_inputs};
use crate::tensor::{Shape, TensorType};
use crate::{Error, Result};

/// `dx = relu?(sum over taps of dy w^T + bias + residual)`, zero where the mask is not positive; inputs `dy, w, [bias],
/// [residual], [mask], [counts]`. The attributes (ReLU apart, which applies to this op's own result) and the layout of `w` are
/// those of the convolution from `dx` to `dy`.
#[derive(Clone, Debug)]
pub struct ConvDgrad {
    /// Attributes of the convolution; the ReLU is this op's own.
    pub attrs: ConvAttrs,
    /// Spatial extents of `dx`: the convolution's input.
    pub input: Vec<usize>,
    /// Which optional inputs there are. The bias has as many values as `dx` has channels.
    pub fused: Fused,
}

impl ConvDgrad {
    /// Geometry of the convolution and the shape of its input.
    pub fn geometry(&self, inputs: &[TensorType]) -> Result<(Geometry, Shape)> {
        expect_inputs(self.name(), inputs, 2..=6)?;
        self.geometry_of(&inputs[0].shape, &inputs[1].shape)
    }

    fn geometry_of(&self, dy: &Shape, w: &Shape) -> Result<(Geometry, Shape)> {
        let spatial = self.attrs.spatial();
        let fits = w.rank() == spatial + 2 && self.input.len() == spatial && (spatial == 0 || dy.rank() == spatial + 2);
        if !fits || dy.last() != w.last() || dy.rank() == 0 {
            let message =
                format!("{spatial} spatial axes need dy [.., Cout] and w [kernel.., Cin, Cout], got {dy}, {w}");
            return Err(Error::op(self.name(), message));
        }
        let mut x = dy.dims().to_vec();
        x[dy.rank() - 1] = w[spatial];
        if spatial > 0 {
            x[1..=spatial].copy_from_slice(&self.input);
        }
        let x = Shape::from(x);
        let geometry = Geometry::new(self.name(), &self.attrs, &x, w)?;
        let expected = geometry.output_shape(&self.attrs, &x);
        if expected != *dy {
            return Err(Error::op(self.name(), format!("a convolution of {x} with {w} gives {expected}, not {dy}")));
        }
        Ok((geometry, x))
    }
}

impl Op for ConvDgrad {
    fn name(&self) -> &'static str {
        if self.attrs.spatial() == 0 { "dense_dgrad" } else { "conv_dgrad" }
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let (_, x) = self.geometry(inputs)?;
        expect_f32(self.name(), &inputs[..2])?;
        let dx = TensorType::f32(x);
        self.fused.check(self.name(), inputs, &dx)?;
        Ok(vec![dx])
    }

    fn gradient(&self, context: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        let (dy, w, dx) = (context.inputs[0], context.inputs[1], context.outputs[0]);
        let mut upstream = context.dy()?;
        let graph = &mut *context.graph;
        if self.attrs.relu {
            upstream = graph.relu_grad(upstream, dx)?;
        }
        if let Some(mask) = self.fused.mask_index() {
            upstream = graph.relu_grad(upstream, context.inputs[mask])?;
        }
        let counts = self.fused.counts_index().map(|i| context.inputs[i]);
        let attrs = ConvAttrs { relu: false, ..self.attrs.clone() };
        let mut gradients = vec![None; context.inputs.len()];
        // The data gradient comes last: the op's own input may be gone by then.
        if context.needed[1] {
            let kernel = graph.shape(w).dims()[..attrs.spatial()].to_vec();
            let inputs: Vec<Value> = [upstream, dy].into_iter().chain(counts).collect();
            let op = ConvWgrad { kernel, attrs: attrs.clone(), counts: counts.is_some() };
            gradients[1] = Some(graph.apply1(op, &inputs)?);
        }
        fused_gradients(self.fused, self.attrs.relu, context, upstream, &mut gradients)?;
        if context.needed[0] {
            let op = Conv { attrs, fused: Fused::counts(counts.is_some()) };
            let inputs: Vec<Value> = [upstream, w].into_iter().chain(counts).collect();
            gradients[0] = Some(context.graph.apply1(op, &inputs)?);
        }
        Ok(gradients)
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let flops = self.geometry(inputs).map_or(0, |(geometry, _)| 2 * geometry.macs());
        Cost::new(flops, inputs, outputs)
    }

    fn cpu_workspace(&self, cpu: &Cpu, inputs: &[TensorType], _: &[TensorType]) -> Workspace {
        let geometry = self.geometry(inputs).map(|(geometry, _)| geometry);
        geometry.map_or(Workspace::default(), |g| cpu::workspace(cpu, &g, Direction::Backward, self.fused.counts))
    }

    fn in_place(&self) -> &'static [usize] {
        self.fused.in_place()
    }

    fn packed_inputs(&self) -> Vec<usize> {
        vec![1]
    }

    fn cpu_pack(&self, cpu: &Cpu, inputs: &[Input<'_>], packed: &mut [u8]) {
        if let Ok(g) = self.geometry_of(inputs[0].shape(), inputs[1].shape()).map(|(geometry, _)| geometry) {
            cpu::pack(cpu, &g, Direction::Backward, inputs[1].f32(), bytemuck::cast_slice_mut(packed));
        }
    }

    fn cpu_kernel(&self, cpu: &Cpu, inputs: &[TensorType], _: &[TensorType]) -> String {
        let geometry = self.geometry(inputs).map(|(geometry, _)| geometry);
        let name = |g| cpu::kernel_name(cpu, self.name(), &g, Direction::Backward, self.fused.counts);
        geometry.map_or_else(|_| self.name().to_owned(), name)
    }

    fn narrow(&self, _: &[TensorType]) -> Vec<Narrow> {
        self.fused.narrow()
    }

    fn cuda(&self, target: &Target, types: &Types<'_>) -> Result<Work> {
        cuda::dgrad(self.name(), &self.geometry(types.inputs)?.0, target, types, self.fused, self.attrs.relu)
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let (geometry, _) = self.geometry_of(args.inputs[0].shape(), args.inputs[1].shape())?;
        let fused = self.fused.take(args.inputs);
        let (from, to) = (args.inputs[0].f32(), args.outputs[0].f32());
        let relu = self.attrs.relu;
        cpu::correlate(cpu, &geometry, Direction::Backward, from, args.packed, fused, relu, to, args.scratch);
        Ok(())
    }
}
