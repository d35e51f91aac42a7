//! `sarcomere demo`: everything at once, on a recording made for the purpose.

use std::path::PathBuf;

use clap::Args;
use sarcomere::identify::Options;
use sarcomere::identify::report::{About, Folder, KnownUnit};
use sarcomere::muscle::Split;
use sarcomere::{Error, Recording, Result};

use super::console::{note, print};
use super::identify::{Reading, named};
use super::networks::{Networks, Weights};
use super::results::{self, Done, Job};
use super::simulate::{self, Scene};
use super::{Common, Outcome};

/// Motor units of a recording of `demo` unless told otherwise.
const UNITS: u32 = 10;

/// Make (or read) a recording, find its motor units, write a picture, a page and tables
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    scene: Scene,
    /// Read this recording instead of making one
    #[arg(long, value_name = "FILE", conflicts_with_all = ["preset", "units", "snr", "seconds", "seed"])]
    input: Option<PathBuf>,
    #[command(flatten)]
    reading: Reading,
    /// Folder to write to
    #[arg(long, default_value = "sarcomere-demo")]
    out: PathBuf,
    #[command(flatten)]
    weights: Weights,
    #[command(flatten)]
    common: Common,
}

/// Runs the demo.
pub fn run(arguments: &Arguments) -> Outcome {
    if arguments.input.is_none()
        && let Some(option) = arguments.reading.given()
    {
        return Err(Error::value(option, "is about a file: name one with --input, or leave it out").into());
    }
    let done = match &arguments.input {
        Some(path) => {
            let (recording, truth) = arguments.reading.read(path)?;
            let mut folder = Folder::open(&arguments.out)?;
            let mut networks = Networks::load(&arguments.common, &arguments.weights)?;
            let job = arguments.reading.job(path, &recording, truth.as_deref());
            results::process(job, &mut networks, &Options::default(), &mut folder, Vec::new())
                .map_err(|e| named(path, e))?
        }
        None => made(arguments)?,
    };
    if arguments.common.json {
        print(&done.json.to_string());
        return Ok(());
    }
    results::show(&done);
    if arguments.input.is_none() {
        print("");
        let again = arguments.out.join("recording.npz");
        print(&format!("Your own recording: sarcomere identify FILE (try it on {})", again.display()));
    }
    Ok(())
}

fn made(arguments: &Arguments) -> Result<Done> {
    let simulator = arguments.scene.simulator(Some(UNITS))?;
    let mut folder = Folder::open(&arguments.out)?;
    let mut networks = Networks::load(&arguments.common, &arguments.weights)?;
    let mut made = simulator.simulate(Split::Test, 0, arguments.scene.seed);
    let more = vec![("recording.npz", simulate::npz("recording", &made, true)?)];
    let velocity = std::mem::take(&mut made.velocity);
    let truth = &made.truth;
    let fs_hz = f64::from(truth.fs_hz);
    let snr = truth.snr_db.map_or("no noise".to_string(), |db| format!("{db:.0} dB"));
    let source = format!("simulated muscle, preset {}, {snr}, seed {}", arguments.scene.preset, arguments.scene.seed);
    if !arguments.common.json {
        note(&format!("{source}: {} motor units, {:.2} s", truth.units.len(), truth.frames as f64 / fs_hz));
    }
    let shape = [truth.frames, truth.height, truth.width];
    // Through its shortest decimal, 0.625 stays 0.625.
    let mm_per_pixel = truth.mm_per_pixel.to_string().parse().unwrap_or(f64::from(truth.mm_per_pixel));
    let recording = Recording::new("demo", velocity, shape, fs_hz)?.with_mm_per_pixel(mm_per_pixel)?;
    let known = truth.units.iter().map(|u| KnownUnit::new(u.mask.clone(), u.twitch_train.clone(), fs_hz));
    let known: Vec<KnownUnit> = known.collect();
    let about = About { source, velocity_unit: Some("mm/s".into()), ..About::default() };
    let job = Job { recording: &recording, truth: Some(&known), about };
    results::process(job, &mut networks, &Options::default(), &mut folder, more)
}
