//! Results as files, from simulated recordings and a stand-in for the networks that knows part of the truth.
#![cfg(feature = "cli")]

use std::path::PathBuf;

use sarcomere::identify::report::{About, Folder, KnownUnit, Report};
use sarcomere::identify::{Identification, Options, Territory, WINDOW, WindowIdentifier, WindowUnit, identify, npy};
use sarcomere::muscle::{SimulatedRecording, SimulatorConfig, Split, simulate};
use sarcomere::{Recording, Result};

/// Tells the truth, but for the last unit, which it does not know, and one that it makes up.
struct Half<'a> {
    made: &'a SimulatedRecording,
}

impl WindowIdentifier for Half<'_> {
    fn identify_window(&mut self, window: &[f32]) -> Result<Vec<WindowUnit>> {
        let units = &self.made.truth.units;
        let known = units.iter().take(units.len() - 1).enumerate().map(|(i, unit)| {
            let probability: Vec<f32> = unit.mask.iter().map(|m| f32::from(*m)).collect();
            let mut signal = vec![0.0; WINDOW];
            signal.copy_from_slice(&unit.twitch_train[..WINDOW]);
            signal.iter_mut().zip(window.chunks(4096)).for_each(|(s, f)| *s += 0.05 * f[i]);
            WindowUnit { territory: Territory { probability, bbox: [0.0; 4] }, score: 0.99 - 0.01 * i as f32, signal }
        });
        let corner = |i: usize| ((i / 64) > 55 && (i % 64) < 9) as u8 as f32;
        let territory = Territory { probability: (0..4096).map(corner).collect(), bbox: [0.0; 4] };
        let signal = window.chunks(4096).map(|f| f[62 * 64 + 2]).collect();
        Ok(known.chain([WindowUnit { territory, score: 0.5, signal }]).collect())
    }
}

struct Case {
    recording: Recording,
    found: Identification,
    truth: Vec<KnownUnit>,
}

fn case(units: u32) -> Case {
    let config = SimulatorConfig::paper().with_units(units);
    let made = simulate(&config, Split::Test, 3, 7).unwrap();
    let truth = &made.truth;
    let shape = [truth.frames, truth.height, truth.width];
    let recording =
        Recording::new(format!("paper-{units}"), made.velocity.clone(), shape, f64::from(truth.fs_hz)).unwrap();
    let recording = recording.with_mm_per_pixel(f64::from(truth.mm_per_pixel)).unwrap();
    let found = identify(&recording, &mut Half { made: &made }, &Options::default(), &mut |_, _| {}).unwrap();
    let known = |u: &sarcomere::muscle::SimulatedUnit| KnownUnit::new(u.mask.clone(), u.twitch_train.clone(), 400.0);
    Case { recording, found, truth: truth.units.iter().map(known).collect() }
}

impl Case {
    fn report(&self, truth: bool) -> Report<'_> {
        let networks = "a stand-in".into();
        let about = About { source: "simulated".into(), velocity_unit: Some("mm/s".into()), networks };
        Report::new(&self.recording, &self.found, truth.then_some(&self.truth), about).unwrap()
    }
}

/// A file's content by its name.
fn file<'a>(files: &'a [(&str, Vec<u8>)], name: &str) -> &'a [u8] {
    &files.iter().find(|(n, _)| *n == name).unwrap().1
}

fn folder(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("report-{name}"));
    let _ = std::fs::remove_dir_all(&path);
    path
}

#[test]
fn comparison_counts_found_missed_and_made_up() {
    let case = case(6);
    let report = case.report(true);
    let comparison = report.comparison().unwrap();
    assert_eq!((comparison.true_positives(), comparison.missed.clone()), (5, vec![5]));
    assert!(comparison.matches[5].is_none());
    assert!((comparison.precision().unwrap() - 5.0 / 6.0).abs() < 1e-12);
    assert!((comparison.recall().unwrap() - 5.0 / 6.0).abs() < 1e-12);
    assert!(comparison.matches.iter().flatten().all(|m| m.iou == 1.0));
    assert!(comparison.mean_roa().unwrap() > 0.8, "{:?}", comparison.mean_roa());
    assert!(case.report(false).comparison().is_none());
}

#[test]
fn every_file_is_complete_and_they_agree() {
    for (units, truth) in [(6, true), (25, true), (10, false)] {
        let case = case(units);
        let report = case.report(truth);
        let mut folder = Folder::open(folder(&format!("{units}"))).unwrap();
        let paths = folder.write(&report.files().unwrap()).unwrap();
        assert_eq!(paths.len(), 5);
        let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();

        let json: serde_json::Value = serde_json::from_slice(&read("units.json")).unwrap();
        let listed = json["units"].as_array().unwrap();
        assert_eq!(listed.len(), case.found.units.len());
        assert_eq!(json.get("truth").is_some(), truth);

        let csv = String::from_utf8(read("firings.csv")).unwrap();
        let mut lines = csv.lines();
        assert_eq!(lines.next(), Some("onset_s,unit_id"));
        let events: Vec<(f64, usize)> = lines
            .map(|l| l.split_once(',').map(|(t, id)| (t.parse().unwrap(), id.parse().unwrap())).unwrap())
            .collect();
        assert!(events.windows(2).all(|w| w[0].0 <= w[1].0), "in order of time");
        for unit in listed {
            let firings = unit["firings_s"].as_array().unwrap().len();
            assert_eq!(firings, events.iter().filter(|(_, id)| *id as u64 == unit["id"].as_u64().unwrap()).count());
        }

        let mut npz = zip::ZipArchive::new(std::io::Cursor::new(read("units.npz"))).unwrap();
        let mut array = |name: &str| {
            let mut file = npz.by_name(&format!("{name}.npy")).unwrap();
            let header = npy::read_header(&mut file).unwrap();
            let values = npy::read_values(&mut file, &header).unwrap();
            (header, values)
        };
        let n = listed.len();
        let (header, masks) = array("masks");
        assert_eq!((header.kind, header.shape.as_slice()), (npy::Kind::U8, [n, 64, 64].as_slice()));
        let areas: Vec<u64> = masks.chunks(4096).map(|m| m.iter().sum::<f32>() as u64).collect();
        assert_eq!(areas, listed.iter().map(|u| u["area_px"].as_u64().unwrap()).collect::<Vec<_>>());
        let (header, signals) = array("signals");
        assert_eq!((header.kind, header.shape.as_slice()), (npy::Kind::F32, [n, 400].as_slice()));
        assert_eq!(&signals[..400], case.found.units[0].signal.as_slice());
        assert_eq!(array("scores").0.shape, [n]);

        let decoder = png::Decoder::new(std::io::Cursor::new(read("figure.png")));
        let info = decoder.read_info().unwrap();
        assert!(info.info().width >= 2000 && info.info().height >= 1000);

        let page = String::from_utf8(read("report.html")).unwrap();
        assert!(!page.contains("{{"), "every field is filled");
        for outside in ["http://", "https://", "src=\"/", "url(", "@import", "<link"] {
            assert!(!page.contains(outside), "the page must not ask for anything outside: {outside}");
        }
        assert_eq!(page.matches("<tr><td").count(), n);
        let data = page.split("id=\"data\">").nth(1).unwrap().split("</script>").next().unwrap();
        let data: serde_json::Value = serde_json::from_str(data).unwrap();
        assert_eq!(data["units"].as_array().unwrap().len(), n);
        let frames = page.split("id=\"frames\">").nth(1).unwrap().split("</script>").next().unwrap();
        assert_eq!(frames.len(), (400usize * 4096).div_ceil(3) * 4);
    }
}

/// Two discs, one on each side; their signals are what moves there.
struct Sides;

impl WindowIdentifier for Sides {
    fn identify_window(&mut self, window: &[f32]) -> Result<Vec<WindowUnit>> {
        let unit = |x: usize| {
            let inside = |i: usize| (i / 64).abs_diff(30).pow(2) + (i % 64).abs_diff(x).pow(2) <= 25;
            let probability = (0..4096).map(|i| inside(i) as u8 as f32).collect();
            let signal = window.chunks(4096).map(|f| f[30 * 64 + x]).collect();
            WindowUnit { territory: Territory { probability, bbox: [0.0; 4] }, score: 0.9, signal }
        };
        Ok(vec![unit(16), unit(48)])
    }
}

/// 11 s at another rate, on oblong coarse pixels of unknown size and velocities of unknown unit.
#[test]
fn long_oblong_recordings_of_unknown_scale() {
    let (frames, height, width, fs) = (2750, 32, 64, 250.0);
    let value = |i: usize| {
        let (t, y, x) = (i / (height * width), i / width % height, i % width);
        let side = x / 32;
        let (cy, cx) = (14.0, 16.0 + 32.0 * side as f64);
        let inside = (y as f64 + 0.5 - cy).hypot(x as f64 + 0.5 - cx) < 5.0;
        let phase = 2.0 * std::f64::consts::PI * (8.0 + 3.0 * side as f64) * t as f64 / fs;
        let noise = ((i * 7919) % 1009) as f64 / 1009.0 - 0.5;
        (if inside { 40.0 * phase.sin() } else { 0.0 } + 10.0 * noise) as f32
    };
    let velocity = (0..frames * height * width).map(value).collect();
    let recording = Recording::new("long & oblong", velocity, [frames, height, width], fs).unwrap();
    let found = identify(&recording, &mut Sides, &Options::default(), &mut |_, _| {}).unwrap();
    assert_eq!(found.units.len(), 2);
    let rates: Vec<f64> = found.units.iter().map(|u| u.firing_rate_hz().unwrap()).collect();
    assert!((rates[0] - 8.0).abs() < 0.05 && (rates[1] - 11.0).abs() < 0.05, "{rates:?}");
    let report = Report::new(&recording, &found, None, About::default()).unwrap();
    let files = report.files().unwrap();
    Folder::open(folder("long")).unwrap().write(&files).unwrap();
    let json: serde_json::Value = serde_json::from_slice(file(&files, "units.json")).unwrap();
    assert_eq!(json["units"][0]["diameter_mm"], serde_json::Value::Null);
    assert!(json["notes"].as_array().unwrap().len() >= 2, "{}", json["notes"]);
    let page = std::str::from_utf8(file(&files, "report.html")).unwrap();
    assert!(page.contains("long &amp; oblong") && page.len() < 6_000_000, "{}", page.len());
}

#[test]
fn large_fields_are_shown_whole() {
    let (frames, height, width) = (500, 64, 128);
    let value = |i: usize| ((i * 7919) % 1009) as f32 / 1009.0 - 0.5;
    let velocity = (0..frames * height * width).map(value).collect();
    let recording = Recording::new("large", velocity, [frames, height, width], 400.0).unwrap();
    let recording = recording.with_mm_per_pixel(0.625).unwrap();
    let found = identify(&recording, &mut Sides, &Options::default(), &mut |_, _| {}).unwrap();
    // Three tiles, two discs in each; of neighbours one lies at the same place.
    assert_eq!((found.tiles, found.units.len()), (3, 4));
    let report = Report::new(&recording, &found, None, About::default()).unwrap();
    let files = report.files().unwrap();
    let json: serde_json::Value = serde_json::from_slice(file(&files, "units.json")).unwrap();
    assert_eq!(json["tiles"], 3);
    assert!(json["notes"][0].as_str().unwrap().contains("3 overlapping tiles"), "{}", json["notes"]);
    let mut columns: Vec<f64> =
        json["units"].as_array().unwrap().iter().map(|unit| unit["centre_px"][1].as_f64().unwrap()).collect();
    columns.sort_by(f64::total_cmp);
    assert_eq!(columns, [16.5, 48.5, 80.5, 112.5]);
    let page = std::str::from_utf8(file(&files, "report.html")).unwrap();
    let part = |from: &str| page.split(from).nth(1).unwrap().split("</script>").next().unwrap();
    let data: serde_json::Value = serde_json::from_str(part("id=\"data\">")).unwrap();
    assert_eq!(data["grid"], serde_json::json!([64, 128]));
    // As many bytes as for a small field: half of the frames.
    assert_eq!(part("id=\"frames\">").len(), (250 * height * width).div_ceil(3) * 4);
}

#[test]
fn no_unit_is_a_result_too() {
    let mut case = case(5);
    case.found.units.clear();
    for truth in [true, false] {
        let files = case.report(truth).files().unwrap();
        let mut folder = Folder::open(folder(&format!("none-{truth}"))).unwrap();
        folder.write(&files).unwrap();
        let json: serde_json::Value = serde_json::from_slice(file(&files, "units.json")).unwrap();
        assert_eq!(json["units"], serde_json::json!([]));
        assert_eq!(file(&files, "firings.csv"), b"onset_s,unit_id\n");
    }
}

#[test]
fn names_are_no_markup() {
    let mut case = case(5);
    let name = "</script><script>alert(1)</script>{{data}}";
    let velocity = case.recording.velocity(0..400).unwrap().into_owned();
    case.recording = Recording::new(name, velocity, case.recording.shape(), 400.0).unwrap();
    let files = case.report(false).files().unwrap();
    let page = std::str::from_utf8(file(&files, "report.html")).unwrap();
    assert_eq!(page.matches("<script").count(), 3);
    assert!(!page.contains("alert(1)</script>"));
}

#[test]
fn a_failed_write_leaves_what_was_there() {
    let path = folder("kept");
    let mut first = Folder::open(&path).unwrap();
    first.write(&[("a", b"old".to_vec()), ("b", b"old".to_vec())]).unwrap();
    // `c` cannot be written: a folder is in its way.
    std::fs::create_dir(path.join("c")).unwrap();
    let error = first.write(&[("a", b"new".to_vec()), ("c", b"new".to_vec())]).unwrap_err().to_string();
    assert!(error.contains("report-kept/c: cannot write"), "{error}");
    assert_eq!(std::fs::read(path.join("a")).unwrap(), b"old");
    let mut left: Vec<_> =
        std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, ["a", "b", "c"], "nothing half written is left");
}

#[test]
fn an_unused_new_folder_is_removed() {
    let path = folder("unused");
    drop(Folder::open(path.join("deep/er")).unwrap());
    assert!(!path.exists());
    std::fs::create_dir_all(&path).unwrap();
    drop(Folder::open(&path).unwrap());
    assert!(path.exists(), "what was there before stays");
}
