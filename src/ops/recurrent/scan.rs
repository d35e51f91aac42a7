//! The sequential part of a GRU.

use super::RecurrentActivation;
use super::work::{Extents, Packed};
use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::graph::{GradientContext, Value};
use crate::ops::{Cost, CpuArgs, Input, Op, Workspace, ensure, expect_counts};
use crate::tensor::{DType, TensorType};
use crate::{Error, Result};

/// States of a GRU from its projected inputs, for one direction or several side by side.
///
/// Inputs: for each direction the projection `[N,T,3u]`; for each the recurrent weight `[u,3u]`; with `reset_after` for each
/// the recurrent bias `[3u]`; the initial state `[N,D u]` if `initial_state`; counts of valid sequences, if any.
/// Outputs: states `[N,T,D u]`; last states `[N,D u]`; and for the gradient, per direction, z, r, g and (with
/// `reset_after`) q_h, `[D,N,T,3u or 4u]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GruScan {
    /// For each direction, whether it reads from the end.
    pub reverse: Vec<bool>,
    /// Whether the reset gate acts after the recurrent product.
    pub reset_after: bool,
    /// What squashes the gates z and r.
    pub recurrent_activation: RecurrentActivation,
    /// Whether the initial state is given.
    pub initial_state: bool,
}

impl GruScan {
    pub(super) fn directions(&self) -> usize {
        self.reverse.len()
    }

    /// Index of the initial state among the inputs; the counts follow.
    pub(super) fn first_optional(&self) -> usize {
        self.directions() * if self.reset_after { 3 } else { 2 }
    }

    /// Values saved for each unit and step.
    pub(super) fn saved(&self) -> usize {
        if self.reset_after { 4 } else { 3 }
    }

    pub(super) fn extents(&self, projection: &TensorType, recurrent: &TensorType) -> Extents {
        let (shape, units) = (&projection.shape, recurrent.shape[0]);
        Extents { directions: self.directions(), n: shape[0], t: shape[1], units }
    }
}

impl Op for GruScan {
    fn name(&self) -> &'static str {
        "gru_scan"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let (d, name) = (self.directions(), self.name());
        let expected = self.first_optional() + usize::from(self.initial_state);
        ensure(name, d > 0 && (inputs.len() == expected || inputs.len() == expected + 1), || {
            format!("{d} directions take {expected} inputs and counts, got {}", inputs.len())
        })?;
        let projection = &inputs[0];
        let ok = projection.dtype == DType::F32 && projection.shape.rank() == 3 && projection.shape[2] % 3 == 0;
        ensure(name, ok, || format!("projections must be f32 [N,T,3u], got {projection}"))?;
        let (n, t, units) = (projection.shape[0], projection.shape[1], projection.shape[2] / 3);
        let check = |what: &str, ty: &TensorType, shape: &[usize]| {
            let expected = TensorType::f32(shape);
            ensure(name, *ty == expected, || format!("{what} must be {expected}, got {ty}"))
        };
        for ty in &inputs[..d] {
            check("projection", ty, &[n, t, 3 * units])?;
        }
        for ty in &inputs[d..2 * d] {
            check("recurrent weight", ty, &[units, 3 * units])?;
        }
        for ty in &inputs[2 * d..self.first_optional()] {
            check("recurrent bias", ty, &[3 * units])?;
        }
        if self.initial_state {
            check("initial state", &inputs[self.first_optional()], &[n, d * units])?;
        }
        if let Some(counts) = inputs.get(expected) {
            expect_counts(name, counts, n)?;
        }
        Ok(vec![
            TensorType::f32([n, t, d * units]),
            TensorType::f32([n, d * units]),
            TensorType::f32([d, n, t, self.saved() * units]),
        ])
    }

    fn gradient(&self, context: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        if context.output_gradients[2].is_some() {
            return Err(Error::op(self.name(), "saved gates cannot be differentiated"));
        }
        super::grad::gradient(self, context)
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let flops = inputs[..self.directions()].iter().zip(&inputs[self.directions()..]);
        let flops = flops.map(|(projection, weight)| 2 * (projection.len() * weight.shape[0]) as u64).sum();
        Cost::new(flops, inputs, &outputs[..1])
    }

    fn optional_outputs(&self) -> Vec<usize> {
        vec![1, 2]
    }

    fn packed_inputs(&self) -> Vec<usize> {
        (self.directions()..2 * self.directions()).collect()
    }

    fn cpu_workspace(&self, cpu: &Cpu, inputs: &[TensorType], _: &[TensorType]) -> Workspace {
        let extents = self.extents(&inputs[0], &inputs[self.directions()]);
        let packed = self.directions() * Packed::forward(extents.units, self.reset_after).bytes();
        Workspace { packed, scratch: super::forward::scratch_bytes(cpu, &extents) }
    }

    fn cpu_pack(&self, cpu: &Cpu, inputs: &[Input<'_>], packed: &mut [u8]) {
        let d = self.directions();
        let layout = Packed::forward(inputs[d].shape()[0], self.reset_after);
        let weights: Vec<&[f32]> = inputs[d..2 * d].iter().map(|input| input.f32()).collect();
        layout.fill(cpu, &weights, packed);
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        super::cuda::forward(self, types)
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        super::forward::run(cpu, self, args)
    }
}
