//! Gated recurrent units over sequences.
//!
//! Gates lie in the order z, r, h along the last axis; z keeps the OLD state. With `a = x W + b0` and the state h:
//!
//! - `reset_after` (Keras 2's default, cuDNN's form; bias `[2,3u]`): `q = h U + b1`, `z = s(a_z + q_z)`,
//!   `r = s(a_r + q_r)`, `g = tanh(a_h + r q_h)`;
//! - otherwise (bias `[3u]`): `z = s(a_z + h U_z)`, `r = s(a_r + h U_r)`, `g = tanh(a_h + (r h) U_h)`;
//!
//! and `h' = z h + (1 - z) g`, with s the recurrent activation.
//!
//! The projections of all steps are one dense layer; only [`GruScan`] is sequential. Both directions of a bidirectional
//! layer are one scan, so that they run side by side.

mod backward;
mod cell;
mod cuda;
mod forward;
mod grad;
pub mod problem;
mod scan;
mod work;

pub use grad::GruScanGrad;
pub use scan::GruScan;

use serde::{Deserialize, Serialize};

use crate::graph::{Graph, Value};
use crate::ops::conv::Extras;
use crate::tensor::Shape;
use crate::{Error, Result};

/// What squashes the gates z and r.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecurrentActivation {
    /// `1 / (1 + e^-x)`.
    #[default]
    Sigmoid,
    /// `clip(0.2 x + 0.5, 0, 1)`.
    HardSigmoid,
}

/// Attributes of a GRU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GruAttrs {
    /// Whether the reset gate acts after the recurrent product (see the module's text).
    pub reset_after: bool,
    /// Whether the sequence is read from its end; the output at time t has then seen t and all that follows.
    pub reverse: bool,
    /// What squashes the gates.
    pub recurrent_activation: RecurrentActivation,
}

impl Default for GruAttrs {
    fn default() -> Self {
        Self { reset_after: true, reverse: false, recurrent_activation: RecurrentActivation::Sigmoid }
    }
}

/// Weights of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GruWeights {
    /// `[in, 3u]`.
    pub weight: Value,
    /// `[u, 3u]`.
    pub recurrent_weight: Value,
    /// `[2, 3u]` (input, recurrent) with `reset_after`, else `[3u]`.
    pub bias: Value,
}

impl Graph {
    /// GRU over `x [N,T,in]`, from state `h0 [N,u]` (zeros if `None`). Gives all states `[N,T,u]` and the last one
    /// `[N,u]`. With `counts`, sequences that are not valid are skipped and come out as zeros.
    pub fn gru(
        &mut self,
        x: Value,
        weights: GruWeights,
        attrs: GruAttrs,
        h0: Option<Value>,
        counts: Option<Value>,
    ) -> Result<(Value, Value)> {
        self.gru_scan(x, &[weights], &[attrs.reverse], attrs, h0, counts)
    }

    /// Bidirectional GRU over `x [N,T,in]`: states of the forward direction, then of the backward direction, `[N,T,2u]`,
    /// and their last states `[N,2u]`. `attrs.reverse` has no meaning here.
    pub fn bigru(
        &mut self,
        x: Value,
        forward: GruWeights,
        backward: GruWeights,
        attrs: GruAttrs,
        h0: Option<Value>,
        counts: Option<Value>,
    ) -> Result<(Value, Value)> {
        self.gru_scan(x, &[forward, backward], &[false, true], attrs, h0, counts)
    }

    fn gru_scan(
        &mut self,
        x: Value,
        weights: &[GruWeights],
        reverse: &[bool],
        attrs: GruAttrs,
        h0: Option<Value>,
        counts: Option<Value>,
    ) -> Result<(Value, Value)> {
        let (mut projections, mut recurrent, mut biases) = (Vec::new(), Vec::new(), Vec::new());
        for direction in weights {
            let columns = self.shape(direction.weight).last();
            let expected = if attrs.reset_after { Shape::from([2, columns]) } else { Shape::from([columns]) };
            if self.shape(direction.bias) != &expected {
                let found = self.ty(direction.bias);
                let message = format!("reset_after = {}: bias must be f32{expected}, got {found}", attrs.reset_after);
                return Err(Error::op("gru", message));
            }
            let mut row = |row: usize| -> Result<Value> {
                if !attrs.reset_after {
                    return Ok(direction.bias);
                }
                let bias = self.slice(direction.bias, 0, row, 1, 1)?;
                self.reshape(bias, [columns])
            };
            let input_bias = row(0)?;
            if attrs.reset_after {
                biases.push(row(1)?);
            }
            let extras = Extras::bias(input_bias).with_counts(counts);
            projections.push(self.dense(x, direction.weight, false, extras)?);
            recurrent.push(direction.recurrent_weight);
        }
        let op = GruScan {
            reverse: reverse.to_vec(),
            reset_after: attrs.reset_after,
            recurrent_activation: attrs.recurrent_activation,
            initial_state: h0.is_some(),
        };
        let mut inputs = [projections, recurrent, biases].concat();
        inputs.extend(h0);
        inputs.extend(counts);
        let outputs = self.apply(op, &inputs)?;
        Ok((outputs[0], outputs[1]))
    }
}
