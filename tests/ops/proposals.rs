use sarcomere::ops::problem::Numbers;

use crate::everywhere::check_everywhere;
use sarcomere::ops::proposals::Proposals;
use sarcomere::ops::proposals::problem::ProposalsProblem;
use sarcomere::{Result, graph::Graph, tensor::TensorType};

#[test]
fn proposals_of_tied_scores() -> Result<()> {
    let mut numbers = Numbers::new(37);
    for seed in 0..25 {
        check_everywhere(&ProposalsProblem::random(&mut numbers), seed)?;
    }
    Ok(())
}

#[test]
fn outputs_of_another_network_are_refused() {
    let mut graph = Graph::new();
    let mut input = |name: &str, ty: TensorType| graph.input(name, ty).expect("fresh name");
    let probs = input("probs", TensorType::f32([2, 9, 2]));
    let deltas = input("deltas", TensorType::f32([2, 9, 4]));
    let anchors = input("anchors", TensorType::f32([8, 4]));
    let error = graph.proposals(probs, deltas, anchors, Proposals::new(5)).expect_err("anchors are too few");
    assert!(error.to_string().contains("[8,4]"), "{error}");
}
