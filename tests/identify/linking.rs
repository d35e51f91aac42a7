use sarcomere::Result;
use sarcomere::identify::resample::GRID;
use sarcomere::identify::{Options, Territory, WINDOW, WindowIdentifier, WindowUnit, identify, window_starts};
use sarcomere::{MotorUnit, Recording};

/// Discs of radius 4 at fixed places: the signal is the mean over the disc, the unit is there if it moves enough.
struct Discs {
    places: Vec<(usize, usize)>,
    /// (window, place) pairs that are overlooked.
    overlooked: Vec<(usize, usize)>,
    /// Whether overlooked units can be followed by their territory.
    follows: bool,
    window: usize,
}

fn disc(y: usize, x: usize) -> Territory {
    let inside = |i: usize| ((i / GRID).abs_diff(y).pow(2) + (i % GRID).abs_diff(x).pow(2) <= 16) as u8 as f32;
    let (y, x) = (y as f32, x as f32);
    Territory { probability: (0..GRID * GRID).map(inside).collect(), bbox: [y - 4.0, x - 4.0, y + 5.0, x + 5.0] }
}

fn mean(window: &[f32], territory: &Territory) -> Vec<f32> {
    let area: f32 = territory.probability.iter().sum();
    let frame = |f: &[f32]| f.iter().zip(&territory.probability).map(|(v, p)| v * p).sum::<f32>() / area;
    window.chunks_exact(GRID * GRID).map(frame).collect()
}

impl WindowIdentifier for Discs {
    fn identify_window(&mut self, window: &[f32]) -> Result<Vec<WindowUnit>> {
        assert_eq!(window.len(), WINDOW * GRID * GRID);
        let mut units = Vec::new();
        for (p, (y, x)) in self.places.iter().enumerate() {
            let territory = disc(*y, *x);
            let signal = mean(window, &territory);
            let power = signal.iter().map(|v| v * v).sum::<f32>() / WINDOW as f32;
            if power > 1e-3 && !self.overlooked.contains(&(self.window, p)) {
                units.push(WindowUnit { territory, score: 0.9 - 0.1 * p as f32, signal });
            }
        }
        // Not always in the same order.
        if self.window % 2 == 1 {
            units.reverse();
        }
        self.window += 1;
        Ok(units)
    }

    fn follow(&mut self, window: &[f32], territories: &[Territory]) -> Result<Option<Vec<Vec<f32>>>> {
        Ok(self.follows.then(|| territories.iter().map(|t| mean(window, t)).collect()))
    }
}

/// Twitches that peak every `1 / hz` s.
fn train(frames: usize, hz: f64, shift_s: f64) -> Vec<f32> {
    let value = |i: usize| {
        let phase = ((i as f64 / 400.0 - shift_s) * hz).rem_euclid(1.0) - 0.5;
        ((-(phase / 0.12).powi(2)).exp() - 0.2) as f32
    };
    (0..frames).map(value).collect()
}

fn recording(frames: usize, units: &[((usize, usize), Vec<f32>)]) -> Recording {
    let mut velocity = vec![0f32; frames * GRID * GRID];
    for ((y, x), signal) in units {
        let territory = disc(*y, *x);
        for (frame, s) in velocity.chunks_exact_mut(GRID * GRID).zip(signal) {
            frame.iter_mut().zip(&territory.probability).for_each(|(v, p)| *v += p * s);
        }
    }
    Recording::new("made", velocity, [frames, GRID, GRID], 400.0).unwrap()
}

fn run(recording: &Recording, discs: &mut Discs) -> Vec<MotorUnit> {
    identify(recording, discs, &Options::default(), &mut |_, _| {}).unwrap().units
}

fn discs(places: &[(usize, usize)]) -> Discs {
    Discs { places: places.to_vec(), overlooked: vec![], follows: false, window: 0 }
}

#[test]
fn windows_cover_everything() {
    for frames in [400usize, 401, 500, 600, 799, 800, 1234, 4000] {
        let starts = window_starts(frames);
        assert_eq!(starts[0], 0);
        assert_eq!(starts.last().unwrap() + WINDOW, frames.max(WINDOW));
        assert!(starts.windows(2).all(|w| w[1] > w[0] && w[1] - w[0] <= WINDOW / 2), "{frames}: {starts:?}");
    }
    assert_eq!(window_starts(150), [0]);
}

#[test]
fn units_are_one_across_windows() {
    let frames = 1500;
    // The second and third place overlap: their signals tell them apart.
    let places = [(15, 15), (40, 40), (40, 44)];
    let signals = [train(frames, 9.0, 0.03), train(frames, 11.0, 0.01), train(frames, 8.0, 0.05)];
    let units: Vec<_> = places.iter().copied().zip(signals.iter().cloned()).collect();
    let found = run(&recording(frames, &units), &mut discs(&places));
    assert_eq!(found.len(), 3);
    assert_eq!(found.iter().map(|u| u.id).collect::<Vec<_>>(), [1, 2, 3]);
    let first = &found[0];
    assert_eq!(first.windows, window_starts(frames).len());
    assert_eq!(first.bbox, [11, 11, 20, 20]);
    assert_eq!(first.area_px(), disc(15, 15).probability.iter().sum::<f32>() as usize);
    let error = first.signal.iter().zip(&signals[0]).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(error < 1e-4, "the joined signal is the signal: {error}");
    // One firing per period, the peaks of phase 0.
    let expected: Vec<f64> = (0..40).map(|k| 0.03 + (k as f64 + 0.5) / 9.0).filter(|t| *t < 3.74).collect();
    assert_eq!(first.firings_s.len(), expected.len(), "{:?}", first.firings_s);
    assert!(first.firings_s.iter().zip(&expected).all(|(a, b)| (a - b).abs() <= 0.0051), "{:?}", first.firings_s);
    assert!((first.firing_rate_hz().unwrap() - 9.0).abs() < 0.1);
}

#[test]
fn an_overlooked_window_does_not_split_a_unit() {
    let frames = 1400;
    let signal = train(frames, 10.0, 0.0);
    let made = recording(frames, &[((30, 20), signal.clone())]);
    let windows = window_starts(frames).len();
    // One window overlooked: the neighbours still cover every frame.
    let found = run(&made, &mut Discs { overlooked: vec![(2, 0)], ..discs(&[(30, 20)]) });
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].windows, windows - 1);
    assert!(found[0].signal.iter().zip(&signal).all(|(a, b)| (a - b).abs() < 1e-4));
    // Two in a row leave a gap, filled where the identifier can follow a territory, else silent.
    for follows in [true, false] {
        let found = run(&made, &mut Discs { overlooked: vec![(2, 0), (3, 0)], follows, ..discs(&[(30, 20)]) });
        assert_eq!(found.len(), 1, "follows: {follows}");
        let gap = &found[0].signal[620..780];
        if follows {
            assert!(gap.iter().zip(&signal[620..780]).all(|(a, b)| (a - b).abs() < 1e-4));
        } else {
            assert!(gap.iter().all(|v| *v == 0.0));
        }
    }
}

/// Takes the other territories' signals away, if it is told of them.
struct Unmixing(Discs);

impl WindowIdentifier for Unmixing {
    fn identify_window(&mut self, window: &[f32]) -> Result<Vec<WindowUnit>> {
        self.0.identify_window(window)
    }

    fn follow(&mut self, window: &[f32], territories: &[Territory]) -> Result<Option<Vec<Vec<f32>>>> {
        assert_eq!(territories.len(), 2, "the one that was overlooked and the other");
        let means: Vec<Vec<f32>> = territories.iter().map(|t| mean(window, t)).collect();
        let of_first = (0..WINDOW).map(|t| means[0][t] - means[1][t]).collect();
        Ok(Some(vec![of_first, vec![f32::NAN; WINDOW]]))
    }
}

#[test]
fn overlooked_units_are_followed_beside_the_others() {
    let frames = 1400;
    let (first, second) = (train(frames, 10.0, 0.0), train(frames, 8.0, 0.02));
    let made = recording(frames, &[((30, 20), first.clone()), ((10, 50), second.clone())]);
    let discs = Discs { overlooked: vec![(2, 0), (3, 0)], ..discs(&[(30, 20), (10, 50)]) };
    let found = identify(&made, &mut Unmixing(discs), &Options::default(), &mut |_, _| {}).unwrap().units;
    assert_eq!(found.len(), 2);
    assert!((620..780).all(|t| (found[0].signal[t] - (first[t] - second[t])).abs() < 1e-4));
    assert!(found[1].signal.iter().zip(&second).all(|(a, b)| (a - b).abs() < 1e-4), "what was found stays");
}

#[test]
fn firings_keep_the_refractory_period() {
    let made = recording(800, &[((30, 20), train(800, 10.0, 0.0))]);
    let firings = |refractory_s: f64| {
        let options = Options { refractory_s, ..Options::default() };
        identify(&made, &mut discs(&[(30, 20)]), &options, &mut |_, _| {}).unwrap().units[0].firings_s.clone()
    };
    let usual = firings(sarcomere::identify::REFRACTORY_S);
    assert_eq!(usual.len(), 20);
    let few = firings(0.15);
    assert!(few.windows(2).all(|pair| pair[1] - pair[0] >= 0.15) && (8..=13).contains(&few.len()), "{few:?}");
    assert!(few.iter().all(|t| usual.contains(t)));
}

#[test]
fn a_lone_find_is_dropped() {
    let frames = 1400;
    let made = recording(frames, &[((30, 20), train(frames, 10.0, 0.0)), ((10, 50), train(frames, 9.0, 0.0))]);
    let all = window_starts(frames).len();
    let overlooked = (0..all).filter(|w| *w != 3).map(|w| (w, 1)).collect();
    let found = run(&made, &mut Discs { overlooked, ..discs(&[(30, 20), (10, 50)]) });
    assert_eq!(found.len(), 1, "a unit of one window in {all} is left out");
}

#[test]
fn short_recordings_are_mirrored_or_refused() {
    let signal = train(200, 10.0, 0.0);
    let made = recording(200, &[((30, 20), signal.clone())]);
    let result = identify(&made, &mut discs(&[(30, 20)]), &Options::default(), &mut |_, _| {}).unwrap();
    assert_eq!(result.units.len(), 1);
    assert_eq!(result.units[0].signal.len(), 200);
    assert!(result.units[0].signal.iter().zip(&signal).all(|(a, b)| (a - b).abs() < 1e-4));
    assert!(result.notes.iter().any(|n| n.contains("0.500 s")), "{:?}", result.notes);

    let made = recording(80, &[((30, 20), train(80, 10.0, 0.0))]);
    let error = identify(&made, &mut discs(&[]), &Options::default(), &mut |_, _| {}).unwrap_err().to_string();
    assert!(error.contains("velocity: expected at least 0.25 s, found 0.200 s"), "{error}");
}

#[test]
fn masks_and_signals_return_to_the_recording() {
    // The same scene at twice the pixels and twice the rate.
    let frames = 900;
    let signal = train(frames, 10.0, 0.0);
    let made = recording(frames, &[((30, 20), signal.clone())]);
    let fine: Vec<f32> = (0..2 * frames)
        .flat_map(|t| {
            let frame = made.velocity(t / 2..t / 2 + 1).unwrap();
            (0..4 * GRID * GRID).map(move |i| frame[i / (2 * GRID) / 2 * GRID + i % (2 * GRID) / 2])
        })
        .collect();
    let fine = Recording::new("fine", fine, [2 * frames, 2 * GRID, 2 * GRID], 800.0).unwrap();
    let found = run(&fine, &mut discs(&[(30, 20)]));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].mask.len(), 4 * GRID * GRID);
    assert_eq!(found[0].signal.len(), 2 * frames);
    let (y, x) = found[0].centre_px(2 * GRID);
    assert!((y - 61.0).abs() < 0.1 && (x - 41.0).abs() < 0.1, "{y} {x}");
    let area = 4.0 * disc(30, 20).probability.iter().sum::<f32>() as f64;
    assert!((found[0].area_px() as f64 / area - 1.0).abs() < 0.1);
    // Each value held for two samples lags by half an old sample: compare with that.
    let error = (40..1760).map(|t| {
        let at = (t as f64 - 0.5) / 2.0;
        let (i, f) = (at.floor() as usize, at.fract() as f32);
        (found[0].signal[t] - (signal[i] * (1.0 - f) + signal[i + 1] * f)).abs()
    });
    let error = error.fold(0.0f32, f32::max);
    assert!(error < 0.02, "{error}");
}

#[test]
fn unusable_answers_of_a_network_are_refused() {
    struct Bad;
    impl WindowIdentifier for Bad {
        fn identify_window(&mut self, _: &[f32]) -> Result<Vec<WindowUnit>> {
            Ok(vec![WindowUnit { territory: disc(9, 9), score: 0.9, signal: vec![f32::NAN; WINDOW] }])
        }
    }
    let made = recording(400, &[((30, 20), train(400, 10.0, 0.0))]);
    let error = identify(&made, &mut Bad, &Options::default(), &mut |_, _| {}).unwrap_err().to_string();
    assert!(error.contains("finite"), "{error}");
}
