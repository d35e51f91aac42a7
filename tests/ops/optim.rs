//! Optimizers, clipping and the L2 penalty against plain loops in double precision.

use std::sync::Arc;

use sarcomere::graph::{Executor, Graph, Value};
use sarcomere::ops::optim::{AdamAttrs, Penalty, SgdAttrs};
use sarcomere::ops::problem::{Numbers, compare, tolerance, wide_values};
use sarcomere::tensor::{Tensor, TensorType};
use sarcomere::{Result, device::Device};

use crate::everywhere::{explain, settings};

/// One tensor longer than a task, one of a single value.
const SHAPES: [&[usize]; 3] = [&[3, 5], &[1], &[20_011]];
const STEPS: usize = 3;
const RATE: f32 = 0.05;
const DECAY: f32 = 0.1;

/// Runs `STEPS` steps; gives the parameters after each, from gradients and start values that `numbers` makes.
fn train(
    device: &Device,
    build: impl Fn(&mut Graph, &[Value], &[Value], Value) -> Result<Vec<Value>>,
) -> Result<Vec<Vec<Tensor>>> {
    let mut g = Graph::new();
    let named = |kind: &str, i: usize| format!("{kind}{i}");
    let parameters: Vec<Value> =
        (0..3).map(|i| g.variable(&named("p", i), TensorType::f32(SHAPES[i]))).collect::<Result<_>>()?;
    let gradients: Vec<Value> =
        (0..3).map(|i| g.input(&named("g", i), TensorType::f32(SHAPES[i]))).collect::<Result<_>>()?;
    let step = g.input("step", TensorType::i32([1]))?;
    let targets = build(&mut g, &parameters, &gradients, step)?;
    let mut executor = Executor::new(device, Arc::new(g), &targets)?;
    for (i, start) in start().iter().enumerate() {
        executor.set(&named("p", i), start)?;
    }
    let mut history = Vec::new();
    for number in 0..STEPS {
        let tensors = step_gradients(number);
        let now = Tensor::new([1], &[number as i32 + 1])?;
        let mut feeds: Vec<(Value, &Tensor)> = gradients.iter().copied().zip(&tensors).collect();
        feeds.push((step, &now));
        // A graph whose rule does not need the step takes it all the same.
        executor.run(&feeds)?;
        history.push((0..3).map(|i| executor.get(&named("p", i))).collect::<Result<_>>()?);
    }
    Ok(history)
}

fn start() -> Vec<Tensor> {
    let mut numbers = Numbers::new(1);
    SHAPES.iter().map(|shape| numbers.tensor(shape)).collect()
}

fn step_gradients(step: usize) -> Vec<Tensor> {
    let mut numbers = Numbers::new(100 + step as u64);
    SHAPES.iter().map(|shape| numbers.tensor(shape)).collect()
}

/// The same by plain loops: `rule(parameter, gradient, state, step)` for every element, gradients prepared by `prepare`.
fn expected(
    prepare: impl Fn(&[Vec<f64>], &mut [Vec<f64>]),
    rule: impl Fn(&mut f64, f64, &mut [f64; 2], i32),
) -> Vec<Vec<Vec<f64>>> {
    let mut parameters: Vec<Vec<f64>> = start().iter().map(|tensor| wide_values(tensor).unwrap()).collect();
    let mut states: Vec<Vec<[f64; 2]>> = parameters.iter().map(|p| vec![[0.0; 2]; p.len()]).collect();
    let mut history = Vec::new();
    for step in 0..STEPS {
        let mut gradients: Vec<Vec<f64>> =
            step_gradients(step).iter().map(|tensor| wide_values(tensor).unwrap()).collect();
        prepare(&parameters, &mut gradients);
        for (i, parameter) in parameters.iter_mut().enumerate() {
            for ((p, g), state) in parameter.iter_mut().zip(&gradients[i]).zip(&mut states[i]) {
                rule(p, *g, state, step as i32 + 1);
            }
        }
        history.push(parameters.clone());
    }
    history
}

/// Compares within what a few roundings of `f32` cost, on every executor.
fn check(
    expected: &[Vec<Vec<f64>>],
    build: impl Fn(&mut Graph, &[Value], &[Value], Value) -> Result<Vec<Value>>,
) -> Result<()> {
    for setting in settings(1) {
        let device = setting.prepared_device();
        let found = train(device, &build).map_err(explain)?;
        for (step, (found, expected)) in found.iter().zip(expected).enumerate() {
            for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
                let rounded: Vec<f64> = expected.iter().map(|v| f64::from(*v as f32)).collect();
                let what = format!("{} step {step} tensor {i}", device.describe());
                compare(&what, &wide_values(found)?, expected, 4.0 * tolerance(expected, &rounded))?;
            }
        }
    }
    Ok(())
}

fn sgd(p: &mut f64, g: f64, state: &mut [f64; 2]) {
    state[0] = 0.9 * state[0] - f64::from(RATE) * g;
    *p += state[0];
}

fn build_sgd(g: &mut Graph, p: &[Value], gradients: &[Value], scale: Value) -> Result<Vec<Value>> {
    build_penalised_sgd(g, &Penalty::none(p), gradients, scale)
}

fn build_penalised_sgd(g: &mut Graph, penalty: &Penalty<'_>, gradients: &[Value], scale: Value) -> Result<Vec<Value>> {
    let v: Vec<Value> =
        (0..3).map(|i| g.variable(&format!("v{i}"), TensorType::f32(SHAPES[i]))).collect::<Result<_>>()?;
    let rate = g.constant(Tensor::scalar(RATE));
    g.penalised_sgd_momentum(penalty, gradients, &v, rate, scale, SgdAttrs { momentum: 0.9 })
}

#[test]
fn momentum_with_and_without_a_global_limit() -> Result<()> {
    for limit in [1.0f32, 1e6] {
        let clip = |_: &[Vec<f64>], gradients: &mut [Vec<f64>]| {
            let norm = gradients.iter().flatten().map(|g| g * g).sum::<f64>().sqrt();
            let scale = (f64::from(limit) / norm).min(1.0);
            gradients.iter_mut().flatten().for_each(|g| *g *= scale);
        };
        check(&expected(clip, |p, g, state, _| sgd(p, g, state)), |g, p, gradients, _| {
            let norm = g.global_norm(gradients)?;
            let scale = g.clip_scale(norm, limit)?;
            build_sgd(g, p, gradients, scale)
        })?;
    }
    Ok(())
}

#[test]
fn each_tensor_within_its_own_limit() -> Result<()> {
    let clip = |_: &[Vec<f64>], gradients: &mut [Vec<f64>]| {
        for gradient in gradients {
            let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
            gradient.iter_mut().for_each(|g| *g *= (1.5 / norm).min(1.0));
        }
    };
    check(&expected(clip, |p, g, state, _| sgd(p, g, state)), |g, p, gradients, _| {
        let clipped = g.clip_per_tensor(gradients, 1.5)?;
        let one = g.constant(Tensor::scalar(1.0));
        build_sgd(g, p, &clipped, one)
    })
}

#[test]
fn a_penalty_divided_by_the_size_of_the_tensor() -> Result<()> {
    let penalise = |parameters: &[Vec<f64>], gradients: &mut [Vec<f64>]| {
        for (gradient, parameter) in gradients.iter_mut().zip(parameters) {
            let factor = 2.0 * f64::from(DECAY) / parameter.len() as f64;
            gradient.iter_mut().zip(parameter).for_each(|(g, p)| *g += factor * p);
        }
    };
    check(&expected(penalise, |p, g, state, _| sgd(p, g, state)), |g, p, gradients, _| {
        let one = g.constant(Tensor::scalar(1.0));
        let penalty = Penalty::by_size(g, p, DECAY, |_| true);
        build_penalised_sgd(g, &penalty, gradients, one)
    })
}

#[test]
fn a_penalty_within_limits_of_all_together_and_of_each() -> Result<()> {
    let factor = |i: usize, len: usize| if i == 1 { 0.0 } else { 2.0 * 40.0 / len as f64 };
    for of_each in [false, true] {
        let prepare = |parameters: &[Vec<f64>], gradients: &mut [Vec<f64>]| {
            for (i, (gradient, parameter)) in gradients.iter_mut().zip(parameters).enumerate() {
                let factor = factor(i, parameter.len());
                gradient.iter_mut().zip(parameter).for_each(|(g, p)| *g += factor * p);
            }
            let norms: Vec<f64> = gradients.iter().map(|g| g.iter().map(|g| g * g).sum()).collect();
            let all: f64 = norms.iter().sum();
            for (gradient, norm) in gradients.iter_mut().zip(norms) {
                let norm = if of_each { norm } else { all }.sqrt();
                gradient.iter_mut().for_each(|g| *g *= (1.5 / norm).min(1.0));
            }
        };
        check(&expected(prepare, |p, g, state, _| sgd(p, g, state)), |g, p, gradients, _| {
            let mut penalty = Penalty::by_size(g, p, 40.0, |index| index != 1);
            if of_each {
                let gradients = g.penalised_clip_per_tensor(gradients, &penalty, 1.5)?;
                penalty.clear();
                let one = g.constant(Tensor::scalar(1.0));
                return build_penalised_sgd(g, &penalty, &gradients, one);
            }
            let norm = g.penalised_global_norm(gradients, &penalty)?;
            let scale = g.clip_scale(norm, 1.5)?;
            build_penalised_sgd(g, &penalty, gradients, scale)
        })?;
    }
    Ok(())
}

fn adam(decay: f32) -> impl Fn(&mut f64, f64, &mut [f64; 2], i32) {
    move |p, g, state, step| {
        let (b1, b2) = (f64::from(0.9f32), f64::from(0.999f32));
        *p -= f64::from(RATE) * f64::from(decay) * *p;
        state[0] = b1 * state[0] + (1.0 - b1) * g;
        state[1] = b2 * state[1] + (1.0 - b2) * g * g;
        let rate = f64::from(RATE) * (1.0 - b2.powi(step)).sqrt() / (1.0 - b1.powi(step));
        *p -= rate * state[0] / (state[1].sqrt() + 1e-7);
    }
}

#[test]
fn adam_with_decoupled_decay_of_none_of_all_and_of_some() -> Result<()> {
    for decays in [[0.0; 3], [DECAY; 3], [0.0, 0.0, DECAY]] {
        // Tensors do not know of each other: each as if all decayed like it.
        let alike: Vec<_> = decays.iter().map(|decay| expected(|_, _| {}, adam(*decay))).collect();
        let step = |step: usize| (0..3).map(|tensor| alike[tensor][step][tensor].clone()).collect();
        check(&(0..STEPS).map(step).collect::<Vec<_>>(), |g, p, gradients, step| {
            let moments = |g: &mut Graph, kind: &str| -> Result<Vec<Value>> {
                (0..3).map(|i| g.variable(&format!("{kind}{i}"), TensorType::f32(SHAPES[i]))).collect()
            };
            let (m, v) = (moments(g, "m")?, moments(g, "v")?);
            let (rate, one) = (g.constant(Tensor::scalar(RATE)), g.constant(Tensor::scalar(1.0)));
            g.adam(p, gradients, (&m, &v), step, rate, one, AdamAttrs::default(), &decays)
        })?;
    }
    Ok(())
}

#[test]
fn a_missing_gradient_is_named() {
    let mut g = Graph::new();
    let p = g.variable("p", TensorType::f32([3])).expect("fresh name");
    let v = g.variable("v", TensorType::f32([4])).expect("fresh name");
    let one = g.constant(Tensor::scalar(1.0));
    let attrs = SgdAttrs { momentum: 0.9 };
    assert!(g.sgd_momentum(&[p], &[], &[p], one, one, attrs).is_err());
    let error = g.sgd_momentum(&[p], &[p], &[v], one, one, attrs).expect_err("3 is not 4").to_string();
    assert!(error.contains("f32[3]") && error.contains("f32[4]"), "{error}");
}
