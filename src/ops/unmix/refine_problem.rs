//! Instances of the ops that refine signals, with plain references.

use std::f64::consts::{PI, TAU};

use super::problem::{Scene, counts, eliminate};
use super::{NoiseWhitening, ProfileUnmix};
use crate::Result;
use crate::graph::{Graph, Value};
use crate::ops::problem::{Data, Numbers, Problem, Real};
use crate::tensor::Tensor;

/// [`NoiseWhitening`].
#[derive(Clone, Debug)]
pub struct WhiteningProblem {
    /// Recordings; its units are not used.
    pub scene: Scene,
    /// The op.
    pub op: NoiseWhitening,
}

impl WhiteningProblem {
    /// Any scene.
    pub fn random(numbers: &mut Numbers) -> Self {
        let scene = Scene { recordings: numbers.integer(1, 2), ..Scene::random(numbers) };
        Self { scene, op: NoiseWhitening { radius: numbers.integer(0, 5), floor: numbers.uniform(0.02, 1.0) } }
    }
}

impl Problem for WhiteningProblem {
    fn inputs(&self, seed: u64) -> Vec<Tensor> {
        let (recordings, _) = self.scene.recording(&mut Numbers::new(seed)).expect("sizes agree");
        vec![recordings]
    }

    fn build(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        graph.apply(self.op, inputs)
    }

    fn reference<R: Real>(&self, inputs: &[Data<R>]) -> Vec<Vec<R>> {
        const SIDE: i64 = 32;
        let (frames, height, width) = (self.scene.frames, self.scene.height as i64, self.scene.width as i64);
        let (radius, reach) = (self.op.radius as i64, self.op.radius as i64 + 1);
        let pixels = self.scene.pixels();
        let mut outputs = vec![Vec::new(), Vec::new()];
        for recording in inputs[0].real().chunks_exact(frames * pixels) {
            let differences: Vec<Vec<R>> = recording
                .chunks_exact(4 * pixels)
                .map(|group| {
                    let value = |t: usize, i: usize| group[t * pixels + i];
                    let difference = |i| value(0, i) - value(3, i) + R::of(3.0) * (value(2, i) - value(1, i));
                    (0..pixels).map(difference).collect()
                })
                .collect();
            let covariance = |dy: i64, dx: i64| -> R {
                let mut products = Vec::new();
                for image in &differences {
                    for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                        let (v, u) = (y + dy, x + dx);
                        if (0..height).contains(&v) && (0..width).contains(&u) {
                            products.push(image[(y * width + x) as usize] * image[(v * width + u) as usize]);
                        }
                    }
                }
                let count = products.len().max(1) as f64;
                products.into_iter().sum::<R>() / R::of(20.0 * count)
            };
            let variance = covariance(0, 0);
            outputs[1].push(variance);
            let hann = |lag: i64| 0.5 * (1.0 + (PI * lag as f64 / (reach + 1) as f64).cos());
            let lags: Vec<(i64, i64, R)> = (-reach..=reach)
                .flat_map(|dy| (-reach..=reach).map(move |dx| (dy, dx)))
                .map(|(dy, dx)| (dy, dx, covariance(dy, dx) * R::of(hann(dy) * hann(dx)) / variance))
                .collect();
            let wave =
                |ky: i64, kx: i64, dy: i64, dx: i64| R::of((TAU * (ky * dy + kx * dx) as f64 / SIDE as f64).cos());
            let frequencies = || (0..SIDE).flat_map(|ky| (0..SIDE).map(move |kx| (ky, kx)));
            let amplitudes: Vec<R> = frequencies()
                .map(|(ky, kx)| {
                    let power = lags.iter().map(|(dy, dx, value)| *value * wave(ky, kx, *dy, *dx)).sum::<R>();
                    R::of(1.0) / power.max(R::of(self.op.floor as f64)).map(f64::sqrt)
                })
                .collect();
            for (dy, dx) in (-radius..=radius).flat_map(|dy| (-radius..=radius).map(move |dx| (dy, dx))) {
                let sum: R = frequencies().zip(&amplitudes).map(|((ky, kx), a)| *a * wave(ky, kx, dy, dx)).sum();
                outputs[0].push(sum / R::of((SIDE * SIDE) as f64));
            }
        }
        outputs
    }
}

/// [`ProfileUnmix`].
#[derive(Clone, Debug)]
pub struct ProfileProblem {
    /// Recordings and masks; `frames` is the number of coefficients.
    pub scene: Scene,
    /// Side of the filters, odd.
    pub side: usize,
    /// The op.
    pub op: ProfileUnmix,
}

impl ProfileProblem {
    /// Any scene. Copies of a mask need a ridge that `f32` can see.
    pub fn random(numbers: &mut Numbers) -> Self {
        let scene = Scene { frames: numbers.integer(6, 40), ..Scene::random(numbers) };
        let op = ProfileUnmix {
            profile_variance: numbers.uniform(0.1, 1.0),
            lag_variance: numbers.uniform(0.5, 5.0),
            mismatch: [1e-3, 0.1][numbers.integer(0, 1)],
            ridge: if scene.degenerate { 1e-2 } else { [1e-3, 0.1][numbers.integer(0, 1)] },
        };
        Self { scene, side: 2 * numbers.integer(0, 3) + 1, op }
    }

    /// The image filtered; 0 outside it.
    fn filter<R: Real>(&self, image: &[R], filter: &[R]) -> Vec<R> {
        let (height, width, reach) = (self.scene.height as i64, self.scene.width as i64, self.side as i64 / 2);
        let value = |y: i64, x: i64| -> R {
            let taps = (-reach..=reach).flat_map(|dy| (-reach..=reach).map(move |dx| (dy, dx)));
            taps.zip(filter)
                .filter(|((dy, dx), _)| (0..height).contains(&(y + dy)) && (0..width).contains(&(x + dx)))
                .map(|((dy, dx), tap)| *tap * image[((y + dy) * width + x + dx) as usize])
                .sum()
        };
        (0..height).flat_map(|y| (0..width).map(move |x| (y, x))).map(|(y, x)| value(y, x)).collect()
    }

    /// `P` and `Q` of every unit in `rows`, and the signals scaled with them.
    fn profiles<R: Real>(
        &self,
        recording: &[R],
        members: &[Vec<usize>],
        signals: &mut [Vec<R>],
        derivatives: &[Vec<R>],
        error: R,
    ) -> [Vec<Vec<R>>; 2] {
        let (pixels, k) = (self.scene.pixels(), self.scene.frames);
        let zero = R::of(0.0);
        let mut maps = [vec![vec![zero; pixels]; members.len()], vec![vec![zero; pixels]; members.len()]];
        let product = |a: &[R], b: &[R]| a.iter().zip(b).map(|(a, b)| *a * *b).sum::<R>();
        for pixel in 0..pixels {
            let here: Vec<usize> = (0..members.len()).filter(|unit| members[*unit].contains(&pixel)).collect();
            let courses: Vec<&[R]> =
                here.iter().map(|u| &signals[*u][..]).chain(here.iter().map(|u| &derivatives[*u][..])).collect();
            let mut system: Vec<Vec<R>> = courses
                .iter()
                .map(|a| {
                    courses.iter().map(|b| product(a, b)).chain([product(a, &recording[pixel * k..][..k])]).collect()
                })
                .collect();
            for i in 0..system.len() {
                let first = i < here.len();
                let variance = if first { self.op.profile_variance } else { self.op.lag_variance };
                let penalty = error / R::of(variance as f64);
                system[i][i] += penalty;
                if first {
                    system[i][2 * here.len()] += penalty;
                }
            }
            let solution = eliminate(&mut system);
            for (i, unit) in here.iter().enumerate() {
                maps[0][*unit][pixel] = solution[i];
                maps[1][*unit][pixel] = solution[here.len() + i];
            }
        }
        for (unit, members) in members.iter().enumerate() {
            let mean = maps[0][unit].iter().copied().sum::<R>() / R::of(members.len() as f64);
            if mean.wide().abs() >= 0.05 {
                maps.iter_mut().for_each(|maps| maps[unit].iter_mut().for_each(|x| *x = *x / mean));
                signals[unit].iter_mut().for_each(|x| *x = *x * mean);
            }
        }
        maps
    }
}

impl Problem for ProfileProblem {
    fn inputs(&self, seed: u64) -> Vec<Tensor> {
        let numbers = &mut Numbers::new(seed);
        let scene = &self.scene;
        let (rows, pixels, k) = (scene.rows(), scene.pixels(), scene.frames);
        let masks = scene.masks(numbers).expect("sizes agree");
        let mut signals = numbers.values(rows * k);
        let mut recordings: Vec<f32> = numbers.values(scene.recordings * pixels * k).iter().map(|x| 0.1 * x).collect();
        for (at, inside) in masks.values::<f32>().expect("f32").iter().enumerate().filter(|(_, inside)| **inside > 0.5)
        {
            let (row, pixel) = (at / pixels, at % pixels);
            let height = inside * numbers.uniform(0.5, 1.5);
            let values = &mut recordings[(row / scene.units * pixels + pixel) * k..][..k];
            values.iter_mut().zip(&signals[row * k..]).for_each(|(x, s)| *x += height * s);
        }
        signals.iter_mut().for_each(|x| *x += numbers.uniform(-0.2, 0.2));
        let taps = self.side * self.side;
        let mut filters = numbers.values(scene.recordings * taps);
        for filter in filters.chunks_exact_mut(taps) {
            for i in 0..taps / 2 {
                filter[i] *= 0.5 / self.side as f32;
                filter[taps - 1 - i] = filter[i];
            }
            filter[taps / 2] = 1.5;
        }
        let variances: Vec<f32> = (0..scene.recordings).map(|_| numbers.uniform(0.0, 0.05)).collect();
        let slopes: Vec<f32> = numbers.values(k * k).iter().map(|x| 0.2 * x / (k as f32).sqrt()).collect();
        let (n, side) = (scene.recordings, self.side);
        let new = |dims: &[usize], values: &[f32]| Tensor::new(dims, values).expect("sizes agree");
        scene.with_counts(vec![
            new(&[n, scene.height, scene.width, k], &recordings),
            masks,
            new(&[rows, k], &signals),
            new(&[n, side, side], &filters),
            new(&[n], &variances),
            new(&[k, k], &slopes),
        ])
    }

    fn build(&self, graph: &mut Graph, inputs: &[Value]) -> Result<Vec<Value>> {
        graph.apply(self.op, inputs)
    }

    fn reference<R: Real>(&self, inputs: &[Data<R>]) -> Vec<Vec<R>> {
        let scene = &self.scene;
        let (pixels, k, taps) = (scene.pixels(), scene.frames, self.side * self.side);
        let slopes = inputs[5].real();
        let mut output = vec![R::of(0.0); scene.rows() * k];
        for n in 0..scene.recordings {
            let recording = &inputs[0].real()[n * pixels * k..][..pixels * k];
            let inside = |row: usize| scene.pixels_of(&inputs[1].real()[row * pixels..][..pixels]);
            let rows: Vec<usize> = (n * scene.units..(n + 1) * scene.units)
                .filter(|row| scene.is_valid(*row, counts(inputs, 6)) && !inside(*row).is_empty())
                .collect();
            let members: Vec<Vec<usize>> = rows.iter().map(|row| inside(*row)).collect();
            let power = recording.iter().map(|x| *x * *x).sum::<R>() / R::of((pixels * k) as f64);
            let error = inputs[4].real()[n] + R::of(self.op.mismatch as f64) * power;
            let mut signals: Vec<Vec<R>> = rows.iter().map(|row| inputs[2].real()[row * k..][..k].to_vec()).collect();
            let derivatives = |signals: &[Vec<R>]| -> Vec<Vec<R>> {
                let sum = |s: &[R], to: usize| (0..k).map(|from| s[from] * slopes[from * k + to]).sum::<R>();
                signals.iter().map(|s| (0..k).map(|to| sum(s, to)).collect()).collect()
            };
            let late = derivatives(&signals);
            let [p, q] = self.profiles(recording, &members, &mut signals, &late, error);
            let filter = &inputs[3].real()[n * taps..][..taps];
            let a: Vec<Vec<R>> = p.iter().map(|p| self.filter(&self.filter(p, filter), filter)).collect();
            let product = |a: &[R], b: &[R]| a.iter().zip(b).map(|(a, b)| *a * *b).sum::<R>();
            for _ in 0..2 {
                let late = derivatives(&signals);
                for j in 0..k {
                    let column = |i: usize| -> R {
                        let data = (0..pixels).map(|pixel| a[i][pixel] * recording[pixel * k + j]).sum::<R>();
                        data - (0..rows.len()).map(|v| product(&a[i], &q[v]) * late[v][j]).sum::<R>()
                    };
                    let mut system: Vec<Vec<R>> = (0..rows.len())
                        .map(|i| (0..rows.len()).map(|v| product(&a[i], &p[v])).chain([column(i)]).collect())
                        .collect();
                    for (i, row) in system.iter_mut().enumerate() {
                        row[i] = row[i] * R::of(1.0 + self.op.ridge as f64);
                    }
                    eliminate(&mut system).into_iter().zip(&mut signals).for_each(|(value, signal)| signal[j] = value);
                }
            }
            for (row, signal) in rows.iter().zip(signals) {
                output[row * k..][..k].copy_from_slice(&signal);
            }
        }
        vec![output]
    }
}
