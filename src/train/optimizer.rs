//! Appends clipping and an optimizer to a graph that has a loss.

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::graph::{Graph, Value};
use crate::ops::optim::{AdamAttrs, Penalty, SgdAttrs};
use crate::tensor::{Tensor, TensorType};

/// How gradients become steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Optimizer {
    /// Gradient descent with momentum (the paper's detector). Weight decay is a gradient of `2 * decay * w / size(w)`, on all but
    /// `gamma` and `beta`.
    Sgd {
        /// Share of the old velocity kept.
        momentum: f32,
        /// Weight decay per tensor.
        decay: f32,
    },
    /// Adam in Keras's form; `decay` is decoupled (AdamW), on weights but not on biases, `gamma` and `beta`.
    Adam {
        /// Share of the old mean kept.
        beta1: f32,
        /// Share of the old mean square kept.
        beta2: f32,
        /// Added to the root mean square.
        epsilon: f32,
        /// Decoupled weight decay: share of a weight lost per step at rate 1.
        decay: f32,
    },
}

/// How gradients are limited before a step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clip {
    /// They are taken as they are.
    None,
    /// All scaled alike, so that the norm of all together is at most this (standalone Keras; the paper's time).
    Global(f32),
    /// Each tensor scaled so that its own norm is at most this (what tf.keras calls `clipnorm`).
    PerTensor(f32),
}

impl Clip {
    /// Gradients, and what the optimizer multiplies them by. The penalty is that of the gradients, and then what of it is still to
    /// be added to them.
    fn append(
        self,
        g: &mut Graph,
        gradients: Vec<Value>,
        penalty: &mut Penalty<'_>,
        norm: Value,
    ) -> Result<(Vec<Value>, Value)> {
        let one = |g: &mut Graph| Ok(g.constant(Tensor::new([1], &[1.0f32])?));
        match self {
            Clip::None => Ok((gradients, one(g)?)),
            Clip::Global(limit) => Ok((gradients, g.clip_scale(norm, limit)?)),
            Clip::PerTensor(limit) => {
                let gradients = g.penalised_clip_per_tensor(&gradients, penalty, limit)?;
                penalty.clear();
                Ok((gradients, one(g)?))
            }
        }
    }
}

/// What [`append_optimizer`] adds to a graph.
#[derive(Clone, Debug)]
pub struct OptimizerValues {
    /// Learning rate, an input `[1]`.
    pub rate: Value,
    /// Number of the step counted from 1, an input `i32 [1]`.
    pub step: Value,
    /// Norm of all gradients together before clipping, `[1]`.
    pub gradient_norm: Value,
    /// Updated variables: targets that make the step happen.
    pub updates: Vec<Value>,
}

/// Joins the nodes of a whole step, of which `targets` are read: first what convolutions take in, then what is left.
pub(crate) fn fuse_step(g: &mut Graph, targets: &[Value]) {
    g.fuse_gradients(targets);
    g.fuse_elementwise(targets);
}

/// Appends gradients of `loss` with respect to `parameters` (names of variables), clipping, and the update of the parameters. Optimizer state becomes variables `optimizer.<slot>.<parameter>`.
pub fn append_optimizer(
    g: &mut Graph,
    loss: Value,
    parameters: &[String],
    optimizer: &Optimizer,
    clip: Clip,
) -> Result<OptimizerValues> {
    let missing = |name: &String| crate::Error::graph(format!("there is no variable '{name}' to train"));
    let values: Vec<Value> = parameters.iter().map(|n| g.find(n).ok_or_else(|| missing(n))).collect::<Result<_>>()?;
    let forward = g.nodes().len();
    let gradients = g.gradients(loss, &values)?;
    g.recompute(forward)?;
    let rate = g.input("learning_rate", TensorType::f32([1]))?;
    let step = g.input("step", TensorType::i32([1]))?;
    let slot = |g: &mut Graph, slot: &str| -> Result<Vec<Value>> {
        let state = |(name, value): (&String, &Value)| {
            let ty = g.ty(*value).clone();
            g.variable(&format!("optimizer.{slot}.{name}"), ty)
        };
        parameters.iter().zip(&values).map(state).collect()
    };
    let is_affine = |name: &str| name.ends_with(".gamma") || name.ends_with(".beta");
    match optimizer {
        Optimizer::Sgd { momentum, decay } => {
            let velocities = slot(g, "velocity")?;
            let mut penalty = match *decay > 0.0 {
                true => Penalty::by_size(g, &values, *decay, |index| !is_affine(&parameters[index])),
                false => Penalty::none(&values),
            };
            let gradient_norm = g.penalised_global_norm(&gradients, &penalty)?;
            let (gradients, scale) = clip.append(g, gradients, &mut penalty, gradient_norm)?;
            let attrs = SgdAttrs { momentum: *momentum };
            let updates = g.penalised_sgd_momentum(&penalty, &gradients, &velocities, rate, scale, attrs)?;
            Ok(OptimizerValues { rate, step, gradient_norm, updates })
        }
        Optimizer::Adam { beta1, beta2, epsilon, decay } => {
            let (means, squares) = (slot(g, "mean")?, slot(g, "square")?);
            let gradient_norm = g.global_norm(&gradients)?;
            let (gradients, scale) = clip.append(g, gradients, &mut Penalty::none(&values), gradient_norm)?;
            let attrs = AdamAttrs { beta1: *beta1, beta2: *beta2, epsilon: *epsilon };
            // Only weights decay.
            let decays: Vec<f32> =
                parameters.iter().map(|name| if name.ends_with("weight") { *decay } else { 0.0 }).collect();
            let updates = g.adam(&values, &gradients, (&means, &squares), step, rate, scale, attrs, &decays)?;
            Ok(OptimizerValues { rate, step, gradient_norm, updates })
        }
    }
}
