//! Detections and their masks.

use sarcomere::ops::boxes::BoxNorm;
use sarcomere::ops::detections::resize::Resize;
use sarcomere::ops::detections::{Detections, MaskPaste, PasteOutput};
use sarcomere::tensor::Tensor;

use crate::case::{batched, each_case, expect_close, run};

#[test]
fn detection_layer() {
    each_case("detection_layer", |case| {
        let op = Detections {
            max: case.usize("max_instances"),
            min_confidence: case.f32("min_confidence"),
            nms_iou: case.f32("nms_threshold"),
            std_dev: case.std_dev(),
            window: case.values("window").try_into().unwrap(),
        };
        let inputs = ["rois", "probs", "deltas"].map(|name| batched(case.tensor(name)));
        let out = run(&inputs, |g, v| g.detections(v[0], v[1], v[2], None, op).map(|(a, b)| vec![a, b]));
        case.expect("detections", &out[0]);
        // Classes and scores are selections, hence exact.
        let pick = |values: &[f32]| values.chunks(6).flat_map(|row| row[4..].to_vec()).collect::<Vec<f32>>();
        assert_eq!(pick(out[0].values().unwrap()), pick(&case.values("detections")), "{}", case.name);
        assert_eq!(out[1].values::<i32>().unwrap(), [case.usize("n_det") as i32], "{}", case.name);
    });
}

#[test]
fn unmold_mask() {
    each_case("unmold_mask", |case| {
        let image = case.usizes::<2>("image");
        let px: [f32; 4] = case.list("box").try_into().unwrap();
        let probs = case.tensor("probs");
        let size = [probs.shape()[0], probs.shape()[1]];
        let b = BoxNorm::Inclusive.normalise(px, image);
        let row = [b[0], b[1], b[2], b[3], 1.0, 0.9];
        let detections = Tensor::new([1, 1, 6], &row).unwrap();
        // Channel 1 holds the mask, channel 0 must not be read.
        let channels: Vec<f32> = probs.values::<f32>().unwrap().iter().flat_map(|p| [f32::NAN, *p]).collect();
        let channels = Tensor::new([1, size[0], size[1], 2], &channels).unwrap();
        let binary = MaskPaste::new(image);
        let soft = MaskPaste { output: PasteOutput::Probability, ..binary };
        let mask = case.tensor("mask").to_f32();
        let full = Tensor::new([1, image[0], image[1]], mask.values::<f32>().unwrap()).unwrap();
        let box_px = Tensor::new([1, 4], &px).unwrap();
        let out = run(&[detections, channels, full, box_px], |g, v| {
            let mini = g.mini_masks(v[2], v[3], [56, 56])?;
            Ok(vec![g.mask_paste(v[0], v[1], None, binary)?, g.mask_paste(v[0], v[1], None, soft)?, mini])
        });
        let resized = case.values("resized");
        let [y1, x1, y2, x2] = px.map(|v| v as usize);
        let pasted = out[1].values::<f32>().unwrap();
        let inside: Vec<f32> = (y1..y2).flat_map(|y| pasted[y * image[1] + x1..y * image[1] + x2].to_vec()).collect();
        expect_close(&format!("{} resized", case.name), &inside, &resized, 1e-5);
        let (found, expected) = (out[0].values::<u8>().unwrap(), case.values("mask"));
        let differ: Vec<usize> = (0..found.len()).filter(|i| f32::from(found[*i]) != expected[*i]).collect();
        // Only a tie at exactly the threshold may fall on either side.
        assert!(differ.iter().all(|i| (pasted[*i] - 0.5).abs() < 1e-6), "{}: mask differs at {differ:?}", case.name);
        let mini = out[2].values::<f32>().unwrap();
        let expected = case.values("mini_mask");
        let read = |y: usize, x: usize| f64::from(mask.values::<f32>().unwrap()[(y1 + y) * image[1] + x1 + x]);
        let before = Resize::new([y2 - y1, x2 - x1], [56, 56], read);
        for (i, (f, e)) in mini.iter().zip(&expected).enumerate() {
            let tie = (before.at(i / 56, i % 56) - 0.5).abs() < 1e-9;
            assert!(f == e || tie, "{} mini_mask[{i}]: {f}, expected {e}", case.name);
        }
    });
}
