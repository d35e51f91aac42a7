//! The detector's training graph against the reference: stages, targets, losses, gradients, moving statistics.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use sarcomere::detector::anchors::{anchors_normalised, anchors_px};
use sarcomere::detector::{self, DetectorConfig, TrainingOptions};
use sarcomere::graph::{Executor, Graph, Value};
use sarcomere::nn::{self, Statistics};
use sarcomere::ops::proposals::Proposals;
use sarcomere::tensor::Tensor;
use sarcomere::train::{Clip, Optimizer, append_optimizer};

use crate::case::{device, run};
use crate::detector::{STAGE, Set, each_set};
use crate::reference::{Reference, files, plain};

/// How a training case departs from another, by the name of its file.
struct Mode {
    statistics: [Statistics; 2],
    /// Tolerance of forward stages.
    stage: f64,
    /// Tolerance of all gradients together, against exact ones and against the reference's.
    gradients: f64,
    gradients_of_reference: f64,
}

impl Mode {
    fn of(name: &str) -> Self {
        let (statistics, stage, gradients) = match name {
            "frozen" => ([Statistics::Frozen; 2], STAGE, 1e-3),
            "bnstem" => ([Statistics::Batch, Statistics::Frozen], STAGE, 5e-3),
            "bnall" => ([Statistics::Batch; 2], 1e-3, 5e-3),
            other => {
                panic!("train_{other}: which batch norms use the batch's statistics? Known: frozen, bnstem, bnall")
            }
        };
        // With batch statistics everywhere the reference itself is 1.4e-2 from the same gradients in double precision
        // (float64.py; 5e-7 and 2e-4 in the other modes): its rounding, some 1e-5 of an activation, flips ReLUs.
        let gradients_of_reference = if statistics == [Statistics::Batch; 2] { 2e-2 } else { gradients };
        Self { statistics, stage, gradients, gradients_of_reference }
    }
}

/// Tolerance of the gradient of a single tensor: a ReLU or a pool's winner that flips, amplified by cancellation.
const GRADIENT: f64 = 5e-2;

/// Masks `[N, h, w, G]` as `[N, G, h, w]`.
fn masks_first(masks: &Tensor) -> Tensor {
    let [n, h, w, units] = masks.shape().dims() else { panic!("masks are {}", masks.ty()) };
    let (values, pixels) = (masks.to_f32(), h * w);
    let values = values.values::<f32>().unwrap();
    let from = |i: usize| (i / (pixels * units) * pixels + i % pixels) * units + i / pixels % units;
    let moved: Vec<f32> = (0..values.len()).map(|i| values[from(i)]).collect();
    Tensor::new([*n, *units, *h, *w], &moved).unwrap()
}

/// Number of true boxes of each image: they come first.
fn number_of_boxes(boxes: &Tensor) -> Vec<i32> {
    let [images, units, 4] = *boxes.shape().dims() else { panic!("in.gt_boxes is {}", boxes.ty()) };
    let used: Vec<bool> = boxes.values::<f32>().unwrap().chunks(4).map(|b| b.iter().any(|v| *v != 0.0)).collect();
    let count = |row: &[bool]| {
        let count = row.iter().take_while(|used| **used).count();
        assert!(row[count..].iter().all(|used| !used), "in.gt_boxes: a gap between boxes");
        count as i32
    };
    let counts: Vec<i32> = used.chunks(units).map(count).collect();
    assert_eq!(counts.len(), images);
    counts
}

/// `target_mask` of all rows from those that can be positive: the others have none.
fn padded_rows(tensor: &Tensor, rows: usize) -> Tensor {
    let dims = tensor.shape().dims();
    let (from, to) = (tensor.len() / dims[0], tensor.len() / (dims[0] * dims[1]) * rows);
    let mut padded = vec![0.0; dims[0] * to];
    for (values, row) in tensor.values::<f32>().unwrap().chunks(from).zip(padded.chunks_mut(to)) {
        row[..from].copy_from_slice(values);
    }
    Tensor::new([&[dims[0], rows], &dims[2..]].concat(), &padded).unwrap()
}

/// Compares losses (`loss.<name>`) and gradients of weights (`grad.<name>`).
fn compare_results(set: &Set, mode: &Mode, found: &BTreeMap<String, Tensor>, reference: &mut Reference) {
    for (full, found) in found {
        let Some(name) = full.strip_prefix("grad.") else {
            reference.close(full, found, mode.stage);
            continue;
        };
        if set.is_cancelled(name, mode.statistics) {
            reference.leave_out(full, "gradient of a bias before a batch norm in training: zero up to rounding");
            let largest = found.values::<f32>().unwrap().iter().fold(0.0f32, |m, v| m.max(v.abs()));
            reference.check(largest < 1e-3, || format!("{full}: {largest:e}, expected zero up to rounding"));
        } else {
            reference.gradient("weights", full, found, GRADIENT, plain);
        }
    }
}

/// Compares the case `name` with the reference in `path`; returns what was wrong.
fn train(set: &Set, name: &str, path: &Path) -> Vec<String> {
    let (mode, reference) = (&Mode::of(name), &mut Reference::read(path));
    let config = set.numbers.config(mode.statistics[0], mode.statistics[1]);
    let batch = set.batch();
    let masks = masks_first(&reference.input("in.gt_masks"));
    let size = [masks.shape()[2], masks.shape()[3]];
    let options = TrainingOptions { rpn_targets_given: true, mini_masks: (size != config.image).then_some(size) };
    let mut g = Graph::new();
    let t = detector::training(&mut g, &config, batch, options).unwrap();
    let mut stages = t.stages.clone();
    stages.insert("class_probs".to_owned(), g.softmax(stages["class_logits"]).unwrap());

    let trained = nn::trainable(&g);
    // The loss reads logits, those of rows that can be positive: their gradient is the probabilities' times p (1 - p).
    let activation = |name: &str| stages[if name == "mask_probs" { "mask_logits_of_positives" } else { name }];
    let activations = reference.names("grad.act.");
    let wrt: Vec<Value> = trained
        .iter()
        .map(|name| g.find(name).unwrap())
        .chain(activations.iter().map(|name| activation(name)))
        .collect();
    let gradients = g.gradients(t.total, &wrt).unwrap();
    let losses: Vec<Value> = t.losses.iter().map(|(_, loss)| *loss).chain([t.total]).collect();
    let targets: Vec<Value> = stages.values().chain(&gradients).chain(&losses).copied().collect();
    let mut executor = set.executor(g, &targets);

    let boxes = reference.input("in.gt_boxes");
    let counts = Tensor::new([batch], &number_of_boxes(&boxes)).unwrap();
    let matches = reference.input("in.rpn_match");
    let anchors = matches.len() / batch;
    // The reference took the first regions in its order of proposals. Scores that differ by rounding alone may come in
    // another order here: keys by the reference's order choose the same regions in the same order.
    let [_, len] = *executor.graph().shape(t.roi_keys).dims() else { panic!("keys of regions") };
    let mut order: Vec<usize> = (0..batch * len).map(|row| row % len).collect();
    let inputs = [
        (t.recordings, set.recordings.clone()),
        (t.boxes_px, boxes),
        (t.classes, reference.input("in.gt_class_ids")),
        (t.counts, counts),
        (t.masks.unwrap(), masks),
        (t.rpn_targets.0, matches.reshaped([batch, anchors]).unwrap()),
        (t.rpn_targets.1, reference.input("in.rpn_bbox")),
    ];
    for attempt in 0.. {
        let keys: Vec<f32> = order.iter().map(|row| *row as f32 / len as f32).collect();
        executor.feed_values(t.roi_keys, &keys).unwrap();
        executor.run(&inputs.each_ref().map(|(value, tensor)| (*value, tensor))).unwrap();
        let found = executor.output(stages["proposals"]).unwrap();
        let Some(theirs) = order_of_proposals(&found, &reference.peek("proposals"), mode.stage) else { break };
        if theirs == order || attempt == 1 {
            break;
        }
        order = theirs;
        set.load(&mut executor);
    }
    let output = |value: Value| executor.output(value).unwrap();
    let moved = order.iter().enumerate().filter(|(row, theirs)| row % len != **theirs).count();
    if moved > 0 {
        // Then the layer must give the reference's order for the reference's scores.
        println!("{moved} proposals of {} in another order: equal scores up to rounding", batch * len);
        proposals_from_reference(set, &config, reference);
    }

    // Stages. Where no batch norm is in training the trunk is that of inference, and is compared with it.
    let frozen = mode.statistics == [Statistics::Frozen; 2];
    let mut trunk = set.inference().filter(|_| frozen);
    for (name, stage) in &stages {
        let found = output(*stage);
        if name == "target_class_ids" {
            reference.equal(name, &found);
        } else if name == "proposals" && moved > 0 {
            reference.close(name, &reordered(&found, &order), mode.stage);
        } else if name == "target_mask" {
            reference.close(name, &padded_rows(&found, set.numbers.train_rois), mode.stage);
        } else if reference.has(name) {
            reference.close(name, &found, mode.stage);
        } else if let Some(trunk) = trunk.as_mut().filter(|trunk| trunk.has(name) && name != "roi_align_mask") {
            trunk.close(name, &found, mode.stage);
        }
    }
    let mut problems = Vec::new();
    if let Some(mut trunk) = trunk {
        for name in trunk.names("") {
            trunk.leave_out(&name, "the same only up to the proposals");
        }
        problems = trunk.finish();
    }

    let mut results: BTreeMap<String, Tensor> = [("loss.total".to_owned(), output(t.total))].into();
    for ((name, _), value) in t.losses.iter().zip(&losses) {
        let head = if name.starts_with("rpn_") { "" } else { "mrcnn_" };
        results.insert(format!("loss.{head}{name}_loss"), output(*value));
    }
    results.extend(trained.iter().zip(&gradients).map(|(name, value)| (format!("grad.{name}"), output(*value))));
    compare_results(set, mode, &results, reference);
    reference.close("loss.l2_all_trainable", &weight_decay_loss(set), mode.stage);
    for (name, gradient) in activations.iter().zip(&gradients[trained.len()..]) {
        let full = format!("grad.act.{name}");
        if name == "mask_probs" {
            let probs = reference.peek("mask_probs");
            let probs = probs.values::<f32>().unwrap();
            let slope = |i: usize| f64::from(probs[i]) * (1.0 - f64::from(probs[i]));
            let found = padded_rows(&output(*gradient), set.numbers.train_rois);
            reference.gradient("activations", &full, &found, GRADIENT, slope);
        } else {
            reference.gradient("activations", &full, &output(*gradient), GRADIENT, plain);
        }
    }
    reference.gradients_together(mode.gradients_of_reference);
    for name in reference.names("gradleak.") {
        reference
            .leave_out(&format!("gradleak.{name}"), "the reference's leak through the targets: ours are constants");
    }

    // Moving statistics follow the batch, or stay as they were.
    for (name, before) in &set.weights {
        let field = name.rsplit('.').next().unwrap();
        if !field.starts_with("moving_") {
            continue;
        }
        let now = executor.get(name).unwrap();
        let statistics = mode.statistics[usize::from(!name.starts_with("stem."))];
        match statistics {
            Statistics::Batch => reference.close(&format!("newstat.{name}"), &now, mode.stage),
            Statistics::Frozen => {
                reference.check(now.bytes() == before.bytes(), || format!("{name}: moved although frozen"));
            }
        }
    }
    problems.extend(reference.finish());

    // The same gradients in double precision, where a set has them.
    let exact = set.folder.join(format!("float64_{name}.safetensors"));
    if exact.exists() {
        let mut exact = Reference::read(&exact);
        compare_results(set, mode, &results, &mut exact);
        exact.gradients_together(mode.gradients);
        problems.extend(exact.finish());
    }
    problems
}

/// For each found proposal `[N, P, 4]` the row of its image where the reference has it, within `tolerance`; `None` if the two do
/// not hold the same boxes.
fn order_of_proposals(found: &Tensor, expected: &Tensor, tolerance: f64) -> Option<Vec<usize>> {
    let rows = found.shape()[1];
    let boxes =
        |tensor: &Tensor| -> Vec<Vec<f32>> { tensor.values::<f32>().unwrap().chunks(4).map(<[f32]>::to_vec).collect() };
    let same = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| f64::from((a - b).abs()) <= tolerance);
    let mut order = Vec::new();
    for (found, expected) in boxes(found).chunks(rows).zip(boxes(expected).chunks(rows)) {
        let mut free: Vec<usize> = (0..rows).collect();
        for (row, found) in found.iter().enumerate() {
            // In its own place if that can be: padding is the same everywhere.
            let own = free.iter().position(|other| *other == row && same(found, &expected[row]));
            let place = own.or_else(|| free.iter().position(|other| same(found, &expected[*other])))?;
            order.push(free.remove(place));
        }
    }
    Some(order)
}

/// Proposals `[N, P, 4]` with each row put where `order` says.
fn reordered(proposals: &Tensor, order: &[usize]) -> Tensor {
    let rows = proposals.shape()[1];
    let values = proposals.values::<f32>().unwrap();
    let mut moved = vec![0.0; values.len()];
    for (row, (values, to)) in values.chunks(4).zip(order).enumerate() {
        moved[4 * (row / rows * rows + to)..][..4].copy_from_slice(values);
    }
    Tensor::new(proposals.shape().clone(), &moved).unwrap()
}

/// The proposal layer on the reference's own scores and deltas.
fn proposals_from_reference(set: &Set, config: &DetectorConfig, reference: &mut Reference) {
    let [probs, deltas] = ["rpn_class_probs", "rpn_bbox"].map(|name| reference.peek(name));
    let cells: Vec<[usize; 2]> = (2..config.anchor_strides.len() + 2)
        .map(|level| reference.peek(&format!("P{level}")).shape().clone())
        .map(|shape| [shape[1], shape[2]])
        .collect();
    let anchors = anchors_px(&config.anchors, &config.anchor_strides, &cells).unwrap();
    let anchors = anchors_normalised(&anchors, config.image);
    let anchors = Tensor::new([anchors.len(), 4], anchors.as_flattened()).unwrap();
    let op = Proposals {
        pre_nms: config.pre_nms_limit,
        nms_iou: config.rpn_nms_iou,
        std_dev: config.delta_std_dev,
        ..Proposals::new(set.numbers.post_nms_training)
    };
    let out = run(&[probs, deltas, anchors], |g, v| Ok(vec![g.proposals(v[0], v[1], v[2], op)?.0]));
    reference.close("proposals", &out[0], 1e-5);
}

/// The loss whose gradient the optimizer's weight decay is: half of the weights times that gradient, since it is quadratic.
fn weight_decay_loss(set: &Set) -> Tensor {
    let mut g = Graph::new();
    let loss = g.constant(Tensor::new([1], &[0.0f32]).unwrap());
    for (name, weight) in &set.weights {
        g.variable(name, weight.ty().clone()).unwrap();
    }
    let trained = nn::trainable(&g);
    let optimizer = Optimizer::Sgd { momentum: 0.0, decay: set.numbers.weight_decay };
    let o = append_optimizer(&mut g, loss, &trained, &optimizer, Clip::None).unwrap();
    let mut executor = Executor::new(&device(), Arc::new(g), &o.updates).unwrap();
    for name in &trained {
        executor.set(name, &set.weights[name]).unwrap();
    }
    executor.feed_values(o.rate, &[1.0f32]).unwrap();
    executor.feed_values(o.step, &[1i32]).unwrap();
    executor.run_fed().unwrap();
    let mut sum = 0.0;
    for name in &trained {
        // At rate 1 the velocity is the gradient downwards.
        let velocity = executor.get(&format!("optimizer.velocity.{name}")).unwrap();
        let pairs = set.weights[name].values::<f32>().unwrap().iter().zip(velocity.values::<f32>().unwrap());
        sum += pairs.map(|(w, v)| -0.5 * f64::from(*w) * f64::from(*v)).sum::<f64>();
    }
    Tensor::new([1], &[sum as f32]).unwrap()
}

#[test]
fn training() {
    each_set(|set| {
        let mut problems = Vec::new();
        for (name, path) in files(&set.folder, "train_", ".safetensors") {
            problems.extend(train(set, &name, &path));
        }
        problems
    });
}
