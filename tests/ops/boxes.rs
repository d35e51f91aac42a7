use sarcomere::ops::boxes::problem::{BoxIouProblem, BoxMapProblem};
use sarcomere::ops::boxes::{STD_DEV, WHOLE};
use sarcomere::ops::problem::Numbers;

use crate::everywhere::check_everywhere;
use sarcomere::{Result, graph::Graph, tensor::TensorType};

#[test]
fn row_wise_box_ops() -> Result<()> {
    let mut numbers = Numbers::new(31);
    for kind in BoxMapProblem::KINDS {
        for seed in 0..6 {
            check_everywhere(&BoxMapProblem { kind, ..BoxMapProblem::random(&mut numbers) }, seed)?;
        }
    }
    Ok(())
}

#[test]
fn overlaps_of_all_pairs() -> Result<()> {
    for (seed, shape) in [[1, 1], [7, 300], [61, 5]].into_iter().enumerate() {
        check_everywhere(&BoxIouProblem { shape }, seed as u64)?;
    }
    Ok(())
}

#[test]
fn boxes_of_another_width_are_refused() {
    let mut graph = Graph::new();
    let boxes = graph.input("boxes", TensorType::f32([3, 4])).expect("fresh name");
    let deltas = graph.input("deltas", TensorType::f32([2, 4])).expect("fresh name");
    let wide = graph.input("wide", TensorType::f32([3, 5])).expect("fresh name");
    assert!(graph.box_encode(boxes, deltas, STD_DEV, None).is_err());
    assert!(graph.box_clip(wide, WHOLE, None).is_err());
    assert!(graph.box_iou(boxes, wide).is_err());
}
