//! Losses and their gradients.

use sarcomere::Result;
use sarcomere::graph::{Graph, Value};
use sarcomere::ops::loss::Pointwise;
use sarcomere::tensor::Tensor;

use crate::case::{Case, each_case, expect_close, run};

/// Loss and gradient of the first input.
fn loss_and_gradient(inputs: &[Tensor], build: impl FnOnce(&mut Graph, &[Value]) -> Result<Value>) -> (f32, Vec<f32>) {
    let out = run(inputs, |g, v| {
        let loss = build(g, v)?;
        let dx = g.gradients(loss, &[v[0]])?;
        Ok(vec![loss, dx[0]])
    });
    (out[0].values::<f32>().unwrap()[0], out[1].values::<f32>().unwrap().to_vec())
}

fn expect(case: &Case, (loss, dx): (f32, Vec<f32>)) {
    expect_close(&format!("{} y", case.name), &[loss], &case.values("y"), 1e-5);
    expect_close(&format!("{} dx", case.name), &dx, &case.values("dx"), 1e-5);
}

#[test]
fn mrcnn_losses() {
    each_case("mrcnn_losses", |case| {
        let tensor = |name: &str| case.tensor(name);
        // Matches come as [N, A, 1].
        let matches = || {
            let m = tensor("match");
            let (n, a) = (m.shape()[0], m.shape()[1]);
            m.reshaped([n, a]).unwrap()
        };
        let found = match case.str("kind") {
            "rpn_class" => loss_and_gradient(&[tensor("x"), matches()], |g, v| g.rpn_class_loss(v[0], v[1])),
            "rpn_bbox" => {
                loss_and_gradient(&[tensor("x"), tensor("target"), matches()], |g, v| g.rpn_box_loss(v[0], v[1], v[2]))
            }
            "class" => {
                // As in the reference, the first image's list holds for the whole batch.
                let classes = tensor("x").shape().last();
                let active = case.values("active_class_ids")[..classes].iter().map(|v| *v != 0.0).collect();
                loss_and_gradient(&[tensor("x"), tensor("target_class_ids")], |g, v| {
                    g.class_loss(v[0], v[1], active, None)
                })
            }
            "bbox" => loss_and_gradient(&[tensor("x"), tensor("target"), tensor("target_class_ids")], |g, v| {
                g.box_loss(v[0], v[1], v[2])
            }),
            "mask" => loss_and_gradient(&[tensor("x"), tensor("target"), tensor("target_class_ids")], |g, v| {
                g.mask_loss(v[0], v[1], v[2], true)
            }),
            other => panic!("{}: unknown kind '{other}'", case.name),
        };
        expect(case, found);
        if case.str("kind") == "mask" {
            // The fused form on logits: same loss, and dp/dlogit = p (1 - p).
            let logits: Vec<f32> = case.values("x").iter().map(|p| (p / (1.0 - p)).ln()).collect();
            let logits = Tensor::new(tensor("x").shape().clone(), &logits).unwrap();
            let (loss, dx) = loss_and_gradient(&[logits, tensor("target"), tensor("target_class_ids")], |g, v| {
                g.mask_loss(v[0], v[1], v[2], false)
            });
            let (p, slope) = (case.values("x"), case.values("dx"));
            let expected: Vec<f32> = slope.iter().zip(&p).map(|(d, p)| d * p * (1.0 - p)).collect();
            // The form on probabilities adds 1e-7 to them inside the logarithm: relative to the rarest one there.
            let rarest =
                slope.iter().zip(&p).filter(|(d, _)| **d != 0.0).fold(1.0f32, |m, (_, p)| m.min(*p).min(1.0 - p));
            expect_close(&format!("{} y from logits", case.name), &[loss], &case.values("y"), 1e-5);
            expect_close(&format!("{} dx from logits", case.name), &dx, &expected, 1e-5 + 1e-7 / rarest);
        }
    });
}

/// Compares a loss of means with per-value losses `y` and the gradient `dx` of `sum(y * dy)`: the mean's gradient
/// times the number of values times `dy`.
fn expect_mean(case: &Case, per_dy: usize, (loss, dx): (f32, Vec<f32>)) {
    let (y, dy) = (case.values("y"), case.values("dy"));
    let mean = y.iter().map(|v| f64::from(*v)).sum::<f64>() / y.len() as f64;
    expect_close(&format!("{} y", case.name), &[loss], &[mean as f32], 1e-5);
    let found: Vec<f32> = dx.iter().enumerate().map(|(i, d)| d * y.len() as f32 * dy[i / per_dy]).collect();
    expect_close(&format!("{} dx", case.name), &found, &case.values("dx"), 1e-5);
}

#[test]
fn losses() {
    each_case("losses", |case| {
        let pair = || [case.tensor("x"), case.tensor("target")];
        let values = |kind: Pointwise| {
            let found: Vec<f32> =
                case.values("x").iter().zip(case.values("target")).map(|(p, t)| kind.value(*p, t)).collect();
            expect_close(&format!("{} values", case.name), &found, &case.values("y"), 1e-5);
        };
        match case.str("kind") {
            // An op of another family.
            "softmax" => {}
            "sparse_softmax_ce" => {
                let found = loss_and_gradient(&[case.tensor("x"), case.tensor("labels")], |g, v| {
                    g.sparse_softmax_loss(v[0], v[1], None)
                });
                expect_mean(case, case.tensor("x").shape().last(), found);
            }
            "binary_ce_prob" => {
                values(Pointwise::BinaryCrossEntropy);
                expect_mean(case, 1, loss_and_gradient(&pair(), |g, v| g.binary_loss(v[0], v[1], None)));
            }
            "sigmoid_ce_logits" => {
                values(Pointwise::SigmoidCrossEntropy);
                expect_mean(case, 1, loss_and_gradient(&pair(), |g, v| g.sigmoid_loss(v[0], v[1], None)));
            }
            "smooth_l1" => {
                values(Pointwise::SmoothL1 { beta: 1.0 });
                expect_mean(case, 1, loss_and_gradient(&pair(), |g, v| g.smooth_l1_loss(v[0], v[1], 1.0, None)));
            }
            "mse" => expect(case, loss_and_gradient(&pair(), |g, v| g.mse_loss(v[0], v[1], None))),
            other => panic!("{}: unknown kind '{other}'", case.name),
        }
    });
}
