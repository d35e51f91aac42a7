//! Forward convolution with bias, residual and ReLU fused.

use super::attrs::expect_f32;
use super::cpu::Direction;
use super::{ConvAttrs, ConvDgrad, ConvWgrad, Fused, Geometry, cpu, cuda};
use crate::Result;
use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::graph::{GradientContext, Value};
use crate::ops::{Cost, CpuArgs, Input, Narrow, Op, Workspace, expect_inputs};
use crate::tensor::TensorType;

/// `y = relu?(conv(x, w) + bias + residual)`, zero where the mask is not positive; inputs `x, w, [bias], [residual], [mask],
/// [counts]`.
#[derive(Clone, Debug)]
pub struct Conv {
    /// Stride, dilation, padding, ReLU; no spatial axis makes it a dense layer.
    pub attrs: ConvAttrs,
    /// Which optional inputs there are.
    pub fused: Fused,
}

impl Conv {
    /// The geometry for these inputs.
    pub fn geometry(&self, inputs: &[TensorType]) -> Result<Geometry> {
        expect_inputs(self.name(), inputs, 2..=6)?;
        Geometry::new(self.name(), &self.attrs, &inputs[0].shape, &inputs[1].shape)
    }
}

impl Op for Conv {
    fn name(&self) -> &'static str {
        if self.attrs.spatial() == 0 { "dense_fprop" } else { "conv_fprop" }
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let geometry = self.geometry(inputs)?;
        expect_f32(self.name(), &inputs[..2])?;
        let y = TensorType::f32(geometry.output_shape(&self.attrs, &inputs[0].shape));
        self.fused.check(self.name(), inputs, &y)?;
        Ok(vec![y])
    }

    fn gradient(&self, context: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        let (x, w, y) = (context.inputs[0], context.inputs[1], context.outputs[0]);
        let mut dy = context.dy()?;
        let graph = &mut *context.graph;
        if self.attrs.relu {
            dy = graph.relu_grad(dy, y)?;
        }
        if let Some(mask) = self.fused.mask_index() {
            dy = graph.relu_grad(dy, context.inputs[mask])?;
        }
        let counts = self.fused.counts_index().map(|i| context.inputs[i]);
        let attrs = ConvAttrs { relu: false, ..self.attrs.clone() };
        let spatial = attrs.spatial();
        let mut gradients = vec![None; context.inputs.len()];
        // The data gradient comes last: x may be gone by then.
        if context.needed[1] {
            let kernel = graph.shape(w).dims()[..spatial].to_vec();
            let op = ConvWgrad { kernel, attrs: attrs.clone(), counts: counts.is_some() };
            let inputs: Vec<Value> = [x, dy].into_iter().chain(counts).collect();
            gradients[1] = Some(graph.apply1(op, &inputs)?);
        }
        fused_gradients(self.fused, self.attrs.relu, context, dy, &mut gradients)?;
        if context.needed[0] {
            let input = if spatial == 0 { Vec::new() } else { context.graph.shape(x).dims()[1..=spatial].to_vec() };
            let op = ConvDgrad { attrs, input, fused: Fused::counts(counts.is_some()) };
            let inputs: Vec<Value> = [dy, w].into_iter().chain(counts).collect();
            gradients[0] = Some(context.graph.apply1(op, &inputs)?);
        }
        Ok(gradients)
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let flops = self.geometry(inputs).map_or(0, |geometry| 2 * geometry.macs());
        Cost::new(flops, inputs, outputs)
    }

    fn cpu_workspace(&self, cpu: &Cpu, inputs: &[TensorType], _: &[TensorType]) -> Workspace {
        let geometry = self.geometry(inputs);
        geometry.map_or(Workspace::default(), |g| cpu::workspace(cpu, &g, Direction::Forward, self.fused.counts))
    }

    fn in_place(&self) -> &'static [usize] {
        self.fused.in_place()
    }

    fn packed_inputs(&self) -> Vec<usize> {
        vec![1]
    }

    fn cpu_pack(&self, cpu: &Cpu, inputs: &[Input<'_>], packed: &mut [u8]) {
        if let Ok(g) = Geometry::new(self.name(), &self.attrs, inputs[0].shape(), inputs[1].shape()) {
            cpu::pack(cpu, &g, Direction::Forward, inputs[1].f32(), bytemuck::cast_slice_mut(packed));
        }
    }

    fn cpu_kernel(&self, cpu: &Cpu, inputs: &[TensorType], _: &[TensorType]) -> String {
        let geometry = self.geometry(inputs);
        let name = |g| cpu::kernel_name(cpu, self.name(), &g, Direction::Forward, self.fused.counts);
        geometry.map_or_else(|_| self.name().to_owned(), name)
    }

    fn narrow(&self, _: &[TensorType]) -> Vec<Narrow> {
        self.fused.narrow()
    }

    fn cuda(&self, target: &Target, types: &Types<'_>) -> Result<Work> {
        cuda::fprop(self.name(), &self.geometry(types.inputs)?, target, types, self.fused, self.attrs.relu)
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let geometry = Geometry::new(self.name(), &self.attrs, args.inputs[0].shape(), args.inputs[1].shape())?;
        let fused = self.fused.take(args.inputs);
        let (from, to) = (args.inputs[0].f32(), args.outputs[0].f32());
        let relu = self.attrs.relu;
        cpu::correlate(cpu, &geometry, Direction::Forward, from, args.packed, fused, relu, to, args.scratch);
        Ok(())
    }
}

/// Gradients of bias and residual, for the ops that fuse them; `dy` is already masked by the ReLU.
pub(super) fn fused_gradients(
    fused: Fused,
    relu: bool,
    context: &mut GradientContext<'_>,
    dy: Value,
    gradients: &mut [Option<Value>],
) -> Result<()> {
    let counts = fused.counts_index().map(|i| context.inputs[i]);
    if let Some(i) = fused.bias_index().filter(|i| context.needed[*i]) {
        gradients[i] = Some(context.graph.bias_grad(dy, counts)?);
    }
    if let Some(i) = fused.residual_index().filter(|i| context.needed[*i]) {
        // Invalid rows ignore the residual; the ReLU has already emptied them, as their y is zero.
        gradients[i] = Some(match counts {
            Some(counts) if !relu => context.graph.keep_rows(dy, counts)?,
            _ => dy,
        });
    }
    Ok(())
}
