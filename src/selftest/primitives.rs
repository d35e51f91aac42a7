//! The primitives that kernels are built from, each as an op of its own: what the manuals say in plain loops, and a kernel that
//! does it on the device.

use crate::device::Cpu;
use crate::device::cuda::{Launch, Precision, Target, Types, Work};
use crate::graph::{Graph, Value};
use crate::ops::problem::{Data, Numbers, Problem, Real};
use crate::ops::{CpuArgs, Op, expect_inputs};
use crate::tensor::{Tensor, TensorType};
use crate::{Error, Result};

/// One primitive of `kernels/device/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Primitive {
    /// `mma.sync` on bf16: `(a [16,16], b [16,8], c [16,8]) -> c + a b`.
    MmaBf16,
    /// `mma.sync` on tf32: `(a [16,8], b [8,8], c [16,8]) -> c + a b`.
    MmaTf32,
    /// `ldmatrix`: `x [8 matrices, 8] -> [32, 2 matrices]`, whole numbers below 65536.
    Ldmatrix {
        /// 1, 2 or 4.
        matrices: usize,
        /// Whether columns are given instead of rows.
        transposed: bool,
    },
    /// `cp.async`: `x [256, bytes / 4] -> y`, rows 2, 5, 8, .. zero.
    Copy {
        /// 4, 8 or 16.
        bytes: usize,
    },
    /// Reductions of a block: `x [256] -> [sum, largest, its index]`.
    Reduce,
}

impl Primitive {
    /// Every one.
    pub const ALL: [Self; 12] = [
        Self::MmaBf16,
        Self::MmaTf32,
        Self::Ldmatrix { matrices: 1, transposed: false },
        Self::Ldmatrix { matrices: 2, transposed: false },
        Self::Ldmatrix { matrices: 4, transposed: false },
        Self::Ldmatrix { matrices: 1, transposed: true },
        Self::Ldmatrix { matrices: 2, transposed: true },
        Self::Ldmatrix { matrices: 4, transposed: true },
        Self::Copy { bytes: 4 },
        Self::Copy { bytes: 8 },
        Self::Copy { bytes: 16 },
        Self::Reduce,
    ];

    fn input_shapes(self) -> Vec<Vec<usize>> {
        match self {
            Self::MmaBf16 => vec![vec![16, 16], vec![16, 8], vec![16, 8]],
            Self::MmaTf32 => vec![vec![16, 8], vec![8, 8], vec![16, 8]],
            Self::Ldmatrix { matrices, .. } => vec![vec![8 * matrices, 8]],
            Self::Copy { bytes } => vec![vec![256, bytes / 4]],
            Self::Reduce => vec![vec![256]],
        }
    }

    fn output_shape(self) -> Vec<usize> {
        match self {
            Self::MmaBf16 | Self::MmaTf32 => vec![16, 8],
            Self::Ldmatrix { matrices, .. } => vec![32, 2 * matrices],
            Self::Copy { bytes } => vec![256, bytes / 4],
            Self::Reduce => vec![3],
        }
    }

    fn launch(self) -> Launch {
        let new = |name: &str| Launch::new("conformance", format!("conformance_{name}"));
        match self {
            Self::MmaBf16 => new("mma_bf16").block(32),
            Self::MmaTf32 => new("mma_tf32").block(32),
            Self::Ldmatrix { matrices, transposed } => {
                new(&format!("ldmatrix_x{matrices}{}", if transposed { "_trans" } else { "" })).block(32)
            }
            Self::Copy { bytes } => new("copy").constant("PIECE_BYTES", bytes).block(256),
            Self::Reduce => new("reduce").block(256),
        }
    }

    /// What the primitive makes of inputs.
    fn evaluate<R: Real>(self, inputs: &[&[R]]) -> Vec<R> {
        let rounded = |value: R, precision: Precision| R::of(f64::from(precision.round(value.wide() as f32)));
        let product = |depth: usize, precision: Precision| {
            let cell = |i: usize| {
                let (row, column) = (i / 8, i % 8);
                let term = |k: usize| {
                    rounded(inputs[0][row * depth + k], precision) * rounded(inputs[1][k * 8 + column], precision)
                };
                inputs[2][i] + (0..depth).map(term).sum::<R>()
            };
            (0..128).map(cell).collect()
        };
        match self {
            Self::MmaBf16 => product(16, Precision::Bf16),
            Self::MmaTf32 => product(8, Precision::Tf32),
            Self::Ldmatrix { matrices, transposed } => {
                let cell = |i: usize| {
                    let (lane, q, half) = (i / (2 * matrices), i % (2 * matrices) / 2, i % 2);
                    let (group, along) = (lane / 4, 2 * (lane % 4) + half);
                    let (row, column) = if transposed { (along, group) } else { (group, along) };
                    inputs[0][(8 * q + row) * 8 + column]
                };
                (0..64 * matrices).map(cell).collect()
            }
            Self::Copy { bytes } => {
                let keep = |(i, x): (usize, &R)| if i / (bytes / 4) % 3 == 2 { R::of(0.0) } else { *x };
                inputs[0].iter().enumerate().map(keep).collect()
            }
            Self::Reduce => {
                let largest = inputs[0].iter().copied().reduce(Real::max).unwrap_or(R::of(0.0));
                let at = inputs[0].iter().position(|x| *x == largest).unwrap_or(0);
                vec![inputs[0].iter().copied().sum(), largest, R::of(at as f64)]
            }
        }
    }
}

/// A primitive as an op.
#[derive(Clone, Copy, Debug)]
struct Conformance {
    primitive: Primitive,
}

impl Op for Conformance {
    fn name(&self) -> &'static str {
        "conformance"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let expected: Vec<TensorType> = self.primitive.input_shapes().into_iter().map(TensorType::f32).collect();
        expect_inputs(self.name(), inputs, expected.len()..=expected.len())?;
        if inputs != expected {
            return Err(Error::op(self.name(), format!("{:?} takes {expected:?}, got {inputs:?}", self.primitive)));
        }
        Ok(vec![TensorType::f32(self.primitive.output_shape())])
    }

    fn cuda(&self, _: &Target, types: &Types<'_>) -> Result<Work> {
        let launch = (0..types.inputs.len()).fold(self.primitive.launch(), Launch::input);
        Ok(Work::of(launch.output(0)))
    }

    fn cpu_run(&self, _: &Cpu, args: &mut CpuArgs<'_>) -> Result<()> {
        let inputs: Vec<&[f32]> = args.inputs.iter().map(|input| input.f32()).collect();
        args.outputs[0].f32().copy_from_slice(&self.primitive.evaluate(&inputs));
        Ok(())
    }
}

/// One primitive on random values.
#[derive(Clone, Copy, Debug)]
pub struct PrimitiveProblem {
    /// Which.
    pub primitive: Primitive,
}

impl PrimitiveProblem {
    /// One after the other.
    pub fn random(numbers: &mut Numbers) -> Self {
        Self { primitive: Primitive::ALL[numbers.turn(Primitive::ALL.len())] }
    }
}

impl Problem for PrimitiveProblem {
    fn inputs(&self, seed: u64) -> Vec<Tensor> {
        let mut numbers = Numbers::new(seed);
        let whole = matches!(self.primitive, Primitive::Ldmatrix { .. });
        let mut inputs: Vec<Tensor> = self.primitive.input_shapes().iter().map(|shape| numbers.tensor(shape)).collect();
        if whole {
            let values = inputs.iter_mut().flat_map(|tensor| tensor.values_mut::<f32>()).flatten();
            values.for_each(|value| *value = numbers.integer(0, 255) as f32);
        }
        inputs
    }

    fn build(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        Ok(vec![graph.apply1(Conformance { primitive: self.primitive }, inputs)?])
    }

    fn reference<R: Real>(&self, inputs: &[Data<R>]) -> Vec<Vec<R>> {
        let inputs: Vec<&[R]> = inputs.iter().map(Data::real).collect();
        vec![self.primitive.evaluate(&inputs)]
    }
}
