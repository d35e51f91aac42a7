//! Layers with their variables: convolution with batch norm, residual blocks, ResNet stages, feature pyramid, dense stacks.

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::graph::{Graph, Value};
use crate::ops::conv::{ConvAttrs, Extras};
use crate::ops::norm::BatchNormAttrs;
use crate::tensor::TensorType;

/// Which statistics a batch norm normalises with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Statistics {
    /// The moving statistics, which stay as they are.
    Frozen,
    /// Those of the batch; the moving statistics follow them.
    Batch,
}

/// How the batch norms of a part of a network behave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Norm {
    /// Which statistics.
    pub statistics: Statistics,
    /// Added to the variance.
    pub epsilon: f32,
    /// Share of the old moving statistics kept at each step.
    pub momentum: f32,
}

/// What follows a convolution.
#[derive(Clone, Copy, Debug, Default)]
pub struct After {
    /// Batch norm, under this name.
    pub norm: Option<(&'static str, Norm)>,
    /// Added after the batch norm.
    pub residual: Option<Value>,
    /// ReLU at the end.
    pub relu: bool,
    /// Valid rows of the leading axis.
    pub counts: Option<Value>,
}

/// A convolution `<name>.weight`, `<name>.bias`, and what follows it. `kernel` has one extent per spatial axis.
pub fn conv(
    g: &mut Graph,
    name: &str,
    x: Value,
    kernel: &[usize],
    filters: usize,
    attrs: &ConvAttrs,
    after: After,
) -> Result<Value> {
    let mut dims = kernel.to_vec();
    dims.extend([g.shape(x).last(), filters]);
    let (weight, bias) = g.scoped(name, |g| {
        Ok((g.variable("weight", TensorType::f32(dims))?, g.variable("bias", TensorType::f32([filters]))?))
    })?;
    let extras = Extras::bias(bias).with_counts(after.counts);
    // Without batch norm everything fits into the convolution's own epilogue.
    let Some((norm_name, norm)) = after.norm else {
        let attrs = ConvAttrs { relu: after.relu, ..attrs.clone() };
        return g.scoped(name, |g| g.conv(x, weight, &attrs, Extras { residual: after.residual, ..extras }));
    };
    let y = g.scoped(name, |g| g.conv(x, weight, attrs, extras))?;
    let fused_relu = after.relu && after.residual.is_none();
    let mut y = batch_norm(g, norm_name, y, norm, fused_relu, after.counts)?;
    if let Some(residual) = after.residual {
        y = g.add(y, residual)?;
        if after.relu {
            y = g.relu(y)?;
        }
    }
    Ok(y)
}

/// Batch norm `<name>.gamma .beta .moving_mean .moving_variance` over the last axis.
pub fn batch_norm(g: &mut Graph, name: &str, x: Value, norm: Norm, relu: bool, counts: Option<Value>) -> Result<Value> {
    let channels = g.shape(x).last();
    g.scoped(name, |g| {
        let mut variable = |name| g.variable(name, TensorType::f32([channels]));
        let (gamma, beta) = (variable("gamma")?, variable("beta")?);
        let (mean, variance) = (variable("moving_mean")?, variable("moving_variance")?);
        match norm.statistics {
            Statistics::Frozen => g.batch_norm_frozen(x, gamma, beta, mean, variance, norm.epsilon, relu),
            Statistics::Batch => {
                let attrs =
                    BatchNormAttrs { eps: norm.epsilon, momentum: norm.momentum, unbiased_moving_variance: true, relu };
                g.batch_norm_train(x, gamma, beta, mean, variance, attrs, counts)
            }
        }
    })
}

/// A dense layer `<name>.weight [in,out]`, `<name>.bias` on the last axis.
pub fn dense(g: &mut Graph, name: &str, x: Value, width: usize, relu: bool, counts: Option<Value>) -> Result<Value> {
    let inputs = g.shape(x).last();
    g.scoped(name, |g| {
        let weight = g.variable("weight", TensorType::f32([inputs, width]))?;
        let bias = g.variable("bias", TensorType::f32([width]))?;
        g.dense(x, weight, relu, Extras::bias(bias).with_counts(counts))
    })
}

/// 2-D convolution attributes: SAME padding for this input, kernel and stride.
pub fn same_2d(g: &Graph, x: Value, kernel: usize, stride: usize) -> ConvAttrs {
    let shape = g.shape(x);
    ConvAttrs::same(&[shape[1], shape[2]], &[kernel; 2], &[stride; 2])
}

/// 2-D convolution attributes without padding.
pub fn valid_2d(stride: usize) -> ConvAttrs {
    ConvAttrs { stride: vec![stride; 2], ..ConvAttrs::valid(2) }
}

/// Residual block kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockKind {
    /// 1x1 (strided), 3x3, 1x1: the original ResNet's.
    Bottleneck,
    /// 3x3 (strided), 3x3.
    Basic,
}

/// One ResNet stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Number of blocks.
    pub blocks: usize,
    /// Widths of a block's convolutions: three for a bottleneck, two for a basic block.
    pub filters: Vec<usize>,
    /// Stride of the first block.
    pub stride: usize,
}

/// A residual block in the current scope: `conv1..`, `bn1..`, and `shortcut.conv`, `shortcut.bn` if `project` or if the shape
/// changes.
pub fn residual_block(
    g: &mut Graph,
    kind: BlockKind,
    x: Value,
    filters: &[usize],
    stride: usize,
    project: bool,
    norm: Norm,
) -> Result<Value> {
    let plain = |name: &'static str| After { norm: Some((name, norm)), relu: true, ..After::default() };
    let width = filters.last().copied().unwrap_or(0);
    let shortcut = if project || stride != 1 || g.shape(x).last() != width {
        let after = After { norm: Some(("shortcut.bn", norm)), ..After::default() };
        conv(g, "shortcut.conv", x, &[1, 1], width, &valid_2d(stride), after)?
    } else {
        x
    };
    let last = |name: &'static str| After { residual: Some(shortcut), ..plain(name) };
    match (kind, filters) {
        (BlockKind::Bottleneck, &[m1, m2, m3]) => {
            let y = conv(g, "conv1", x, &[1, 1], m1, &valid_2d(stride), plain("bn1"))?;
            let attrs = same_2d(g, y, 3, 1);
            let y = conv(g, "conv2", y, &[3, 3], m2, &attrs, plain("bn2"))?;
            conv(g, "conv3", y, &[1, 1], m3, &valid_2d(1), last("bn3"))
        }
        (BlockKind::Basic, &[m1, m2]) => {
            let attrs = same_2d(g, x, 3, stride);
            let y = conv(g, "conv1", x, &[3, 3], m1, &attrs, plain("bn1"))?;
            let attrs = same_2d(g, y, 3, 1);
            conv(g, "conv2", y, &[3, 3], m2, &attrs, last("bn2"))
        }
        _ => Err(crate::Error::value("filters", format!("a {kind:?} block cannot have widths {filters:?}"))),
    }
}

/// ResNet stages `res<first>`, `res<first+1>`, ... in the current scope; returns the output of each.
pub fn resnet(
    g: &mut Graph,
    kind: BlockKind,
    mut x: Value,
    stages: &[Stage],
    first: usize,
    norm: Norm,
) -> Result<Vec<Value>> {
    let mut outputs = Vec::new();
    for (index, stage) in stages.iter().enumerate() {
        g.scoped(&format!("res{}", first + index), |g| {
            for block in 0..stage.blocks {
                let stride = if block == 0 { stage.stride } else { 1 };
                // The first bottleneck of a stage projects its shortcut even where the shapes agree.
                let project = block == 0 && kind == BlockKind::Bottleneck;
                x = g.scoped(&format!("block{block}"), |g| {
                    residual_block(g, kind, x, &stage.filters, stride, project, norm)
                })?;
            }
            Ok(())
        })?;
        outputs.push(x);
    }
    Ok(outputs)
}

/// Feature pyramid over `maps`, finest first, named by `first`: `lateral<l>` (1x1), `output<l>` (3x3). Returns one map of
/// `width` channels for each.
pub fn feature_pyramid(g: &mut Graph, maps: &[Value], first: usize, width: usize) -> Result<Vec<Value>> {
    let mut merged: Option<Value> = None;
    let mut outputs = Vec::new();
    for (index, &map) in maps.iter().enumerate().rev() {
        let residual = merged.map(|coarser| g.upsample_nearest_2x(coarser)).transpose()?;
        let lateral = format!("lateral{}", first + index);
        let after = After { residual, ..After::default() };
        let sum = conv(g, &lateral, map, &[1, 1], width, &valid_2d(1), after)?;
        merged = Some(sum);
        let attrs = same_2d(g, sum, 3, 1);
        outputs.push(conv(g, &format!("output{}", first + index), sum, &[3, 3], width, &attrs, After::default())?);
    }
    outputs.reverse();
    Ok(outputs)
}
