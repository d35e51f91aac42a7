//! The proposal layer: the region proposal network's scores and deltas to boxes worth a second look.

mod cpu;
mod cuda;
pub mod problem;

use super::select::{key_bytes, suppress};
use super::{Cost, CpuArgs, Op, Scratch, Workspace, ensure, expect_inputs};
use crate::Result;
use crate::device::Cpu;
use crate::device::cuda::{Target, Types, Work};
use crate::graph::{Graph, Value};
use crate::ops::boxes::{Box4, STD_DEV, WHOLE};
use crate::tensor::TensorType;

/// For each image: the `pre_nms` anchors of highest foreground probability (ties: lower index, NaN last), moved by their
/// deltas, clipped to the window, thinned by non-maximum suppression, by descending score.
///
/// Inputs: probabilities `f32 [N, A, 2]` (background, foreground), deltas `f32 [N, A, 4]`, normalised anchors
/// `f32 [A, 4]`. Outputs: boxes `f32 [N, count, 4]` padded with zeros, numbers of them `i32 [N]`. No gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Proposals {
    /// Boxes kept at most.
    pub count: usize,
    /// Anchors looked at: 6000.
    pub pre_nms: usize,
    /// Boxes that overlap a better one by more than this are dropped: 0.7.
    pub nms_iou: f32,
    /// Multiplies the deltas.
    pub std_dev: [f32; 4],
    /// Window that boxes are clipped to.
    pub window: Box4,
}

impl Proposals {
    /// The reference's settings with `count` boxes (2000 in training, 1000 at inference).
    pub fn new(count: usize) -> Self {
        Self { count, pre_nms: 6000, nms_iou: 0.7, std_dev: STD_DEV, window: WHOLE }
    }
}

impl Op for Proposals {
    fn name(&self) -> &'static str {
        "proposals"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        expect_inputs(self.name(), inputs, 3..=3)?;
        let (probs, deltas, anchors) = (&inputs[0], &inputs[1], &inputs[2]);
        let ok = match *probs.shape.dims() {
            [n, a, 2] => {
                *probs == TensorType::f32([n, a, 2])
                    && *deltas == TensorType::f32([n, a, 4])
                    && *anchors == TensorType::f32([a, 4])
            }
            _ => false,
        };
        ensure(self.name(), ok, || {
            format!(
                "needs f32 [N,A,2], [N,A,4], [A,4] (probabilities, deltas, anchors), got {probs}, {deltas}, {anchors}"
            )
        })?;
        Ok(vec![TensorType::f32([probs.shape[0], self.count, 4]), TensorType::i32([probs.shape[0]])])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let visited = inputs[0].shape[1].min(self.pre_nms);
        let pairs = inputs[0].shape[0] * visited * self.count.min(visited) / 2;
        Cost::new(14 * pairs as u64, inputs, outputs)
    }

    fn cpu_workspace(&self, cpu: &Cpu, inputs: &[TensorType], _: &[TensorType]) -> Workspace {
        let kept = Scratch::bytes::<f32>(suppress::scratch_len(self.count));
        Workspace { packed: 0, scratch: cpu.threads() * (key_bytes(inputs[0].shape[1]) + kept) }
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        cuda::run(self, types)
    }

    fn cpu_run(&self, cpu: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        cpu::run(self, cpu, args)
    }
}

impl Graph {
    /// Boxes `f32 [N, count, 4]` and their numbers `i32 [N]` from the region proposal network's probabilities
    /// `[N, A, 2]` and deltas `[N, A, 4]` at normalised `anchors` `[A, 4]`. See [`Proposals`].
    pub fn proposals(&mut self, probs: Value, deltas: Value, anchors: Value, op: Proposals) -> Result<(Value, Value)> {
        let outputs = self.apply(op, &[probs, deltas, anchors])?;
        Ok((outputs[0], outputs[1]))
    }
}
