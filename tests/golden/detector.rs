//! Sets of the detector: configuration, weights, recordings.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sarcomere::detector::{AnchorSizes, CLASSES, DetectorConfig, KIND, MaskHead, Paste, Stem};
use sarcomere::graph::{Executor, Graph, Value};
use sarcomere::nn::{BlockKind, Stage, Statistics, Weights};
use sarcomere::tensor::{Tensor, TensorFile};
use serde::Deserialize;

use crate::case::{device, folders, report};
use crate::reference::{Reference, demand_none, files};

/// The numbers of a set, by the reference's names.
#[derive(Deserialize)]
pub struct Numbers {
    pub image: [usize; 2],
    pub frames: usize,
    pub stem_filters: Vec<usize>,
    pub stem_kernels_thw: Vec<[usize; 3]>,
    pub stem_stride_thw: [usize; 3],
    pub stem_time_pool: Vec<usize>,
    pub resnet_blocks: Vec<usize>,
    pub resnet_filters: Vec<[usize; 3]>,
    pub fpn: usize,
    pub rpn_width: usize,
    pub fc: usize,
    pub mask_width: usize,
    pub deconv_width: usize,
    pub num_classes: usize,
    pub strides: Vec<usize>,
    pub anchor_scales: Vec<f32>,
    pub anchor_ratios: Vec<f32>,
    pub pre_nms_limit: usize,
    pub rpn_nms_threshold: f32,
    pub post_nms_training: usize,
    pub post_nms_inference: usize,
    pub rpn_train_anchors: usize,
    pub train_rois: usize,
    pub positive_ratio: f64,
    pub max_gt: usize,
    pub detection_max: usize,
    pub detection_min_confidence: f32,
    pub detection_nms_threshold: f32,
    pub pool_size: usize,
    pub mask_pool_size: usize,
    pub mask_shape: [usize; 2],
    pub std_dev: [f32; 4],
    pub weight_decay: f32,
    pub bn_epsilon: f32,
    pub bn_momentum: f32,
    pub roi_level_canonical: f32,
}

impl Numbers {
    /// The same numbers in our names; batch norms of the stem and of all else as given.
    pub fn config(&self, bn_stem: Statistics, bn_rest: Statistics) -> DetectorConfig {
        assert_eq!(self.num_classes, CLASSES, "num_classes");
        assert_eq!(self.mask_shape, [2 * self.mask_pool_size; 2], "mask_shape");
        let levels = self.resnet_blocks.len();
        // Strides are given for each level, from the recording on: the stem's, then the stages'.
        let before = [&[self.stem_stride_thw[1]], &self.strides[..]].concat();
        let stages = (self.resnet_blocks.iter().zip(&self.resnet_filters).enumerate())
            .map(|(i, (&blocks, filters))| {
                let stride = before[i + 1] / before[i];
                Stage { blocks, filters: filters.to_vec(), stride }
            })
            .collect();
        DetectorConfig {
            image: self.image,
            frames: self.frames,
            stem: Stem::SlowFusion {
                filters: self.stem_filters.clone(),
                kernels: self.stem_kernels_thw.clone(),
                stride: self.stem_stride_thw,
                time_pool: self.stem_time_pool.clone(),
            },
            block: BlockKind::Bottleneck,
            stages,
            fpn_width: self.fpn,
            extra_level: self.strides.len() == levels + 1,
            rpn_width: self.rpn_width,
            anchor_strides: self.strides.clone(),
            anchors: AnchorSizes::ScalesAndRatios {
                scales: self.anchor_scales.clone(),
                ratios: self.anchor_ratios.clone(),
            },
            pre_nms_limit: self.pre_nms_limit,
            rpn_nms_iou: self.rpn_nms_threshold,
            proposals_training: self.post_nms_training,
            proposals_inference: self.post_nms_inference,
            rpn_anchors_per_image: self.rpn_train_anchors,
            rois_per_image: self.train_rois,
            roi_positive_share: self.positive_ratio,
            max_units: self.max_gt,
            box_pool: self.pool_size,
            box_head: [self.fc; 2],
            mask_head: Some(MaskHead {
                convs: 4,
                width: self.mask_width,
                deconv_width: self.deconv_width,
                pool: self.mask_pool_size,
                full_resolution: false,
            }),
            max_detections: self.detection_max,
            min_confidence: self.detection_min_confidence,
            detection_nms_iou: self.detection_nms_threshold,
            delta_std_dev: self.std_dev,
            level_rule_px: self.roi_level_canonical,
            bn_epsilon: self.bn_epsilon,
            bn_momentum: self.bn_momentum,
            bn_stem,
            bn_rest,
            padded_rows: true,
            paste: Paste::Rounded,
            // IoU thresholds of the targets, and no true boxes among the proposals.
            ..DetectorConfig::paper()
        }
    }
}

/// One folder.
pub struct Set {
    pub folder: PathBuf,
    pub numbers: Numbers,
    pub weights: BTreeMap<String, Tensor>,
    /// `[N, T, H, W, 1]`.
    pub recordings: Tensor,
}

impl Set {
    fn read(folder: &Path) -> Self {
        let path = folder.join("config.json");
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let numbers = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let read = |name: &str| TensorFile::read(folder.join(name)).unwrap_or_else(|error| panic!("{error}"));
        let bytes = read("input.safetensors").tensor("x_i8").unwrap().clone();
        let shape = [bytes.shape().dims(), &[1]].concat();
        let values: Vec<f32> = bytes.values::<i32>().unwrap().iter().map(|v| *v as f32 / 32.0).collect();
        let recordings = Tensor::new(shape, &values).unwrap();
        Self { folder: folder.to_owned(), numbers, weights: read("weights.safetensors").tensors, recordings }
    }

    /// The outputs of inference, if the set has them; else it must have training cases.
    pub fn inference(&self) -> Option<Reference> {
        let path = self.folder.join("inference.safetensors");
        let some = path.exists() || !files(&self.folder, "train_", ".safetensors").is_empty();
        assert!(some, "{}: neither inference.safetensors nor train_*.safetensors", self.folder.display());
        path.exists().then(|| Reference::read(&path))
    }

    pub fn batch(&self) -> usize {
        self.recordings.shape()[0]
    }

    /// An executor with the set's weights: they must be the network's, name by name.
    pub fn executor(&self, graph: Graph, targets: &[Value]) -> Executor {
        let mut executor = Executor::new(&device(), Arc::new(graph), targets).unwrap();
        self.load(&mut executor);
        executor
    }

    pub fn load(&self, executor: &mut Executor) {
        let weights = Weights::new(KIND, &(), self.weights.clone()).unwrap();
        weights.load_into(executor).unwrap_or_else(|error| panic!("{}: {error}", self.folder.display()));
    }

    /// The convolution's bias whose effect a batch norm with the batch's own statistics takes away.
    pub fn is_cancelled(&self, name: &str, [bn_stem, bn_rest]: [Statistics; 2]) -> bool {
        let statistics = if name.starts_with("stem.") { bn_stem } else { bn_rest };
        let Some((scope, layer)) = name.strip_suffix(".bias").and_then(|name| name.rsplit_once('.')) else {
            return false;
        };
        let number = layer.trim_start_matches("conv").trim_start_matches("fc");
        statistics == Statistics::Batch && self.weights.contains_key(&format!("{scope}.bn{number}.gamma"))
    }
}

pub fn each_set(mut check: impl FnMut(&Set) -> Vec<String>) {
    let folders = folders("detector");
    let problems: Vec<String> = folders.iter().flat_map(|folder| check(&Set::read(folder))).collect();
    report("detector sets", folders.len());
    demand_none(&problems);
}

/// Forward stages agree within this share of the largest value.
pub const STAGE: f64 = 1e-4;
