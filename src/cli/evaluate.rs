//! `sarcomere evaluate`: the networks against simulated recordings whose truth is known.

use std::path::{Path, PathBuf};

use clap::Args;
use sarcomere::evaluate::{CHANCE, LEAST_SQUARES, MASK_MEAN, NETWORK, STICA, TestSet, evaluate};
use sarcomere::metrics::{CellReport, Statistic, Stica};
use sarcomere::muscle::{Noise, TestCell};
use sarcomere::tensor::write_beside;
use sarcomere::{Error, Identifier, Result};
use serde_json::json;

use super::console::{Progress, note, print};
use super::networks::Weights;
use super::{Common, Outcome, within};

/// Measure the networks on simulated recordings, beside estimates that need no training
#[derive(Args)]
pub struct Arguments {
    /// Simulator presets
    #[arg(long, value_delimiter = ',', default_value = "paper,hard", value_name = "NAMES")]
    presets: Vec<String>,
    /// Numbers of motor units in a recording
    #[arg(long, value_delimiter = ',', default_value = "1,5,10,15,20,25", value_name = "N,..")]
    units: Vec<u32>,
    /// Signal-to-noise ratios in dB; inf for none
    #[arg(long, value_delimiter = ',', default_value = "inf,20,10", value_name = "DB,..")]
    snr: Vec<String>,
    /// Recordings in each cell
    #[arg(long, default_value_t = 20)]
    recordings: u32,
    /// Seed of the recordings
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Leave out the blind rival, independent components (stICA), which takes most of the time
    #[arg(long)]
    no_stica: bool,
    /// Also write all figures (JSON) to this file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    weights: Weights,
    #[command(flatten)]
    common: Common,
}

/// Runs the test set and prints a table of its cells.
pub fn run(arguments: &Arguments) -> Outcome {
    let device = arguments.common.open_device()?;
    within("--recordings", arguments.recordings, 1, 10_000)?;
    for units in &arguments.units {
        within("--units", *units, 1, 40)?;
    }
    let noises: Vec<Noise> = arguments.snr.iter().map(|text| noise(text)).collect::<Result<_>>()?;
    let cells = |noise: &Noise| -> Vec<TestCell> {
        arguments.units.iter().map(|&units| TestCell { units, noise: *noise }).collect()
    };
    let set = TestSet {
        presets: arguments.presets.clone(),
        cells: noises.iter().flat_map(cells).collect(),
        recordings: arguments.recordings,
        seed: arguments.seed,
        stica: (!arguments.no_stica).then(Stica::default),
    };
    if let Some(path) = &arguments.out {
        // An hour's figures must not be lost to a wrong path.
        check_place(path)?;
    }
    let mut networks: Identifier = arguments.weights.identifier(&device)?;
    let total = set.presets.len() * set.cells.len() * set.recordings as usize;
    let bar = Progress::new(format!("evaluating on {total} recordings"));
    let (detector, twitch) = networks.networks_mut();
    let reports = evaluate(detector, twitch, &set, |done| bar.at(done, total))?;
    drop(bar);
    let json = json!({"recordings_per_cell": set.recordings, "seed": set.seed, "cells": reports});
    if let Some(path) = &arguments.out {
        write_beside(path, format!("{json:#}\n").as_bytes())?;
        note(&format!("wrote {}", path.display()));
    }
    if arguments.common.json {
        print(&json.to_string());
    } else {
        table(&reports);
    }
    Ok(())
}

/// Fails if no file can be written there.
fn check_place(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Err(Error::file(path, "is a folder: name a file"));
    }
    let mut probe = path.as_os_str().to_owned();
    probe.push(format!(".{}.tmp", std::process::id()));
    std::fs::write(&probe, b"").and_then(|()| std::fs::remove_file(&probe)).map_err(|e| Error::io(path, "write", e))
}

fn noise(text: &str) -> Result<Noise> {
    match text.parse::<f32>() {
        Ok(db) if db == f32::INFINITY || (-20.0..=100.0).contains(&db) => Ok(Noise::from_snr_db(db)),
        _ => Err(Error::value("--snr", format!("expected dB between -20 and 100, or inf; got '{text}'"))),
    }
}

fn table(reports: &[CellReport]) {
    print("                   detection        masks            agreement, territories given            end to end");
    print("preset  MUs SNR    recall precis.   precis. recall   network  least sq.  mean   chance    agreement yield");
    for cell in reports {
        let detection = cell.detection.clone().unwrap_or_default();
        let given = |method: &str| cell.given_territories.get(method).and_then(|report| report.rate_of_agreement);
        let end = cell.end_to_end.get(NETWORK).cloned().unwrap_or_default();
        print(&format!(
            "{}    {}  {}     {}   {}    {}    {}      {}  {}      {}    {}",
            place(cell),
            figure(detection.recall),
            figure(detection.precision),
            figure(detection.segmentation_precision),
            figure(detection.segmentation_recall),
            figure(given(NETWORK)),
            figure(given(LEAST_SQUARES)),
            figure(given(MASK_MEAN)),
            figure(given(CHANCE)),
            figure(end.detected.rate_of_agreement),
            figure(end.yield_),
        ));
    }
    print("");
    print("                   stICA detection  agreement end to end, found units    yield");
    print("preset  MUs SNR    recall precis.   network  least sq.  mean   stICA     network  least sq.  mean   stICA");
    for cell in reports {
        let blind = cell.rival_detection.get(STICA).cloned().unwrap_or_default();
        let end = |method: &str| cell.end_to_end.get(method).cloned().unwrap_or_default();
        let all = [NETWORK, LEAST_SQUARES, MASK_MEAN, STICA].map(end);
        let [a, b, c, d] = all.each_ref().map(|end| figure(end.detected.rate_of_agreement));
        let [e, f, g, h] = all.each_ref().map(|end| figure(end.yield_));
        print(&format!(
            "{}    {}  {}     {a}    {b}      {c}  {d}     {e}    {f}      {g}  {h}",
            place(cell),
            figure(blind.recall),
            figure(blind.precision)
        ));
    }
}

/// Which cell a line is about.
fn place(cell: &CellReport) -> String {
    let snr = cell.snr_db.map_or("inf".to_owned(), |db| format!("{db:.0}"));
    format!("{:<7} {:>3} {snr:>3}", cell.preset, cell.units)
}

fn figure(value: Option<Statistic>) -> String {
    value.map_or("   - ".to_owned(), |value| format!("{:5.3}", value.mean))
}
