//! Every family of ops at the shapes the networks use. `cargo bench --bench ops -- conv` runs those whose name has "conv".

mod common;

use common::{Items, Runner, bench, criterion};
use criterion::Criterion;
use sarcomere::Result;
use sarcomere::graph::{Graph, Value};
use sarcomere::ops::conv::problem::{ConvProblem, Pass};
use sarcomere::ops::conv::{ConvAttrs, Extras};
use sarcomere::ops::correlation::NeighbourCorrelationAttrs;
use sarcomere::ops::correlation::problem::NeighbourCorrelationProblem;
use sarcomere::ops::detections::problem::{DetectionsProblem, MaskPasteProblem};
use sarcomere::ops::detections::{Detections, MaskPaste};
use sarcomere::ops::elementwise::problem::{BinaryProblem, UnaryProblem};
use sarcomere::ops::elementwise::{BinaryKind, UnaryKind};
use sarcomere::ops::matmul::problem::MatMulProblem;
use sarcomere::ops::norm::problem::BatchNormProblem;
use sarcomere::ops::optim::AdamAttrs;
use sarcomere::ops::pool::problem::MaxPoolProblem;
use sarcomere::ops::problem::{Numbers, Problem};
use sarcomere::ops::proposals::Proposals;
use sarcomere::ops::proposals::problem::ProposalsProblem;
use sarcomere::ops::recurrent::GruAttrs;
use sarcomere::ops::recurrent::problem::GruProblem;
use sarcomere::ops::reduce::problem::{SoftmaxProblem, StandardiseProblem};
use sarcomere::ops::roi::problem::RoiAlignProblem;
use sarcomere::ops::roi::{LevelRule, RoiAlignAttrs};
use sarcomere::ops::select::Nms;
use sarcomere::ops::select::problem::{NmsProblem, TopKProblem};
use sarcomere::ops::shape::problem::{Move, MoveProblem};
use sarcomere::ops::targets::problem::{DetectionTargetsProblem, RpnTargetsProblem};
use sarcomere::ops::targets::{DetectionTargets, RpnTargets};
use sarcomere::ops::unmix::problem::{Scene, SignalsProblem};
use sarcomere::tensor::{Tensor, TensorType};

const ONE: Items = Items(1, "");

fn main() {
    let mut c = criterion();
    convolutions(&mut c);
    products(&mut c);
    recurrent(&mut c);
    norms_and_pools(&mut c);
    regions(&mut c);
    targets(&mut c);
    losses(&mut c);
    signals(&mut c);
    simple(&mut c);
    c.final_summary();
}

/// An instance of an op under its name; see [`Runner::problem`].
fn op<P: Problem>(c: &mut Criterion, name: &str, weights: std::ops::Range<usize>, gradients: bool, problem: P) {
    bench(c, "ops", name, ONE, || Runner::problem(&problem, weights.clone(), gradients));
}

/// A graph under a name; the closure returns the targets and the tensors for inputs and variables.
fn graph(c: &mut Criterion, name: &str, build: impl Fn(&mut Graph) -> Result<(Vec<Value>, Vec<(Value, Tensor)>)>) {
    bench(c, "ops", name, ONE, || {
        let mut g = Graph::new();
        let (targets, given) = build(&mut g)?;
        Runner::new(g, &targets, given)
    });
}

fn convolutions(c: &mut Criterion) {
    let same = |input: &[usize], kernel: &[usize]| ConvAttrs::same(input, kernel, &vec![1; input.len()]);
    let strided = |input: &[usize], kernel: &[usize], stride: &[usize]| ConvAttrs::same(input, kernel, stride);
    let three_d = ([400, 8, 8], [15, 3, 3]);
    let first = ([400, 16, 16], [15, 5, 5]);
    let stem = ([400, 64, 64], [7, 7, 7]);
    let cases = [
        ("3x3_256_14x14_b100", ConvProblem::new(100, &[14, 14], &[3, 3], 256, 256, same(&[14, 14], &[3, 3])), true),
        (
            "15x3x3_16_400x8x8_b8",
            ConvProblem::new(8, &three_d.0, &three_d.1, 16, 16, same(&three_d.0, &three_d.1)),
            true,
        ),
        (
            "15x5x5_1to16_b8",
            ConvProblem::new(8, &first.0, &first.1, 1, 16, strided(&first.0, &first.1, &[1, 2, 2])),
            true,
        ),
        ("7x7x7_1to8_stem", ConvProblem::new(1, &stem.0, &stem.1, 1, 8, strided(&stem.0, &stem.1, &[5, 2, 2])), false),
        ("7x7_256to1024_b1000", ConvProblem::new(1000, &[7, 7], &[7, 7], 256, 1024, ConvAttrs::valid(2)), false),
        ("1x1_1024_b1000", ConvProblem::new(1000, &[1, 1], &[1, 1], 1024, 1024, ConvAttrs::valid(2)), false),
        ("1x1_64to256_32x32", ConvProblem::new(1, &[32, 32], &[1, 1], 64, 256, ConvAttrs::valid(2)), false),
        ("3x3_512_4x4", ConvProblem::new(1, &[4, 4], &[3, 3], 512, 512, same(&[4, 4], &[3, 3])), false),
        ("3x3_48_64x64", ConvProblem::new(1, &[64, 64], &[3, 3], 48, 48, same(&[64, 64], &[3, 3])), false),
        ("3x3_48_64x64_b8", ConvProblem::new(8, &[64, 64], &[3, 3], 48, 48, same(&[64, 64], &[3, 3])), true),
        ("9_48_400_b25", ConvProblem::new(25, &[400], &[9], 48, 48, same(&[400], &[9])), true),
        ("dense_1024_400", ConvProblem::new(400, &[], &[], 1024, 1024, ConvAttrs::valid(0)), true),
    ];
    for (name, problem, gradients) in cases {
        op(c, &format!("conv_{name}"), 1..2, false, problem.clone());
        if gradients {
            op(c, &format!("conv_{name}_dgrad"), 0..0, false, problem.clone().with_pass(Pass::Data));
            op(c, &format!("conv_{name}_wgrad"), 0..0, false, problem.with_pass(Pass::Weights));
        }
    }
    graph(c, "deconv_2x2_256_14x14_b100", |g| {
        let x = g.input("x", TensorType::f32([100, 14, 14, 256]))?;
        let w = g.variable("weight", TensorType::f32([2, 2, 256, 256]))?;
        let bias = g.input("bias", TensorType::f32([256]))?;
        Ok((vec![g.conv_transpose_2x2(x, w, true, Extras::bias(bias))?], vec![]))
    });
    graph(c, "bias_grad_256_14x14_b100", |g| {
        let dy = g.input("dy", TensorType::f32([100, 14, 14, 256]))?;
        Ok((vec![g.bias_grad(dy, None)?], vec![]))
    });
}

fn products(c: &mut Criterion) {
    let square = |n| MatMulProblem { batch: vec![], m: n, n, k: n, transpose_a: false, transpose_b: false };
    op(c, "matmul_1024", 0..0, false, square(1024));
    op(c, "matmul_256_transposed", 0..0, false, MatMulProblem { transpose_b: true, ..square(256) });
}

fn recurrent(c: &mut Criterion) {
    let gru = |n, features, units, bidirectional| GruProblem {
        n,
        t: 400,
        features,
        units,
        attrs: GruAttrs::default(),
        bidirectional,
        initial_state: false,
        counts: None,
    };
    // Inputs after the sequence are the weights.
    op(c, "gru_256to512_b1", 1..99, false, gru(1, 256, 512, false));
    op(c, "bigru_256to512_b1", 1..99, false, gru(1, 256, 512, true));
    op(c, "bigru_256to512_b32", 1..99, false, gru(32, 256, 512, true));
    op(c, "bigru_48_b70", 1..99, false, gru(70, 48, 48, true));
    op(c, "bigru_48_b70_gradient", 1..99, true, gru(70, 48, 48, true));
}

fn norms_and_pools(c: &mut Criterion) {
    let norm = |frozen| BatchNormProblem { shape: vec![8, 64, 64, 48], frozen, relu: true, counts: None, shift: 0.0 };
    op(c, "batch_norm_frozen", 1..99, false, norm(true));
    op(c, "batch_norm_train", 0..0, false, norm(false));
    op(c, "batch_norm_train_gradient", 0..0, true, norm(false));
    let pool = || MaxPoolProblem {
        shape: vec![1, 80, 32, 32, 16],
        window: vec![5, 1, 1],
        stride: vec![5, 1, 1],
        padding: vec![[0, 0]; 3],
    };
    op(c, "max_pool_time_5", 0..0, false, pool());
    op(c, "max_pool_time_5_gradient", 0..0, true, pool());
}

fn regions(c: &mut Criterion) {
    let roi = |pool| RoiAlignProblem {
        shape: [1, 200],
        levels: vec![[32, 32], [16, 16], [8, 8], [4, 4]],
        channels: 256,
        attrs: RoiAlignAttrs::new(pool, LevelRule::reference([64, 64])),
        counts: false,
    };
    op(c, "roi_align_7x7_200", 0..0, false, roi(7));
    op(c, "roi_align_7x7_200_gradient", 0..0, true, roi(7));
    op(c, "proposals_4092", 0..0, false, ProposalsProblem { shape: [1, 4092], op: Proposals::new(1000) });
    let nms = Nms { iou: 0.3, max: 100 };
    op(c, "nms_1000", 0..0, false, NmsProblem { shape: [1, 1000], op: nms, grid: false, counts: false });
    op(c, "top_k_4092", 0..0, false, TopKProblem { shape: [1, 4092], k: 1000 });
    op(
        c,
        "detections_1000",
        0..0,
        false,
        DetectionsProblem { shape: [1, 1000, 2], op: Detections::default(), counts: false },
    );
    op(
        c,
        "mask_paste_100",
        0..0,
        false,
        MaskPasteProblem { shape: [1, 100, 28, 28, 2], op: MaskPaste::new([64, 64]), counts: false },
    );
}

fn targets(c: &mut Criterion) {
    op(c, "rpn_targets_4092_b8", 0..0, false, RpnTargetsProblem { shape: [8, 4092, 30], op: RpnTargets::default() });
    op(
        c,
        "detection_targets_2000_b2",
        0..0,
        false,
        DetectionTargetsProblem { shape: [2, 2000, 30], mask: [56, 56], bytes: false, op: DetectionTargets::default() },
    );
}

/// Each loss with its gradient, as training runs it.
fn losses(c: &mut Criterion) {
    let loss = |c: &mut Criterion, name: &str, build: fn(&mut Graph, Value) -> Result<Value>, shape: &[usize]| {
        graph(c, &format!("{name}_gradient"), |g| {
            // An input: what depends on variables and constants alone runs once, before any run that is timed.
            let x = g.input("x", TensorType::f32(shape.to_vec()))?;
            let loss = build(g, x)?;
            let mut targets = vec![loss];
            targets.extend(g.gradients(loss, &[x])?);
            let tensor = Numbers::new(common::SEED).tensor(shape);
            Ok((targets, vec![(x, tensor)]))
        });
    };
    loss(
        c,
        "rpn_class_loss",
        |g, x| {
            let matches = alternating(g, [8, 4092], [-1, 0, 1]);
            g.rpn_class_loss(x, matches)
        },
        &[8, 4092, 2],
    );
    loss(
        c,
        "sparse_softmax_loss",
        |g, x| {
            let labels = alternating(g, [8, 200], [0, 1, 0]);
            g.sparse_softmax_loss(x, labels, None)
        },
        &[8, 200, 2],
    );
    loss(
        c,
        "sigmoid_loss",
        |g, x| {
            let targets = g.constant(Numbers::new(3).tensor(&[528, 28, 28]));
            g.sigmoid_loss(x, targets, None)
        },
        &[528, 28, 28],
    );
    loss(
        c,
        "amplitude_mse_loss",
        |g, x| {
            let truth = g.constant(Numbers::new(3).tensor(&[32, 400]));
            g.amplitude_mse_loss(x, truth, None)
        },
        &[32, 400],
    );
}

/// A constant of repeating integers.
fn alternating(g: &mut Graph, shape: [usize; 2], of: [i32; 3]) -> Value {
    let values: Vec<i32> = (0..shape[0] * shape[1]).map(|i| of[i % 3]).collect();
    let tensor = Numbers::ints(&values).reshaped(shape);
    g.constant(tensor.unwrap_or_else(|error| panic!("{error}")))
}

fn signals(c: &mut Criterion) {
    let mut offsets = Vec::new();
    for radius in [1, 2, 3, 5, 7] {
        let ring = [(0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1)];
        offsets.extend(ring.map(|(dy, dx)| (radius * dy, radius * dx)));
    }
    op(
        c,
        "neighbour_correlation_40",
        0..0,
        false,
        NeighbourCorrelationProblem {
            shape: [1, 400, 64, 64],
            attrs: NeighbourCorrelationAttrs { offsets, smooth_frames: 5, floor: 0.02 },
            silent: 0.0,
        },
    );
    let scene = Scene {
        recordings: 1,
        units: 25,
        frames: 400,
        height: 64,
        width: 64,
        radius: 6.0,
        counts: Some(vec![25]),
        degenerate: false,
    };
    op(c, "unmixed_signals_25", 0..0, false, SignalsProblem { scene, surround: 16 });
    op(c, "standardise_recording", 0..0, false, StandardiseProblem { shape: vec![1, 400, 64, 64, 1], shift: 0.1 });
}

fn simple(c: &mut Criterion) {
    op(c, "softmax_4092", 0..0, false, SoftmaxProblem { rows: 4092, classes: 2, range: 4.0 });
    let maps = vec![8, 64, 64, 48];
    op(c, "relu_8x64x64x48", 0..0, false, UnaryProblem { kind: UnaryKind::Relu, shape: maps.clone() });
    op(c, "tanh_400x1024", 0..0, false, UnaryProblem { kind: UnaryKind::Tanh, shape: vec![400, 1024] });
    let sum = BinaryProblem { kind: BinaryKind::Add, a: maps.clone(), b: maps };
    op(c, "add_8x64x64x48", 0..0, false, sum);
    op(c, "upsample_16x16x256", 0..0, false, MoveProblem { shape: vec![1, 16, 16, 256], op: Move::Upsample });
    let concat = Move::Concat { axis: 1, parts: 3 };
    op(c, "concat_1024x2_3", 0..0, false, MoveProblem { shape: vec![8, 1024, 2], op: concat });
    let transpose = Move::Transpose(vec![0, 3, 1, 2]);
    op(c, "transpose_channels_first", 0..0, false, MoveProblem { shape: vec![1, 64, 64, 256], op: transpose });
    graph(c, "random_normal_1.6M", |g| {
        let step = g.input("step", TensorType::i32([1]))?;
        Ok((vec![g.random_normal([400, 64, 64], 1, 0, step)?], vec![]))
    });
    graph(c, "adam_2.2M", |g| {
        let ty = TensorType::f32([2_200_000]);
        let mut variable = |name| g.variable(name, ty.clone());
        let (parameter, mean, square) = (variable("weight")?, variable("beta")?, variable("gamma")?);
        let gradient = g.input("gradient", ty)?;
        let (rate, scale) = (g.input("rate", TensorType::f32([1]))?, g.input("scale", TensorType::f32([1]))?);
        let step = g.input("step", TensorType::i32([1]))?;
        let moments = (&[mean][..], &[square][..]);
        let targets = g.adam(&[parameter], &[gradient], moments, step, rate, scale, AdamAttrs::default(), &[])?;
        let given = vec![
            (parameter, Numbers::new(1).tensor(&[2_200_000])),
            (rate, Tensor::new([1], &[1e-3f32])?),
            (scale, Tensor::new([1], &[1.0f32])?),
            (step, Tensor::new([1], &[1i32])?),
        ];
        Ok((targets, given))
    });
}
