use sarcomere::ops::problem::Numbers;

use crate::everywhere::check_everywhere;
use sarcomere::ops::roi::problem::RoiAlignProblem;
use sarcomere::ops::roi::{LevelRule, RoiAlignAttrs};
use sarcomere::{Result, graph::Graph, tensor::TensorType};

#[test]
fn crops_from_pyramids_and_their_gradients() -> Result<()> {
    let mut numbers = Numbers::new(34);
    for seed in 0..25 {
        check_everywhere(&RoiAlignProblem::random(&mut numbers), seed)?;
    }
    Ok(())
}

#[test]
fn maps_that_do_not_fit_are_refused() {
    let mut graph = Graph::new();
    let boxes = graph.input("boxes", TensorType::f32([2, 5, 4])).expect("fresh name");
    let map = graph.input("map", TensorType::f32([2, 8, 8, 3])).expect("fresh name");
    let other = graph.input("other", TensorType::f32([2, 4, 4, 2])).expect("fresh name");
    let counts = graph.input("counts", TensorType::i32([3])).expect("fresh name");
    let attrs = RoiAlignAttrs::new(7, LevelRule::Fixed(0));
    assert!(graph.roi_align(boxes, &[map], &attrs, None).is_ok());
    assert!(graph.roi_align(boxes, &[], &attrs, None).is_err());
    assert!(graph.roi_align(boxes, &[map, other], &attrs, None).is_err());
    assert!(graph.roi_align(boxes, &[map], &attrs, Some(counts)).is_err());
    assert!(graph.roi_align(boxes, &[map], &RoiAlignAttrs::new(7, LevelRule::Fixed(1)), None).is_err());
    assert!(graph.roi_align(boxes, &[map], &RoiAlignAttrs::new(0, LevelRule::Fixed(0)), None).is_err());
}
