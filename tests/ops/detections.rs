use std::sync::Arc;

use sarcomere::Result;
use sarcomere::device::Device;
use sarcomere::graph::{Executor, Graph};
use sarcomere::ops::detections::problem::{DetectionsProblem, MaskPasteProblem};
use sarcomere::ops::detections::{Detections, MaskPaste, PasteMode, PasteOutput};
use sarcomere::ops::problem::{Numbers, Problem};

use crate::everywhere::{check_everywhere, explain, settings};
use sarcomere::ops::roi::{LevelRule, RoiAlignAttrs};
use sarcomere::tensor::{Tensor, TensorType};

#[test]
fn detections_of_several_classes() -> Result<()> {
    let mut numbers = Numbers::new(38);
    for seed in 0..30 {
        check_everywhere(&DetectionsProblem::random(&mut numbers), seed)?;
    }
    Ok(())
}

#[test]
fn masks_pasted_either_way() -> Result<()> {
    let mut numbers = Numbers::new(39);
    for seed in 0..24 {
        check_everywhere(&MaskPasteProblem::random(&mut numbers), seed)?;
    }
    Ok(())
}

/// A binary mask is 1 where the probability reaches the threshold, on every device.
#[test]
fn binary_masks_are_probabilities_over_a_threshold() -> Result<()> {
    let problem = |mode, output| MaskPasteProblem {
        shape: [2, 8, 9, 7, 2],
        op: MaskPaste { mode, output, ..MaskPaste::new([40, 50]) },
        counts: true,
    };
    for (seed, mode) in [PasteMode::WholePixels, PasteMode::Exact].into_iter().enumerate() {
        let inputs = problem(mode, PasteOutput::Binary).inputs(seed as u64);
        for setting in settings(seed as u64) {
            let mut graph = Graph::new();
            let values: Vec<_> = inputs.iter().map(|tensor| graph.constant(tensor.clone())).collect();
            let binary = problem(mode, PasteOutput::Binary).build(&mut graph, &values)?[0];
            let probability = problem(mode, PasteOutput::Probability).build(&mut graph, &values)?[0];
            let device = setting.prepared_device();
            let mut executor = Executor::new(device, Arc::new(graph), &[binary, probability])?;
            executor.run(&[]).map_err(explain)?;
            let probabilities = executor.values::<f32>(probability)?;
            let expected: Vec<u8> = probabilities.iter().map(|p| u8::from(*p >= 0.5)).collect();
            assert!(expected.contains(&1) && expected.contains(&0));
            assert_eq!(executor.values::<u8>(binary)?, expected);
        }
    }
    Ok(())
}

/// Cropping a linear ramp out of an image and pasting the crop exactly gives the ramp back wherever the crop has been: the
/// two maps are inverse to each other. The whole-pixel way does not.
#[test]
fn exact_pasting_inverts_cropping() -> Result<()> {
    let image = [40, 30];
    let ramp: Vec<f32> = (0..1200).map(|i| 0.1 + (i / 30) as f32 * 0.01 + (i % 30) as f32 * 0.007).collect();
    let b = [0.21, 0.13, 0.64, 0.78];
    let mut graph = Graph::new();
    let map = graph.constant(Tensor::new([1, 40, 30, 1], &ramp)?);
    let boxes = graph.constant(Tensor::new([1, 1, 4], &b)?);
    let detections = graph.constant(Tensor::new([1, 1, 6], &[b[0], b[1], b[2], b[3], 1.0, 0.9])?);
    let crop = graph.roi_align(boxes, &[map], &RoiAlignAttrs::new(28, LevelRule::Fixed(0)), None)?;
    // Class 1 of two: the first channel is not read.
    let two = graph.concat(&[crop, crop], 3)?;
    let exact = MaskPaste { mode: PasteMode::Exact, output: PasteOutput::Probability, ..MaskPaste::new(image) };
    let whole = MaskPaste { mode: PasteMode::WholePixels, ..exact };
    let pasted = [graph.mask_paste(detections, two, None, exact)?, graph.mask_paste(detections, two, None, whole)?];
    let mut executor = Executor::new(&Device::cpu(), Arc::new(graph), &pasted)?;
    executor.run(&[])?;
    let inside = |i: usize| {
        let (y, x) = ((i / 30) as f32, (i % 30) as f32);
        (b[0] * 39.0..=b[2] * 39.0).contains(&y) && (b[1] * 29.0..=b[3] * 29.0).contains(&x)
    };
    let error =
        |pasted: &[f32]| (0..1200).filter(|i| inside(*i)).map(|i| (pasted[i] - ramp[i]).abs()).fold(0.0f32, f32::max);
    let count = (0..1200).filter(|i| inside(*i)).count();
    assert!(count > 200, "{count}");
    assert!(error(executor.values(pasted[0])?) < 1e-5);
    assert!(error(executor.values(pasted[1])?) > 1e-3);
    Ok(())
}

#[test]
fn heads_of_another_network_are_refused() {
    let mut graph = Graph::new();
    let mut input = |name: &str, ty: TensorType| graph.input(name, ty).expect("fresh name");
    let rois = input("rois", TensorType::f32([2, 9, 4]));
    let probs = input("probs", TensorType::f32([18, 3]));
    let deltas = input("deltas", TensorType::f32([18, 2, 4]));
    let rows = input("rows", TensorType::f32([2, 5, 6]));
    let masks = input("masks", TensorType::f32([9, 28, 28, 2]));
    assert!(graph.detections(rois, probs, deltas, None, Detections::default()).is_err());
    assert!(graph.mask_paste(rows, masks, None, MaskPaste::new([64, 64])).is_err());
}
