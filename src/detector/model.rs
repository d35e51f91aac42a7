//! The detector as complete graphs: recording to detections, and recording with truth to losses.

use super::anchors::{anchors_normalised, anchors_px};
use super::config::{DetectorConfig, Paste};
use super::network::{self, CLASSES, Norms, Stages, Trunk};
use crate::Result;
use crate::graph::{Graph, Value};
use crate::nn::Statistics;
use crate::ops::boxes::BoxNorm;
use crate::ops::detections::{Detections, MaskPaste, PasteMode, PasteOutput};
use crate::ops::proposals::Proposals;
use crate::ops::targets::{DetectionTargets, MaskTargets, RpnTargets};
use crate::tensor::{Tensor, TensorType};

/// Values of the inference graph.
#[derive(Clone, Debug)]
pub struct DetectorInference {
    /// Standardised recordings `[N, T, H, W, 1]`.
    pub recordings: Value,
    /// Rows (y1, x1, y2, x2, class, score), best first, `[N, D, 6]`; boxes normalised.
    pub detections: Value,
    /// Number of detections `i32 [N]`.
    pub counts: Value,
    /// Mask probabilities of each detection `[N*D, 2*pool, 2*pool, classes]`; none for boxes only.
    pub mask_probs: Option<Value>,
    /// Masks on the grid, `u8 [N, D, H, W]`; none for boxes only.
    pub masks: Option<Value>,
    /// Outputs of the stages by name.
    pub stages: Stages,
}

/// Values of the training graph.
#[derive(Clone, Debug)]
pub struct DetectorTraining {
    /// Standardised recordings `[N, T, H, W, 1]`.
    pub recordings: Value,
    /// True boxes in pixels `[N, G, 4]`; y2, x2 are the last row and column plus one.
    pub boxes_px: Value,
    /// Class of each true box, `i32 [N, G]`.
    pub classes: Value,
    /// True masks: `[N, G, H, W]`, or mini masks cropped to their box.
    pub masks: Option<Value>,
    /// Number of true boxes `i32 [N]`.
    pub counts: Value,
    /// Random keys that choose among surplus anchors, `[N, A]`; none if the RPN's targets are inputs.
    pub rpn_keys: Option<Value>,
    /// RPN match and deltas, where they are inputs.
    pub rpn_targets: (Value, Value),
    /// Random keys that choose among regions, `[N, P]` (`P + G` where true boxes join the proposals).
    pub roi_keys: Value,
    /// The five losses by name, in the order of the specification; four without masks.
    pub losses: Vec<(&'static str, Value)>,
    /// Their sum.
    pub total: Value,
    /// Outputs of the stages by name.
    pub stages: Stages,
}

/// How a training graph departs from the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TrainingOptions {
    /// Take the RPN's targets as inputs instead of computing them.
    pub rpn_targets_given: bool,
    /// Size of mini masks; without it masks are on the recording's own grid.
    pub mini_masks: Option<[usize; 2]>,
}

impl DetectorConfig {
    /// Cells of each level the RPN reads, finest first.
    fn rpn_levels(&self, g: &Graph, trunk: &Trunk) -> Vec<[usize; 2]> {
        let mut cells: Vec<[usize; 2]> =
            trunk.pyramid.iter().map(|level| [g.shape(*level)[1], g.shape(*level)[2]]).collect();
        if let (true, Some([h, w])) = (self.extra_level, cells.last().copied()) {
            cells.push([h.div_ceil(2), w.div_ceil(2)]);
        }
        cells
    }

    fn proposals_op(&self, count: usize) -> Proposals {
        Proposals {
            pre_nms: self.pre_nms_limit,
            nms_iou: self.rpn_nms_iou,
            std_dev: self.delta_std_dev,
            ..Proposals::new(count)
        }
    }

    /// Anchors in pixels and normalised, as constants `[A, 4]`.
    fn anchor_constants(&self, g: &mut Graph, trunk: &Trunk) -> Result<(Value, Value)> {
        let px = anchors_px(&self.anchors, &self.anchor_strides, &self.rpn_levels(g, trunk))?;
        let norm = anchors_normalised(&px, self.image);
        let mut constant =
            |boxes: &[[f32; 4]]| -> Result<Value> { Ok(g.constant(Tensor::new([boxes.len(), 4], &boxes.concat())?)) };
        Ok((constant(&px)?, constant(&norm)?))
    }
}

/// Builds the inference graph for `batch` recordings.
pub fn inference(g: &mut Graph, config: &DetectorConfig, batch: usize) -> Result<DetectorInference> {
    config.validate()?;
    let norms = Norms::new(config, false);
    let mut stages = Stages::new();
    let [height, width] = config.image;
    let recordings = g.input("recordings", TensorType::f32([batch, config.frames, height, width, 1]))?;
    let trunk = network::trunk(g, config, recordings, norms, &mut stages)?;
    let (_, anchors) = config.anchor_constants(g, &trunk)?;
    let op = config.proposals_op(config.proposals_inference);
    let (proposals, proposal_counts) = g.proposals(trunk.rpn_probs, trunk.rpn_deltas, anchors, op)?;
    stages.insert("proposals".to_owned(), proposals);
    // The reference lets padded proposals through the head; their rows then take part in detection.
    let counts = (!config.padded_rows).then_some(proposal_counts);
    let (logits, deltas) = network::box_head(g, config, &trunk, proposals, counts, norms.rest, &mut stages)?;
    let probs = g.softmax(logits)?;
    let rows = [batch, config.proposals_inference];
    let shaped = |g: &mut Graph, v, tail: &[usize]| g.reshape(v, [&rows[..], tail].concat());
    stages.insert("class_logits".to_owned(), shaped(g, logits, &[CLASSES])?);
    stages.insert("class_probs".to_owned(), shaped(g, probs, &[CLASSES])?);
    stages.insert("bbox_deltas".to_owned(), shaped(g, deltas, &[CLASSES, 4])?);
    let op = Detections {
        max: config.max_detections,
        min_confidence: config.min_confidence,
        nms_iou: config.detection_nms_iou,
        std_dev: config.delta_std_dev,
        ..Detections::default()
    };
    let (detections, counts) = g.detections(proposals, probs, deltas, counts, op)?;
    stages.insert("detections".to_owned(), detections);
    let (mut mask_probs, mut masks) = (None, None);
    if let Some(head) = &config.mask_head {
        let boxes = g.slice(detections, 2, 0, 4, 1)?;
        let logits = network::mask_head(g, config, head, &trunk, boxes, Some(counts), norms.rest, &mut stages)?;
        let probs = g.sigmoid(logits)?;
        let op = MaskPaste {
            image: config.image,
            mode: match config.paste {
                Paste::Rounded => PasteMode::WholePixels,
                Paste::Exact => PasteMode::Exact,
            },
            norm: BoxNorm::Inclusive,
            threshold: 0.5,
            output: PasteOutput::Binary,
        };
        masks = Some(g.mask_paste(detections, probs, Some(counts), op)?);
        mask_probs = Some(probs);
        stages.insert("mask_probs".to_owned(), probs);
    }
    Ok(DetectorInference { recordings, detections, counts, mask_probs, masks, stages })
}

/// Builds the training graph, without optimizer, for `batch` recordings.
pub fn training(
    g: &mut Graph,
    config: &DetectorConfig,
    batch: usize,
    options: TrainingOptions,
) -> Result<DetectorTraining> {
    config.validate()?;
    let norms = Norms::new(config, true);
    let mut stages = Stages::new();
    let [height, width] = config.image;
    let units = config.max_units;
    let recordings = g.input("recordings", TensorType::f32([batch, config.frames, height, width, 1]))?;
    let boxes_px = g.input("boxes_px", TensorType::f32([batch, units, 4]))?;
    let classes = g.input("classes", TensorType::i32([batch, units]))?;
    let counts = g.input("counts", TensorType::i32([batch]))?;
    let trunk = network::trunk(g, config, recordings, norms, &mut stages)?;
    let (anchors_px, anchors) = config.anchor_constants(g, &trunk)?;
    let anchor_count = g.shape(anchors)[0];

    let op = RpnTargets {
        positive_iou: config.rpn_positive_iou,
        negative_iou: config.rpn_negative_iou,
        per_image: config.rpn_anchors_per_image,
        std_dev: config.delta_std_dev,
    };
    let (rpn_keys, rpn_targets) = if options.rpn_targets_given {
        let matches = g.input("rpn_match", TensorType::i32([batch, anchor_count]))?;
        let deltas = g.input("rpn_deltas", TensorType::f32([batch, config.rpn_anchors_per_image, 4]))?;
        (None, (matches, deltas))
    } else {
        let keys = g.input("rpn_keys", TensorType::f32([batch, anchor_count]))?;
        (Some(keys), g.rpn_targets(anchors_px, boxes_px, counts, keys, op)?)
    };

    let op = config.proposals_op(config.proposals_training);
    let (proposals, proposal_counts) = g.proposals(trunk.rpn_probs, trunk.rpn_deltas, anchors, op)?;
    stages.insert("proposals".to_owned(), proposals);
    let mask_shape = options.mini_masks.unwrap_or(config.image);
    let masks = match &config.mask_head {
        Some(_) => Some(g.input("masks", TensorType::f32([batch, units, mask_shape[0], mask_shape[1]]))?),
        None => None,
    };
    let op = DetectionTargets {
        rois_per_image: config.rois_per_image,
        positive_share: config.roi_positive_share,
        positive_iou: config.roi_positive_iou,
        std_dev: config.delta_std_dev,
        masks: config
            .mask_head
            .as_ref()
            .map(|head| MaskTargets { shape: [2 * head.pool; 2], mini: options.mini_masks.is_some() }),
        add_objects: config.add_truth_to_proposals,
        fill_with_negatives: config.fill_with_negatives,
    };
    let candidates = config.proposals_training + if config.add_truth_to_proposals { units } else { 0 };
    let roi_keys = g.input("roi_keys", TensorType::f32([batch, candidates]))?;
    let boxes = normalise_boxes(g, boxes_px, config.image, counts)?;
    let max_positives = op.max_positives();
    let targets = g.detection_targets((proposals, proposal_counts), (boxes, classes, counts), masks, roi_keys, op)?;
    stages.insert("rois".to_owned(), targets.rois);
    stages.insert("target_class_ids".to_owned(), targets.classes);
    stages.insert("target_bbox".to_owned(), targets.deltas);

    let roi_counts = (!config.padded_rows).then_some(targets.counts);
    let (logits, deltas) = network::box_head(g, config, &trunk, targets.rois, roi_counts, norms.rest, &mut stages)?;
    let logits = g.reshape(logits, [batch, config.rois_per_image, CLASSES])?;
    let deltas = g.reshape(deltas, [batch, config.rois_per_image, CLASSES, 4])?;
    stages.insert("class_logits".to_owned(), logits);
    stages.insert("bbox_deltas".to_owned(), deltas);
    let mut losses = vec![
        ("rpn_class", g.rpn_class_loss(trunk.rpn_logits, rpn_targets.0)?),
        ("rpn_bbox", g.rpn_box_loss(trunk.rpn_deltas, rpn_targets.1, rpn_targets.0)?),
        ("class", g.class_loss(logits, targets.classes, Vec::new(), roi_counts)?),
        ("bbox", g.box_loss(deltas, targets.deltas, targets.classes)?),
    ];
    if let (Some(head), Some(target_masks)) = (&config.mask_head, targets.masks) {
        stages.insert("target_mask".to_owned(), target_masks);
        let head = |g: &mut Graph, rois, counts, stages: &mut Stages| {
            network::mask_head(g, config, head, &trunk, rois, counts, norms.rest, stages)
        };
        let batch_statistics = config.padded_rows && norms.rest.statistics == Statistics::Batch;
        let mut first = None;
        if config.padded_rows {
            // The reference sends every region through the head, padding too; positives come first. Only batch statistics
            // mix rows: without them the loss needs no others, and these nodes run only for those who read the stages.
            let logits = head(g, targets.rois, None, &mut stages)?;
            let side = g.shape(logits)[1];
            let logits = g.reshape(logits, [batch, config.rois_per_image, side, side, CLASSES])?;
            stages.insert("mask_logits".to_owned(), logits);
            stages.insert("mask_probs".to_owned(), g.sigmoid(logits)?);
            first = Some(g.slice(logits, 1, 0, max_positives, 1)?);
        }
        let logits = match first {
            Some(first) if batch_statistics => first,
            _ => {
                let rois = g.slice(targets.rois, 1, 0, max_positives, 1)?;
                let mut unread = Stages::new();
                let stages = if first.is_some() { &mut unread } else { &mut stages };
                let logits = head(g, rois, Some(targets.positives), stages)?;
                let side = g.shape(logits)[1];
                g.reshape(logits, [batch, max_positives, side, side, CLASSES])?
            }
        };
        stages.insert("mask_logits_of_positives".to_owned(), logits);
        losses.push(("mask", g.mask_loss(logits, target_masks, targets.classes, false)?));
    }
    let values: Vec<Value> = losses.iter().map(|(_, value)| *value).collect();
    let total = g.sum_of(&values)?;
    // Frozen batch norms inside the convolutions: nothing has to be kept between the two for the gradients.
    let read: Vec<Value> = stages.values().copied().chain([total]).collect();
    g.fuse(&read)?;
    Ok(DetectorTraining {
        recordings,
        boxes_px,
        classes,
        masks,
        counts,
        rpn_keys,
        rpn_targets,
        roi_keys,
        losses,
        total,
        stages,
    })
}

/// Pixel boxes `[N, G, 4]` (ends excluded) to normalised ones (ends included); rows beyond the counts become zero.
fn normalise_boxes(g: &mut Graph, boxes_px: Value, image: [usize; 2], counts: Value) -> Result<Value> {
    let shape = g.shape(boxes_px).clone();
    let flat = g.reshape(boxes_px, [shape[0] * shape[1], 4])?;
    let flat = g.box_normalise(flat, image, BoxNorm::Inclusive, Some(counts))?;
    g.reshape(flat, shape)
}
