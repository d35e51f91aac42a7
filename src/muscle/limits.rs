//! What the simulator's options may be: checks that name the field.

use super::config::{Noise, Profile, Range, SimulatorConfig};
use crate::{Error, Result};

/// Largest number of samples of one recording: 4 GiB of f32.
const MAX_SAMPLES: usize = 1 << 30;

/// Longest lag at the rim.
const MAX_LAG_FRAMES: f32 = 64.0;

impl SimulatorConfig {
    /// Checks every field; the error names the first that cannot be used.
    pub fn validate(&self) -> Result<()> {
        let grid = &self.grid;
        within("grid.frames", grid.frames as f64, 1.0, 1e6)?;
        within("grid.height", grid.height as f64, 8.0, 4096.0)?;
        within("grid.width", grid.width as f64, 8.0, 4096.0)?;
        within("grid.fs_hz", grid.fs_hz.into(), 1.0, 1e6)?;
        within("grid.mm_per_pixel", grid.mm_per_pixel.into(), 1e-3, 1e2)?;
        if grid.frames * grid.height * grid.width > MAX_SAMPLES {
            let message = format!("frames x height x width is over {MAX_SAMPLES}; make it smaller");
            return Err(Error::value("grid", message));
        }
        within("units.min", self.units.min.into(), 1.0, 1000.0)?;
        within("units.max", self.units.max.into(), f64::from(self.units.min), 1000.0)?;
        self.validate_territories()?;
        let firing = &self.firing;
        range("firing.rate_hz", firing.rate_hz, 0.1, 100.0)?;
        within("firing.interval_variation", firing.interval_variation.into(), 0.0, 1.0)?;
        within("firing.interval_floor", firing.interval_floor.into(), 0.01, 1.0)?;
        within("firing.warm_up_s", firing.warm_up_s.into(), 0.0, 10.0)?;
        range("firing.synchrony", firing.synchrony, 0.0, 1.0)?;
        let twitch = &self.twitch;
        range("twitch.contraction_ms", twitch.contraction_ms, 5.0, 1000.0)?;
        range("twitch.half_relaxation_ratio", twitch.half_relaxation_ratio, 1.1, 5.0)?;
        range("twitch.lead_ms", twitch.lead_ms, 0.0, 100.0)?;
        range("twitch.amplitude_um", twitch.amplitude_um, 1e-3, 1e5)?;
        within("twitch.amplitude_variation", twitch.amplitude_variation.into(), 0.0, 1.0)?;
        within("twitch.duration_variation", twitch.duration_variation.into(), 0.0, 1.0)?;
        self.validate_background()
    }

    fn validate_territories(&self) -> Result<()> {
        let (grid, territories) = (&self.grid, &self.territories);
        let field_mm = grid.height.min(grid.width) as f32 * grid.mm_per_pixel;
        range("territories.axis_ratio", territories.axis_ratio, 1.0, 5.0)?;
        // The short axis must span a pixel's diagonal, or a territory could miss every pixel centre.
        let ratio = f64::from(territories.axis_ratio.max).sqrt();
        let smallest = f64::from(grid.mm_per_pixel) * 2f64.sqrt() * ratio;
        let largest = if territories.may_cross_edge { 1e3 } else { f64::from(field_mm) / ratio };
        range("territories.diameter_mm", territories.diameter_mm, smallest, largest)?;
        if territories.profiles.is_empty() {
            return Err(Error::value("territories.profiles", "is empty; name at least one, such as \"flat\""));
        }
        for profile in &territories.profiles {
            if let Profile::Fibres { per_mm2 } = profile {
                // More fibres than a pixel's number can be drawn from.
                let pixel_mm2 = f64::from(grid.mm_per_pixel).powi(2);
                within("territories.profiles.fibres.per_mm2", (*per_mm2).into(), 0.1, 1e3f64.min(500.0 / pixel_mm2))?;
            }
        }
        let longest = (1e3 * MAX_LAG_FRAMES / grid.fs_hz).into();
        range("territories.rim_lag_ms", territories.rim_lag_ms, 0.0, longest)?;
        within("territories.halo_share", territories.halo_share.into(), 0.0, 1.0)?;
        within("territories.halo_decay_mm", territories.halo_decay_mm.into(), 0.01, 1e3)
    }

    fn validate_background(&self) -> Result<()> {
        let background = &self.background;
        match background.noise {
            Noise::Clean => {}
            Noise::Snr { db } => within("background.noise.snr.db", db.into(), -100.0, 200.0)?,
            Noise::Mixed { min_db, max_db, clean_share } => {
                within("background.noise.mixed.min_db", min_db.into(), -100.0, 200.0)?;
                within("background.noise.mixed.max_db", max_db.into(), min_db.into(), 200.0)?;
                within("background.noise.mixed.clean_share", clean_share.into(), 0.0, 1.0)?;
            }
        }
        within("background.noise_correlation_pixels", background.noise_correlation_pixels.into(), 0.0, 16.0)?;
        within("background.drift_level", background.drift_level.into(), 0.0, 1e3)?;
        range("background.drift_hz", background.drift_hz, 0.01, 1e3)?;
        within("background.pulse_level", background.pulse_level.into(), 0.0, 1e3)?;
        range("background.pulse_hz", background.pulse_hz, 0.1, 10.0)?;
        range("background.pulse_radius_mm", background.pulse_radius_mm, 0.1, 1e3)
    }
}

fn within(field: &str, value: f64, min: f64, max: f64) -> Result<()> {
    // Written so that NaN fails too.
    if value >= min && value <= max {
        return Ok(());
    }
    Err(Error::value(field, format!("is {value}; it must lie in {min}..={max}")))
}

fn range(field: &str, range: Range, min: f64, max: f64) -> Result<()> {
    within(&format!("{field}.min"), range.min.into(), min, max)?;
    within(&format!("{field}.max"), range.max.into(), range.min.into(), max)
}
