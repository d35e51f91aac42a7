//! Optimizers over several steps, with and without clipping.

use std::sync::Arc;

use sarcomere::Result;
use sarcomere::graph::{Executor, Graph, Value};
use sarcomere::ops::optim::{AdamAttrs, SgdAttrs};
use sarcomere::tensor::Tensor;

use crate::case::{Case, device, each_case, expect_close};

fn check(case: &Case) -> Result<()> {
    let count = (0..).take_while(|i| case.has(&format!("p0.{i}"))).count();
    let ty = |i: usize| case.tensor(&format!("p0.{i}")).ty().clone();
    let mut g = Graph::new();
    let variables = |g: &mut Graph, kind: &str| -> Result<Vec<Value>> {
        (0..count).map(|i| g.variable(&format!("{kind}{i}"), ty(i))).collect()
    };
    let parameters = variables(&mut g, "p")?;
    let (first, second) = (variables(&mut g, "m")?, variables(&mut g, "v")?);
    let gradients: Vec<Value> = (0..count).map(|i| g.input(&format!("g{i}"), ty(i))).collect::<Result<_>>()?;
    let step = g.input("step", sarcomere::tensor::TensorType::i32([1]))?;
    let rate = g.constant(Tensor::scalar(case.f32("lr")));
    let one = g.constant(Tensor::scalar(1.0));
    let limit = case.f32("clip_norm");
    let (clipped, scale) = match case.str("clip") {
        "none" => (gradients.clone(), one),
        "per_tensor" => (g.clip_per_tensor(&gradients, limit)?, one),
        "global" => {
            let norm = g.global_norm(&gradients)?;
            (gradients.clone(), g.clip_scale(norm, limit)?)
        }
        other => panic!("{}: unknown clipping '{other}'", case.name),
    };
    let targets = match case.str("kind") {
        "sgd_momentum" => {
            let attrs = SgdAttrs { momentum: case.f32("momentum") };
            g.sgd_momentum(&parameters, &clipped, &first, rate, scale, attrs)?
        }
        "adam" => {
            let [beta1, beta2, epsilon] = ["beta1", "beta2", "eps"].map(|key| case.f32(key));
            let attrs = AdamAttrs { beta1, beta2, epsilon };
            g.adam(&parameters, &clipped, (&first, &second), step, rate, scale, attrs, &[])?
        }
        other => panic!("{}: unknown kind '{other}'", case.name),
    };
    let mut executor = Executor::new(&device(), Arc::new(g), &targets)?;
    for i in 0..count {
        executor.set(&format!("p{i}"), &case.tensor(&format!("p0.{i}")))?;
    }
    for number in 1..=case.usize("steps") {
        let tensors: Vec<Tensor> = (0..count).map(|i| case.tensor(&format!("g{number}.{i}"))).collect();
        let now = Tensor::new([1], &[number as i32])?;
        let mut feeds: Vec<(Value, &Tensor)> = gradients.iter().copied().zip(&tensors).collect();
        feeds.push((step, &now));
        executor.run(&feeds)?;
        for i in 0..count {
            // The step is small beside the weight: compare what was moved, as finely as the weight's own digits allow.
            let start = case.values(&format!("p0.{i}"));
            let moved = |p: &[f32]| p.iter().zip(&start).map(|(p, p0)| p - p0).collect::<Vec<f32>>();
            let found = executor.get(&format!("p{i}"))?;
            let expected = case.values(&format!("p{number}.{i}"));
            let what = format!("{} step {number} tensor {i}", case.name);
            expect_close(&what, &moved(found.values()?), &moved(&expected), 1e-3);
            expect_close(&what, found.values()?, &expected, 1e-6);
        }
    }
    Ok(())
}

#[test]
fn optimizers() {
    each_case("optim", |case| check(case).unwrap_or_else(|error| panic!("{}: {error}", case.name)));
}
