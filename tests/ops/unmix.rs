use std::sync::Arc;

use sarcomere::device::cpu::Isa;
use sarcomere::device::{Cpu, Device};
use sarcomere::graph::{Executor, Graph, Value};
use sarcomere::ops::problem::Numbers;

use crate::everywhere::check_everywhere;
use sarcomere::ops::unmix::problem::{PeakProblem, RegionProblem, Scene, SignalsProblem, SvdProblem, UnmixProblem};
use sarcomere::ops::unmix::refine_problem::{ProfileProblem, WhiteningProblem};
use sarcomere::ops::unmix::{NoiseWhitening, ProfileUnmix, Refinement, Unmixing};
use sarcomere::tensor::{Tensor, TensorType};
use sarcomere::{Error, Result};

#[test]
fn region_means_of_any_scene() -> Result<()> {
    let mut numbers = Numbers::new(21);
    for seed in 0..60 {
        check_everywhere(&RegionProblem::random(&mut numbers), seed)?;
    }
    Ok(())
}

#[test]
fn unmixing_of_any_scene() -> Result<()> {
    let mut numbers = Numbers::new(22);
    for seed in 0..60 {
        check_everywhere(&UnmixProblem::random(&mut numbers), seed)?;
    }
    Ok(())
}

#[test]
fn singular_vectors_of_any_scene() -> Result<()> {
    let mut numbers = Numbers::new(23);
    for seed in 0..40 {
        check_everywhere(&SvdProblem::random(&mut numbers), seed)?;
    }
    Ok(())
}

/// Masks of more pixels than the iteration has steps, on either side of the number of frames.
#[test]
fn singular_vectors_of_large_masks() -> Result<()> {
    let (height, width, units) = (24, 24, 2);
    for (frames, radius) in [(140, 8.0), (60, 20.0)] {
        let scene = Scene { recordings: 1, units, frames, height, width, radius, counts: None, degenerate: false };
        check_everywhere(&SvdProblem { scene, components: 3 }, 5)?;
    }
    Ok(())
}

#[test]
fn whitening_of_any_scene() -> Result<()> {
    let mut numbers = Numbers::new(25);
    for seed in 0..12 {
        check_everywhere(&WhiteningProblem::random(&mut numbers), seed)?;
    }
    Ok(())
}

#[test]
fn profiles_of_any_scene() -> Result<()> {
    let mut numbers = Numbers::new(26);
    for seed in 0..40 {
        check_everywhere(&ProfileProblem::random(&mut numbers), seed)?;
    }
    Ok(())
}

#[test]
fn scaling_to_the_peak() -> Result<()> {
    for shape in [[1, 1, 1], [7, 33, 8], [4, 5, 3], [2, 0, 3]] {
        check_everywhere(&PeakProblem { shape }, 1)?;
    }
    Ok(())
}

#[test]
fn all_signals_of_any_scene() -> Result<()> {
    let mut numbers = Numbers::new(24);
    for seed in 0..30 {
        let scene = Scene { frames: numbers.integer(20, 50), degenerate: false, ..Scene::random(&mut numbers) };
        let counts = scene.counts.clone().unwrap_or(vec![scene.units as i32; scene.recordings]);
        check_everywhere(&SignalsProblem { scene: Scene { counts: Some(counts), ..scene }, surround: 9 }, seed)?;
    }
    Ok(())
}

const FRAMES: usize = 60;
const SIDE: usize = 24;

/// Masks from rectangles `[y1, x1, y2, x2]` of an image of `SIDE` pixels.
fn rectangles(boxes: &[[usize; 4]]) -> Vec<f32> {
    let inside = |i: usize, b: &[usize; 4]| (b[0]..b[2]).contains(&(i / SIDE)) && (b[1]..b[3]).contains(&(i % SIDE));
    boxes.iter().flat_map(|b| (0..SIDE * SIDE).map(move |i| inside(i, b) as u8 as f32)).collect()
}

/// The sum of masks times signals, and the signals `[U,FRAMES]`.
fn mixture(masks: &[f32], seed: u64) -> (Vec<f32>, Vec<Vec<f32>>) {
    let mut numbers = Numbers::new(seed);
    let masks: Vec<&[f32]> = masks.chunks_exact(SIDE * SIDE).collect();
    let signals: Vec<Vec<f32>> = masks.iter().map(|_| numbers.values(FRAMES)).collect();
    let pixel = |t: usize, i: usize| masks.iter().zip(&signals).map(|(m, s)| m[i] * s[t]).sum();
    ((0..FRAMES).flat_map(|t| (0..SIDE * SIDE).map(move |i| (t, i))).map(|(t, i)| pixel(t, i)).collect(), signals)
}

struct Signals {
    graph: Arc<Graph>,
    inputs: [Value; 3],
    outputs: [Value; 2],
    units: usize,
}

impl Signals {
    fn new(units: usize) -> Result<Self> {
        Self::with(units, None)
    }

    fn refined(units: usize) -> Result<Self> {
        Self::with(units, Some(Refinement::new(20, 2)))
    }

    fn with(units: usize, refinement: Option<Refinement>) -> Result<Self> {
        let mut graph = Graph::new();
        let recordings = graph.input("recordings", TensorType::f32([1, FRAMES, SIDE, SIDE, 1]))?;
        let masks = graph.input("masks", TensorType::f32([1, units, SIDE, SIDE]))?;
        let counts = graph.input("counts", TensorType::i32([1]))?;
        let (signals, peaks) = graph.unmixed_signals(recordings, masks, counts, &Unmixing::new(16, refinement))?;
        Ok(Self { graph: graph.into(), inputs: [recordings, masks, counts], outputs: [signals, peaks], units })
    }

    /// Signals `[U,FRAMES,8]` (9 refined) and peaks `[U]`.
    fn of(&self, cpu: Cpu, recording: &[f32], masks: &[f32], count: i32) -> Result<(Vec<f32>, Vec<f32>)> {
        let mut executor = Executor::new(&Device::Cpu(Arc::new(cpu)), self.graph.clone(), &self.outputs)?;
        let recording = Tensor::new([1, FRAMES, SIDE, SIDE, 1], recording)?;
        let masks = Tensor::new([1, self.units, SIDE, SIDE], masks)?;
        let counts = Numbers::ints(&[count]);
        executor.run(&[(self.inputs[0], &recording), (self.inputs[1], &masks), (self.inputs[2], &counts)])?;
        Ok((executor.values::<f32>(self.outputs[0])?.to_vec(), executor.values::<f32>(self.outputs[1])?.to_vec()))
    }
}

fn channel(signals: &[f32], unit: usize, channel: usize) -> Vec<f32> {
    signals[unit * FRAMES * 8..][..FRAMES * 8].iter().skip(channel).step_by(8).copied().collect()
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn a_sum_of_masks_is_unmixed() -> Result<()> {
    let disjoint = [[1, 1, 8, 9], [10, 2, 20, 12], [3, 14, 17, 22]];
    let overlapping = [[1, 1, 12, 12], [6, 6, 18, 18], [9, 3, 20, 14]];
    // Bounds: rounding of sums; and the ridge of 1e-4 times the condition of the Gram matrix, below 10 here.
    for (boxes, bound) in [(disjoint, 2e-6), (overlapping, 2e-3)] {
        let masks = rectangles(&boxes);
        let (recording, expected) = mixture(&masks, 3);
        let (signals, peaks) = Signals::new(3)?.of(Cpu::new(), &recording, &masks, 3)?;
        for unit in 0..3 {
            let peak = expected[unit].iter().fold(0.0f32, |a, b| a.max(b.abs()));
            let found: Vec<f32> = channel(&signals, unit, 0).iter().map(|x| x * peaks[unit]).collect();
            let difference = largest_difference(&found, &expected[unit]);
            // The ridge alone scales disjoint signals by 1 / 1.0001.
            assert!(difference < bound + 1.1e-4 * peak, "unit {unit} of {boxes:?}: off by {difference}");
        }
    }
    Ok(())
}

#[test]
fn without_a_ridge_a_sum_of_masks_is_unmixed_exactly() -> Result<()> {
    let masks = rectangles(&[[1, 1, 12, 12], [6, 6, 18, 18], [9, 3, 20, 14], [9, 3, 20, 14], [0, 0, 0, 0]]);
    let (recording, expected) = mixture(&masks, 4);
    let mut graph = Graph::new();
    let recordings = graph.constant(Tensor::new([1, FRAMES, SIDE, SIDE, 1], &recording)?);
    let masks = graph.constant(Tensor::new([1, 5, SIDE, SIDE], &masks)?);
    let means = graph.region_means(recordings, masks, None, 16)?;
    let unmixed = graph.least_squares_unmix(means, masks, None, 0.0)?;
    let mut executor = Executor::new(&Device::cpu(), graph.into(), &[unmixed])?;
    executor.run(&[])?;
    let found: Vec<&[f32]> = executor.values::<f32>(unmixed)?.chunks_exact(FRAMES).collect();
    assert!(largest_difference(found[0], &expected[0]) < 1e-5);
    assert!(largest_difference(found[1], &expected[1]) < 1e-5);
    // The copy is left out, the first of the two takes all.
    let both: Vec<f32> = expected[2].iter().zip(&expected[3]).map(|(a, b)| a + b).collect();
    assert!(largest_difference(found[2], &both) < 1e-5);
    assert!(found[3].iter().chain(found[4]).all(|x| *x == 0.0));
    Ok(())
}

#[test]
fn a_uniform_mask_is_its_own_first_component() -> Result<()> {
    let masks = rectangles(&[[4, 4, 10, 12]]);
    let (recording, expected) = mixture(&masks, 5);
    let (signals, peaks) = Signals::new(1)?.of(Cpu::new(), &recording, &masks, 1)?;
    for (at, name) in [(1, "mean"), (2, "exclusive mean"), (5, "first component")] {
        let found: Vec<f32> = channel(&signals, 0, at).iter().map(|x| x * peaks[0]).collect();
        assert!(largest_difference(&found, &expected[0]) < 4e-6, "{name}");
    }
    for at in [3, 4, 6, 7] {
        assert!(channel(&signals, 0, at).iter().all(|x| *x == 0.0), "channel {at} has nothing to show");
    }
    Ok(())
}

/// Units that overlap, in noise.
fn noisy() -> (Vec<f32>, Vec<f32>) {
    let masks = rectangles(&[[1, 1, 12, 12], [6, 6, 18, 18], [9, 3, 20, 14], [2, 12, 9, 21]]);
    let (mut recording, _) = mixture(&masks, 6);
    let mut numbers = Numbers::new(7);
    recording.iter_mut().for_each(|x| *x += numbers.uniform(-0.3, 0.3));
    (recording, masks)
}

#[test]
fn the_order_of_units_does_not_matter() -> Result<()> {
    let (recording, masks) = noisy();
    let order = [2, 0, 3, 1];
    let moved: Vec<f32> = order.iter().flat_map(|u| masks[u * SIDE * SIDE..][..SIDE * SIDE].to_vec()).collect();
    let graph = Signals::new(4)?;
    let (signals, peaks) = graph.of(Cpu::new(), &recording, &masks, 4)?;
    let (permuted, permuted_peaks) = graph.of(Cpu::new(), &recording, &moved, 4)?;
    for (to, from) in order.into_iter().enumerate() {
        let row = |x: &[f32], unit: usize| x[unit * FRAMES * 8..][..FRAMES * 8].to_vec();
        assert!(largest_difference(&row(&permuted, to), &row(&signals, from)) < 1e-6);
        assert!((permuted_peaks[to] - peaks[from]).abs() < 1e-6);
    }
    Ok(())
}

#[test]
fn rows_beyond_the_counts_are_not_read() -> Result<()> {
    let (recording, mut masks) = noisy();
    let (alone, alone_peaks) = Signals::new(2)?.of(Cpu::new(), &recording, &masks[..2 * SIDE * SIDE], 2)?;
    let graph = Signals::new(4)?;
    for filler in [1.0, f32::NAN] {
        masks[2 * SIDE * SIDE..].fill(filler);
        let (signals, peaks) = graph.of(Cpu::new(), &recording, &masks, 2)?;
        assert_eq!(signals[..alone.len()], alone);
        assert!(signals[alone.len()..].iter().all(|x| *x == 0.0));
        assert_eq!(peaks, [alone_peaks[0], alone_peaks[1], 1.0, 1.0]);
    }
    let (signals, peaks) = graph.of(Cpu::new(), &recording, &masks, -1)?;
    assert!(signals.iter().all(|x| *x == 0.0) && peaks == [1.0; 4]);
    Ok(())
}

#[test]
fn degenerate_masks_stay_finite() -> Result<()> {
    // Twice the same, its two halves, none, all, a pixel, all but a pixel of the first.
    let [whole, half, other] = [[4, 4, 10, 12], [4, 4, 10, 8], [4, 8, 10, 12]];
    let boxes = [whole, whole, half, other, [0, 0, 0, 0], [0, 0, SIDE, SIDE], [5, 5, 6, 6], whole];
    let mut masks = rectangles(&boxes);
    masks[7 * SIDE * SIDE + 4 * SIDE + 4] = 0.0;
    let (recording, _) = mixture(&masks, 8);
    let graph = Signals::new(8)?;
    let (signals, peaks) = graph.of(Cpu::new(), &recording, &masks, 8)?;
    assert!(signals.iter().chain(&peaks).all(|x| x.is_finite()));
    assert!(largest_difference(&channel(&signals, 0, 0), &channel(&signals, 1, 0)) < 1e-3, "twins share alike");
    assert!(signals[4 * FRAMES * 8..5 * FRAMES * 8].iter().all(|x| *x == 0.0) && peaks[4] == 1.0);
    let (signals, peaks) = graph.of(Cpu::new(), &vec![0.0; recording.len()], &masks, 8)?;
    assert!(signals.iter().all(|x| *x == 0.0) && peaks == [1.0; 8]);
    Ok(())
}

#[test]
fn threads_do_not_change_a_bit() -> Result<()> {
    let (recording, masks) = noisy();
    let graph = Signals::new(4)?;
    for isa in Isa::available() {
        let one = graph.of(Cpu::with(1, isa), &recording, &masks, 4)?;
        assert_eq!(graph.of(Cpu::with(3, isa), &recording, &masks, 4)?, one, "{isa}");
    }
    Ok(())
}

/// Filtering noise that was smoothed makes neighbours know less of each other.
#[test]
fn smoothed_noise_is_whitened() -> Result<()> {
    let (frames, side, taps) = (200, 32usize, [0.25f32, 0.5, 0.25]);
    let mut numbers = Numbers::new(31);
    let white = numbers.values(frames * (side + 2) * (side + 2));
    let smooth = |t: usize, y: usize, x: usize| -> f32 {
        let at = |dy: usize, dx: usize| white[(t * (side + 2) + y + dy) * (side + 2) + x + dx];
        (0..3).flat_map(|dy| (0..3).map(move |dx| (dy, dx))).map(|(dy, dx)| taps[dy] * taps[dx] * at(dy, dx)).sum()
    };
    let noise: Vec<f32> = (0..frames * side * side)
        .map(|i| smooth(i / (side * side), i / side % side, i % side))
        // Slow motion, which is not noise.
        .enumerate()
        .map(|(i, value)| value + 3.0 * (0.02 * (i / (side * side)) as f32 + (i % side) as f32).sin())
        .collect();
    let mut graph = Graph::new();
    let recordings = graph.constant(Tensor::new([1, frames, side, side, 1], &noise)?);
    let outputs = graph.apply(NoiseWhitening { radius: 4, floor: 0.01 }, &[recordings])?;
    let mut executor = Executor::new(&Device::cpu(), graph.into(), &outputs)?;
    executor.run(&[])?;
    let (filter, variance) = (executor.values::<f32>(outputs[0])?.to_vec(), executor.values::<f32>(outputs[1])?[0]);
    // A third is the variance of the numbers; (3/8)^2 the sum of the squared taps.
    let expected = (0.375f32 * 0.375) / 3.0;
    assert!((variance / expected - 1.0).abs() < 0.03, "{variance}, expected {expected}");
    // Correlation of neighbours after filtering, from the exact covariance of the smoothed noise.
    let own = |d: i32| [0.0625f32, 0.25, 0.375, 0.25, 0.0625].get((d + 2) as usize).copied().unwrap_or(0.0) / 0.375;
    let covariance = |dy: i32, dx: i32| -> f32 {
        let tap = |i: usize| (i as i32 / 9 - 4, i as i32 % 9 - 4, filter[i]);
        let pairs = (0..81).flat_map(|i| (0..81).map(move |j| (tap(i), tap(j))));
        pairs.map(|((ay, ax, a), (by, bx, b))| a * b * own(dy + ay - by) * own(dx + ax - bx)).sum()
    };
    // The taper and the filter's reach leave a quarter of the squared correlations.
    let whole = covariance(0, 0);
    let (mut before, mut after) = (0.0, 0.0);
    for (dy, dx) in (-3..=3).flat_map(|dy| (-3..=3).map(move |dx| (dy, dx))).filter(|lag| *lag != (0, 0)) {
        before += (own(dy) * own(dx)).powi(2);
        after += (covariance(dy, dx) / whole).powi(2);
    }
    assert!(after < 0.3 * before, "squared correlations of neighbours: {before} became {after}");
    Ok(())
}

#[test]
fn a_recording_without_noise_is_left_alone() -> Result<()> {
    for (frames, value) in [(3, 1.0), (40, 2.5), (40, 0.0)] {
        let mut graph = Graph::new();
        let recordings = graph.constant(Tensor::new([1, frames, 9, 7, 1], &vec![value; frames * 63])?);
        let outputs = graph.apply(NoiseWhitening { radius: 1, floor: 0.1 }, &[recordings])?;
        let mut executor = Executor::new(&Device::cpu(), graph.into(), &outputs)?;
        executor.run(&[])?;
        assert_eq!(executor.values::<f32>(outputs[0])?, [0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(executor.values::<f32>(outputs[1])?, [0.0]);
    }
    Ok(())
}

/// Units that overlap and do not move alike everywhere: what the masks alone mistake, the profiles tell apart.
#[test]
fn profiles_are_found_and_used() -> Result<()> {
    let boxes = [[1, 1, 14, 12], [6, 4, 18, 18], [10, 8, 22, 22]];
    let masks = rectangles(&boxes);
    let mut numbers = Numbers::new(33);
    let signals: Vec<Vec<f32>> = (0..3)
        .map(|_| {
            let waves: Vec<[f32; 3]> = (0..6)
                .map(|_| [0.1 + numbers.uniform(0.0, 0.5), numbers.uniform(0.0, 6.0), numbers.uniform(0.2, 1.0)])
                .collect();
            (0..FRAMES).map(|t| waves.iter().map(|[w, p, a]| a * (w * t as f32 + p).sin()).sum()).collect()
        })
        .collect();
    let heights = [1.0f32, 4.0, 0.5];
    let mut recording = vec![0.0f32; FRAMES * SIDE * SIDE];
    for i in (0..3 * SIDE * SIDE).filter(|i| masks[*i] > 0.5) {
        let (unit, pixel) = (i / (SIDE * SIDE), i % (SIDE * SIDE));
        // From 0.2 at its left rim to 1.8 at its right one.
        let across = (pixel % SIDE - boxes[unit][1]) as f32 / (boxes[unit][3] - boxes[unit][1] - 1) as f32;
        let weight = heights[unit] * (0.2 + 1.6 * across);
        (0..FRAMES).for_each(|t| recording[t * SIDE * SIDE + pixel] += weight * signals[unit][t]);
    }
    recording.iter_mut().for_each(|x| *x += numbers.uniform(-0.02, 0.02));
    let (found, _) = Signals::with(3, Some(Refinement::new(30, 3)))?.of(Cpu::new(), &recording, &masks, 3)?;
    let mut lost = [0.0f32; 2];
    for (unit, truth) in signals.iter().enumerate() {
        // Refined, then least squares: what is missing from a correlation of 1.
        for (at, lost) in lost.iter_mut().enumerate() {
            let channel = || found[unit * FRAMES * 9..][..FRAMES * 9].iter().skip(at).step_by(9);
            let power = channel().map(|x| x * x).sum::<f32>() * truth.iter().map(|s| s * s).sum::<f32>();
            *lost += 1.0 - channel().zip(truth).map(|(x, s)| x * s).sum::<f32>() / power.sqrt();
        }
    }
    assert!(lost[1] > 0.1 && lost[0] < 0.3 * lost[1], "least squares loses {}, refined {}", lost[1], lost[0]);
    Ok(())
}

#[test]
fn refined_signals_are_safe() -> Result<()> {
    let (recording, mut masks) = noisy();
    let (alone, alone_peaks) = Signals::refined(2)?.of(Cpu::new(), &recording, &masks[..2 * SIDE * SIDE], 2)?;
    let graph = Signals::refined(4)?;
    let one = graph.of(Cpu::with(1, Isa::detect()), &recording, &masks, 4)?;
    assert_eq!(graph.of(Cpu::with(3, Isa::detect()), &recording, &masks, 4)?, one, "threads change bits");
    masks[2 * SIDE * SIDE..].fill(f32::NAN);
    let (signals, peaks) = graph.of(Cpu::new(), &recording, &masks, 2)?;
    assert_eq!(signals[..alone.len()], alone);
    assert!(signals[alone.len()..].iter().all(|x| *x == 0.0));
    assert_eq!(peaks, [alone_peaks[0], alone_peaks[1], 1.0, 1.0]);
    masks[SIDE * SIDE..].fill(0.0);
    masks.copy_within(..SIDE * SIDE, 3 * SIDE * SIDE);
    let (signals, _) = graph.of(Cpu::new(), &recording, &masks, 4)?;
    let row = |unit: usize| &signals[unit * FRAMES * 9..][..FRAMES * 9];
    assert!(signals.iter().all(|x| x.is_finite()) && row(1).iter().all(|x| *x == 0.0));
    assert!(largest_difference(row(0), row(3)) < 1e-3, "twins share alike");
    let (signals, peaks) = graph.of(Cpu::new(), &vec![0.0; recording.len()], &masks, 4)?;
    assert!(signals.iter().all(|x| *x == 0.0) && peaks == [1.0; 4]);
    Ok(())
}

#[test]
fn wrong_inputs_of_the_refining_ops_are_named() -> Result<()> {
    let mut graph = Graph::new();
    let shapes: [(&str, &[usize]); 6] = [
        ("recordings", &[2, 8, 8, 5]),
        ("masks", &[2, 3, 8, 8]),
        ("signals", &[6, 5]),
        ("filters", &[2, 3, 3]),
        ("variances", &[2]),
        ("slopes", &[5, 5]),
    ];
    let inputs: Vec<Value> =
        shapes.iter().map(|(name, dims)| graph.input(name, TensorType::f32(*dims))).collect::<Result<_>>()?;
    let wrong = graph.input("wrong", TensorType::f32([2, 4, 4]))?;
    let op = Refinement::new(5, 1).round;
    assert!(graph.apply(op, &inputs).is_ok());
    for (at, (name, _)) in shapes.iter().enumerate() {
        let mut inputs = inputs.clone();
        inputs[at] = wrong;
        match graph.apply(op, &inputs) {
            Err(Error::Op { message, .. }) => assert!(message.contains(name), "'{message}' should name {name}"),
            other => panic!("{name}: expected an error of the op, got {other:?}"),
        }
    }
    assert!(graph.apply(ProfileUnmix { ridge: 0.0, ..op }, &inputs).is_err());
    assert!(graph.apply(NoiseWhitening { radius: 2, floor: 0.1 }, &[inputs[0]]).is_err());
    let recordings = graph.input("frames", TensorType::f32([2, 5, 8, 8, 1]))?;
    assert!(graph.apply(NoiseWhitening { radius: 15, floor: 0.1 }, &[recordings]).is_err());
    assert!(graph.apply(NoiseWhitening { radius: 2, floor: 0.0 }, &[recordings]).is_err());
    Ok(())
}

#[test]
fn nothing_flows_back() -> Result<()> {
    let mut graph = Graph::new();
    let recordings = graph.input("recordings", TensorType::f32([1, 5, 8, 8, 1]))?;
    let masks = graph.input("masks", TensorType::f32([1, 2, 8, 8]))?;
    let counts = graph.input("counts", TensorType::i32([1]))?;
    let (signals, peaks) =
        graph.unmixed_signals(recordings, masks, counts, &Unmixing::new(4, Some(Refinement::new(3, 1))))?;
    let signals = graph.reduce_sum(signals, &[0, 1, 2], false)?;
    let peaks = graph.reduce_sum(peaks, &[0], false)?;
    let loss = graph.add(signals, peaks)?;
    let gradients = graph.gradients(loss, &[recordings, masks])?;
    let mut executor = Executor::new(&Device::cpu(), graph.into(), &gradients)?;
    let mut numbers = Numbers::new(9);
    let feeds = [numbers.tensor(&[1, 5, 8, 8, 1]), numbers.tensor(&[1, 2, 8, 8])];
    executor.run(&[(recordings, &feeds[0]), (masks, &feeds[1]), (counts, &Numbers::ints(&[2]))])?;
    for gradient in gradients {
        assert!(executor.values::<f32>(gradient)?.iter().all(|x| *x == 0.0));
    }
    Ok(())
}

#[test]
fn wrong_inputs_are_named() -> Result<()> {
    let mut graph = Graph::new();
    let mut input = |name: &str, ty| graph.input(name, ty);
    let recordings = input("recordings", TensorType::f32([2, 5, 8, 8, 1]))?;
    let masks = input("masks", TensorType::f32([2, 3, 8, 8]))?;
    let smaller = input("smaller", TensorType::f32([2, 3, 8, 7]))?;
    let counts = input("counts", TensorType::i32([2]))?;
    let flat = input("flat", TensorType::i32([1]))?;
    let means = input("means", TensorType::f32([5, 5, 4]))?;
    let errors = [
        (graph.unmixed_signals(recordings, smaller, counts, &Unmixing::new(16, None)).map(|_| ()), "masks"),
        (graph.unmixed_signals(masks, masks, counts, &Unmixing::new(16, None)).map(|_| ()), "recordings"),
        (graph.unmixed_signals(recordings, masks, flat, &Unmixing::new(16, None)).map(|_| ()), "counts"),
        (graph.unmixed_signals(recordings, masks, counts, &Unmixing::new(0, None)).map(|_| ()), "crop"),
        (graph.least_squares_unmix(means, masks, None, 0.1).map(|_| ()), "means"),
        (graph.masked_svd(recordings, masks, means, None, 3).map(|_| ()), "reference"),
        (graph.scale_to_peak(counts).map(|_| ()), "signals"),
    ];
    for (result, word) in errors {
        match result {
            Err(Error::Op { message, .. }) => assert!(message.contains(word), "'{message}' should name {word}"),
            other => panic!("{word}: expected an error of the op, got {other:?}"),
        }
    }
    let reference = graph.input("reference", TensorType::f32([6, 5, 1]))?;
    assert!(graph.masked_svd(recordings, masks, reference, None, 9).is_err());
    let means = graph.input("six means", TensorType::f32([6, 5, 4]))?;
    assert!(graph.least_squares_unmix(means, masks, None, -0.1).is_err());
    Ok(())
}
