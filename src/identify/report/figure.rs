//! The picture of a result: territories over the velocity map on the left, twitch trains with firings on the right.

use super::canvas::{Align, Canvas, Pen};
use super::colors::{Theme, alpha};
use super::contour::smooth_outlines;
use super::{KnownUnit, Report};
use crate::Result;
use crate::identify::MotorUnit;

/// Seconds of signal that fit legibly.
const SHOWN_S: f64 = 4.0;
const WIDTH: f32 = 1280.0;
/// Least height of a row with room for the score.
const SCORE_HEIGHT: f32 = 34.0;
/// Left, top and side of the square that holds the map, whatever its aspect.
const MAP: [f32; 3] = [74.0, 74.0, 520.0];
/// Least height of the traces, however flat the map is.
const LEAST_HEIGHT: f32 = 220.0;
const TRACES_X: f32 = 702.0;
const TRACES_WIDTH: f32 = 448.0;

/// One row of signals.
struct Row<'a> {
    unit: Option<&'a MotorUnit>,
    truth: Option<&'a KnownUnit>,
    remark: String,
}

/// Draws the picture as PNG.
pub fn figure(report: &Report<'_>, theme: &Theme) -> Result<Vec<u8>> {
    let rows = rows(report);
    let scale = MapScale::new(report.recording.height(), report.recording.width());
    let map_height = scale.height.max(LEAST_HEIGHT);
    let row_height = (map_height / rows.len().max(1) as f32).clamp(24.0, 84.0);
    let traces_height = row_height * rows.len().max(1) as f32;
    let height = (MAP[1] + traces_height.max(map_height) + 96.0).ceil();
    let mut canvas = Canvas::new(WIDTH, height, theme.background)?;
    title(&mut canvas, report, theme);
    map(&mut canvas, report, theme, &scale);
    traces(&mut canvas, report, theme, &rows, row_height);
    legend(&mut canvas, report, theme, height - 18.0, row_height >= SCORE_HEIGHT);
    canvas.png(&format!("Motor units of {}", report.recording.name()))
}

/// Found units in their order, then true units that were missed.
fn rows<'a>(report: &'a Report<'_>) -> Vec<Row<'a>> {
    let comparison = report.comparison();
    let mut rows: Vec<Row<'_>> = Vec::new();
    for (i, unit) in report.found.units.iter().enumerate() {
        let found = comparison.and_then(|c| c.matches[i].as_ref());
        let truth = found.and_then(|m| report.truth.and_then(|t| t.get(m.truth)));
        let rate = unit.firing_rate_hz().map_or("–".to_string(), |hz| format!("{hz:.1} Hz"));
        let remark = match (comparison, found) {
            (None, _) => rate,
            (Some(_), None) => "no true unit".into(),
            (Some(_), Some(m)) => m.roa.map_or(rate.clone(), |roa| format!("{rate} · RoA {roa:.2}")),
        };
        rows.push(Row { unit: Some(unit), truth, remark });
    }
    for missed in comparison.iter().flat_map(|c| &c.missed) {
        let truth = report.truth.and_then(|t| t.get(*missed));
        rows.push(Row { unit: None, truth, remark: "missed".into() });
    }
    rows
}

fn title(canvas: &mut Canvas, report: &Report<'_>, theme: &Theme) {
    let recording = report.recording;
    canvas.text(recording.name(), (30.0, 34.0), 19.0, Align::Left, 0.5, theme.text);
    let [frames, height, width] = recording.shape();
    let units = report.found.units.len();
    let plural = if units == 1 { "" } else { "s" };
    let line = format!(
        "{units} motor unit{plural} · {:.2} s · {frames} frames at {:.0} Hz · {height} x {width} pixels",
        recording.duration_s(),
        recording.fs_hz()
    );
    canvas.text(&line, (WIDTH - 30.0, 34.0), 13.0, Align::Right, 0.15, theme.faint);
    canvas.line((30.0, 46.0), (WIDTH - 30.0, 46.0), Pen::new(theme.grid, 1.0));
}

/// Points of the figure from pixels of the recording: the longer side spans the panel.
struct MapScale {
    points_per_pixel: f32,
    x0: f32,
    y0: f32,
    width: f32,
    height: f32,
}

impl MapScale {
    fn new(height: usize, width: usize) -> Self {
        let points_per_pixel = MAP[2] / height.max(width) as f32;
        let (w, h) = (width as f32 * points_per_pixel, height as f32 * points_per_pixel);
        Self { points_per_pixel, x0: MAP[0] + (MAP[2] - w) / 2.0, y0: MAP[1], width: w, height: h }
    }

    fn at(&self, y: f32, x: f32) -> (f32, f32) {
        (self.x0 + x * self.points_per_pixel, self.y0 + y * self.points_per_pixel)
    }
}

fn map(canvas: &mut Canvas, report: &Report<'_>, theme: &Theme, scale: &MapScale) {
    let recording = report.recording;
    let width = recording.width();
    let rms = recording.rms_map();
    let (low, high) = (quantile(rms, 0.02), quantile(rms, 0.998));
    // The square root lets weak units show beside strong ones; the bar at the side has the same scale.
    let share = |v: f32| if high > low { ((v - low) / (high - low)).max(0.0).sqrt() } else { 0.0 };
    let colors: Vec<_> = rms.iter().map(|v| theme.map_color(share(*v))).collect();
    canvas.image(&colors, width, [scale.x0, scale.y0, scale.width, scale.height]);
    map_axes(canvas, report, theme, scale);
    color_bar(canvas, report, theme, scale, [low, high]);

    let units = &report.found.units;
    for unit in units {
        let color = theme.unit(unit.id);
        for line in unit_outlines(unit, report) {
            let points: Vec<_> = line.iter().map(|(y, x)| scale.at(*y, *x)).collect();
            canvas.shape(&points, alpha(color, 0.10));
            canvas.polyline(&points, true, Pen::new(alpha(theme.background, 0.75), 3.6));
            canvas.polyline(&points, true, Pen::new(color, 2.0));
        }
    }
    for unit in report.truth.unwrap_or_default() {
        let mask: Vec<f32> = unit.mask.iter().map(|m| f32::from(*m)).collect();
        for line in smooth_outlines(&mask, width) {
            let points: Vec<_> = line.iter().map(|(y, x)| scale.at(*y, *x)).collect();
            canvas.polyline(&points, true, Pen::new(theme.text, 1.0).dashed(3.0, 3.0));
        }
    }
    let size = if units.len() > 15 { 11.5 } else { 13.5 };
    let mut centres: Vec<_> =
        units.iter().map(|u| u.centre_px(width)).map(|(y, x)| scale.at(y as f32, x as f32)).collect();
    spread(&mut centres, size * 1.15);
    for (unit, at) in units.iter().zip(centres) {
        canvas.label(&unit.id.to_string(), at, size, theme.unit(unit.id), theme.background);
    }
}

/// Moves labels apart that would cover each other, each by as little as it takes.
fn spread(points: &mut [(f32, f32)], least: f32) {
    for _ in 0..40 {
        let mut moved = false;
        for i in 0..points.len() {
            for j in 0..i {
                let (dx, dy) = (points[i].0 - points[j].0, points[i].1 - points[j].1);
                let distance = (dx * dx + dy * dy).sqrt();
                if distance < least {
                    let (ux, uy) = if distance > 1e-3 { (dx / distance, dy / distance) } else { (0.0, 1.0) };
                    let step = (least - distance) / 2.0 + 0.05;
                    points[i] = (points[i].0 + ux * step, points[i].1 + uy * step);
                    points[j] = (points[j].0 - ux * step, points[j].1 - uy * step);
                    moved = true;
                }
            }
        }
        if !moved {
            break;
        }
    }
}

/// The outlines of a unit in the recording's pixels, from its probability on the networks' grid: smoother than its mask.
pub(super) fn unit_outlines(unit: &MotorUnit, report: &Report<'_>) -> Vec<Vec<(f32, f32)>> {
    let placement = &report.found.placement;
    let own = |(y, x): (f32, f32)| {
        (placement.y.to_recording(f64::from(y)) as f32, placement.x.to_recording(f64::from(x)) as f32)
    };
    let lines = smooth_outlines(&unit.probability, placement.x.grid);
    lines.into_iter().map(|line| line.into_iter().map(own).collect()).collect()
}

fn map_axes(canvas: &mut Canvas, report: &Report<'_>, theme: &Theme, scale: &MapScale) {
    let frame = [(0.0, 0.0), (scale.width, 0.0), (scale.width, scale.height), (0.0, scale.height)];
    let frame = frame.map(|(x, y)| (scale.x0 + x, scale.y0 + y));
    canvas.polyline(&frame, true, Pen::new(theme.faint, 1.0));
    let (unit, per_pixel) = report.recording.mm_per_pixel().map_or(("pixels", 1.0), |mm| ("mm", mm));
    let points_per_unit = scale.points_per_pixel / per_pixel as f32;
    let step = tick_step(f64::from(scale.width.max(scale.height) / points_per_unit), 8);
    let bottom = scale.y0 + scale.height;
    let ticks = |length: f32| {
        (0..).map(move |i| i as f32 * step as f32).take_while(move |v| v * points_per_unit <= length + 0.5)
    };
    for v in ticks(scale.width) {
        let x = scale.x0 + v * points_per_unit;
        canvas.line((x, bottom), (x, bottom + 5.0), Pen::new(theme.faint, 1.0));
        canvas.text(&number(v), (x, bottom + 19.0), 12.0, Align::Centre, 0.15, theme.text);
    }
    for v in ticks(scale.height) {
        let y = scale.y0 + v * points_per_unit;
        canvas.line((scale.x0 - 5.0, y), (scale.x0, y), Pen::new(theme.faint, 1.0));
        canvas.text(&number(v), (scale.x0 - 9.0, y + 4.0), 12.0, Align::Right, 0.15, theme.text);
    }
    let middle = (scale.x0 + scale.width / 2.0, bottom + 38.0);
    canvas.text(&format!("width ({unit})"), middle, 13.0, Align::Centre, 0.2, theme.text);
    canvas.text_up(&format!("depth ({unit})"), (scale.x0 - 36.0, scale.y0 + scale.height / 2.0), 13.0, 0.2, theme.text);
    let heading = "Territories over the root-mean-square velocity";
    canvas.text(heading, (scale.x0, MAP[1] - 10.0), 13.5, Align::Left, 0.35, theme.text);
}

fn color_bar(canvas: &mut Canvas, report: &Report<'_>, theme: &Theme, scale: &MapScale, [low, high]: [f32; 2]) {
    let (x, width, height) = (scale.x0 + scale.width + 12.0, 9.0, scale.height);
    let steps = 64;
    let colors: Vec<_> = (0..steps).map(|i| theme.map_color(1.0 - i as f32 / (steps - 1) as f32)).collect();
    canvas.image(&colors, 1, [x, scale.y0, width, height]);
    let corners = [(x, scale.y0), (x + width, scale.y0), (x + width, scale.y0 + height), (x, scale.y0 + height)];
    canvas.polyline(&corners, true, Pen::new(theme.faint, 0.8));
    for share in [0.0f32, 0.25, 0.5, 0.75, 1.0] {
        let y = scale.y0 + height * (1.0 - share);
        canvas.line((x + width, y), (x + width + 3.0, y), Pen::new(theme.faint, 0.8));
        let value = significant(low + (high - low) * share * share);
        let y = (y + 4.0).clamp(scale.y0 + 9.0, scale.y0 + height);
        canvas.text(&value, (x + width + 6.0, y), 11.0, Align::Left, 0.15, theme.faint);
    }
    let unit = report.velocity_unit();
    canvas.text(unit, (x + width + 6.0, MAP[1] - 10.0), 11.0, Align::Right, 0.1, theme.faint);
}

fn traces(canvas: &mut Canvas, report: &Report<'_>, theme: &Theme, rows: &[Row<'_>], row_height: f32) {
    let shown_s = report.recording.duration_s().min(SHOWN_S);
    let x = |t: f64| TRACES_X + (t / shown_s) as f32 * TRACES_WIDTH;
    let bottom = MAP[1] + row_height * rows.len().max(1) as f32;
    let first = if shown_s < report.recording.duration_s() { format!(", first {SHOWN_S:.0} s") } else { String::new() };
    let heading = format!("Twitch trains and firings{first}");
    canvas.text(&heading, (TRACES_X, MAP[1] - 10.0), 13.5, Align::Left, 0.35, theme.text);
    canvas.text("unit", (TRACES_X - 14.0, MAP[1] - 10.0), 11.0, Align::Right, 0.1, theme.faint);
    let step = tick_step(shown_s, 10);
    for t in (0..).map(|i| i as f64 * step).take_while(|t| *t <= shown_s + 1e-9) {
        canvas.line((x(t), MAP[1]), (x(t), bottom), Pen::new(theme.grid, 0.8));
        canvas.line((x(t), bottom), (x(t), bottom + 5.0), Pen::new(theme.faint, 1.0));
        canvas.text(&number(t as f32), (x(t), bottom + 19.0), 12.0, Align::Centre, 0.15, theme.text);
    }
    canvas.line((TRACES_X, bottom), (TRACES_X + TRACES_WIDTH, bottom), Pen::new(theme.faint, 1.0));
    canvas.text("time (s)", (TRACES_X + TRACES_WIDTH / 2.0, bottom + 38.0), 13.0, Align::Centre, 0.2, theme.text);
    if rows.is_empty() {
        let middle = (TRACES_X + TRACES_WIDTH / 2.0, (MAP[1] + bottom) / 2.0);
        canvas.text("no motor unit found", middle, 15.0, Align::Centre, 0.2, theme.faint);
    }
    for (i, row) in rows.iter().enumerate() {
        let top = MAP[1] + i as f32 * row_height;
        if i > 0 {
            canvas.line((TRACES_X, top), (TRACES_X + TRACES_WIDTH, top), Pen::new(theme.grid, 0.8));
        }
        trace(canvas, report, theme, row, top, row_height, shown_s);
    }
}

fn trace(canvas: &mut Canvas, report: &Report<'_>, theme: &Theme, row: &Row<'_>, top: f32, height: f32, shown_s: f64) {
    let color = row.unit.map_or(theme.truth, |u| theme.unit(u.id));
    let (fs, frames) = (report.recording.fs_hz(), (shown_s * report.recording.fs_hz()).ceil() as usize);
    let signals =
        [row.unit.map(|u| &u.signal), row.truth.map(|t| &t.signal)].map(|s| s.map(|s| &s[..frames.min(s.len())]));
    let all = || signals.iter().flatten().flat_map(|s| s.iter().copied());
    let (low, high) = (all().fold(0.0f32, f32::min), all().fold(0.0f32, f32::max));
    let span = (high - low).max(f32::MIN_POSITIVE);
    // The top of the row is for the firing marks.
    let (y0, inner) = (top + height * 0.30, height * 0.62);
    let at = |i: usize, v: f32| {
        let x = TRACES_X + (i as f64 / fs / shown_s) as f32 * TRACES_WIDTH;
        (x, y0 + (high - v) / span * inner)
    };
    let line = |s: &[f32]| -> Vec<(f32, f32)> { s.iter().enumerate().map(|(i, v)| at(i, *v)).collect() };
    if let Some(truth) = signals[1] {
        canvas.polyline(&line(truth), false, Pen::new(theme.truth, 1.2).dashed(4.0, 2.5));
    }
    if let Some(signal) = signals[0] {
        canvas.polyline(&line(signal), false, Pen::new(color, 1.5));
    }
    let mark = |t: f64| TRACES_X + (t / shown_s) as f32 * TRACES_WIDTH;
    let tick = (height * 0.12).clamp(3.0, 6.0);
    for t in row.truth.iter().flat_map(|t| &t.firings_s).filter(|t| **t <= shown_s) {
        let x = mark(*t);
        canvas.line((x, top + 1.5), (x, top + 1.5 + tick), Pen::new(theme.truth, 1.3));
    }
    for t in row.unit.iter().flat_map(|u| &u.firings_s).filter(|t| **t <= shown_s) {
        let (x, y) = (mark(*t), top + 2.5 + tick);
        canvas.shape(&[(x - 3.2, y), (x + 3.2, y), (x, y + 5.0)], color);
    }
    let middle = top + height / 2.0;
    match row.unit {
        Some(unit) => {
            canvas.text(&unit.id.to_string(), (TRACES_X - 14.0, middle + 5.0), 14.0, Align::Right, 0.9, color);
            let score = format!("{:.2}", unit.score);
            if height >= SCORE_HEIGHT {
                canvas.text(&score, (TRACES_X - 14.0, middle + 19.0), 10.5, Align::Right, 0.1, theme.faint);
            }
        }
        None => canvas.text("–", (TRACES_X - 14.0, middle + 5.0), 14.0, Align::Right, 0.5, theme.truth),
    }
    let end = (TRACES_X + TRACES_WIDTH + 10.0, middle + 4.0);
    canvas.text(&row.remark, end, 11.5, Align::Left, 0.15, theme.text);
}

fn legend(canvas: &mut Canvas, report: &Report<'_>, theme: &Theme, y: f32, scores: bool) {
    let mut x = 30.0;
    let color = theme.unit(1);
    let mut entry = |canvas: &mut Canvas, draw: &dyn Fn(&mut Canvas, f32), words: &str| {
        draw(canvas, x);
        canvas.text(words, (x + 30.0, y), 12.0, Align::Left, 0.1, theme.faint);
        x += 30.0 + canvas.text_width(words, 12.0) + 26.0;
    };
    entry(canvas, &|c, x| c.line((x, y - 4.0), (x + 22.0, y - 4.0), Pen::new(color, 2.0)), "found");
    let triangle =
        |c: &mut Canvas, x: f32| c.shape(&[(x + 7.0, y - 8.0), (x + 15.0, y - 8.0), (x + 11.0, y - 1.0)], color);
    entry(canvas, &triangle, "firing found");
    if report.truth.is_some() {
        let pen = Pen::new(theme.text, 1.2).dashed(3.0, 3.0);
        entry(canvas, &|c, x| c.line((x, y - 4.0), (x + 22.0, y - 4.0), pen), "truth");
        let pen = Pen::new(theme.truth, 1.4);
        entry(canvas, &|c, x| c.line((x + 11.0, y - 9.0), (x + 11.0, y), pen), "true firing");
    }
    let scores = if scores { "; below a unit's number is its score" } else { "" };
    let words = format!("each signal fills its row{scores}");
    canvas.text(&words, (WIDTH - 30.0, y), 12.0, Align::Right, 0.1, theme.faint);
}

/// A round distance between at most `most` ticks over `span`: 1, 2 or 5 times a power of ten.
fn tick_step(span: f64, most: usize) -> f64 {
    let raw = span / most as f64;
    let power = 10f64.powf(raw.log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    factors.iter().map(|f| f * power).find(|step| *step >= raw * 0.999).unwrap_or(10.0 * power)
}

fn number(v: f32) -> String {
    let text = format!("{v:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

fn significant(v: f32) -> String {
    match v.abs() {
        0.0 => "0".into(),
        a if a >= 100.0 => format!("{v:.0}"),
        a if a >= 1.0 => number(v),
        a if a >= 0.01 => format!("{v:.3}").trim_end_matches('0').to_string(),
        _ => format!("{v:.1e}"),
    }
}

/// The value below which a share of all lies.
pub(super) fn quantile(values: &[f32], share: f64) -> f32 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    sorted.get(((sorted.len() as f64 - 1.0) * share).round() as usize).copied().unwrap_or(0.0)
}
