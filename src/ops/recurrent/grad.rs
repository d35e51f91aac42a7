//! Gradient of the sequential part of a GRU.

use super::scan::GruScan;
use super::work::{Extents, Packed};
use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::graph::{GradientContext, Graph, Value};
use crate::ops::{Cost, CpuArgs, Input, Op, Workspace, ensure};
use crate::tensor::{DType, Tensor, TensorType};
use crate::{Error, Result};

/// Gradient of [`GruScan`] with respect to projections, recurrent products and initial state.
///
/// Inputs: for each direction its recurrent weight; states `[N,T,D u]`; saved gates; the states' gradient; the last states'
/// gradient if `last_gradient`; the initial state if `initial_state`; counts, if any.
/// Outputs: for each direction the projection's gradient da `[N,T,3u]`; for each what the recurrent product's weight gradient, the
/// earlier states times da, has of its own in its last third, `[N,T,u]`: with `reset_after` the right operand there, r da_h,
/// otherwise the left one, r times the earlier state; the initial state's gradient `[N,D u]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GruScanGrad {
    /// The forward op.
    pub scan: GruScan,
    /// Whether the last states have a gradient.
    pub last_gradient: bool,
}

/// Positions of the inputs.
pub(super) struct Places {
    pub(super) states: usize,
    pub(super) saved: usize,
    pub(super) dstates: usize,
    pub(super) dlast: Option<usize>,
    pub(super) initial: Option<usize>,
    pub(super) counts: usize,
}

impl GruScanGrad {
    pub(super) fn places(&self) -> Places {
        let d = self.scan.directions();
        let dlast = self.last_gradient.then_some(d + 3);
        let initial = self.scan.initial_state.then_some(d + 3 + usize::from(self.last_gradient));
        let counts = d + 3 + usize::from(self.last_gradient) + usize::from(self.scan.initial_state);
        Places { states: d, saved: d + 1, dstates: d + 2, dlast, initial, counts }
    }

    pub(super) fn extents(&self, weight: &TensorType, states: &TensorType) -> Extents {
        let shape = &states.shape;
        Extents { directions: self.scan.directions(), n: shape[0], t: shape[1], units: weight.shape[0] }
    }
}

impl Op for GruScanGrad {
    fn name(&self) -> &'static str {
        "gru_scan_grad"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let (places, d) = (self.places(), self.scan.directions());
        let ok = inputs.len() == places.counts || inputs.len() == places.counts + 1;
        ensure(self.name(), ok, || format!("takes {} inputs and counts, got {}", places.counts, inputs.len()))?;
        let (weight, states) = (&inputs[0], &inputs[places.states]);
        let ok = weight.shape.rank() == 2 && states.shape.rank() == 3 && states.shape[2] == d * weight.shape[0];
        ensure(self.name(), ok, || format!("weight [u,3u] and states [N,T,D u] do not fit: {weight}, {states}"))?;
        let Extents { n, t, units: u, .. } = self.extents(weight, states);
        let saved = TensorType::f32([d, n, t, self.scan.saved() * u]);
        let ok = inputs[places.saved] == saved && inputs[places.dstates] == *states;
        ensure(self.name(), ok, || {
            let (found, dstates) = (&inputs[places.saved], &inputs[places.dstates]);
            format!("gates must be {saved} and the states' gradient {states}, got {found} and {dstates}")
        })?;
        let mut outputs = vec![TensorType::f32([n, t, 3 * u]); d];
        outputs.extend(vec![TensorType::f32([n, t, u]); d]);
        outputs.push(TensorType::f32([n, d * u]));
        Ok(outputs)
    }

    fn gradient(&self, _: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
        Err(Error::op(self.name(), "has no gradient: second derivatives are not supported"))
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let d = self.scan.directions();
        let flops = outputs[..d].iter().zip(inputs).map(|(da, weight)| 2 * (da.len() * weight.shape[0]) as u64).sum();
        Cost::new(flops, inputs, outputs)
    }

    fn optional_outputs(&self) -> Vec<usize> {
        let d = self.scan.directions();
        (d..2 * d + 1).collect()
    }

    fn packed_inputs(&self) -> Vec<usize> {
        (0..self.scan.directions()).collect()
    }

    fn cpu_workspace(&self, cpu: &Cpu, inputs: &[TensorType], _: &[TensorType]) -> Workspace {
        let extents = self.extents(&inputs[0], &inputs[self.places().states]);
        let packed = extents.directions * Packed::backward(extents.units, self.scan.reset_after).bytes();
        Workspace { packed, scratch: super::backward::scratch_bytes(cpu, &extents) }
    }

    fn cpu_pack(&self, cpu: &Cpu, inputs: &[Input<'_>], packed: &mut [u8]) {
        let d = self.scan.directions();
        let weights: Vec<&[f32]> = inputs[..d].iter().map(|input| input.f32()).collect();
        Packed::backward(inputs[0].shape()[0], self.scan.reset_after).fill(cpu, &weights, packed);
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        super::cuda::backward(self, types)
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        super::backward::run(cpu, self, args)
    }
}

/// The gradient rule of [`GruScan`]: the sequential part is [`GruScanGrad`], the weights' gradients are matrix products
/// over all steps at once.
pub(super) fn gradient(scan: &GruScan, context: &mut GradientContext<'_>) -> Result<Vec<Option<Value>>> {
    let d = scan.directions();
    let (inputs, outputs, needed) = (context.inputs, context.outputs, context.needed);
    let (dstates, dlast) = (context.output_gradients[0], context.output_gradients[1]);
    let g = &mut *context.graph;
    let (weights, optional) = (&inputs[d..2 * d], &inputs[scan.first_optional()..]);
    let dstates = match dstates {
        Some(dstates) => dstates,
        None => g.scale(outputs[0], 0.0)?,
    };
    let mut arguments = weights.to_vec();
    arguments.extend([outputs[0], outputs[2], dstates]);
    arguments.extend(dlast);
    arguments.extend(optional);
    let op = GruScanGrad { scan: scan.clone(), last_gradient: dlast.is_some() };
    let results = g.apply(op, &arguments)?;
    let (da, third) = (&results[..d], &results[d..2 * d]);

    let mut gradients: Vec<Option<Value>> = da.iter().map(|da| Some(*da)).collect();
    for direction in 0..d {
        gradients.push(if needed[d + direction] {
            let units = g.shape(third[direction])[2];
            let initial = scan.initial_state.then(|| optional[0]);
            let earlier = earlier_states(g, outputs[0], initial, direction, units, scan.reverse[direction])?;
            let zr = g.slice(da[direction], 2, 0, 2 * units, 1)?;
            let zr = over_steps(g, earlier, zr)?;
            let h = if scan.reset_after {
                over_steps(g, earlier, third[direction])?
            } else {
                let h = g.slice(da[direction], 2, 2 * units, units, 1)?;
                over_steps(g, third[direction], h)?
            };
            Some(g.concat(&[zr, h], 1)?)
        } else {
            None
        });
    }
    if scan.reset_after {
        for direction in 0..d {
            gradients.push(if needed[2 * d + direction] {
                let units = g.shape(third[direction])[2];
                let zr = g.reduce_sum(da[direction], &[0, 1], false)?;
                let zr = g.slice(zr, 0, 0, 2 * units, 1)?;
                let h = g.reduce_sum(third[direction], &[0, 1], false)?;
                Some(g.concat(&[zr, h], 0)?)
            } else {
                None
            });
        }
    }
    if scan.initial_state {
        gradients.push(Some(results[2 * d]));
    }
    gradients.resize(inputs.len(), None);
    Ok(gradients)
}

/// The state before each step, `[N,T,u]`, of one direction of `states [N,T,D u]`. Made after the sequential part, when the gates are
/// no longer needed.
fn earlier_states(
    g: &mut Graph,
    states: Value,
    initial: Option<Value>,
    direction: usize,
    units: usize,
    reverse: bool,
) -> Result<Value> {
    let (n, steps) = (g.shape(states)[0], g.shape(states)[1]);
    let first = match initial {
        Some(initial) => {
            let own = g.slice(initial, 1, direction * units, units, 1)?;
            g.reshape(own, [n, 1, units])?
        }
        None => g.constant(Tensor::zeros(DType::F32, [n, 1, units])),
    };
    let own = g.slice(states, 2, direction * units, units, 1)?;
    if steps < 2 {
        return Ok(if steps == 0 { own } else { first });
    }
    let others = g.slice(own, 1, usize::from(reverse), steps - 1, 1)?;
    g.concat(&if reverse { [others, first] } else { [first, others] }, 1)
}

/// `a^T b` over all sequences and steps: `[N,T,i], [N,T,j] -> [i,j]`.
fn over_steps(g: &mut Graph, a: Value, b: Value) -> Result<Value> {
    let flat = |g: &mut Graph, x: Value| {
        let shape = [g.shape(x).rows(), g.shape(x).last()];
        g.reshape(x, shape)
    };
    let (a, b) = (flat(g, a)?, flat(g, b)?);
    g.matmul(a, b, true, false)
}
