//! Training targets.

use sarcomere::ops::targets::{DetectionTargets, MaskTargets, RpnTargets};
use sarcomere::tensor::Tensor;

use crate::anchors::of_case;
use crate::case::{Case, batched, count, each_case, expect_close, run};

fn rpn(case: &Case, anchors: &Tensor, per_image: usize) -> (Vec<i32>, Vec<f32>) {
    let boxes = case.tensor("gt_boxes").to_f32();
    let objects = boxes.shape()[0];
    // Equal keys: the surplus is dropped from the end.
    let keys = Tensor::new([1, anchors.shape()[0]], &vec![0.5f32; anchors.shape()[0]]).unwrap();
    let op = RpnTargets { per_image, ..RpnTargets::default() };
    let out = run(&[anchors.clone(), batched(boxes), count(objects), keys], |g, v| {
        g.rpn_targets(v[0], v[1], v[2], v[3], op).map(|(a, b)| vec![a, b])
    });
    (out[0].values::<i32>().unwrap().to_vec(), out[1].values::<f32>().unwrap().to_vec())
}

/// Intersection over union in `f64`.
fn overlap(a: &[f32], b: &[f32]) -> f64 {
    let side = |low: usize, high: usize| {
        (f64::from(a[high]).min(f64::from(b[high])) - f64::from(a[low]).max(f64::from(b[low]))).max(0.0)
    };
    let area = |b: &[f32]| (f64::from(b[2]) - f64::from(b[0])) * (f64::from(b[3]) - f64::from(b[1]));
    let intersection = side(0, 2) * side(1, 3);
    intersection / (area(a) + area(b) - intersection)
}

/// Whether exact arithmetic puts an anchor on a threshold, or makes it as good as the best anchor of some object. Rounding
/// decides then, in the reference's f64 as in our f32 (18/60 of sides 6 sqrt(2) and 3 sqrt(2) is 0.3; anchors of one
/// area in three shapes that contain an object all tie), so such anchors may go either way.
fn ties(anchors: &[f32], boxes: &[f32]) -> Vec<bool> {
    let overlaps: Vec<Vec<f64>> = anchors.chunks(4).map(|a| boxes.chunks(4).map(|b| overlap(a, b)).collect()).collect();
    let best = |object: usize| overlaps.iter().fold(0.0, |m: f64, row| m.max(row[object]));
    let best: Vec<f64> = (0..boxes.len() / 4).map(best).collect();
    let is_tie = |row: &Vec<f64>| {
        let largest = row.iter().fold(0.0, |m: f64, v| m.max(*v));
        let on_threshold = [0.3, 0.7].iter().any(|threshold| (largest - threshold).abs() < 1e-6);
        on_threshold || row.iter().zip(&best).any(|(v, best)| *v > best * (1.0 - 1.5e-5))
    };
    overlaps.iter().map(is_tie).collect()
}

/// The rows of positives among `matches`, by anchor.
fn rows(matches: &[i32]) -> Vec<Option<usize>> {
    let mut next = 0..;
    matches.iter().map(|m| if *m == 1 { next.next() } else { None }).collect()
}

#[test]
fn rpn_targets() {
    each_case("rpn_targets", |case| {
        let [anchors, _] = of_case(case, [64, 64]);
        let (expected, expected_deltas) = (case.ints("match"), case.values("bbox"));
        let (full, full_deltas) = rpn(case, &anchors, 100_000);
        let is_tie = ties(anchors.values().unwrap(), &case.values("gt_boxes"));
        let differ = |part: &[i32], allowed: &dyn Fn(i32, i32) -> bool| -> Vec<usize> {
            (0..full.len()).filter(|i| !allowed(part[*i], full[*i]) && !is_tie[*i]).collect()
        };
        let expect_deltas = |matches: &[i32], deltas: &[f32]| {
            let mut compared = 0;
            for (row, full) in rows(matches).iter().zip(rows(&full)) {
                let (Some(row), Some(full)) = (row, full) else { continue };
                expect_close(&case.name, &deltas[4 * row..4 * row + 4], &full_deltas[4 * full..4 * full + 4], 1e-5);
                compared += 1;
            }
            assert!(compared > 0, "{}: no positive in common", case.name);
        };
        expect_deltas(&expected, &expected_deltas);
        let positives = full.iter().filter(|m| **m == 1).count();
        assert!(full_deltas[4 * positives..].iter().all(|v| *v == 0.0), "{}: padding", case.name);
        let per_image = case.usize("anchors_per_image");
        if per_image >= 2 * full.len() {
            assert_eq!(differ(&expected, &|e, f| e == f), [0; 0], "{}: anchors that differ", case.name);
            // A tie never loses an anchor that the reference has.
            let lost = (0..full.len()).filter(|i| expected[*i] == 1 && full[*i] != 1).count();
            assert_eq!(lost, 0, "{}: positives lost", case.name);
            return;
        }
        // The file holds a random part: ours must fill up the same number, from the same full match.
        let (found, deltas) = rpn(case, &anchors, per_image);
        let number = |value: i32| found.iter().filter(|m| **m == value).count();
        let (n_pos, n_neg) = (case.usize("n_pos"), case.usize("n_neg"));
        let sure = (0..full.len()).filter(|i| full[*i] == 1 && !is_tie[*i]).count();
        assert_eq!(number(1), positives.min(per_image / 2), "{}: positives", case.name);
        assert!(sure.min(per_image / 2) <= n_pos && n_pos <= number(1), "{}: positives", case.name);
        assert_eq!(number(1) + number(-1), n_pos + n_neg, "{}: anchors that take part", case.name);
        for part in [&found, &expected] {
            assert_eq!(differ(part, &|p, f| p == 0 || p == f), [0; 0], "{}: not a part of the full match", case.name);
        }
        expect_deltas(&found, &deltas);
    });
}

/// Masks `[h, w, G]` as `[1, G, h, w]`.
fn masks_first(masks: &Tensor) -> Tensor {
    let [h, w, g] = masks.shape().dims() else { panic!("masks are {}", masks.ty()) };
    let values = masks.values::<u8>().unwrap();
    let moved: Vec<u8> = (0..g * h * w).map(|i| values[i % (h * w) * g + i / (h * w)]).collect();
    Tensor::new([1, *g, *h, *w], &moved).unwrap()
}

#[test]
fn detection_targets() {
    each_case("detection_targets", |case| {
        let proposals = case.tensor("proposals");
        let boxes = case.tensor("gt_boxes");
        let (candidates, objects) = (proposals.shape()[0], boxes.shape()[0]);
        let op = DetectionTargets {
            rois_per_image: case.usize("rois_per_image"),
            positive_share: case.get("positive_ratio").as_f64().unwrap(),
            std_dev: case.std_dev(),
            masks: Some(MaskTargets { shape: case.usizes("mask_shape"), mini: case.bool("mini_mask") }),
            ..DetectionTargets::default()
        };
        let masks = masks_first(&case.tensor("gt_masks"));
        let inputs = [
            batched(proposals),
            count(candidates),
            batched(boxes),
            batched(case.tensor("gt_class_ids")),
            count(objects),
            Tensor::new([1, candidates], &vec![0.0f32; candidates]).unwrap(),
            masks,
        ];
        // Once with bytes, once with floats for masks.
        let mut with_floats = inputs.clone();
        with_floats[6] = inputs[6].to_f32();
        for inputs in [inputs, with_floats] {
            let out = run(&inputs, |g, v| {
                let t = g.detection_targets((v[0], v[1]), (v[2], v[3], v[4]), Some(v[6]), v[5], op)?;
                Ok(vec![t.rois, t.classes, t.deltas, t.counts, t.positives, t.masks.unwrap()])
            });
            case.expect("rois", &out[0]);
            case.expect_ints("target_class_ids", &out[1]);
            case.expect("target_bbox", &out[2]);
            let positives = case.usize("n_pos");
            assert_eq!(out[4].values::<i32>().unwrap(), [positives as i32], "{}", case.name);
            let used = case.values("rois").chunks(4).filter(|row| row.iter().any(|v| *v != 0.0)).count();
            assert_eq!(out[3].values::<i32>().unwrap(), [used as i32], "{}", case.name);
            let (found, expected) = (out[5].values::<f32>().unwrap(), case.values("target_mask"));
            assert_eq!(found, &expected[..found.len()], "{} target_mask", case.name);
            assert!(expected[found.len()..].iter().all(|v| *v == 0.0), "{}: masks beyond the positives", case.name);
        }
    });
}
