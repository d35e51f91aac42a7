//! Every number of the detector.

use serde::{Deserialize, Serialize};

use super::anchors::AnchorSizes;
use crate::nn::{BlockKind, Stage, Statistics};
use crate::{Error, Result};

/// What turns a recording into a map.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Stem {
    /// 3-D convolutions that fuse time slowly (the paper's): conv, batch norm, ReLU, max pool over time, for each layer.
    SlowFusion {
        /// Filters of each layer.
        filters: Vec<usize>,
        /// Kernel of each layer: time, height, width.
        kernels: Vec<[usize; 3]>,
        /// Stride of the first layer.
        stride: [usize; 3],
        /// Window (and stride) of the pool over time after each layer.
        time_pool: Vec<usize>,
    },
    /// Correlation of every pixel with its neighbours, then a convolution, residual blocks and a strided convolution.
    NeighbourCorrelation {
        /// Distances of the neighbours in pixels, each in 8 directions.
        radii: Vec<i32>,
        /// Frames of the running mean before correlating.
        smooth_frames: usize,
        /// Share of the mean energy added to every pixel's own.
        floor: f32,
        /// Filters.
        filters: usize,
        /// Residual blocks on the full grid.
        blocks: usize,
    },
}

/// Far beyond any use: a size from a damaged file must not fill the memory.
const MAX_SIDE: usize = 1024;
const MAX_FRAMES: usize = 10_000;
const MAX_WIDTH: usize = 1 << 14;
const MAX_ROWS: usize = 1 << 16;
const MAX_KERNEL: usize = 64;

impl Stem {
    /// Field, value, largest possible value.
    fn limits(&self) -> Vec<(&'static str, usize, usize)> {
        match self {
            Stem::SlowFusion { filters, kernels, stride, time_pool } => {
                let filters = filters.iter().map(|width| ("stem.filters", *width, MAX_WIDTH));
                let kernels = kernels.iter().flatten().map(|size| ("stem.kernels", *size, MAX_KERNEL));
                let strides =
                    stride.iter().chain(time_pool).map(|step| ("stem.stride and time_pool", *step, MAX_KERNEL));
                filters.chain(kernels).chain(strides).collect()
            }
            Stem::NeighbourCorrelation { radii, smooth_frames, filters, blocks, .. } => {
                let radii = radii.iter().map(|radius| ("stem.radii", (*radius).max(0) as usize, MAX_KERNEL));
                let others = [
                    ("stem.smooth_frames", *smooth_frames, MAX_FRAMES),
                    ("stem.filters", *filters, MAX_WIDTH),
                    ("stem.blocks", *blocks, 128),
                ];
                radii.chain(others).collect()
            }
        }
    }
}

/// The mask head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaskHead {
    /// 3x3 convolutions.
    pub convs: usize,
    /// Their filters.
    pub width: usize,
    /// Filters of the transposed convolution.
    pub deconv_width: usize,
    /// Side of the cropped map; masks have twice that.
    pub pool: usize,
    /// Crop from a map on the recording's own grid (stride 1) instead of the pyramid level of the rule.
    pub full_resolution: bool,
}

/// How a box's mask comes onto the grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Paste {
    /// The reference's: box rounded to whole pixels, mask resized to it.
    Rounded,
    /// The mask sampled at every pixel's centre from the box as it is.
    Exact,
}

/// Every number of the detector. Boxes are (y1, x1, y2, x2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectorConfig {
    /// Height and width of a recording, pixels.
    pub image: [usize; 2],
    /// Frames of a recording.
    pub frames: usize,
    /// Recording to map.
    pub stem: Stem,
    /// Kind of the ResNet's blocks.
    pub block: BlockKind,
    /// ResNet stages, the first named `res2`.
    pub stages: Vec<Stage>,
    /// Width of the feature pyramid.
    pub fpn_width: usize,
    /// A further level, every second cell of the coarsest one, for the RPN.
    pub extra_level: bool,
    /// Width of the RPN's convolution.
    pub rpn_width: usize,
    /// Distance of anchor centres on each level, pixels.
    pub anchor_strides: Vec<usize>,
    /// Anchor sizes.
    pub anchors: AnchorSizes,
    /// Anchors considered by the proposal layer at most.
    pub pre_nms_limit: usize,
    /// IoU above which a weaker proposal is dropped.
    pub rpn_nms_iou: f32,
    /// Proposals kept in training.
    pub proposals_training: usize,
    /// Proposals kept at inference.
    pub proposals_inference: usize,
    /// Anchors per recording in the RPN's losses.
    pub rpn_anchors_per_image: usize,
    /// IoU from which an anchor is positive.
    pub rpn_positive_iou: f32,
    /// IoU below which an anchor is negative.
    pub rpn_negative_iou: f32,
    /// Regions per recording in the heads' losses.
    pub rois_per_image: usize,
    /// Share of positive regions at most.
    pub roi_positive_share: f64,
    /// IoU from which a region is positive.
    pub roi_positive_iou: f32,
    /// Whether the true boxes join the proposals in training.
    pub add_truth_to_proposals: bool,
    /// Whether negatives fill all rows that positives leave.
    pub fill_with_negatives: bool,
    /// True units per recording at most.
    pub max_units: usize,
    /// Side of the cropped map of the box head.
    pub box_pool: usize,
    /// Widths of the box head's two layers.
    pub box_head: [usize; 2],
    /// Mask head; none for boxes only.
    pub mask_head: Option<MaskHead>,
    /// Detections at most.
    pub max_detections: usize,
    /// Score from which a region is a detection.
    pub min_confidence: f32,
    /// IoU above which a weaker detection is dropped.
    pub detection_nms_iou: f32,
    /// Divisors of box deltas.
    pub delta_std_dev: [f32; 4],
    /// Constant of the level rule, pixels.
    pub level_rule_px: f32,
    /// Batch norm: added to the variance.
    pub bn_epsilon: f32,
    /// Batch norm: share of the old moving statistics kept at each step.
    pub bn_momentum: f32,
    /// Batch norms of the stem, in training.
    pub bn_stem: Statistics,
    /// All other batch norms, in training.
    pub bn_rest: Statistics,
    /// Let padded rows take part in the class loss and in batch statistics, as the reference does.
    pub padded_rows: bool,
    /// How masks come onto the grid.
    pub paste: Paste,
}

impl DetectorConfig {
    /// The paper's network: ResNet-101 without its first stage, FPN 256, the defaults of the Mask R-CNN that the paper used, and
    /// anchors that fit territories.
    pub fn paper() -> Self {
        let stage = |blocks, m: [usize; 3], stride| Stage { blocks, filters: m.to_vec(), stride };
        Self {
            image: [64, 64],
            frames: 400,
            stem: Stem::SlowFusion {
                filters: vec![8, 16, 32, 64],
                kernels: vec![[7, 7, 7], [7, 3, 3], [5, 3, 3], [5, 3, 3]],
                stride: [5, 2, 2],
                time_pool: vec![1, 5, 4, 4],
            },
            block: BlockKind::Bottleneck,
            stages: vec![
                stage(3, [64, 64, 256], 1),
                stage(4, [128, 128, 512], 2),
                stage(23, [256, 256, 1024], 2),
                stage(3, [512, 512, 2048], 2),
            ],
            fpn_width: 256,
            extra_level: true,
            rpn_width: 512,
            anchor_strides: vec![2, 4, 8, 16, 32],
            anchors: AnchorSizes::ScalesAndRatios {
                scales: vec![6.0, 10.0, 16.0, 32.0, 64.0],
                ratios: vec![0.5, 1.0, 2.0],
            },
            pre_nms_limit: 6000,
            rpn_nms_iou: 0.7,
            proposals_training: 2000,
            proposals_inference: 1000,
            rpn_anchors_per_image: 256,
            rpn_positive_iou: 0.7,
            rpn_negative_iou: 0.3,
            rois_per_image: 200,
            roi_positive_share: 0.33,
            roi_positive_iou: 0.5,
            add_truth_to_proposals: false,
            fill_with_negatives: false,
            max_units: 100,
            box_pool: 7,
            box_head: [1024, 1024],
            mask_head: Some(MaskHead { convs: 4, width: 256, deconv_width: 256, pool: 14, full_resolution: false }),
            max_detections: 100,
            min_confidence: 0.7,
            detection_nms_iou: 0.3,
            delta_std_dev: [0.1, 0.1, 0.2, 0.2],
            level_rule_px: 224.0,
            bn_epsilon: 1e-3,
            bn_momentum: 0.99,
            bn_stem: Statistics::Batch,
            bn_rest: Statistics::Frozen,
            padded_rows: true,
            paste: Paste::Rounded,
        }
    }

    /// The network that ships: neighbour correlation, a small ResNet, masks from a map on the full grid. Trains on a CPU.
    pub fn lite() -> Self {
        let stage = |width, stride| Stage { blocks: 2, filters: vec![width; 2], stride };
        Self {
            stem: Stem::NeighbourCorrelation {
                radii: vec![1, 2, 3, 5, 7],
                smooth_frames: 5,
                floor: 0.02,
                filters: 48,
                blocks: 1,
            },
            block: BlockKind::Basic,
            stages: vec![stage(48, 1), stage(96, 2), stage(128, 2)],
            fpn_width: 64,
            extra_level: false,
            rpn_width: 64,
            anchor_strides: vec![2, 4, 8],
            anchors: AnchorSizes::SizesPerLevel(vec![
                vec![4.0, 7.0, 11.0],
                vec![9.0, 13.0, 16.0],
                vec![11.0, 14.0, 17.0],
            ]),
            pre_nms_limit: 2000,
            proposals_training: 200,
            proposals_inference: 200,
            rpn_positive_iou: 0.6,
            rois_per_image: 64,
            roi_positive_share: 0.4,
            add_truth_to_proposals: true,
            fill_with_negatives: true,
            max_units: 32,
            box_head: [256, 256],
            mask_head: Some(MaskHead { convs: 2, width: 64, deconv_width: 64, pool: 14, full_resolution: true }),
            max_detections: 48,
            min_confidence: 0.5,
            detection_nms_iou: 0.5,
            bn_momentum: 0.95,
            bn_rest: Statistics::Batch,
            padded_rows: false,
            paste: Paste::Exact,
            ..Self::paper()
        }
    }

    /// A preset by name: `paper` or `lite`.
    pub fn preset(name: &str) -> Result<Self> {
        match name {
            "paper" => Ok(Self::paper()),
            "lite" => Ok(Self::lite()),
            other => Err(Error::value("detector preset", format!("'{other}' is not one; use paper or lite"))),
        }
    }

    /// [`validate`](Self::validate), and refuses recordings `[T, H, W]` of another size than the network reads; an error names the field.
    pub fn expect_recordings(&self, [frames, height, width]: [usize; 3]) -> Result<()> {
        self.validate()?;
        if self.frames != frames {
            let message = format!("expected {frames}, the frames of the recordings it is to read, got {}", self.frames);
            return Err(Error::value("detector.frames", message));
        }
        if self.image != [height, width] {
            let message = format!(
                "expected {:?}, the pixels of the recordings it is to read, got {:?}",
                [height, width],
                self.image
            );
            return Err(Error::value("detector.image", message));
        }
        Ok(())
    }

    /// Checks the numbers against each other; an error names the field.
    pub fn validate(&self) -> Result<()> {
        let check = |field: &str, ok: bool, message: &str| {
            if ok { Ok(()) } else { Err(Error::value(format!("detector.{field}"), message)) }
        };
        let mut limits = vec![
            ("frames", self.frames, MAX_FRAMES),
            ("stages", self.stages.len(), 8),
            ("fpn_width", self.fpn_width, MAX_WIDTH),
            ("rpn_width", self.rpn_width, MAX_WIDTH),
            ("pre_nms_limit", self.pre_nms_limit, MAX_ROWS),
            ("proposals_training", self.proposals_training, MAX_ROWS),
            ("proposals_inference", self.proposals_inference, MAX_ROWS),
            ("rpn_anchors_per_image", self.rpn_anchors_per_image, MAX_ROWS),
            ("rois_per_image", self.rois_per_image, MAX_ROWS),
            ("max_units", self.max_units, MAX_ROWS),
            ("box_pool", self.box_pool, MAX_KERNEL),
            ("max_detections", self.max_detections, MAX_ROWS),
        ];
        limits.extend(self.image.map(|side| ("image", side, MAX_SIDE)));
        limits.extend(self.box_head.map(|width| ("box_head", width, MAX_WIDTH)));
        limits.extend(self.anchor_strides.iter().map(|stride| ("anchor_strides", *stride, MAX_SIDE)));
        for stage in &self.stages {
            limits.extend([("stages.blocks", stage.blocks, 128), ("stages.stride", stage.stride, MAX_KERNEL)]);
            limits.extend(stage.filters.iter().map(|width| ("stages.filters", *width, MAX_WIDTH)));
        }
        if let Some(head) = &self.mask_head {
            limits.extend([("mask_head.convs", head.convs, 128), ("mask_head.pool", head.pool, MAX_KERNEL)]);
            limits.extend([head.width, head.deconv_width].map(|width| ("mask_head.width", width, MAX_WIDTH)));
        }
        limits.extend(self.stem.limits());
        for (field, value, most) in limits {
            check(field, (1..=most).contains(&value), &format!("expected 1 to {most}, got {value}"))?;
        }
        let levels = self.stages.len() + usize::from(self.extra_level);
        check(
            "anchor_strides",
            self.anchor_strides.len() == levels,
            &format!("needs one stride for each of {levels} levels"),
        )?;
        let sizes = self.anchors.levels();
        check("anchors", sizes == levels, &format!("needs sizes for each of {levels} levels, got {sizes}"))?;
        if let Stem::SlowFusion { filters, kernels, time_pool, .. } = &self.stem {
            let same = filters.len() == kernels.len() && filters.len() == time_pool.len() && !filters.is_empty();
            check("stem", same, "needs as many filters as kernels and time pools")?;
        }
        Ok(())
    }
}
