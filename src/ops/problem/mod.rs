//! One instance of an op, described once: property tests, gradient checks and benches are all made from it.
//!
//! A [`Problem`] knows its inputs, how to build its graph, and a plain reference written as loops and generic over the
//! float type. [`check`] runs the graph on a device and compares with the reference in `f64`. The tolerance is not chosen but
//! measured: twice the error that the same plain loops make in `f32` (on inputs rounded to what the device rounds to), plus a
//! few units in the last place.

mod numbers;
mod real;
mod setting;

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

pub use numbers::Numbers;
pub use real::{Data, Real};
pub use setting::{Setting, processors};

use crate::device::Device;
use crate::device::cuda::Precision;
use crate::graph::{Executor, Graph, Source, Value};
use crate::tensor::{DType, Tensor, TensorType};
use crate::{Error, Result};

/// One instance of an op: attributes and shapes, inputs, graph, reference.
pub trait Problem: Debug {
    /// Input tensors, `f32`, `i32` or `u8`, made from `seed`.
    fn inputs(&self, seed: u64) -> Vec<Tensor>;

    /// Builds the op on values of the inputs' types; returns the outputs to compare.
    fn build(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>>;

    /// The outputs, computed by plain loops in `R`.
    fn reference<R: Real>(&self, inputs: &[Data<R>]) -> Vec<Vec<R>>;

    /// Indices of the inputs that are variables, which the op updates in place.
    fn variables(&self) -> Vec<usize> {
        Vec::new()
    }

    /// Indices of the inputs whose gradients are checked (against finite differences of the `f64` reference).
    fn differentiable(&self) -> Vec<usize> {
        Vec::new()
    }
}

/// What a problem must give: worked out once, compared on every device.
struct Expected {
    tensors: Vec<Tensor>,
    outputs: Vec<Vec<f64>>,
    /// Gradients of the outputs that the problem is differentiated with.
    directions: Vec<Tensor>,
    /// For each differentiable input: finite differences at some elements.
    gradients: Vec<Vec<(usize, f64)>>,
    /// What honest loops of each precision make of it; with `true`, of results rounded to bf16.
    honest: HashMap<(Precision, bool), Honest>,
}

/// What plain `f32` loops on inputs rounded to a precision give: the error that a correct body may make twice.
struct Honest {
    /// Bounds of the outputs' errors.
    tolerances: Vec<f64>,
    /// Worst relative error.
    relative: f64,
    /// For each differentiable input: the worst error of its gradient where inputs and directions are rounded.
    gradients: Vec<f64>,
}

impl Honest {
    fn new<P: Problem>(
        problem: &P,
        tensors: &[Tensor],
        outputs: &[Vec<f64>],
        gradients: &[Vec<(usize, f64)>],
        directions: &[Vec<f64>],
        (precision, narrow): (Precision, bool),
    ) -> Result<Self> {
        let mut inputs: Vec<Data<f32>> = tensors.iter().map(data).collect::<Result<_>>()?;
        for input in &mut inputs {
            if let Data::Real(values) = input {
                values.iter_mut().for_each(|value| *value = precision.round(*value));
            }
        }
        let mut honest = problem.reference::<f32>(&inputs);
        if narrow {
            honest.iter_mut().flatten().for_each(|value| *value = Precision::Bf16.round(*value));
        }
        let bound = |(honest, expected): (&Vec<f32>, &Vec<f64>)| {
            tolerance(expected, &honest.iter().map(|v| v.wide()).collect::<Vec<f64>>())
        };
        // Full precision rounds nothing: what its loops make of a gradient is in `relative`.
        let rounded: Vec<Data<f64>> = inputs.iter().map(widened).collect();
        let round = |values: &Vec<f64>| values.iter().map(|v| precision.round(*v as f32) as f64).collect();
        let directions: Vec<Vec<f64>> = directions.iter().map(round).collect();
        let worst = |(index, exact): (usize, &Vec<(usize, f64)>)| {
            let honest = finite_differences(problem, &rounded, index, &directions);
            exact.iter().zip(&honest).map(|((_, exact), (_, honest))| (exact - honest).abs()).fold(0.0, f64::max)
        };
        let gradients = match precision {
            Precision::F32 => vec![0.0; gradients.len()],
            _ => problem.differentiable().into_iter().zip(gradients).map(worst).collect(),
        };
        Ok(Self {
            gradients,
            tolerances: honest.iter().zip(outputs).map(bound).collect(),
            relative: honest.iter().zip(outputs).map(|(h, e)| relative_error(h, e)).fold(0.0, f64::max),
        })
    }
}

impl Expected {
    fn new<P: Problem>(problem: &P, seed: u64, kinds: &[(Precision, bool)]) -> Result<Self> {
        let tensors = problem.inputs(seed);
        let wide: Vec<Data<f64>> = tensors.iter().map(data).collect::<Result<_>>()?;
        let outputs = problem.reference::<f64>(&wide);
        let (graph, _, values) = graph_of(problem, &tensors, false)?;
        if values.len() != outputs.len() {
            let (found, expected) = (values.len(), outputs.len());
            return Err(Error::graph(format!("{problem:?}: {found} outputs, the reference has {expected}")));
        }
        let directions = directions(&graph, &values, seed)?;
        let weights: Vec<Vec<f64>> = directions.iter().map(wide_values).collect::<Result<_>>()?;
        let differences = |index: usize| finite_differences(problem, &wide, index, &weights);
        let gradients: Vec<_> = problem.differentiable().into_iter().map(differences).collect();
        let mut honest = HashMap::new();
        for &kind in kinds {
            honest.insert(kind, Honest::new(problem, &tensors, &outputs, &gradients, &weights, kind)?);
        }
        Ok(Self { tensors, outputs, directions, gradients, honest })
    }

    fn compare<P: Problem>(&self, problem: &P, setting: &Setting<'_>, seed: u64) -> Result<()> {
        let (device, narrow) = (setting.prepared_device(), setting.narrow);
        let precision = device.precision();
        let honest = self.honest.get(&(precision, narrow));
        let honest = honest.ok_or_else(|| Error::graph(format!("no reference was made for {precision}")))?;
        let Differentiated { graph, inputs, outputs, directions, targets } =
            differentiated(problem, &self.tensors, &self.directions, narrow)?;
        let mut executor = Executor::new(device, Arc::new(graph), &targets)?;
        let variables = problem.variables();
        let fed = inputs.iter().copied().zip(&self.tensors).enumerate();
        let given = directions.iter().map(|(value, i)| (*value, &self.directions[*i]));
        let feeds: Vec<(Value, &Tensor)> =
            fed.filter(|(i, _)| !variables.contains(i)).map(|(_, fed)| fed).chain(given).collect();
        let run = |executor: &mut Executor| {
            variables.iter().try_for_each(|i| executor.set(&format!("input{i}"), &self.tensors[*i]))?;
            executor.run(&feeds)
        };
        run(&mut executor)?;
        for (i, (output, expected)) in outputs.iter().zip(&self.outputs).enumerate() {
            let found: Vec<f64> = wide_values(&executor.output(*output)?)?;
            compare(&format!("{problem:?} seed {seed}: output {i}"), &found, expected, honest.tolerances[i])?;
        }
        // Twice over the inputs, so that a body that depends on what the arena held is caught.
        let first: Vec<Tensor> = targets.iter().map(|v| executor.output(*v)).collect::<Result<_>>()?;
        run(&mut executor)?;
        for (value, first) in targets.iter().zip(&first) {
            if executor.output(*value)?.bytes() != first.bytes() {
                return Err(Error::graph(format!("{problem:?} seed {seed}: a second run gives other bits")));
            }
        }
        for (slot, index) in problem.differentiable().into_iter().enumerate() {
            let gradient = wide_values(&first[outputs.len() + slot])?;
            let largest = gradient.iter().fold(0.0f64, |a, b| a.max(b.abs()));
            // Central differences of an f64 function with steps of 1e-5 are good to about 1e-9 of its scale.
            // A gradient may pass through some nodes, each of which rounds once.
            let rounding = if narrow { NARROW_NODES * BF16_ROUNDING } else { 0.0 };
            let bound = largest * (honest.relative * 8.0 + 64.0 * f32::EPSILON as f64 + rounding)
                + 1e-7 * largest.max(1.0)
                + 2.0 * honest.gradients[slot];
            for &(element, expected) in &self.gradients[slot] {
                let found = gradient[element];
                let close = (found - expected).abs() <= bound;
                if !close {
                    return Err(Error::graph(format!(
                        "{problem:?} seed {seed}: gradient of input {index}[{element}] is {found:e}, finite difference \
                         {expected:e}, bound {bound:e}"
                    )));
                }
            }
        }
        Ok(())
    }
}

/// Unit roundoff of bf16.
const BF16_ROUNDING: f64 = 1.0 / 256.0;
/// Nodes of a problem's gradient that round one after the other, at most.
const NARROW_NODES: f64 = 4.0;

/// The problem's graph, its inputs and its outputs; if `narrow`, floats are rounded to bf16 before and after.
fn graph_of<P: Problem>(problem: &P, tensors: &[Tensor], narrow: bool) -> Result<(Graph, Vec<Value>, Vec<Value>)> {
    let mut graph = Graph::new();
    let mut inputs = Vec::new();
    let variables = problem.variables();
    for (i, tensor) in tensors.iter().enumerate() {
        let (name, ty) = (format!("input{i}"), tensor.ty().clone());
        inputs.push(if variables.contains(&i) { graph.variable(&name, ty)? } else { graph.input(&name, ty)? });
    }
    let rounded = |graph: &mut Graph, values: &[Value]| -> Result<Vec<Value>> {
        let round = |value: &Value| match graph.ty(*value).dtype {
            DType::F32 if narrow && !matches!(graph.source(*value), Source::Variable(_)) => graph.round_bf16(*value),
            _ => Ok(*value),
        };
        values.iter().map(round).collect()
    };
    let taken = rounded(&mut graph, &inputs)?;
    let outputs = problem.build(&mut graph, &taken)?;
    let outputs = rounded(&mut graph, &outputs)?;
    Ok((graph, inputs, outputs))
}

/// A problem's graph with gradients.
struct Differentiated {
    graph: Graph,
    inputs: Vec<Value>,
    outputs: Vec<Value>,
    /// Inputs that the outputs' gradients come by, and which of the outputs each is of.
    directions: Vec<(Value, usize)>,
    /// Outputs and gradients together.
    targets: Vec<Value>,
}

/// The problem's graph with gradients of the outputs, weighed by `directions`.
fn differentiated<P: Problem>(
    problem: &P,
    tensors: &[Tensor],
    directions: &[Tensor],
    narrow: bool,
) -> Result<Differentiated> {
    let (mut graph, inputs, outputs) = graph_of(problem, tensors, narrow)?;
    let mut given = Vec::new();
    let wrt: Vec<Value> = problem.differentiable().iter().map(|i| inputs[*i]).collect();
    let mut targets = outputs.clone();
    if !wrt.is_empty() {
        let mut seeds = Vec::new();
        for (i, (output, direction)) in outputs.iter().zip(directions).enumerate() {
            if graph.ty(*output).dtype == DType::F32 {
                let direction = graph.input(&format!("direction{i}"), direction.ty().clone())?;
                given.push((direction, i));
                seeds.push((*output, direction));
            }
        }
        targets.extend(graph.gradients_from(&seeds, &wrt)?);
    }
    Ok(Differentiated { graph, inputs, outputs, directions: given, targets })
}

/// Random weights of outputs.
fn directions(graph: &Graph, outputs: &[Value], seed: u64) -> Result<Vec<Tensor>> {
    let direction = |(i, value): (usize, &Value)| random_tensor(graph.ty(*value), seed ^ (0x9e37 + i as u64));
    outputs.iter().enumerate().map(direction).collect()
}

/// A graph and what is read of it.
pub type Targeted = (Graph, Vec<Value>);

/// What a check of the problem runs: its graph with the gradients that are checked, and what is read; if `narrow`, as in
/// [`Setting::narrow`].
pub fn graph<P: Problem>(problem: &P, seed: u64, narrow: bool) -> Result<Targeted> {
    let tensors = problem.inputs(seed);
    let (graph, _, outputs) = graph_of(problem, &tensors, narrow)?;
    let directions = directions(&graph, &outputs, seed)?;
    let Differentiated { graph, targets, .. } = differentiated(problem, &tensors, &directions, narrow)?;
    Ok((graph, targets))
}

/// Central differences of the `f64` reference in the directions, at every element of small inputs and at an even sample of
/// large ones.
fn finite_differences<P: Problem>(
    problem: &P,
    inputs: &[Data<f64>],
    index: usize,
    directions: &[Vec<f64>],
) -> Vec<(usize, f64)> {
    let objective = |inputs: &[Data<f64>]| -> f64 {
        let outputs = problem.reference::<f64>(inputs);
        outputs.iter().zip(directions).map(|(y, d)| y.iter().zip(d).map(|(y, d)| y * d).sum::<f64>()).sum()
    };
    let len = inputs[index].real().len();
    // One odd stride through all of it.
    let stride = (len / 97).max(1) | 1;
    let mut moved = inputs.to_vec();
    let mut differences = Vec::new();
    for element in (0..len).step_by(stride) {
        let at = |moved: &mut Vec<Data<f64>>, step: f64| {
            if let Data::Real(values) = &mut moved[index] {
                values[element] = inputs[index].real()[element] + step;
            }
            objective(moved)
        };
        let step = 1e-5;
        let difference = (at(&mut moved, step) - at(&mut moved, -step)) / (2.0 * step);
        if let Data::Real(values) = &mut moved[index] {
            values[element] = inputs[index].real()[element];
        }
        differences.push((element, difference));
    }
    differences
}

/// Runs the problem on the device and compares outputs with the reference, gradients with finite differences.
/// An error says what differs, where, and by how much.
pub fn check<P: Problem>(problem: &P, device: &Device, seed: u64) -> Result<()> {
    let expected = Expected::new(problem, seed, &[(device.precision(), false)])?;
    expected.compare(problem, &Setting::of(device.clone()), seed)
}

/// As [`check`] in several settings, with the reference worked out once. What goes wrong is told with the setting in front.
pub fn check_on<P: Problem>(problem: &P, seed: u64, settings: &[Setting<'_>]) -> Result<()> {
    let mut kinds: Vec<_> = settings.iter().map(|setting| (setting.device.precision(), setting.narrow)).collect();
    kinds.sort();
    kinds.dedup();
    let expected = Expected::new(problem, seed, &kinds)?;
    settings.iter().try_for_each(|setting| {
        let told = |error| match error {
            // What a device lacks is no finding about the problem.
            error @ Error::Device { .. } => error,
            error => Error::graph(format!("[{}] {error}", setting.name)),
        };
        expected.compare(problem, setting, seed).map_err(told)
    })
}

/// Twice the worst error of honest `f32` loops, plus four units in the last place of the largest value.
pub fn tolerance(expected: &[f64], honest: &[f64]) -> f64 {
    let worst = expected.iter().zip(honest).map(|(e, h)| (e - h).abs()).fold(0.0, f64::max);
    let largest = expected.iter().map(|e| e.abs()).fold(0.0, f64::max);
    2.0 * worst + 4.0 * f32::EPSILON as f64 * largest
}

fn relative_error(honest: &[f32], expected: &[f64]) -> f64 {
    let worst = expected.iter().zip(honest).map(|(e, h)| (e - h.wide()).abs()).fold(0.0, f64::max);
    let largest = expected.iter().map(|e| e.abs()).fold(0.0, f64::max);
    if largest > 0.0 { worst / largest } else { 0.0 }
}

/// Fails with the worst place unless all values are within `tolerance`; values that are not finite fail.
pub fn compare(what: &str, found: &[f64], expected: &[f64], tolerance: f64) -> Result<()> {
    if found.len() != expected.len() {
        return Err(Error::graph(format!("{what}: {} values, expected {}", found.len(), expected.len())));
    }
    let differs = |(f, e): (&f64, &f64)| if f == e { 0.0 } else { (f - e).abs() };
    let rank = |difference: f64| if difference.is_nan() { f64::INFINITY } else { difference };
    let worst =
        (0..found.len()).map(|i| (i, rank(differs((&found[i], &expected[i]))))).max_by(|a, b| a.1.total_cmp(&b.1));
    match worst {
        Some((at, difference)) if difference > tolerance => Err(Error::graph(format!(
            "{what}: worst at [{at}]: {:e}, expected {:e}, tolerance {tolerance:e}",
            found[at], expected[at]
        ))),
        _ => Ok(()),
    }
}

fn data<R: Real>(tensor: &Tensor) -> Result<Data<R>> {
    match tensor.dtype() {
        DType::F32 => Ok(Data::Real(tensor.values::<f32>()?.iter().map(|v| R::of(*v as f64)).collect())),
        DType::I32 => Ok(Data::Int(tensor.values::<i32>()?.to_vec())),
        DType::U8 => Ok(Data::Real(tensor.values::<u8>()?.iter().map(|v| R::of(f64::from(*v))).collect())),
        other => Err(Error::graph(format!("problems take f32, i32 and u8 inputs, not {other}"))),
    }
}

fn widened(data: &Data<f32>) -> Data<f64> {
    match data {
        Data::Real(values) => Data::Real(values.iter().map(|value| value.wide()).collect()),
        Data::Int(values) => Data::Int(values.clone()),
    }
}

/// Values of an `f32`, `i32` or `u8` tensor, widened.
pub fn wide_values(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(tensor.to_f32().values::<f32>()?.iter().map(|v| *v as f64).collect())
}

fn random_tensor(ty: &TensorType, seed: u64) -> Result<Tensor> {
    match ty.dtype {
        DType::F32 => Ok(Numbers::new(seed).tensor(ty.shape.dims())),
        _ => Ok(Tensor::zeros(ty.dtype, ty.shape.clone())),
    }
}
