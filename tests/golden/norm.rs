//! Batch norm in both modes, with its gradients and moving statistics.

use std::sync::Arc;

use sarcomere::graph::{Executor, Graph, Value};
use sarcomere::ops::norm::BatchNormAttrs;
use sarcomere::tensor::Tensor;

use crate::case::{Case, device, each_case};

/// y, dx, dgamma, dbeta, and in training the moving mean and variance after one step.
fn run(case: &Case) -> sarcomere::Result<Vec<Tensor>> {
    let (eps, momentum) = (case.f32("epsilon"), case.f32("momentum"));
    let training = case.bool("training");
    let mut g = Graph::new();
    let names = ["x", "gamma", "beta", "dy"];
    let inputs: Vec<Value> =
        names.iter().map(|name| g.input(name, case.tensor(name).ty().clone())).collect::<Result<_, _>>()?;
    let [x, gamma, beta, dy] = inputs[..] else { unreachable!("four names") };
    let mean = g.variable("mean", case.tensor("mean").ty().clone())?;
    let var = g.variable("var", case.tensor("var").ty().clone())?;
    let y = if training {
        let attrs = BatchNormAttrs { eps, momentum, unbiased_moving_variance: case.bool("fused"), relu: false };
        g.batch_norm_train(x, gamma, beta, mean, var, attrs, None)?
    } else {
        g.batch_norm_frozen(x, gamma, beta, mean, var, eps, false)?
    };
    let mut targets = vec![y];
    targets.extend(g.gradients_from(&[(y, dy)], &[x, gamma, beta])?);
    let mut executor = Executor::new(&device(), Arc::new(g), &targets)?;
    for name in ["mean", "var"] {
        executor.set(name, &case.tensor(name))?;
    }
    let tensors = names.map(|name| case.tensor(name));
    executor.run(&inputs.iter().copied().zip(&tensors).collect::<Vec<_>>())?;
    let mut found: Vec<Tensor> = targets.iter().map(|value| executor.output(*value)).collect::<Result<_, _>>()?;
    if training {
        found.extend([executor.get("mean")?, executor.get("var")?]);
    }
    Ok(found)
}

#[test]
fn batch_norm() {
    each_case("batchnorm", |case| {
        let found = run(case).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        for (name, found) in ["y", "dx", "dgamma", "dbeta", "new_mean", "new_var"].iter().zip(&found) {
            case.expect(name, found);
        }
    });
}
