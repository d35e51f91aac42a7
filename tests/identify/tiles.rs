use sarcomere::identify::resample::{GRID, Placement};
use sarcomere::identify::{OVERLAP, Options, Territory, Tiles, WINDOW, WindowIdentifier, WindowUnit, identify};
use sarcomere::metrics::{Masks, Overlap, detect};
use sarcomere::muscle::{Grid, Noise, Range, SimulatorConfig, Split, simulate};
use sarcomere::{Device, Identifier, MotorUnit, Recording, Result};

/// Finds what moves: every connected region of a tile is a unit, its signal the mean over it.
struct Regions;

impl WindowIdentifier for Regions {
    fn identify_window(&mut self, window: &[f32]) -> Result<Vec<WindowUnit>> {
        assert_eq!(window.len(), WINDOW * GRID * GRID);
        let moves = |i: usize| window.iter().skip(i).step_by(GRID * GRID).any(|v| v.abs() > 0.05);
        let mut left: Vec<bool> = (0..GRID * GRID).map(moves).collect();
        let mut units = Vec::new();
        while let Some(start) = left.iter().position(|l| *l) {
            let mut probability = vec![0.0; GRID * GRID];
            let mut next = vec![start];
            while let Some(i) = next.pop() {
                if std::mem::take(&mut left[i]) {
                    probability[i] = 1.0;
                    let (y, x) = (i / GRID, i % GRID);
                    next.extend([(y > 0).then(|| i - GRID), (y + 1 < GRID).then_some(i + GRID)].into_iter().flatten());
                    next.extend([(x > 0).then(|| i - 1), (x + 1 < GRID).then_some(i + 1)].into_iter().flatten());
                }
            }
            let area: f32 = probability.iter().sum();
            let mean = |frame: &[f32]| frame.iter().zip(&probability).map(|(v, p)| v * p).sum::<f32>() / area;
            let signal = window.chunks_exact(GRID * GRID).map(mean).collect();
            units.push(WindowUnit { territory: Territory { probability, bbox: [0.0; 4] }, score: 0.9, signal });
        }
        Ok(units)
    }
}

/// Discs that move, each with a rhythm of its own.
fn recording([height, width]: [usize; 2], discs: &[[usize; 3]], mm: f64) -> Recording {
    let signal = |k: usize, t: usize| ((t as f32 / 400.0) * (8.0 + k as f32) * std::f32::consts::TAU).sin();
    let inside = |[cy, cx, r]: &[usize; 3], i: usize| {
        (i / width).abs_diff(*cy).pow(2) + (i % width).abs_diff(*cx).pow(2) <= r * r
    };
    let value = |t: usize, i: usize| -> f32 {
        discs.iter().enumerate().filter(|(_, disc)| inside(disc, i)).map(|(k, _)| signal(k, t)).sum()
    };
    let frames = 700;
    let velocity = (0..frames).flat_map(|t| (0..height * width).map(move |i| (t, i))).map(|(t, i)| value(t, i));
    Recording::new("made", velocity.collect(), [frames, height, width], 400.0).unwrap().with_mm_per_pixel(mm).unwrap()
}

fn run(recording: &Recording, identifier: &mut dyn WindowIdentifier) -> Vec<MotorUnit> {
    let mut searches = Vec::new();
    let found =
        identify(recording, identifier, &Options::default(), &mut |done, all| searches.push((done, all))).unwrap();
    assert_eq!(searches.last(), Some(&(found.windows * found.tiles, found.windows * found.tiles)));
    found.units
}

#[test]
fn tiles_cover_the_grid_and_overlap() {
    for (height, width, count) in
        [(64, 64, 1), (30, 64, 1), (64, 112, 3), (64, 71, 2), (200, 104, 5 * 2), (256, 256, 36)]
    {
        let placement = Placement::new(height, width, Some(0.625));
        let tiles = Tiles::new(&placement);
        assert_eq!(tiles.len(), count, "{height} x {width}");
        let [rows, columns] = placement.grid();
        let pixels: Vec<f32> = (0..rows * columns).map(|i| i as f32).collect();
        let mut seen = vec![false; pixels.len()];
        let cuts: Vec<Vec<f32>> = (0..tiles.len()).map(|tile| tiles.cut(tile, &pixels).into_owned()).collect();
        cuts.iter().flatten().for_each(|v| seen[*v as usize] = true);
        assert!(seen.iter().all(|s| *s), "{height} x {width}");
        assert!(cuts.iter().all(|cut| cut.len() == GRID * GRID));
        // Neighbours in a row share columns enough for any territory.
        let first = |cut: &Vec<f32>| (cut[0] as usize / columns, cut[0] as usize % columns);
        for pair in cuts.windows(2).map(|p| (first(&p[0]), first(&p[1]))).filter(|(a, b)| a.0 == b.0) {
            assert!(pair.1.1 - pair.0.1 <= GRID - OVERLAP, "{pair:?}");
        }
    }
}

#[test]
fn a_territory_on_a_seam_is_found_once_and_whole() {
    // Tiles begin at columns 0, 24 and 48: discs at the edges of each, in the common part of two or three, and at the ends.
    let discs =
        [[20, 8, 5], [20, 24, 6], [44, 48, 7], [20, 64, 8], [44, 88, 6], [20, 106, 5], [50, 20, 4], [44, 70, 5]];
    let found = run(&recording([64, 112], &discs, 0.625), &mut Regions);
    assert_eq!(found.len(), discs.len());
    for [y, x, r] in discs {
        let inside = |i: usize| u8::from((i / 112).abs_diff(y).pow(2) + (i % 112).abs_diff(x).pow(2) <= r * r);
        let mask: Vec<u8> = (0..64 * 112).map(inside).collect();
        assert_eq!(found.iter().filter(|unit| unit.mask == mask).count(), 1, "the disc at {y}, {x}");
    }
    // In both directions at once, on pixels of half the size.
    let discs = [[128, 128, 16], [60, 60, 12], [200, 90, 10], [90, 210, 14]];
    let found = run(&recording([256, 256], &discs, 0.3125), &mut Regions);
    assert_eq!(found.len(), discs.len());
    for [y, x, r] in discs {
        let near = |unit: &&MotorUnit| {
            let (cy, cx) = unit.centre_px(256);
            let area = unit.area_px() as f64 / (std::f64::consts::PI * (r * r) as f64);
            (cy - y as f64 - 0.5).abs() < 1.0 && (cx - x as f64 - 0.5).abs() < 1.0 && (0.8..1.25).contains(&area)
        };
        assert_eq!(found.iter().filter(near).count(), 1, "the disc at {y}, {x}");
    }
}

#[test]
fn what_no_tile_sees_whole_is_put_together() {
    // 30 pixels from side to side: wider than what two tiles have in common.
    let found = run(&recording([64, 100], &[[32, 50, 15], [12, 90, 5]], 0.625), &mut Regions);
    assert_eq!(found.len(), 2);
    let areas: Vec<usize> = found.iter().map(MotorUnit::area_px).collect();
    assert!(areas.contains(&709), "all pixels of the disc of radius 15: {areas:?}");
}

#[test]
fn parts_that_only_one_tile_takes_for_units_are_left_out() {
    struct Half(usize);
    impl WindowIdentifier for Half {
        /// The middle tile, which sees all of the disc, overlooks it.
        fn identify_window(&mut self, window: &[f32]) -> Result<Vec<WindowUnit>> {
            self.0 += 1;
            if self.0 % 3 == 2 { Ok(vec![]) } else { Regions.identify_window(window) }
        }
    }
    // The first tile ends in the disc's middle, the third does not reach it.
    let found = run(&recording([64, 112], &[[20, 64, 6]], 0.625), &mut Half(0));
    assert!(found.iter().all(|unit| unit.area_px() > 60), "half a disc is no unit: {}", found[0].area_px());
}

/// Columns at which a tile begins or ends inside a grid of 112.
const SEAMS: [usize; 4] = [24, 48, 64, 88];

#[test]
fn the_networks_find_the_units_of_a_large_field() {
    let mut config = SimulatorConfig::paper().with_units(14).with_noise(Noise::Snr { db: 20.0 });
    config.grid = Grid { height: 64, width: 112, ..config.grid };
    // Large enough to cross seams.
    config.territories.diameter_mm = Range { min: 5.0, max: 10.0 };
    let crosses = |mask: &[u8], seam: usize| {
        let has = |column: usize| mask.iter().skip(column).step_by(112).any(|m| *m != 0);
        has(seam - 1) && has(seam)
    };
    // One in which a unit lies across every edge that a tile has inside the field.
    let across_all = |index: &u32| {
        let made = simulate(&config, Split::Test, *index, 1).unwrap();
        SEAMS.iter().all(|seam| made.truth.units.iter().any(|unit| crosses(&unit.mask, *seam)))
    };
    let index = (0..100).find(across_all).unwrap();
    let made = simulate(&config, Split::Test, index, 1).unwrap();
    let truth = &made.truth;
    let recording = Recording::new("large", made.velocity.clone(), [400, 64, 112], 400.0).unwrap();
    let recording = recording.with_mm_per_pixel(0.625).unwrap();
    let found = run(&recording, &mut Identifier::new(&Device::cpu()).unwrap());
    let (masks, true_masks): (Vec<u8>, Vec<u8>) =
        (found.iter().flat_map(|unit| unit.mask.iter().copied()).collect(), truth.masks());
    let scores: Vec<f32> = found.iter().map(|unit| unit.score).collect();
    let (predicted, known) = (Masks::new(&masks, 64, 112).unwrap(), Masks::new(&true_masks, 64, 112).unwrap());
    let detection = detect(predicted, &scores, known, 0.625).unwrap();
    assert!(detection.recall().unwrap() >= 0.75 && detection.precision().unwrap() >= 0.9, "{detection:?}");
    let crossing = |i: &usize| SEAMS.iter().any(|seam| crosses(known.mask(*i), *seam));
    let across: Vec<Option<usize>> = (0..known.len()).filter(crossing).map(|i| detection.found_by(i)).collect();
    assert!(across.iter().flatten().count() + 1 >= across.len(), "{across:?}");
    let side = |found_by: &dyn Fn(f64) -> bool| {
        detection.pairs.iter().filter(|pair| found_by(predicted.centre(pair.prediction).unwrap()[1])).count()
    };
    assert!(side(&|x| x < 44.0) >= 2 && side(&|x| x > 68.0) >= 2, "units on both sides");
    for (a, one) in found.iter().enumerate() {
        for other in &found[..a] {
            assert!(Overlap::of(&one.mask, &other.mask).iou() < 0.5, "one unit twice: {} and {}", one.id, other.id);
        }
    }
    // The signals are those of the whole window: firings agree with the truth's.
    let rates = detection.pairs.iter().filter_map(|pair| {
        let (unit, truth) = (&found[pair.prediction], &truth.units[pair.truth]);
        sarcomere::metrics::signal_agreement(&unit.signal, &truth.twitch_train).rate()
    });
    let rates: Vec<f64> = rates.collect();
    assert!(rates.iter().sum::<f64>() / rates.len() as f64 >= 0.9, "{rates:?}");
}
