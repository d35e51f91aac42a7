//! What `demo` and `identify` share: search a recording, write the results, print the table.

use std::path::PathBuf;

use sarcomere::Result;
use sarcomere::identify::report::{About, Comparison, Folder, KnownUnit, Report, units_json};
use sarcomere::identify::{Options, identify};
use sarcomere::{MotorUnit, Recording};
use serde_json::Value;

use super::console::{Progress, bold, print, table};
use super::networks::Networks;

/// A recording to be searched.
pub struct Job<'a> {
    /// The recording.
    pub recording: &'a Recording,
    /// Its true units, where they are known.
    pub truth: Option<&'a [KnownUnit]>,
    /// Where it came from, and the unit of its velocities.
    pub about: About,
}

/// What was written and found.
pub struct Done {
    /// The files.
    pub paths: Vec<PathBuf>,
    /// `units.json` and the files' names.
    pub json: Value,
    /// The table and what is to be said below it.
    pub lines: Vec<String>,
}

/// Searches a recording and writes the results into a folder, together with files that the caller adds.
pub fn process(
    job: Job<'_>,
    networks: &mut Networks,
    options: &Options,
    folder: &mut Folder,
    more: Vec<(&'static str, Vec<u8>)>,
) -> Result<Done> {
    let progress = Progress::new(format!("searching {}", job.recording.name()));
    let found =
        identify(job.recording, networks.identifier.as_mut(), options, &mut |done, all| progress.at(done, all))?;
    progress.doing("writing the results");
    let report =
        Report::new(job.recording, &found, job.truth, About { networks: networks.description.clone(), ..job.about })?;
    let mut files = report.files()?;
    files.extend(more);
    let paths = folder.write(&files)?;
    drop(progress);
    let mut json = units_json(&report);
    json["files"] = paths.iter().map(|p| Value::from(p.display().to_string())).collect();
    let comparison = report.comparison();
    let mut lines = table(&rows(&report, comparison));
    if let Some(head) = lines.first_mut() {
        *head = bold(head);
    }
    lines.push(String::new());
    lines.push(summary(&report, comparison));
    lines.extend(found.notes.iter().map(|n| format!("note: {n}")));
    Ok(Done { paths, json, lines })
}

/// Prints the table, what was found and what was written.
pub fn show(done: &Done) {
    done.lines.iter().for_each(|line| print(line));
    print("");
    for path in &done.paths {
        let what = match path.file_name().and_then(|n| n.to_str()) {
            Some("report.html") => "  the page: open it in a browser",
            Some("figure.png") => "  the picture",
            Some("units.json") => "  the units",
            Some("firings.csv") => "  their firings",
            Some("units.npz") => "  masks and signals",
            Some("recording.npz") => "  the recording with its truth",
            _ => "",
        };
        print(&format!("wrote {}{what}", path.display()));
    }
}

fn rows(report: &Report<'_>, comparison: Option<&Comparison>) -> Vec<Vec<String>> {
    let mm = report.recording().mm_per_pixel();
    let unit = if mm.is_some() { "mm" } else { "px" };
    let peak = report.about().velocity_unit.as_deref().map_or("peak".to_string(), |u| format!("peak ({u})"));
    let centre = format!("depth, width ({unit})");
    let diameter = format!("diameter ({unit})");
    let mut head = vec!["unit", "score", &diameter, &centre, "firings", "rate (Hz)", &peak];
    if comparison.is_some() {
        head.extend(["true unit", "IoU", "RoA"]);
    }
    let head = head.into_iter().map(String::from).collect();
    let row = |(i, u): (usize, &MotorUnit)| {
        let scale = mm.unwrap_or(1.0);
        let (y, x) = u.centre_px(report.recording().width());
        let mut row = vec![
            u.id.to_string(),
            format!("{:.2}", u.score),
            format!("{:.1}", u.diameter_px() * scale),
            format!("{:.1}, {:.1}", y * scale, x * scale),
            u.firings_s.len().to_string(),
            u.firing_rate_hz().map_or("-".into(), |hz| format!("{hz:.1}")),
            format!("{:.3}", u.peak_velocity()),
        ];
        if let Some(c) = comparison {
            let found = c.matches[i].as_ref();
            row.push(found.map_or("none".into(), |m| (m.truth + 1).to_string()));
            row.push(found.map_or("-".into(), |m| format!("{:.2}", m.iou)));
            row.push(found.and_then(|m| m.roa).map_or("-".into(), |r| format!("{r:.2}")));
        }
        row
    };
    std::iter::once(head).chain(report.found().units.iter().enumerate().map(row)).collect()
}

fn summary(report: &Report<'_>, comparison: Option<&Comparison>) -> String {
    let n = report.found().units.len();
    let plural = |n: usize| if n == 1 { "" } else { "s" };
    let Some(c) = comparison else {
        return format!("{n} motor unit{} found in {:.2} s.", plural(n), report.recording().duration_s());
    };
    let (right, all) = (c.true_positives(), report.truth().map_or(0, <[_]>::len));
    let wrong = match n - right {
        0 => String::new(),
        1 => ", and 1 that is none".to_string(),
        wrong => format!(", and {wrong} that are none"),
    };
    let roa = c.mean_roa().map_or(String::new(), |r| format!("; firings agree to {r:.2} on average (RoA)"));
    format!("{right} of {all} true motor unit{} found{wrong}{roa}.", plural(all))
}
