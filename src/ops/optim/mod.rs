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
        self.apply1(GlobalNorm, gradients)
    }

    /// `min(1, limit / norm)`, `[1]`: what gradients are multiplied by so that their global norm is at most `limit`.
    pub fn clip_scale(&mut self, norm: Value, limit: f32) -> Result<Value> {
        self.apply1(ClipScale { limit }, &[norm])
    }

    /// Each tensor scaled so that its own norm is at most `limit` (what tf.keras calls `clipnorm`).
    pub fn clip_per_tensor(&mut self, gradients: &[Value], limit: f32) -> Result<Vec<Value>> {
        self.apply(ClipPerTensor { limit }, gradients)
    }

    /// Gradients with those of an L2 penalty added, `weight_decay * sum(w^2) / size(w)` for each parameter: `2 weight_decay
    /// w / size` each. Leave out what is not penalised (gamma and beta of batch norm) by not handing it in.
    pub fn add_l2_gradients(
        &mut self,
        parameters: &[Value],
        gradients: &[Value],
        weight_decay: f32,
    ) -> Result<Vec<Value>> {
        let penalised = |(&parameter, &gradient): (&Value, &Value)| {
            let penalty = self.scale(parameter, 2.0 * weight_decay / self.shape(parameter).len() as f32)?;
            self.sum_of(&[gradient, penalty])
        };
        parameters.iter().zip(gradients).map(penalised).collect()
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
        let inputs = [&[rate, scale], parameters, gradients, velocities].concat();
        self.apply(Sgd { attrs, parameters: parameters.len() }, &inputs)
    }

    /// One step of Adam on all parameters: see [`Adam`]. `rate` and `scale` are `[1]`, `step` is `i32 [1]` counted from 1.
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
    ) -> Result<Vec<Value>> {
        let inputs = [&[rate, scale, step], parameters, gradients, moments.0, moments.1].concat();
        self.apply(Adam { attrs, parameters: parameters.len() }, &inputs)
    }
}
