use sarcomere::ops::boxes::problem::BoxMapProblem;
use sarcomere::ops::boxes::{BoxMapKind, BoxNorm, STD_DEV, WHOLE};
use sarcomere::ops::problem::Numbers;

use crate::everywhere::check_everywhere;
use sarcomere::{Result, graph::Graph, tensor::TensorType};

#[test]
fn row_wise_box_ops() -> Result<()> {
    let mut numbers = Numbers::new(31);
    let (image, norm) = ([64, 40], BoxNorm::Inclusive);
    let kinds = [
        BoxMapKind::Encode { std_dev: STD_DEV },
        BoxMapKind::Decode { std_dev: STD_DEV, window: None },
        BoxMapKind::Decode { std_dev: [1.0; 4], window: Some(WHOLE) },
        BoxMapKind::Clip { window: [0.2, 0.3, 0.6, 0.7] },
        BoxMapKind::Normalise { image, norm },
        BoxMapKind::ToPixels { image, norm, round: false },
    ];
    for kind in kinds {
        for seed in 0..6 {
            let shape = [numbers.integer(1, 4), numbers.integer(1, 300)];
            check_everywhere(&BoxMapProblem { kind, shape, counts: seed % 2 == 0 }, seed)?;
        }
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
