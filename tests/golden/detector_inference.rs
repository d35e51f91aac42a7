//! The detector's inference graph against the reference, stage by stage, as built and rewritten.

use std::collections::BTreeMap;

use sarcomere::detector;
use sarcomere::detector::anchors::{anchors_normalised, anchors_px};
use sarcomere::graph::{Graph, Value};
use sarcomere::nn::Statistics;
use sarcomere::ops::boxes::BoxNorm;
use sarcomere::ops::detections::{MaskPaste, PasteOutput};
use sarcomere::tensor::{Tensor, TensorType};

use crate::case::expect_close;
use crate::detector::{STAGE, Set, each_set};
use crate::reference::Reference;

/// How the inference graph is rewritten.
#[derive(Clone, Copy, PartialEq)]
enum Rewrite {
    Not,
    /// Every stage is still read.
    KeepStages,
    /// Only detections and masks are read: most is fused.
    KeepResults,
}

/// Runs the inference graph; all that is read, by name.
fn infer(set: &Set, rewrite: Rewrite) -> BTreeMap<String, Tensor> {
    let config = set.numbers.config(Statistics::Frozen, Statistics::Frozen);
    let mut g = Graph::new();
    let values = detector::inference(&mut g, &config, set.batch()).unwrap();
    let boxes = g.slice(values.detections, 2, 0, 4, 1).unwrap();
    let pixels = g.box_to_pixels(boxes, config.image, BoxNorm::Inclusive, true, None).unwrap();
    let paste = MaskPaste { output: PasteOutput::Probability, ..MaskPaste::new(config.image) };
    let soft = g.mask_paste(values.detections, values.mask_probs.unwrap(), Some(values.counts), paste).unwrap();
    let mut read: BTreeMap<String, Value> = [
        ("detections", values.detections),
        ("counts", values.counts),
        ("mask_probs", values.mask_probs.unwrap()),
        ("masks", values.masks.unwrap()),
        ("pixels", pixels),
        ("soft_masks", soft),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    if rewrite != Rewrite::KeepResults {
        read.extend(values.stages.clone());
    }
    let targets: Vec<Value> = read.values().copied().collect();
    if rewrite != Rewrite::Not {
        let norms = set.weights.keys().filter(|name| name.ends_with(".gamma")).count();
        let fused = g.fuse(&targets).unwrap();
        assert!(fused >= norms, "{fused} nodes fused, {norms} batch norms");
    }
    let mut executor = set.executor(g, &targets);
    executor.run(&[(values.recordings, &set.recordings)]).unwrap();
    read.into_iter().map(|(name, value)| (name, executor.output(value).unwrap())).collect()
}

/// Values of one image out of a tensor with images in the leading axis.
fn image(tensor: &Tensor, index: usize, images: usize) -> Tensor {
    let dims = tensor.shape().dims();
    let shape = [&[dims[0] / images], &dims[1..]].concat();
    let bytes = tensor.bytes().len() / images;
    let part = &tensor.bytes()[index * bytes..][..bytes];
    Tensor::from_bytes(TensorType::new(tensor.dtype(), shape), part).unwrap()
}

fn compare_inference(set: &Set, found: &BTreeMap<String, Tensor>, reference: &mut Reference) {
    let images = set.batch();
    let counts: Vec<usize> = found["counts"].values::<i32>().unwrap().iter().map(|n| *n as usize).collect();
    // The reference makes masks for padded rows too (of box 0); ours computes only the valid ones.
    let each = set.numbers.detection_max;
    let valid = |row: usize| row % each < counts[row / each];
    for name in reference.names("") {
        if name.starts_with("final.") || name.starts_with("anchors_") || name == "image_meta_window" {
            continue;
        }
        if let Some(stage) = name.strip_suffix(".image0") {
            if let Some(stage) = found.get(stage) {
                reference.close(&name, &image(stage, 0, images), STAGE);
            }
            continue;
        }
        let Some(stage) = found.get(&name) else { continue };
        if name == "mask_probs" || name == "roi_align_mask" {
            reference.close_where(&name, stage, STAGE, valid);
        } else {
            reference.close(&name, stage, STAGE);
        }
    }
    let classes =
        |tensor: &Tensor| -> Vec<f32> { tensor.values::<f32>().unwrap().chunks(6).map(|row| row[4]).collect() };
    let same = classes(&found["detections"]) == classes(&reference.peek("detections"));
    reference.check(same, || "detections: classes differ".to_owned());
    for index in 0..images {
        compare_results(set, index, counts[index], found, reference);
    }
}

/// Boxes in pixels, scores and masks of one image.
fn compare_results(set: &Set, index: usize, count: usize, found: &BTreeMap<String, Tensor>, reference: &mut Reference) {
    let images = set.batch();
    let part = |name: &str| image(&found[name], index, images);
    let (pixels, rows, masks, soft) = (part("pixels"), part("detections"), part("masks"), part("soft_masks"));
    let pixels: Vec<[i32; 4]> =
        pixels.values::<f32>().unwrap().chunks(4).map(|b| [0, 1, 2, 3].map(|i| b[i] as i32)).collect();
    // Boxes without area in pixels are no results.
    let kept: Vec<usize> =
        (0..count).filter(|r| (pixels[*r][2] - pixels[*r][0]) * (pixels[*r][3] - pixels[*r][1]) > 0).collect();
    let boxes: Vec<[i32; 4]> = kept.iter().map(|row| pixels[*row]).collect();
    let rows = rows.values::<f32>().unwrap();
    let scores: Vec<f32> = kept.iter().map(|row| rows[6 * row + 5]).collect();
    let name = |what: &str| format!("final.{index}.{what}");
    reference.equal(&name("boxes"), &Tensor::new([boxes.len(), 4], boxes.as_flattened()).unwrap());
    reference.close(&name("scores"), &Tensor::new([scores.len()], &scores).unwrap(), STAGE);
    // `[H, W, n]` there, `[D, H, W]` here.
    let expected = reference.peek(&name("masks"));
    let (expected, masks, soft) =
        (expected.values::<u8>().unwrap(), masks.values::<u8>().unwrap(), soft.values::<f32>().unwrap());
    let area = set.numbers.image[0] * set.numbers.image[1];
    let mut problem = (expected.len() != area * kept.len()).then(|| format!("is of {} values", expected.len()));
    if problem.is_none() {
        let pairs = (0..area).flat_map(|p| (0..kept.len()).map(move |k| (p, k)));
        let differ: Vec<(usize, usize)> =
            pairs.filter(|(p, k)| expected[p * kept.len() + k] != masks[kept[*k] * area + p]).collect();
        // At the threshold the tolerance of the probabilities decides.
        let wrong = differ.iter().find(|(p, k)| f64::from((soft[kept[*k] * area + p] - 0.5).abs()) > STAGE);
        problem = wrong.map(|(p, k)| format!("pixel {p} of mask {k} differs, {} pixels in all", differ.len()));
    }
    reference.compared(&name("masks"), problem);
}

fn compare_anchors(set: &Set, found: &BTreeMap<String, Tensor>, reference: &mut Reference) {
    let config = set.numbers.config(Statistics::Frozen, Statistics::Frozen);
    let levels = config.anchor_strides.len();
    let cells: Vec<[usize; 2]> = (2..levels + 2)
        .map(|level| {
            let shape = found[&format!("P{level}")].shape().clone();
            [shape[1], shape[2]]
        })
        .collect();
    let px = anchors_px(&config.anchors, &config.anchor_strides, &cells).unwrap();
    let norm = anchors_normalised(&px, config.image);
    for (name, boxes) in [("anchors_px", px), ("anchors_norm", norm)] {
        reference.close(name, &Tensor::new([boxes.len(), 4], boxes.as_flattened()).unwrap(), STAGE);
    }
    let window = [0, 0, config.image[0] as i32, config.image[1] as i32];
    reference.equal("image_meta_window", &Tensor::new([4], &window).unwrap());
}

#[test]
fn inference() {
    each_set(|set| {
        let Some(mut reference) = set.inference() else { return Vec::new() };
        let found = infer(set, Rewrite::Not);
        compare_inference(set, &found, &mut reference);
        compare_anchors(set, &found, &mut reference);
        for name in ["rpn_class_logits", "rpn_bbox", "proposals", "class_logits", "bbox_deltas", "mask_probs"] {
            let has = reference.has(name);
            reference.check(has, || format!("{name}: the file has no such tensor"));
        }
        reference.finish()
    });
}

#[test]
fn rewritten_inference() {
    each_set(|set| {
        if set.inference().is_none() {
            return Vec::new();
        }
        let mut problems = Vec::new();
        let plain = infer(set, Rewrite::Not);
        for rewrite in [Rewrite::KeepStages, Rewrite::KeepResults] {
            let mut reference = set.inference().unwrap();
            let found = infer(set, rewrite);
            compare_inference(set, &found, &mut reference);
            // What cannot be read in a rewritten graph any more, or is not part of it.
            for name in reference.names("") {
                let stage = name.strip_suffix(".image0").unwrap_or(&name);
                if !found.contains_key(stage) && !name.starts_with("final.") {
                    reference.leave_out(&name, "not an output of the rewritten graph");
                }
            }
            problems.extend(reference.finish());
            assert_eq!(found["counts"].bytes(), plain["counts"].bytes(), "counts");
            for (name, tensor) in &found {
                let (tensor, plain) = (tensor.to_f32(), plain[name].to_f32());
                // A pixel at the threshold may fall on either side: the probabilities are compared instead.
                if name != "masks" {
                    expect_close(name, tensor.values().unwrap(), plain.values().unwrap(), STAGE as f32);
                }
            }
        }
        problems
    });
}
