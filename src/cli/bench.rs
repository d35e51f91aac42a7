//! `sarcomere bench`: how long whole networks and the simulator take on a device, and where the time goes.

use std::time::{Duration, Instant};

use clap::Args;
use sarcomere::Error;
use sarcomere::profile::networks::{CASES, Timed};
use sarcomere::profile::{KernelTime, kernel_times};
use serde_json::{Value as Json, json};

use super::console::print;
use super::{Common, Outcome};

/// Time whole networks, inference and training steps, and the simulator
#[derive(Args)]
pub struct Arguments {
    /// Only those with this in their name
    #[arg(long, default_value = "", value_name = "TEXT")]
    filter: String,
    /// Measure each for this long
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS")]
    seconds: f64,
    /// And at least as often
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// And tell the N kernels that take longest, from runs in which each step is timed
    #[arg(long, default_value_t = 0, value_name = "N")]
    kernels: usize,
    #[command(flatten)]
    common: Common,
}

/// Runs before times are taken: plans are captured, caches and threads are warm after these.
const WARM_UP: usize = 3;
/// Runs that the kernels' times are means of.
const PROFILED: u32 = 5;

/// Times every case.
pub fn run(arguments: &Arguments) -> Outcome {
    if !(arguments.seconds > 0.0 && arguments.seconds <= 600.0) {
        return Err(
            Error::value("--seconds", format!("expected more than 0, at most 600, got {}", arguments.seconds)).into()
        );
    }
    let cases: Vec<_> = CASES.iter().filter(|case| case.name.contains(&arguments.filter)).collect();
    if cases.is_empty() {
        let names: Vec<&str> = CASES.iter().map(|case| case.name).collect();
        return Err(
            Error::value("--filter", format!("no case has it in its name; there are {}", names.join(", "))).into()
        );
    }
    let device = arguments.common.open_device()?;
    let json = arguments.common.json;
    if !json {
        print(&format!(
            "device  {}\n\n{:<24} {:>10} {:>10} {:>10} {:>6} {:>10}",
            device.describe(),
            "case",
            "median ms",
            "fastest",
            "slowest",
            "runs",
            "items/s"
        ));
    }
    let mut rows = Vec::new();
    for case in cases {
        let mut timed = case.prepare(&device)?;
        (0..WARM_UP).try_for_each(|_| timed.run())?;
        let mut times: Vec<f64> = Vec::new();
        let begin = Instant::now();
        while times.len() < arguments.runs as usize || begin.elapsed() < Duration::from_secs_f64(arguments.seconds) {
            let start = Instant::now();
            timed.run()?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        let (name, median, fastest, slowest) = (case.name, times[times.len() / 2], times[0], times[times.len() - 1]);
        let kernels = kernels(&mut *timed, arguments.kernels)?;
        if !json {
            let rate = case.items as f64 / median * 1e3;
            print(&format!(
                "{name:<24} {median:>10.3} {fastest:>10.3} {slowest:>10.3} {:>6} {rate:>10.1}",
                times.len()
            ));
            kernels.iter().for_each(|kernel| print(&row(kernel)));
        }
        rows.push(json!({
            "case": name, "median_ms": median, "fastest_ms": fastest, "slowest_ms": slowest, "runs": times.len(),
            "items": case.items, "peak_bytes": timed.executor().plan().peak_bytes(),
            "kernels": kernels.iter().map(as_json).collect::<Vec<_>>(),
        }));
    }
    if json {
        print(&json!({"device": device.describe(), "cases": rows}).to_string());
    }
    Ok(())
}

/// The kernels that take longest.
fn kernels(timed: &mut dyn Timed, most: usize) -> sarcomere::Result<Vec<KernelTime>> {
    if most == 0 {
        return Ok(Vec::new());
    }
    timed.executor().start_profile();
    (0..PROFILED).try_for_each(|_| timed.run())?;
    let mut times = kernel_times(timed.executor(), PROFILED);
    times.truncate(most);
    Ok(times)
}

fn row(kernel: &KernelTime) -> String {
    let KernelTime { kernels, nodes, time, cost, longest } = kernel;
    let (seconds, (longest, at_most)) = (time.as_secs_f64(), longest);
    format!(
        "{:>15.3} ms {:>8.0} GFLOP/s {:>6.0} GB/s  {nodes:>3} x {kernels}; longest {:.3} ms: {longest}",
        seconds * 1e3,
        cost.flops as f64 / seconds / 1e9,
        cost.bytes as f64 / seconds / 1e9,
        at_most.as_secs_f64() * 1e3
    )
}

fn as_json(kernel: &KernelTime) -> Json {
    let KernelTime { kernels, nodes, time, cost, longest } = kernel;
    json!({
        "kernels": kernels, "nodes": nodes, "ms": time.as_secs_f64() * 1e3, "flops": cost.flops, "bytes": cost.bytes,
        "longest": longest.0, "longest_ms": longest.1.as_secs_f64() * 1e3,
    })
}
