use sarcomere::ops::problem::Numbers;

use crate::everywhere::check_everywhere;
use sarcomere::ops::select::Nms;
use sarcomere::ops::select::problem::{NmsProblem, TopKProblem};
use sarcomere::{Result, graph::Graph, tensor::TensorType};

#[test]
fn top_k_of_rows_with_ties() -> Result<()> {
    let mut numbers = Numbers::new(32);
    for seed in 0..20 {
        check_everywhere(&TopKProblem::random(&mut numbers), seed)?;
    }
    Ok(())
}

/// Several tiles and slices of the kernels, several words of the suppression's bits.
#[test]
fn many_to_select_from() -> Result<()> {
    check_everywhere(&TopKProblem { shape: [2, 1500], k: 700 }, 1)?;
    let op = Nms { iou: 0.4, max: 150 };
    check_everywhere(&NmsProblem { shape: [2, 330], op, grid: false, counts: true }, 2)
}

#[test]
fn suppression_of_tied_touching_empty_and_swapped_boxes() -> Result<()> {
    let mut numbers = Numbers::new(33);
    for seed in 0..40 {
        check_everywhere(&NmsProblem::random(&mut numbers), seed)?;
    }
    Ok(())
}

#[test]
fn more_than_there_is_cannot_be_selected() {
    let mut graph = Graph::new();
    let x = graph.input("x", TensorType::f32([2, 6])).expect("fresh name");
    assert!(graph.top_k(x, 7).is_err());
    assert!(graph.nms(x, x, Nms { iou: 0.5, max: 3 }, None).is_err());
}
