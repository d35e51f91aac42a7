use sarcomere::Recording;
use sarcomere::identify::resample::{GRID, MAX_GRID, Placement, RateChange};
use sarcomere::identify::{OnGrid, grid_frames};

fn disc(size: usize, cy: f64, cx: f64, radius: f64) -> Vec<f32> {
    let inside = |i: usize| {
        let (y, x) = ((i / size) as f64 + 0.5 - cy, (i % size) as f64 + 0.5 - cx);
        (y * y + x * x <= radius * radius) as u8 as f32
    };
    (0..size * size).map(inside).collect()
}

fn centre_and_area(map: &[f32], width: usize) -> (f64, f64, f64) {
    let area: f64 = map.iter().map(|v| f64::from(*v)).sum();
    let moment = |f: &dyn Fn(usize) -> usize| {
        map.iter().enumerate().map(|(i, v)| (f(i) as f64 + 0.5) * f64::from(*v)).sum::<f64>() / area
    };
    (moment(&|i| i / width), moment(&|i| i % width), area)
}

#[test]
fn the_networks_own_grid_passes_untouched() {
    let frame: Vec<f32> = (0..GRID * GRID).map(|i| (i as f32 * 0.37).sin()).collect();
    for mm in [None, Some(0.625), Some(0.6), Some(0.68)] {
        let placement = Placement::new(GRID, GRID, mm);
        assert!(placement.is_identity(), "{mm:?}");
        assert_eq!(placement.to_grid(&frame), frame);
        assert_eq!(placement.to_recording(&frame), frame);
    }
}

/// A disc drawn on a fine grid, a coarse one and off-centre lands where geometry says, with the area that geometry says.
#[test]
fn discs_keep_place_and_area() {
    for size in [32usize, 100, 128, 200] {
        let scale = size as f64 / GRID as f64;
        let (cy, cx, radius) = (20.0, 41.0, 6.0);
        let frame = disc(size, cy * scale, cx * scale, radius * scale);
        let drawn: f64 = frame.iter().map(|v| f64::from(*v)).sum::<f64>() / (scale * scale);
        let placement = Placement::new(size, size, None);
        let (y, x, area) = centre_and_area(&placement.to_grid(&frame), GRID);
        assert!((y - cy).abs() < 0.1 && (x - cx).abs() < 0.1, "{size}: centre {y} {x}");
        assert!((area / drawn - 1.0).abs() < 0.02, "{size}: area {area}, drawn {drawn}");
        // And back: cut at one half, the disc is where it was.
        let own: Vec<f32> =
            placement.to_recording(&disc(GRID, cy, cx, radius)).iter().map(|v| (*v >= 0.5) as u8 as f32).collect();
        let both = own.iter().zip(&frame).filter(|(a, b)| **a > 0.0 && **b > 0.0).count() as f64;
        let any = own.iter().zip(&frame).filter(|(a, b)| **a > 0.0 || **b > 0.0).count() as f64;
        assert!(both / any > 0.85, "{size}: intersection over union {}", both / any);
    }
}

#[test]
fn the_aspect_is_kept_and_the_rest_is_zero() {
    let (height, width) = (50, 100);
    let placement = Placement::new(height, width, None);
    let grid = placement.to_grid(&vec![1.0; height * width]);
    for y in 0..GRID {
        for x in 0..GRID {
            let expected = if (16..48).contains(&y) { 1.0 } else { 0.0 };
            let v = grid[y * GRID + x];
            assert!((v - expected).abs() < 1e-5, "row {y}, column {x}: {v}");
        }
    }
    let back = placement.to_recording(&grid);
    assert!(back[25 * width..26 * width].iter().all(|v| (v - 1.0).abs() < 1e-5));
}

#[test]
fn a_known_pixel_size_keeps_the_physical_scale() {
    // 200 pixels of 0.1 mm are 20 mm: half the networks' field, so 32 of its pixels in the middle.
    let placement = Placement::new(200, 200, Some(0.1));
    let grid = placement.to_grid(&vec![1.0; 200 * 200]);
    let (y, x, area) = centre_and_area(&grid, GRID);
    assert!((y - 32.0).abs() < 1e-3 && (x - 32.0).abs() < 1e-3);
    assert!((area - 1024.0).abs() < 1.0, "{area}");
    // 80 mm do not fit: the grid is larger.
    let placement = Placement::new(200, 100, Some(0.4));
    assert_eq!(placement.grid(), [128, 64]);
    let grid = placement.to_grid(&vec![1.0; 200 * 100]);
    assert!(grid.iter().all(|v| (v - 1.0).abs() < 1e-5));
    assert!(placement.to_recording(&grid).iter().all(|v| (v - 1.0).abs() < 1e-5));
    // 42 mm are shown 5 % smaller rather than in two tiles, and 400 mm are too much for any number of tiles.
    assert_eq!(Placement::new(210, 210, Some(0.2)), Placement::new(210, 210, None));
    assert_eq!(Placement::new(400, 200, Some(1.0)).grid(), [MAX_GRID, MAX_GRID / 2]);
    assert!(Placement::new(64, 112, Some(0.625)).is_identity());
    // A field of 2 mm would vanish: it never spans less than 16 pixels.
    let (.., area) = centre_and_area(&Placement::new(20, 20, Some(0.1)).to_grid(&[1.0; 400]), GRID);
    assert!((area - 256.0).abs() < 1.0, "{area}");
}

fn tone(frames: usize, fs: f64, hz: f64) -> Vec<f32> {
    (0..frames).map(|i| (2.0 * std::f64::consts::PI * hz * i as f64 / fs).sin() as f32).collect()
}

fn largest(a: &[f32]) -> f32 {
    a.iter().fold(0.0, |m, v| m.max(v.abs()))
}

#[test]
fn tones_survive_and_aliases_do_not() {
    for fs in [250.0, 500.0, 1000.0, 1733.0, 5000.0] {
        let frames = (2.0 * fs) as usize;
        let change = RateChange::new(frames, fs, 400.0, 800);
        let middle = 200..600;
        for hz in [3.0, 12.0, 60.0] {
            let out = change.apply(&tone(frames, fs, hz), 1);
            let difference: Vec<f32> = out.iter().zip(tone(800, 400.0, hz)).map(|(a, b)| a - b).collect();
            let error = largest(&difference[middle.clone()]);
            assert!(error < 2e-3, "{hz} Hz at {fs} Hz: error {error}");
        }
        if fs > 400.0 {
            let alias = largest(&change.apply(&tone(frames, fs, 0.5 * fs.min(480.0)), 1)[middle.clone()]);
            assert!(alias < 3e-3, "tone above 200 Hz at {fs} Hz leaves {alias}");
        }
        let level = change.apply(&vec![1.0; frames], 1);
        assert!(level.iter().all(|v| (v - 1.0).abs() < 1e-5), "a constant stays one, at the ends too");
    }
}

#[test]
fn whole_recordings_change_size_and_rate() {
    let (frames, size, fs) = (1000, 128, 1000.0);
    let pattern = disc(size, 64.0, 40.0, 12.0);
    let wave = tone(frames, fs, 10.0);
    let velocity: Vec<f32> = wave.iter().flat_map(|w| pattern.iter().map(move |p| w * p)).collect();
    let recording = Recording::new("r", velocity, [frames, size, size], fs).unwrap();
    assert_eq!(grid_frames(&recording), 400);
    let on_grid = OnGrid::new(&recording, Placement::new(size, size, None));
    let grid = on_grid.range(0..400).unwrap();
    assert_eq!(grid.len(), 400 * GRID * GRID);
    assert_eq!(
        *on_grid.range(123..170).unwrap(),
        grid[123 * GRID * GRID..170 * GRID * GRID],
        "a part is a part of the whole"
    );
    let inside: Vec<f32> = grid.chunks_exact(GRID * GRID).map(|f| f[32 * GRID + 20]).collect();
    let outside = grid.chunks_exact(GRID * GRID).map(|f| f[32 * GRID + 50]).fold(0.0f32, |m, v| m.max(v.abs()));
    let error =
        inside.iter().zip(tone(400, 400.0, 10.0)).skip(40).take(320).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(error < 5e-3, "{error}");
    assert!(outside < 1e-6, "{outside}");
}
