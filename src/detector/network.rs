//! The detector's layers: stem, ResNet, feature pyramid, RPN, box head, mask head.

use std::collections::BTreeMap;

use super::config::{DetectorConfig, MaskHead, Stem};
use crate::Result;
use crate::graph::{Graph, Value};
use crate::nn::{self, After, Norm, Statistics};
use crate::ops::conv::{ConvAttrs, Extras};
use crate::ops::correlation::NeighbourCorrelationAttrs;
use crate::ops::roi::{LevelRule, RoiAlignAttrs};
use crate::tensor::TensorType;

/// Outputs of the stages by name, for goldens and dumps.
pub type Stages = BTreeMap<String, Value>;

/// Whether batch norms use moving statistics.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Norms {
    /// Of the stem.
    pub stem: Norm,
    /// Of the backbone and the heads.
    pub rest: Norm,
}

impl Norms {
    /// As at inference: all frozen. With `training`, as the configuration says.
    pub fn new(config: &DetectorConfig, training: bool) -> Self {
        let norm = |statistics| Norm {
            statistics: if training { statistics } else { Statistics::Frozen },
            epsilon: config.bn_epsilon,
            momentum: config.bn_momentum,
        };
        Self { stem: norm(config.bn_stem), rest: norm(config.bn_rest) }
    }
}

/// What the heads work on.
#[derive(Clone, Debug)]
pub struct Trunk {
    /// Feature pyramid `[N, H, W, C]`, finest first, without the extra level.
    pub pyramid: Vec<Value>,
    /// Map on the recording's own grid, if the mask head wants one.
    pub full: Option<Value>,
    /// RPN class logits `[N, A, 2]` (background, unit).
    pub rpn_logits: Value,
    /// Their softmax.
    pub rpn_probs: Value,
    /// RPN box deltas `[N, A, 4]`.
    pub rpn_deltas: Value,
}

/// Stem to RPN on standardised recordings `[N, T, H, W, 1]`.
pub fn trunk(g: &mut Graph, config: &DetectorConfig, x: Value, norms: Norms, stages: &mut Stages) -> Result<Trunk> {
    let (full_map, map) = g.scoped("stem", |g| stem(g, config, x, norms.stem, stages))?;
    stages.insert("stem_out".to_owned(), map);
    let maps = g.scoped("backbone", |g| nn::resnet(g, config.block, map, &config.stages, 2, norms.rest))?;
    let pyramid = g.scoped("fpn", |g| nn::feature_pyramid(g, &maps, 2, config.fpn_width))?;
    for (index, (c, p)) in maps.iter().zip(&pyramid).enumerate() {
        stages.insert(format!("C{}", index + 2), *c);
        stages.insert(format!("P{}", index + 2), *p);
    }
    let mut rpn_levels = pyramid.clone();
    if config.extra_level
        && let Some(&coarsest) = pyramid.last()
    {
        // A max pool of window 1 and stride 2 is every second cell.
        let rows = g.shape(coarsest)[1].div_ceil(2);
        let columns = g.shape(coarsest)[2].div_ceil(2);
        let extra = g.slice(coarsest, 1, 0, rows, 2)?;
        let extra = g.slice(extra, 2, 0, columns, 2)?;
        stages.insert(format!("P{}", pyramid.len() + 2), extra);
        rpn_levels.push(extra);
    }
    let (rpn_logits, rpn_deltas) = g.scoped("rpn", |g| rpn(g, config, &rpn_levels))?;
    let rpn_probs = g.softmax(rpn_logits)?;
    stages.insert("rpn_class_logits".to_owned(), rpn_logits);
    stages.insert("rpn_class_probs".to_owned(), rpn_probs);
    stages.insert("rpn_bbox".to_owned(), rpn_deltas);
    let wants_full = config.mask_head.as_ref().is_some_and(|head| head.full_resolution);
    let full = match (wants_full, full_map) {
        (true, Some(map)) => {
            let residual = Some(g.upsample_nearest_2x(pyramid[0])?);
            let after = After { residual, relu: true, ..After::default() };
            let attrs = nn::valid_2d(1);
            let build = |g: &mut Graph| nn::conv(g, "lateral", map, &[1, 1], config.fpn_width, &attrs, after);
            Some(g.scoped("mask_head", build)?)
        }
        (true, None) => {
            let message = "needs a stem with a map on the recording's grid (neighbour_correlation)";
            return Err(crate::Error::value("detector.mask_head.full_resolution", message));
        }
        _ => None,
    };
    Ok(Trunk { pyramid, full, rpn_logits, rpn_probs, rpn_deltas })
}

/// The stem's map on the recording's own grid, if it has one, and its map at half the resolution.
fn stem(
    g: &mut Graph,
    config: &DetectorConfig,
    x: Value,
    norm: Norm,
    stages: &mut Stages,
) -> Result<(Option<Value>, Value)> {
    const NORMS: [&str; 6] = ["bn1", "bn2", "bn3", "bn4", "bn5", "bn6"];
    match &config.stem {
        Stem::SlowFusion { filters, kernels, stride, time_pool } => {
            let mut y = x;
            for (index, ((&filters, kernel), &pool)) in filters.iter().zip(kernels).zip(time_pool).enumerate() {
                let too_deep =
                    || crate::Error::value("detector.stem.filters", format!("at most {} layers", NORMS.len()));
                let norm_name = NORMS.get(index).copied().ok_or_else(too_deep)?;
                let stride = if index == 0 { *stride } else { [1; 3] };
                let attrs = ConvAttrs::same(&g.shape(y).dims()[1..4], kernel, &stride);
                let after = After { norm: Some((norm_name, norm)), relu: true, ..After::default() };
                y = nn::conv(g, &format!("conv{}", index + 1), y, kernel, filters, &attrs, after)?;
                stages.insert(format!("stem_block{}", index + 1), y);
                if pool > 1 {
                    y = g.max_pool(y, &[pool, 1, 1], &[pool, 1, 1], &[[0; 2]; 3])?;
                }
            }
            let shape = g.shape(y).clone();
            if shape[1] != 1 {
                let message = format!("leaves {} frames after the last pool, expected one", shape[1]);
                return Err(crate::Error::value("detector.stem.time_pool", message));
            }
            Ok((None, g.reshape(y, [shape[0], shape[2], shape[3], shape[4]])?))
        }
        Stem::NeighbourCorrelation { radii, smooth_frames, floor, filters, blocks } => {
            let offsets = neighbour_offsets(radii);
            let attrs = NeighbourCorrelationAttrs { offsets, smooth_frames: *smooth_frames, floor: *floor };
            let maps = g.neighbour_correlation(x, attrs)?;
            stages.insert("correlation".to_owned(), maps);
            let plain = |name| After { norm: Some((name, norm)), relu: true, ..After::default() };
            let attrs = nn::same_2d(g, maps, 3, 1);
            let mut y = nn::conv(g, "conv1", maps, &[3, 3], *filters, &attrs, plain("bn1"))?;
            for block in 0..*blocks {
                y = g.scoped(&format!("block{block}"), |g| {
                    nn::residual_block(g, nn::BlockKind::Basic, y, &[*filters; 2], 1, false, norm)
                })?;
            }
            stages.insert("C1".to_owned(), y);
            let attrs = nn::same_2d(g, y, 3, 2);
            Ok((Some(y), nn::conv(g, "conv2", y, &[3, 3], *filters, &attrs, plain("bn2"))?))
        }
    }
}

/// (dy, dx) of the 8 neighbours at each distance; diagonal neighbours lie at the distance in both axes times 1/sqrt(2), rounded.
fn neighbour_offsets(radii: &[i32]) -> Vec<(i32, i32)> {
    let mut offsets = Vec::new();
    for &r in radii {
        let d = ((r as f64) * std::f64::consts::FRAC_1_SQRT_2).round().max(1.0) as i32;
        offsets.extend([(0, r), (d, d), (r, 0), (d, -d), (0, -r), (-d, -d), (-r, 0), (-d, d)]);
    }
    // Different distances may round to the same diagonal.
    let mut unique = Vec::with_capacity(offsets.len());
    offsets.into_iter().for_each(|offset| {
        if !unique.contains(&offset) {
            unique.push(offset)
        }
    });
    unique
}

/// Class logits `[N, A, 2]` and box deltas `[N, A, 4]`: level by level, then row, column, anchor.
fn rpn(g: &mut Graph, config: &DetectorConfig, levels: &[Value]) -> Result<(Value, Value)> {
    let anchors = config.anchors.per_cell();
    let (mut logits, mut deltas) = (Vec::new(), Vec::new());
    for &level in levels {
        let attrs = nn::same_2d(g, level, 3, 1);
        let after = After { relu: true, ..After::default() };
        let shared = nn::conv(g, "conv", level, &[3, 3], config.rpn_width, &attrs, after)?;
        for (name, per_anchor, list) in [("class", 2, &mut logits), ("bbox", 4, &mut deltas)] {
            let filters = per_anchor * anchors;
            let y = nn::conv(g, name, shared, &[1, 1], filters, &nn::valid_2d(1), After::default())?;
            let [n, h, w] = [g.shape(y)[0], g.shape(y)[1], g.shape(y)[2]];
            list.push(g.reshape(y, [n, h * w * anchors, per_anchor])?);
        }
    }
    Ok((g.concat(&logits, 1)?, g.concat(&deltas, 1)?))
}

/// Class logits `[N*R, classes]` and box deltas `[N*R, classes * 4]` of regions `[N, R, 4]`.
pub fn box_head(
    g: &mut Graph,
    config: &DetectorConfig,
    trunk: &Trunk,
    rois: Value,
    counts: Option<Value>,
    norm: Norm,
    stages: &mut Stages,
) -> Result<(Value, Value)> {
    let attrs = RoiAlignAttrs::new(config.box_pool, level_rule(config));
    let crops = g.scoped("box_head", |g| g.roi_align(rois, &trunk.pyramid, &attrs, counts))?;
    stages.insert("roi_align_class".to_owned(), crops);
    g.scoped("box_head", |g| {
        let rows = g.shape(crops)[0];
        let layer = |name| After { norm: Some((name, norm)), relu: true, counts, residual: None };
        let [first, second] = config.box_head;
        let y = nn::conv(g, "fc1", crops, &[config.box_pool; 2], first, &nn::valid_2d(1), layer("bn1"))?;
        let y = nn::conv(g, "fc2", y, &[1, 1], second, &nn::valid_2d(1), layer("bn2"))?;
        let y = g.reshape(y, [rows, second])?;
        let logits = nn::dense(g, "class", y, CLASSES, false, counts)?;
        let deltas = nn::dense(g, "bbox", y, CLASSES * 4, false, counts)?;
        Ok((logits, deltas))
    })
}

/// Mask logits `[N*R, 2*pool, 2*pool, classes]` of boxes `[N, R, 4]`.
pub fn mask_head(
    g: &mut Graph,
    config: &DetectorConfig,
    head: &MaskHead,
    trunk: &Trunk,
    boxes: Value,
    counts: Option<Value>,
    norm: Norm,
    stages: &mut Stages,
) -> Result<Value> {
    const NORMS: [&str; 8] = ["bn1", "bn2", "bn3", "bn4", "bn5", "bn6", "bn7", "bn8"];
    let crops = g.scoped("mask_head", |g| match trunk.full {
        Some(full) => g.roi_align(boxes, &[full], &RoiAlignAttrs::new(head.pool, LevelRule::Fixed(0)), counts),
        None => g.roi_align(boxes, &trunk.pyramid, &RoiAlignAttrs::new(head.pool, level_rule(config)), counts),
    })?;
    stages.insert("roi_align_mask".to_owned(), crops);
    g.scoped("mask_head", |g| {
        let mut y = crops;
        for index in 0..head.convs {
            let too_deep = || crate::Error::value("detector.mask_head.convs", format!("at most {}", NORMS.len()));
            let norm_name = NORMS.get(index).copied().ok_or_else(too_deep)?;
            let attrs = nn::same_2d(g, y, 3, 1);
            let after = After { norm: Some((norm_name, norm)), relu: true, counts, residual: None };
            y = nn::conv(g, &format!("conv{}", index + 1), y, &[3, 3], head.width, &attrs, after)?;
        }
        let inputs = g.shape(y).last();
        let y = g.scoped("deconv", |g| {
            let weight = g.variable("weight", TensorType::f32([2, 2, head.deconv_width, inputs]))?;
            let bias = g.variable("bias", TensorType::f32([head.deconv_width]))?;
            g.conv_transpose_2x2(y, weight, true, Extras::bias(bias).with_counts(counts))
        })?;
        nn::conv(g, "mask", y, &[1, 1], CLASSES, &nn::valid_2d(1), After { counts, ..After::default() })
    })
}

/// Background and motor unit.
pub const CLASSES: usize = 2;

fn level_rule(config: &DetectorConfig) -> LevelRule {
    LevelRule::Size { canonical_px: config.level_rule_px, image: config.image, first_level: 2, base_level: 4 }
}
