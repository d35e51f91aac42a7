//! The page: one file that needs no other, with the recording playing.

use serde_json::{Value, json};

use super::colors::{DARK, LIGHT, hex};
use super::contour::smooth_outlines;
use super::figure::quantile;
use super::results::round_significant;
use super::{Comparison, Report};
use crate::Result;
use crate::identify::resample::{GRID, GRID_FS_HZ};
use crate::identify::{MotorUnit, OnGrid};

/// Most bytes of frames that the page carries: 800 frames of 64 x 64 pixels.
const MAX_BYTES: usize = 800 * GRID * GRID;
/// Longest part of a recording that the page plays, in s.
const MAX_S: f64 = 20.0;
/// Seconds of signal in a row of the table.
const ROW_S: f64 = 2.0;

/// The page as HTML; the pictures are shown on light and on dark ground.
///
/// # Errors
/// If the recording's frames cannot be read.
pub fn page(report: &Report<'_>, light: &[u8], dark: &[u8]) -> Result<String> {
    let movie = Movie::new(report)?;
    let comparison = report.comparison();
    let recording = report.recording;
    let [frames, height, width] = recording.shape();
    let raster = format!("{frames} frames at {} Hz · {height} × {width} pixels", significant(recording.fs_hz()));
    let subtitle = joined(&[&report.about.source, &raster]);
    let made = concat!("Made by sarcomere ", env!("CARGO_PKG_VERSION"));
    let fields = [
        ("name", escape(recording.name())),
        ("subtitle", escape(&subtitle)),
        ("tiles", tiles(report, comparison)),
        ("movie", escape(&movie.words)),
        ("columns", columns(report, comparison.is_some())),
        ("rows", rows(report, comparison)),
        ("notes", notes(report, comparison.is_some())),
        ("footer", escape(&joined(&[made, &report.about.networks]))),
        ("script", include_str!("page.js").to_string()),
        // A script element ends at the first `</`, wherever it stands.
        ("data", data(report, &movie, comparison).to_string().replace("</", "<\\/")),
        ("frames", base64(&movie.bytes)),
        ("figure_light", base64(light)),
        ("figure_dark", base64(dark)),
    ];
    Ok(fill(include_str!("page.html"), &fields))
}

/// What there is to say, in one line.
fn joined(parts: &[&str]) -> String {
    parts.iter().filter(|p| !p.is_empty()).copied().collect::<Vec<_>>().join(" · ")
}

/// Puts every field where the template names it, in one pass: what a field contains is never read as a template.
fn fill(template: &str, fields: &[(&str, String)]) -> String {
    let mut out = String::with_capacity(template.len() + fields.iter().map(|(_, v)| v.len()).sum::<usize>());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        let (name, after) = after.split_once("}}").unwrap_or(("", after));
        out.push_str(fields.iter().find(|(n, _)| *n == name).map_or("", |(_, v)| v));
        rest = after;
    }
    out.push_str(rest);
    out
}

/// The recording as the page plays it: the networks' grid, one byte a pixel, 128 at rest.
struct Movie {
    bytes: Vec<u8>,
    hz: f64,
    duration_s: f64,
    words: String,
}

impl Movie {
    fn new(report: &Report<'_>) -> Result<Self> {
        let grid = OnGrid::new(report.recording, report.found.placement);
        let total = grid.frames();
        let shown = total.min((MAX_S * GRID_FS_HZ) as usize);
        let stride = shown.div_ceil((MAX_BYTES / grid.pixels()).max(1));
        let mut picked = Vec::with_capacity(shown.div_ceil(stride) * grid.pixels());
        for frame in (0..shown).step_by(stride) {
            picked.extend_from_slice(&grid.range(frame..frame + 1)?);
        }
        let limit = {
            // Every 7th value tells the range well enough.
            let some: Vec<f32> = picked.iter().step_by(7).map(|v| v.abs()).filter(|v| *v > 0.0).collect();
            quantile(&some, 0.999).max(f32::MIN_POSITIVE)
        };
        let byte = |v: &f32| (128.0 + 127.0 * (v / limit).clamp(-1.0, 1.0)).round() as u8;
        let bytes = picked.iter().map(byte).collect();
        let hz = GRID_FS_HZ / stride as f64;
        let unit = report.about.velocity_unit.as_deref().unwrap_or("in the recording's unit");
        let mut words = format!(
            "Orange is positive velocity, blue negative; full colour at {} {unit}. A territory lights up when its unit fires. Space plays, \
             the arrow keys step by one frame.",
            significant(f64::from(limit))
        );
        if stride > 1 {
            words += &format!(" One frame in {stride} is shown.");
        }
        let duration_s = shown as f64 / GRID_FS_HZ;
        if shown < total {
            words += &format!(
                " Only the first {duration_s:.0} s of {:.1} s are in this page.",
                report.recording.duration_s()
            );
        }
        Ok(Self { bytes, hz, duration_s, words })
    }
}

fn data(report: &Report<'_>, movie: &Movie, comparison: Option<&Comparison>) -> Value {
    let recording = report.recording;
    let frames = (movie.duration_s * recording.fs_hz()).ceil() as usize;
    // 500 samples a second draw any twitch.
    let stride = (recording.fs_hz() / 500.0).ceil().max(1.0) as usize;
    let signal = |s: &[f32]| -> Vec<f64> {
        s.iter().take(frames).step_by(stride).map(|v| round_significant(f64::from(*v))).collect()
    };
    let within = |t: &[f64]| -> Vec<f64> {
        t.iter().filter(|t| **t <= movie.duration_s).map(|t| (t * 1e4).round() / 1e4).collect()
    };
    let placement = &report.found.placement;
    let units: Vec<Value> = report
        .found
        .units
        .iter()
        .enumerate()
        .map(|(i, unit)| {
            let found = comparison.and_then(|c| c.matches[i].as_ref());
            let (y, x) = unit.centre_px(recording.width());
            json!({
                "id": unit.id,
                "color": [hex(LIGHT.unit(unit.id)), hex(DARK.unit(unit.id))],
                "outline": loops(&unit.probability, placement.x.grid),
                "label": [(x - placement.x.start) / placement.x.step, (y - placement.y.start) / placement.y.step],
                "area": unit.area_px(),
                "signal": signal(&unit.signal),
                "firings": within(&unit.firings_s),
                "facts": facts(unit, report, comparison, i),
                "truth": found.map(|m| m.truth),
            })
        })
        .collect();
    let truth = report.truth.map(|truth| {
        let known = truth.iter().map(|t| {
            let mask: Vec<f32> = t.mask.iter().map(|m| f32::from(*m)).collect();
            json!({
                "outline": loops(&placement.to_grid(&mask), placement.x.grid),
                "signal": signal(&t.signal),
                "firings": within(&t.firings_s),
            })
        });
        known.collect::<Vec<_>>()
    });
    json!({
        "grid": placement.grid(),
        "movie_hz": movie.hz,
        "duration_s": movie.duration_s,
        "row_s": ROW_S,
        "signal_hz": recording.fs_hz() / stride as f64,
        "velocity_unit": report.velocity_unit(),
        "mm_per_pixel": recording.mm_per_pixel().map(|mm| mm * placement.x.step),
        "units": units,
        "truth": truth,
    })
}

/// Outlines as lists of x, y, x, y ... in grid pixels.
fn loops(map: &[f32], width: usize) -> Vec<Vec<f64>> {
    let round = |v: f32| (f64::from(v) * 100.0).round() / 100.0;
    smooth_outlines(map, width)
        .iter()
        .map(|line| line.iter().flat_map(|(y, x)| [round(*x), round(*y)]).collect())
        .collect()
}

fn facts(unit: &MotorUnit, report: &Report<'_>, comparison: Option<&Comparison>, index: usize) -> Vec<[String; 2]> {
    let fact = |name: &str, value: String| [name.to_string(), value];
    let mut facts =
        vec![fact("Score", format!("{:.2}", unit.score)), fact("Firings", unit.firings_s.len().to_string())];
    if let Some(hz) = unit.firing_rate_hz() {
        facts.push(fact("Firing rate", format!("{hz:.1} Hz")));
    }
    if let Some(mm) = report.recording.mm_per_pixel() {
        facts.push(fact("Diameter", format!("{:.1} mm", unit.diameter_px() * mm)));
        facts.push(fact("Area", format!("{:.1} mm²", unit.area_px() as f64 * mm * mm)));
    } else {
        facts.push(fact("Area", format!("{} pixels", unit.area_px())));
    }
    let velocity = report.about.velocity_unit.as_deref().unwrap_or("");
    facts.push(fact(
        "Peak velocity",
        format!("{} {velocity}", significant(f64::from(unit.peak_velocity()))).trim().to_string(),
    ));
    if let Some(comparison) = comparison {
        match &comparison.matches[index] {
            Some(m) => {
                facts.push(fact("True unit", format!("{} (IoU {:.2})", m.truth + 1, m.iou)));
                facts.push(fact("Rate of agreement", m.roa.map_or("–".into(), |r| format!("{r:.2}"))));
            }
            None => facts.push(fact("True unit", "none: not a true unit".into())),
        }
    }
    facts
}

fn tiles(report: &Report<'_>, comparison: Option<&Comparison>) -> String {
    let units = &report.found.units;
    let firings: usize = units.iter().map(|u| u.firings_s.len()).sum();
    let rates: Vec<f64> = units.iter().filter_map(MotorUnit::firing_rate_hz).collect();
    let mean = if rates.is_empty() {
        "–".into()
    } else {
        format!("{:.1} Hz", rates.iter().sum::<f64>() / rates.len() as f64)
    };
    let mut tiles = vec![
        (units.len().to_string(), "motor units found"),
        (format!("{:.2} s", report.recording.duration_s()), "recorded"),
        (firings.to_string(), "firings"),
        (mean, "mean firing rate"),
    ];
    if let Some(c) = comparison {
        let percent = |v: Option<f64>| v.map_or("–".into(), |v| format!("{:.0} %", 100.0 * v));
        tiles.push((percent(c.recall()), "true units found"));
        tiles.push((percent(c.precision()), "found units true"));
        tiles.push((c.mean_roa().map_or("–".into(), |v| format!("{v:.2}")), "firing agreement"));
    }
    tiles.iter().map(|(value, words)| format!("<div class=\"tile\"><b>{value}</b><span>{words}</span></div>")).collect()
}

fn columns(report: &Report<'_>, truth: bool) -> String {
    let unit = report.about.velocity_unit.as_deref().unwrap_or("rec. unit");
    let (area, place) = match report.recording.mm_per_pixel() {
        Some(_) => ("diameter (mm)", "centre: depth, width (mm)"),
        None => ("area (pixels)", "centre: row, column"),
    };
    let peak = format!("peak ({unit})");
    let mut names = vec!["unit", "score", area, place, "firings", "rate (Hz)", &peak];
    if truth {
        names.extend(["true unit", "IoU", "RoA"]);
    }
    let first = format!("twitch train and firings, first {ROW_S} s");
    let long = report.recording.duration_s() > ROW_S;
    names.push(if long { &first } else { "twitch train and firings" });
    let cell = |(i, n): (usize, &&str)| {
        let class = if i == 0 || i + 1 == names.len() { " class=\"left\"" } else { "" };
        format!("<th{class} scope=\"col\">{}</th>", escape(n))
    };
    names.iter().enumerate().map(cell).collect()
}

fn rows(report: &Report<'_>, comparison: Option<&Comparison>) -> String {
    let row = |(i, unit): (usize, &MotorUnit)| {
        let (y, x) = unit.centre_px(report.recording.width());
        let mm = report.recording.mm_per_pixel();
        let size = mm.map_or(unit.area_px().to_string(), |mm| format!("{:.1}", unit.diameter_px() * mm));
        let scale = mm.unwrap_or(1.0);
        let mut cells = vec![
            format!("{:.2}", unit.score),
            size,
            format!("{:.1}, {:.1}", y * scale, x * scale),
            unit.firings_s.len().to_string(),
            unit.firing_rate_hz().map_or("–".into(), |hz| format!("{hz:.1}")),
            significant(f64::from(unit.peak_velocity())),
        ];
        if let Some(comparison) = comparison {
            let found = comparison.matches[i].as_ref();
            let show = |v: Option<f64>| v.map_or("–".into(), |v| format!("{v:.2}"));
            cells.push(found.map_or("–".into(), |m| (m.truth + 1).to_string()));
            cells.push(show(found.map(|m| m.iou)));
            cells.push(show(found.and_then(|m| m.roa)));
        }
        let cells: String = cells.iter().map(|c| format!("<td>{c}</td>")).collect();
        let color = hex(LIGHT.unit(unit.id));
        format!(
            "<tr><td class=\"left\"><button type=\"button\"><span class=\"dot\" style=\"background:{color}\"></span>{}</button></td>{cells}\
             <td class=\"left\"><canvas></canvas></td></tr>",
            unit.id
        )
    };
    report.found.units.iter().enumerate().map(row).collect()
}

fn notes(report: &Report<'_>, truth: bool) -> String {
    let mut notes = vec![
        "A territory is the part of the muscle whose fibres a motor unit drives; its outline is where the network gives it even odds."
            .to_string(),
        "A twitch train is the tissue velocity that this unit causes, each firing one twitch. Firings are the peaks of the train: they \
         come some tens of milliseconds after the motor neuron fired."
            .to_string(),
        "The score is the network's own confidence, from 0 to 1.".to_string(),
    ];
    if truth {
        notes.push(
            "The truth is known because the recording was simulated. IoU is the overlap of the territories (1 is perfect, matched above 0.5); \
             RoA, the rate of agreement, is the share of firings that agree within 15 ms (1 is perfect)."
                .to_string(),
        );
    }
    notes.extend(report.found.notes.iter().map(|n| {
        let mut letters = n.chars();
        let first: String = letters.next().map(|c| c.to_uppercase().collect()).unwrap_or_default();
        format!("{first}{}.", letters.as_str())
    }));
    notes.iter().map(|n| format!("<li>{}</li>", escape(n))).collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// At most three digits, without a string of zeros.
fn significant(v: f64) -> String {
    let rounded: f64 = format!("{v:.2e}").parse().unwrap_or(v);
    format!("{rounded}")
}

/// RFC 4648.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let n = chunk.iter().fold(0u32, |n, b| n << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let digit = DIGITS[(n >> (18 - 6 * i)) as usize & 63];
            out.push(if i <= chunk.len() { digit as char } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{base64, escape, fill};

    #[test]
    fn base64_as_in_rfc_4648() {
        let cases =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")];
        for (plain, coded) in cases {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
        assert_eq!(base64(&[255, 254, 253]), "//79");
    }

    #[test]
    fn fields_are_no_templates_and_text_is_no_markup() {
        assert_eq!(fill("a{{x}}b{{y}}c", &[("x", "{{y}}".into()), ("y", "1".into())]), "a{{y}}b1c");
        assert_eq!(escape("<b a=\"&\">"), "&lt;b a=&quot;&amp;&quot;&gt;");
    }
}
