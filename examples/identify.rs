//! Finds the motor units of a recording: `cargo run --release --example identify -- RECORDING.npy`
//! (without a file: of a simulated one).

use sarcomere::muscle::{Noise, SimulatorConfig, Split, simulate};
use sarcomere::{Device, Identifier, MotorUnit, Recording, Result};

fn main() -> Result<()> {
    let recording = match std::env::args().nth(1) {
        Some(path) => Recording::read(path, &Default::default())?,
        None => simulated()?,
    };
    let mut identifier = Identifier::new(&Device::cpu())?;
    let units: Vec<MotorUnit> = identifier.identify(&recording)?.units;
    for unit in &units {
        let rate = unit.firing_rate_hz().unwrap_or(0.0);
        println!("unit {:2}: score {:.2}, {} pixels, {rate:4.1} Hz", unit.id, unit.score, unit.area_px());
    }
    Ok(())
}

/// One second of ten units, noise at 20 dB.
fn simulated() -> Result<Recording> {
    let config = SimulatorConfig::paper().with_units(10).with_noise(Noise::Snr { db: 20.0 });
    let made = simulate(&config, Split::Test, 0, 1)?;
    Recording::new("simulated", made.velocity, [400, 64, 64], 400.0)
}
