//! Top-k, non-maximum suppression, proposals.

use sarcomere::ops::proposals::Proposals;
use sarcomere::ops::select::Nms;
use sarcomere::tensor::Tensor;

use crate::case::{batched, each_case, run};

#[test]
fn top_k() {
    each_case("top_k", |case| {
        let out = run(&[case.tensor("x")], |g, v| g.top_k(v[0], case.usize("k")).map(|(a, b)| vec![a, b]));
        assert_eq!(out[0].values::<f32>().unwrap(), case.values("values"), "{}", case.name);
        case.expect_ints("indices", &out[1]);
    });
}

#[test]
fn nms() {
    each_case("nms", |case| {
        let op = Nms { iou: case.f32("iou_threshold"), max: case.usize("max_output") };
        let inputs = [batched(case.tensor("boxes")), batched(case.tensor("scores"))];
        let out = run(&inputs, |g, v| g.nms(v[0], v[1], op, None).map(|(a, b)| vec![a, b]));
        case.expect_ints("selected", &out[0]);
        assert_eq!(out[1].values::<i32>().unwrap(), [case.usize("n_selected") as i32], "{}", case.name);
    });
}

#[test]
fn proposal_layer() {
    each_case("proposal_layer", |case| {
        let (probs, deltas, anchors) = (case.tensor("probs"), case.tensor("deltas"), case.tensor("anchors_norm"));
        let (images, each) = (probs.shape()[0], probs.shape()[1]);
        let op = Proposals {
            pre_nms: case.usize("pre_nms_limit"),
            nms_iou: case.f32("nms_threshold"),
            std_dev: case.std_dev(),
            ..Proposals::new(case.usize("count"))
        };
        // All images have the same anchors; the files repeat them.
        let shared = &anchors.values::<f32>().unwrap()[..4 * each];
        assert!(anchors.values::<f32>().unwrap().chunks(4 * each).all(|anchors| anchors == shared), "{}", case.name);
        let shared = Tensor::new([each, 4], shared).unwrap();
        let out = run(&[probs, deltas, shared], |g, v| g.proposals(v[0], v[1], v[2], op).map(|(a, b)| vec![a, b]));
        case.expect("proposals", &out[0]);
        let rows = case.values("proposals");
        let used = |rows: &[f32]| rows.chunks(4).rposition(|row| row.iter().any(|v| *v != 0.0)).map_or(0, |i| i + 1);
        let expected: Vec<i32> = rows.chunks(rows.len() / images).map(|rows| used(rows) as i32).collect();
        assert_eq!(out[1].values::<i32>().unwrap(), expected, "{}", case.name);
    });
}
