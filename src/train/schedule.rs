//! Learning rates over time.

use serde::{Deserialize, Serialize};

/// Learning rate as a function of the step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// Always the same.
    Constant(f32),
    /// Rises linearly over `warmup` steps to `peak`, then falls to zero as half a cosine, reaching it at `steps`.
    Cosine {
        /// Highest rate.
        peak: f32,
        /// Steps of the rise.
        warmup: u64,
        /// Step at which the rate is zero.
        steps: u64,
    },
}

impl Schedule {
    /// The rate at a step, counted from 0.
    pub fn rate(&self, step: u64) -> f32 {
        match self {
            Schedule::Constant(rate) => *rate,
            Schedule::Cosine { peak, warmup, steps } => {
                if step < *warmup {
                    return peak * (step + 1) as f32 / (*warmup + 1) as f32;
                }
                let progress = (step - warmup) as f32 / steps.saturating_sub(*warmup).max(1) as f32;
                peak * 0.5 * (1.0 + (std::f32::consts::PI * progress.min(1.0)).cos())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosine_rises_falls_and_stays_at_zero() {
        let schedule = Schedule::Cosine { peak: 1.0, warmup: 9, steps: 109 };
        assert_eq!(schedule.rate(0), 0.1);
        assert_eq!(schedule.rate(9), 1.0);
        assert!((schedule.rate(59) - 0.5).abs() < 1e-6);
        assert_eq!(schedule.rate(109), 0.0);
        assert_eq!(schedule.rate(1000), 0.0);
    }
}
