//! Instances of the ops on signals of motor units, with plain references.

pub use super::scene::Scene;
use super::{MaskedSvd, RegionMeans, Unmixing};
use crate::Result;
use crate::graph::{Graph, Value};
use crate::ops::problem::{Data, Numbers, Problem, Real};
use crate::tensor::Tensor;

pub(super) fn counts<R>(inputs: &[Data<R>], at: usize) -> &[i32] {
    inputs.get(at).map_or(&[], |counts| counts.int())
}

fn mean_of<R: Real>(image: &[R], pixels: &[usize]) -> R {
    if pixels.is_empty() {
        return R::of(0.0);
    }
    pixels.iter().map(|i| image[*i]).sum::<R>() / R::of(pixels.len() as f64)
}

/// [`RegionMeans`].
#[derive(Clone, Debug)]
pub struct RegionProblem {
    /// Recordings and masks.
    pub scene: Scene,
    /// Side of the crop.
    pub surround: usize,
}

impl RegionProblem {
    fn means<R: Real>(&self, recordings: &[R], masks: &[R], counts: &[i32]) -> Vec<R> {
        let scene = &self.scene;
        let (pixels, frames) = (scene.pixels(), scene.frames);
        let mut output = vec![R::of(0.0); scene.rows() * frames * 4];
        for row in (0..scene.rows()).filter(|row| scene.is_valid(*row, counts)) {
            let n = row / scene.units;
            let own = scene.pixels_of(&masks[row * pixels..][..pixels]);
            if own.is_empty() {
                continue;
            }
            let others = (n * scene.units..(n + 1) * scene.units)
                .filter(|other| *other != row && scene.is_valid(*other, counts))
                .flat_map(|other| scene.pixels_of(&masks[other * pixels..][..pixels]));
            let others: std::collections::HashSet<usize> = others.collect();
            let (shared, alone): (Vec<usize>, Vec<usize>) = own.iter().partition(|i| others.contains(i));
            // Twice the centre of the bounding box, in corners of pixels.
            let middle = |along: &dyn Fn(usize) -> usize| {
                let low = own.iter().map(|i| along(*i)).min().unwrap_or(0);
                let high = own.iter().map(|i| along(*i)).max().unwrap_or(0);
                low + high + 1
            };
            let (y, x) = (middle(&|i| i / scene.width), middle(&|i| i % scene.width));
            let inside = |at: usize, middle: usize| {
                let start = (middle / 2) as i64 - (self.surround / 2) as i64;
                (start..start + self.surround as i64).contains(&(at as i64))
            };
            let rest: Vec<usize> = (0..pixels)
                .filter(|i| inside(i / scene.width, y) && inside(i % scene.width, x) && !own.contains(i))
                .collect();
            let alone = if alone.is_empty() { &own } else { &alone };
            for t in 0..frames {
                let image = &recordings[(n * frames + t) * pixels..][..pixels];
                for (channel, region) in [&own, alone, &rest, &shared].into_iter().enumerate() {
                    output[(row * frames + t) * 4 + channel] = mean_of(image, region);
                }
            }
        }
        output
    }
}

impl RegionProblem {
    /// Any scene.
    pub fn random(numbers: &mut Numbers) -> Self {
        let scene = Scene::random(numbers);
        Self { scene, surround: numbers.integer(1, 20) }
    }
}

impl Problem for RegionProblem {
    fn inputs(&self, seed: u64) -> Vec<Tensor> {
        let numbers = &mut Numbers::new(seed);
        let (recordings, _) = self.scene.recording(numbers).expect("sizes agree");
        self.scene.with_counts(vec![recordings, self.scene.masks(numbers).expect("sizes agree")])
    }

    fn build(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        graph.apply(RegionMeans { surround: self.surround }, inputs)
    }

    fn reference<R: Real>(&self, inputs: &[Data<R>]) -> Vec<Vec<R>> {
        vec![self.means(inputs[0].real(), inputs[1].real(), counts(inputs, 2))]
    }
}

/// [`super::LeastSquaresUnmix`] of means that are given.
#[derive(Clone, Debug)]
pub struct UnmixProblem {
    /// Masks; its recordings are not used.
    pub scene: Scene,
    /// Channels of the means.
    pub channels: usize,
    /// Ridge.
    pub ridge: f32,
}

impl Scene {
    /// The solution for right-hand sides `sums(row, frame)`, by Gaussian elimination.
    fn unmix<R: Real>(&self, masks: &[R], counts: &[i32], ridge: f32, sums: impl Fn(usize, usize) -> R) -> Vec<R> {
        let (pixels, frames) = (self.pixels(), self.frames);
        let mut output = vec![R::of(0.0); self.rows() * frames];
        for n in 0..self.recordings {
            let rows: Vec<usize> = (n * self.units..(n + 1) * self.units)
                .filter(|row| self.is_valid(*row, counts))
                .filter(|row| !self.pixels_of(&masks[row * pixels..][..pixels]).is_empty())
                .collect();
            let common = |a: usize, b: usize| -> R {
                (0..pixels).map(|i| masks[a * pixels + i] * masks[b * pixels + i]).sum::<R>()
            };
            for t in 0..frames {
                let mut system: Vec<Vec<R>> =
                    rows.iter().map(|a| rows.iter().map(|b| common(*a, *b)).chain([sums(*a, t)]).collect()).collect();
                for (i, equation) in system.iter_mut().enumerate() {
                    equation[i] = equation[i] * R::of(1.0 + ridge as f64);
                }
                let solution = eliminate(&mut system);
                rows.iter().zip(solution).for_each(|(row, value)| output[row * frames + t] = value);
            }
        }
        output
    }
}

impl UnmixProblem {
    /// Any scene. Copies of a mask need a ridge that `f32` can see.
    pub fn random(numbers: &mut Numbers) -> Self {
        let scene = Scene { frames: numbers.integer(1, 150), ..Scene::random(numbers) };
        let ridge = if scene.degenerate { 1e-2 } else { [1e-4, 1e-2, 0.5][numbers.integer(0, 2)] };
        Self { scene, channels: numbers.integer(1, 5), ridge }
    }
}

/// The solution of as many equations as unknowns, each with its right-hand side last, by Gaussian elimination.
pub(super) fn eliminate<R: Real>(system: &mut [Vec<R>]) -> Vec<R> {
    let n = system.len();
    for i in 0..n {
        let pivot = system[i].clone();
        for row in &mut system[i + 1..] {
            let factor = row[i] / pivot[i];
            row.iter_mut().zip(&pivot).for_each(|(x, p)| *x = *x - factor * *p);
        }
    }
    let mut solution = vec![R::of(0.0); n];
    for i in (0..n).rev() {
        let known: R = (i + 1..n).map(|j| system[i][j] * solution[j]).sum();
        solution[i] = (system[i][n] - known) / system[i][i];
    }
    solution
}

impl Problem for UnmixProblem {
    fn inputs(&self, seed: u64) -> Vec<Tensor> {
        let numbers = &mut Numbers::new(seed);
        let means = numbers.tensor(&[self.scene.rows(), self.scene.frames, self.channels]);
        self.scene.with_counts(vec![means, self.scene.masks(numbers).expect("sizes agree")])
    }

    fn build(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        Ok(vec![graph.least_squares_unmix(inputs[0], inputs[1], inputs.get(2).copied(), self.ridge)?])
    }

    fn reference<R: Real>(&self, inputs: &[Data<R>]) -> Vec<Vec<R>> {
        let (means, masks) = (inputs[0].real(), inputs[1].real());
        let pixels = self.scene.pixels();
        let sums = |row: usize, t: usize| {
            let size = masks[row * pixels..][..pixels].iter().copied().sum::<R>();
            means[(row * self.scene.frames + t) * self.channels] * size
        };
        vec![self.scene.unmix(masks, counts(inputs, 2), self.ridge, sums)]
    }
}

/// [`MaskedSvd`].
#[derive(Clone, Debug)]
pub struct SvdProblem {
    /// Recordings and masks.
    pub scene: Scene,
    /// Singular vectors.
    pub components: usize,
}

impl SvdProblem {
    fn vectors<R: Real>(&self, recordings: &[R], masks: &[R], reference: &[R], counts: &[i32]) -> Vec<R> {
        let scene = &self.scene;
        let (pixels, frames) = (scene.pixels(), scene.frames);
        let mut output = vec![R::of(0.0); scene.rows() * frames * self.components];
        for row in (0..scene.rows()).filter(|row| scene.is_valid(*row, counts)) {
            let own = scene.pixels_of(&masks[row * pixels..][..pixels]);
            let value = |t: usize, p: usize| recordings[(row / scene.units * frames + t) * pixels + own[p]];
            let by_pixel = own.len() <= frames;
            let side = own.len().min(frames);
            let gram: Vec<Vec<R>> = (0..side)
                .map(|i| {
                    let entry = |j: usize| match by_pixel {
                        true => (0..frames).map(|t| value(t, i) * value(t, j)).sum(),
                        false => (0..own.len()).map(|p| value(i, p) * value(j, p)).sum(),
                    };
                    (0..side).map(entry).collect()
                })
                .collect();
            let pairs = jacobi(gram);
            for (k, (eigenvalue, vector)) in pairs.iter().enumerate().take(self.components) {
                if eigenvalue.wide() <= pairs[0].0.wide() * 4e-6 {
                    break;
                }
                let scale = R::of(own.len() as f64).map(f64::sqrt);
                let mut signal: Vec<R> = match by_pixel {
                    true => {
                        (0..frames).map(|t| (0..side).map(|p| value(t, p) * vector[p]).sum::<R>() / scale).collect()
                    }
                    false => vector.iter().map(|v| eigenvalue.map(f64::sqrt) * *v / scale).collect(),
                };
                let reference = &reference[row * frames..][..frames];
                let mean = reference.iter().copied().sum::<R>() / R::of(frames as f64);
                let covariance: R = signal.iter().zip(reference).map(|(s, r)| *s * (*r - mean)).sum();
                if covariance.wide() < 0.0 {
                    signal.iter_mut().for_each(|s| *s = -*s);
                }
                for (t, s) in signal.into_iter().enumerate() {
                    output[(row * frames + t) * self.components + k] = s;
                }
            }
        }
        output
    }
}

/// Eigenvalues and eigenvectors of a symmetric matrix, largest first, by Jacobi's rotations.
fn jacobi<R: Real>(mut a: Vec<Vec<R>>) -> Vec<(R, Vec<R>)> {
    let n = a.len();
    let unit = |i: usize| (0..n).map(|j| R::of((i == j) as u8 as f64)).collect();
    let mut vectors: Vec<Vec<R>> = (0..n).map(unit).collect();
    for _ in 0..12 {
        for p in 0..n {
            for q in p + 1..n {
                if a[p][q].wide() == 0.0 {
                    continue;
                }
                let half = (a[q][q] - a[p][p]) / (a[p][q] + a[p][q]);
                let root = (half * half + R::of(1.0)).map(f64::sqrt);
                let tangent = R::of(1.0) / if half.wide() < 0.0 { half - root } else { half + root };
                let cosine = R::of(1.0) / (tangent * tangent + R::of(1.0)).map(f64::sqrt);
                let sine = tangent * cosine;
                let turn = |x: R, y: R| (cosine * x - sine * y, sine * x + cosine * y);
                for row in &mut a {
                    (row[p], row[q]) = turn(row[p], row[q]);
                }
                for k in 0..n {
                    (a[p][k], a[q][k]) = turn(a[p][k], a[q][k]);
                    (vectors[p][k], vectors[q][k]) = turn(vectors[p][k], vectors[q][k]);
                }
            }
        }
    }
    let mut pairs: Vec<(R, Vec<R>)> = vectors.into_iter().enumerate().map(|(i, vector)| (a[i][i], vector)).collect();
    pairs.sort_by(|x, y| y.0.wide().total_cmp(&x.0.wide()));
    pairs
}

impl SvdProblem {
    /// Any scene.
    pub fn random(numbers: &mut Numbers) -> Self {
        let scene = Scene { frames: numbers.integer(12, 70), ..Scene::random(numbers) };
        Self { scene, components: numbers.integer(1, 3) }
    }
}

impl Problem for SvdProblem {
    fn inputs(&self, seed: u64) -> Vec<Tensor> {
        let numbers = &mut Numbers::new(seed);
        let (recordings, reference) = self.scene.recording(numbers).expect("sizes agree");
        self.scene.with_counts(vec![recordings, self.scene.masks(numbers).expect("sizes agree"), reference])
    }

    fn build(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        graph.apply(MaskedSvd { components: self.components }, inputs)
    }

    fn reference<R: Real>(&self, inputs: &[Data<R>]) -> Vec<Vec<R>> {
        vec![self.vectors(inputs[0].real(), inputs[1].real(), inputs[2].real(), counts(inputs, 3))]
    }
}

/// [`super::ScaleToPeak`].
#[derive(Clone, Debug)]
pub struct PeakProblem {
    /// `[R,T,C]`; every third row is zeros.
    pub shape: [usize; 3],
}

fn over_peak<R: Real>(signals: &[R], [rows, frames, channels]: [usize; 3]) -> Vec<Vec<R>> {
    let mut peaks = vec![R::of(1.0); rows];
    let mut scaled = vec![R::of(0.0); signals.len()];
    for (row, kept) in peaks.iter_mut().enumerate() {
        let at = row * frames * channels..(row + 1) * frames * channels;
        let first = signals[at.clone()].iter().step_by(channels);
        let peak = first.fold(R::of(0.0), |a, b| a.max(b.map(f64::abs)));
        if peak.wide() >= 1e-6 {
            *kept = peak;
            scaled[at.clone()].iter_mut().zip(&signals[at]).for_each(|(y, x)| *y = *x / peak);
        }
    }
    vec![scaled, peaks]
}

impl PeakProblem {
    /// Any shape.
    pub fn random(numbers: &mut Numbers) -> Self {
        Self { shape: [numbers.integer(1, 7), numbers.integer(1, 40), numbers.integer(1, 8)] }
    }
}

impl Problem for PeakProblem {
    fn inputs(&self, seed: u64) -> Vec<Tensor> {
        let mut signals = Numbers::new(seed).values(self.shape.iter().product());
        let row = self.shape[1] * self.shape[2];
        if row > 0 {
            signals.chunks_exact_mut(row).step_by(3).for_each(|row| row.fill(0.0));
        }
        vec![Tensor::new(self.shape, &signals).expect("sizes agree")]
    }

    fn build(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let (scaled, peaks) = graph.scale_to_peak(inputs[0])?;
        Ok(vec![scaled, peaks])
    }

    fn reference<R: Real>(&self, inputs: &[Data<R>]) -> Vec<Vec<R>> {
        over_peak(inputs[0].real(), self.shape)
    }
}

/// [`Graph::unmixed_signals`], all of it. The scene must have counts.
#[derive(Clone, Debug)]
pub struct SignalsProblem {
    /// Recordings and masks.
    pub scene: Scene,
    /// Side of the crop.
    pub surround: usize,
}

impl SignalsProblem {
    /// Any scene.
    pub fn random(numbers: &mut Numbers) -> Self {
        let scene = Scene { frames: numbers.integer(12, 70), ..Scene::random(numbers) };
        // The builder takes counts always.
        let counts = scene.counts.clone().unwrap_or_else(|| vec![scene.units as i32; scene.recordings]);
        let scene = Scene { counts: Some(counts), ..scene };
        Self { scene, surround: numbers.integer(1, 20) }
    }
}

impl Problem for SignalsProblem {
    fn inputs(&self, seed: u64) -> Vec<Tensor> {
        RegionProblem { scene: self.scene.clone(), surround: self.surround }.inputs(seed)
    }

    fn build(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        let (signals, peaks) =
            graph.unmixed_signals(inputs[0], inputs[1], inputs[2], &Unmixing::new(self.surround, None))?;
        Ok(vec![signals, peaks])
    }

    fn reference<R: Real>(&self, inputs: &[Data<R>]) -> Vec<Vec<R>> {
        let (recordings, masks, counts) = (inputs[0].real(), inputs[1].real(), inputs[2].int());
        let scene = &self.scene;
        let (pixels, frames) = (scene.pixels(), scene.frames);
        let sums = |row: usize, t: usize| {
            let image = &recordings[(row / scene.units * frames + t) * pixels..][..pixels];
            scene.pixels_of(&masks[row * pixels..][..pixels]).into_iter().map(|i| image[i]).sum()
        };
        let unmixed = scene.unmix(masks, counts, Unmixing::RIDGE, sums);
        let means = RegionProblem { scene: scene.clone(), surround: self.surround }.means(recordings, masks, counts);
        let svd = SvdProblem { scene: scene.clone(), components: 3 }.vectors(recordings, masks, &unmixed, counts);
        let frame = |i: usize| [&unmixed[i..i + 1], &means[i * 4..][..4], &svd[i * 3..][..3]].concat();
        let signals: Vec<R> = (0..scene.rows() * frames).flat_map(frame).collect();
        over_peak(&signals, [scene.rows(), frames, 8])
    }
}
