//! The machine-readable results: `units.json`, `firings.csv`, `units.npz`.

use std::io::Cursor;

use serde_json::{Value, json};

use super::Report;
use crate::identify::MotorUnit;
use crate::identify::npz::NpzWriter;
use crate::{Error, Result};

/// Everything but signals and masks, as one JSON object.
pub fn units_json(report: &Report<'_>) -> Value {
    let recording = report.recording;
    let [frames, height, width] = recording.shape();
    let comparison = report.comparison();
    let units: Vec<Value> = report
        .found
        .units
        .iter()
        .enumerate()
        .map(|(i, unit)| {
            let mut value = unit_json(unit, report);
            if let Some(found) = comparison.map(|c| &c.matches[i]) {
                value["truth"] = match found {
                    Some(m) => {
                        json!({ "unit": m.truth + 1, "iou": round(m.iou), "rate_of_agreement": m.roa.map(round) })
                    }
                    None => Value::Null,
                };
            }
            value
        })
        .collect();
    let mut value = json!({
        "software": concat!("sarcomere ", env!("CARGO_PKG_VERSION")),
        "networks": report.about.networks,
        "recording": {
            "name": recording.name(), "source": report.about.source,
            "frames": frames, "height": height, "width": width,
            "fs_hz": recording.fs_hz(), "mm_per_pixel": recording.mm_per_pixel(),
            "duration_s": recording.duration_s(), "velocity_unit": report.about.velocity_unit,
        },
        "windows": report.found.windows,
        "tiles": report.found.tiles,
        "notes": report.found.notes,
        "units": units,
    });
    if let Some(c) = comparison {
        value["truth"] = json!({
            "units": report.truth.map_or(0, <[_]>::len), "found": c.true_positives(),
            "precision": c.precision().map(round), "recall": c.recall().map(round),
            "mean_rate_of_agreement": c.mean_roa().map(round), "yield": c.firing_yield().map(round),
            "missed": c.missed.iter().map(|t| t + 1).collect::<Vec<_>>(),
        });
    }
    value
}

fn unit_json(unit: &MotorUnit, report: &Report<'_>) -> Value {
    let (y, x) = unit.centre_px(report.recording.width());
    let mm = report.recording.mm_per_pixel();
    json!({
        "id": unit.id,
        "score": round(f64::from(unit.score)),
        "windows": unit.windows,
        "bbox_px": unit.bbox,
        "centre_px": [round(y), round(x)],
        "centre_mm": mm.map(|mm| [round(y * mm), round(x * mm)]),
        "area_px": unit.area_px(),
        "area_mm2": mm.map(|mm| round(unit.area_px() as f64 * mm * mm)),
        "diameter_mm": mm.map(|mm| round(unit.diameter_px() * mm)),
        "firing_rate_hz": unit.firing_rate_hz().map(round),
        "peak_velocity": round_significant(f64::from(unit.peak_velocity())),
        "firings_s": unit.firings_s.iter().map(|t| round(*t)).collect::<Vec<_>>(),
    })
}

/// To four decimals: a tenth of a millisecond, a tenth of a micrometre.
fn round(v: f64) -> f64 {
    (v * 1e4).round() / 1e4
}

/// To five digits, whatever the unit of velocity.
pub(super) fn round_significant(v: f64) -> f64 {
    if v == 0.0 {
        return 0.0;
    }
    format!("{v:.4e}").parse().unwrap_or(v)
}

/// The firings of all units as an event table, in order of time: `onset_s,unit_id`.
pub fn firings_csv(report: &Report<'_>) -> String {
    let mut events: Vec<(f64, usize)> =
        report.found.units.iter().flat_map(|u| u.firings_s.iter().map(|t| (*t, u.id))).collect();
    events.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let lines = events.iter().map(|(t, id)| format!("{t:.4},{id}\n"));
    std::iter::once("onset_s,unit_id\n".to_string()).chain(lines).collect()
}

/// `masks` u8 `[n, H, W]` on the recording's grid, `signals` f32 `[n, T]`, `scores` f32 `[n]`, and the scalar `fs_hz`.
pub fn units_npz(report: &Report<'_>) -> Result<Vec<u8>> {
    let [frames, height, width] = report.recording.shape();
    let units = &report.found.units;
    let masks: Vec<&[u8]> = units.iter().map(|u| &u.mask[..]).collect();
    let signals: Vec<&[f32]> = units.iter().map(|u| &u.signal[..]).collect();
    let scores: Vec<f32> = units.iter().map(|u| u.score).collect();
    let build = || {
        let mut npz = NpzWriter::new(Cursor::new(Vec::new()));
        npz.add_parts("masks", &[units.len(), height, width], &masks)?;
        npz.add_parts("signals", &[units.len(), frames], &signals)?;
        npz.add("scores", &[units.len()], &scores)?;
        npz.add("fs_hz", &[], &[report.recording.fs_hz()])?;
        npz.finish()
    };
    build().map(Cursor::into_inner).map_err(|e| Error::io("units.npz", "write", e))
}
