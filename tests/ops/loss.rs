use sarcomere::ops::loss::problem::{PointwiseLossProblem, SoftmaxLossProblem};
use sarcomere::ops::loss::{Pointwise, PointwiseLoss, Selection, SoftmaxLabels, SparseSoftmaxLoss};
use sarcomere::ops::problem::Numbers;

use crate::everywhere::check_everywhere;
use sarcomere::{Result, graph::Graph, tensor::TensorType};

#[test]
fn pointwise_losses_over_every_selection() -> Result<()> {
    let mut numbers = Numbers::new(35);
    for seed in 0..60 {
        check_everywhere(&PointwiseLossProblem::random(&mut numbers), seed)?;
    }
    // Many parts of the sum.
    let op = PointwiseLoss { kind: Pointwise::SquaredError, selection: Selection::All };
    check_everywhere(&PointwiseLossProblem { op, sizes: [50, 70, 1, 9, 2], counts: true }, 1)
}

#[test]
fn softmax_losses() -> Result<()> {
    let mut numbers = Numbers::new(36);
    for seed in 0..60 {
        check_everywhere(&SoftmaxLossProblem::random(&mut numbers), seed)?;
    }
    let op = SparseSoftmaxLoss { labels: SoftmaxLabels::Matches, active: Vec::new() };
    check_everywhere(&SoftmaxLossProblem { op, shape: [3, 900, 2], counts: false }, 5)?;
    let active = (0..70).map(|class| class % 3 != 1).collect();
    let op = SparseSoftmaxLoss { labels: SoftmaxLabels::Classes, active };
    check_everywhere(&SoftmaxLossProblem { op, shape: [2, 40, 70], counts: true }, 6)
}

#[test]
fn predictions_without_their_target_are_refused() {
    let mut graph = Graph::new();
    let mut input = |name: &str, ty: TensorType| graph.input(name, ty).expect("fresh name");
    let x = input("x", TensorType::f32([2, 5, 4]));
    let short = input("short", TensorType::f32([2, 4]));
    let labels = input("labels", TensorType::i32([2, 5]));
    let few = input("few", TensorType::i32([2, 3]));
    assert!(graph.mse_loss(x, short, None).is_err());
    assert!(graph.sparse_softmax_loss(x, few, None).is_err());
    assert!(graph.rpn_class_loss(x, labels).is_err(), "matches need two classes");
    assert!(graph.rpn_box_loss(x, x, few).is_err());
    assert!(graph.box_loss(x, x, few).is_err(), "fewer classes than targets");
    assert!(graph.class_loss(x, labels, vec![true], None).is_err());
}
