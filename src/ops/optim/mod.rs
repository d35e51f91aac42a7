//! Optimizers: one node updates all parameters of a network.

mod clip;
mod cpu;
mod cuda;
pub mod problem;
mod step;

pub use clip::{ClipPerTensor, ClipScale, GlobalNorm};
pub use step::{Adam, AdamAttrs, Sgd, SgdAttrs};

use crate::Result;
use crate::graph::{Graph, Value};

impl Graph {
    /// Norm of all values of all tensors together, `[1]`, summed in a fixed order.
    pub fn global_norm(&mut self, gradients: &[Value]) -> Result<Value> {
        self.apply1(GlobalNorm { factors: Vec::new() }, gradients)
    }

    /// As [`Graph::global_norm`], of gradients with those of a penalty added.
    pub fn penalised_global_norm(&mut self, gradients: &[Value], penalty: &Penalty<'_>) -> Result<Value> {
        self.apply1(GlobalNorm { factors: penalty.factors.clone() }, &[gradients, penalty.parameters()].concat())
    }

    /// `min(1, limit / norm)`, `[1]`: what gradients are multiplied by so that their global norm is at most `limit`.
    pub fn clip_scale(&mut self, norm: Value, limit: f32) -> Result<Value> {
        self.apply1(ClipScale { limit }, &[norm])
    }

    /// Each tensor scaled so that its own norm is at most `limit` (what tf.keras calls `clipnorm`).
    pub fn clip_per_tensor(&mut self, gradients: &[Value], limit: f32) -> Result<Vec<Value>> {
        self.apply(ClipPerTensor { limit, factors: Vec::new() }, gradients)
    }

    /// As [`Graph::clip_per_tensor`], of gradients with those of a penalty added.
    pub fn penalised_clip_per_tensor(
        &mut self,
        gradients: &[Value],
        penalty: &Penalty<'_>,
        limit: f32,
    ) -> Result<Vec<Value>> {
        let op = ClipPerTensor { limit, factors: penalty.factors.clone() };
        self.apply(op, &[gradients, penalty.parameters()].concat())
    }

    /// One step of gradient descent with momentum on all parameters: see [`Sgd`]. `rate` and `scale` are `[1]`; gradients
    /// are multiplied by `scale` first. Returns the updated parameters and velocities: make them targets.
    pub fn sgd_momentum(
        &mut self,
        parameters: &[Value],
        gradients: &[Value],
        velocities: &[Value],
        rate: Value,
        scale: Value,
        attrs: SgdAttrs,
    ) -> Result<Vec<Value>> {
        let penalty = Penalty::none(parameters);
        self.penalised_sgd_momentum(&penalty, gradients, velocities, rate, scale, attrs)
    }

    /// As [`Graph::sgd_momentum`], of gradients with those of a penalty of the parameters added before anything else.
    pub fn penalised_sgd_momentum(
        &mut self,
        penalty: &Penalty<'_>,
        gradients: &[Value],
        velocities: &[Value],
        rate: Value,
        scale: Value,
        attrs: SgdAttrs,
    ) -> Result<Vec<Value>> {
        let mut factors = penalty.factors.clone();
        factors.resize(penalty.parameters.len(), 0.0);
        let inputs = [&[rate, scale], penalty.parameters, gradients, velocities].concat();
        self.apply(Sgd { attrs, factors }, &inputs)
    }

    /// One step of Adam on all parameters: see [`Adam`]. `rate` and `scale` are `[1]`, `step` is `i32 [1]` counted from 1;
    /// `decays` are the shares that parameters lose per step at rate 1 (AdamW), none if there are fewer of them.
    /// Returns the updated parameters, means and squares: make them targets.
    pub fn adam(
        &mut self,
        parameters: &[Value],
        gradients: &[Value],
        moments: (&[Value], &[Value]),
        step: Value,
        rate: Value,
        scale: Value,
        attrs: AdamAttrs,
        decays: &[f32],
    ) -> Result<Vec<Value>> {
        let mut decays = decays.to_vec();
        decays.resize(parameters.len(), 0.0);
        let inputs = [&[rate, scale, step], parameters, gradients, moments.0, moments.1].concat();
        self.apply(Adam { attrs, decays }, &inputs)
    }
}

/// An L2 penalty of parameters, `sum over parameters of factor / 2 sum(w^2)`: it adds `factor w` to the gradient of each.
#[derive(Clone, Debug)]
pub struct Penalty<'a> {
    parameters: &'a [Value],
    factors: Vec<f32>,
}

impl<'a> Penalty<'a> {
    /// A factor for each parameter; 0 where it is not penalised.
    pub fn new(parameters: &'a [Value], factors: Vec<f32>) -> Self {
        Self { parameters, factors }
    }

    /// No penalty.
    pub fn none(parameters: &'a [Value]) -> Self {
        Self { parameters, factors: Vec::new() }
    }

    /// `weight_decay * sum(w^2) / size(w)` for each parameter for which `penalised` says so: factors `2 weight_decay / size(w)`.
    pub fn by_size(g: &Graph, parameters: &'a [Value], weight_decay: f32, penalised: impl Fn(usize) -> bool) -> Self {
        let factor = |(index, value): (usize, &Value)| match penalised(index) {
            true => 2.0 * weight_decay / g.shape(*value).len() as f32,
            false => 0.0,
        };
        Self { parameters, factors: parameters.iter().enumerate().map(factor).collect() }
    }

    /// Nothing is penalised any more.
    pub fn clear(&mut self) {
        self.factors.clear();
    }

    /// The parameters, if any is penalised.
    fn parameters(&self) -> &'a [Value] {
        if self.factors.is_empty() { &[] } else { self.parameters }
    }
}
