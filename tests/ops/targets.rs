use std::sync::Arc;

use sarcomere::Result;
use sarcomere::graph::{Executor, Graph};
use sarcomere::ops::problem::Numbers;

use crate::everywhere::{check_everywhere, explain, settings};
use sarcomere::ops::targets::problem::{DetectionTargetsProblem, MasksProblem, RpnTargetsProblem};
use sarcomere::ops::targets::{DetectionTargets, RpnTargets};
use sarcomere::tensor::{Tensor, TensorType};

#[test]
fn rpn_targets_with_a_surplus_of_either_kind() -> Result<()> {
    let mut numbers = Numbers::new(40);
    for seed in 0..30 {
        check_everywhere(&RpnTargetsProblem::random(&mut numbers), seed)?;
    }
    // More anchors than a block has threads.
    check_everywhere(&RpnTargetsProblem { shape: [2, 1100, 4], op: RpnTargets::default() }, 1)
}

#[test]
fn detection_targets_of_every_option() -> Result<()> {
    let mut numbers = Numbers::new(41);
    for seed in 0..40 {
        check_everywhere(&DetectionTargetsProblem::random(&mut numbers), seed)?;
    }
    Ok(())
}

#[test]
fn masks_of_numbers_and_of_bytes() -> Result<()> {
    (0..16).try_for_each(|seed| check_everywhere(&MasksProblem::random(&mut Numbers::new(seed)), seed))
}

#[test]
fn masks_have_boxes_and_mini_masks() -> Result<()> {
    let mut masks = vec![0u8; 3 * 8 * 6];
    // A block of rows 2..5, columns 1..5; a single pixel in the last corner; nothing.
    (2..5).for_each(|y| masks[y * 6 + 1..y * 6 + 5].fill(1));
    masks[48 + 47] = 1;
    let masks = Tensor::new([3, 8, 6], &masks)?;
    for setting in settings(0) {
        for masks in [masks.to_f32(), masks.clone()] {
            let mut graph = Graph::new();
            let masks = graph.constant(masks);
            let boxes = graph.mask_boxes(masks)?;
            let mini = graph.mini_masks(masks, boxes, [6, 8])?;
            let mut executor = Executor::new(setting.prepared_device(), Arc::new(graph), &[boxes, mini])?;
            executor.run(&[]).map_err(explain)?;
            let expected = [2.0, 1.0, 5.0, 5.0, 7.0, 5.0, 8.0, 6.0, 0.0, 0.0, 0.0, 0.0];
            assert_eq!(executor.values::<f32>(boxes)?, expected);
            let mini = executor.output(mini)?.to_f32();
            let mini = mini.values::<f32>()?;
            // Enlarged twice, a full block fades to (3/4)^2 in its corners only: all ones after rounding.
            assert!(mini[..48].iter().all(|v| *v == 1.0), "{:?}", &mini[..48]);
            assert!(mini[96..].iter().all(|v| *v == 0.0));
        }
    }
    Ok(())
}

#[test]
fn without_objects_all_anchors_are_negative_and_no_region_is_kept() -> Result<()> {
    let mut graph = Graph::new();
    let mut numbers = Numbers::new(1);
    let anchors = graph.constant(numbers.tensor(&[50, 4]));
    let boxes = graph.constant(numbers.tensor(&[1, 3, 4]));
    let none = graph.constant(Numbers::ints(&[0]));
    let keys = graph.constant(Tensor::new([1, 50], &[f32::NAN; 50])?);
    let op = RpnTargets { per_image: 20, ..RpnTargets::default() };
    let (matches, _) = graph.rpn_targets(anchors, boxes, none, keys, op)?;
    let fifty = graph.constant(Numbers::ints(&[50]));
    let classes = graph.constant(Tensor::new([1, 3], &[1, 1, 1])?);
    let proposals = graph.constant(numbers.tensor(&[1, 50, 4]));
    let op = DetectionTargets { masks: None, rois_per_image: 30, ..DetectionTargets::default() };
    let objects = (boxes, classes, none);
    let kept = graph.detection_targets((proposals, fifty), objects, None, keys, op)?;
    let op = DetectionTargets { fill_with_negatives: true, ..op };
    let filled = graph.detection_targets((proposals, fifty), objects, None, keys, op)?;
    let graph = Arc::new(graph);
    for setting in settings(0) {
        let device = setting.prepared_device();
        let mut executor = Executor::new(device, graph.clone(), &[matches, kept.counts, filled.counts])?;
        executor.run(&[]).map_err(explain)?;
        // Keys that are not numbers keep the first ones.
        let expected: Vec<i32> = (0..50).map(|i| if i < 20 { -1 } else { 0 }).collect();
        assert_eq!(executor.values::<i32>(matches)?, expected);
        assert_eq!(executor.values::<i32>(kept.counts)?, [0]);
        assert_eq!(executor.values::<i32>(filled.counts)?, [30]);
    }
    Ok(())
}

#[test]
fn inputs_that_do_not_belong_together_are_refused() {
    let mut graph = Graph::new();
    let mut input = |name: &str, ty: TensorType| graph.input(name, ty).expect("fresh name");
    let proposals = (input("proposals", TensorType::f32([2, 9, 4])), input("counts", TensorType::i32([2])));
    let boxes = input("boxes", TensorType::f32([2, 3, 4]));
    let classes = input("classes", TensorType::i32([2, 3]));
    let keys = input("keys", TensorType::f32([2, 9]));
    let op = DetectionTargets { masks: None, ..DetectionTargets::default() };
    let objects = (boxes, classes, proposals.1);
    assert!(graph.detection_targets(proposals, objects, None, keys, op).is_ok());
    let with_objects = DetectionTargets { add_objects: true, ..op };
    let error = graph.detection_targets(proposals, objects, None, keys, with_objects).expect_err("keys are too few");
    assert!(error.to_string().contains("[2,12]"), "{error}");
    let with_masks = DetectionTargets::default();
    assert!(graph.detection_targets(proposals, objects, None, keys, with_masks).is_err());
    let no_share = DetectionTargets { positive_share: 0.0, ..op };
    assert!(graph.detection_targets(proposals, objects, None, keys, no_share).is_err());
    assert!(graph.rpn_targets(boxes, boxes, proposals.1, keys, RpnTargets::default()).is_err());
}
