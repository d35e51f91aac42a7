//! A motor unit as it is reported.

/// A motor unit of a recording.
#[derive(Clone, Debug)]
pub struct MotorUnit {
    /// Number within its recording, from 1, in falling order of confidence.
    pub id: usize,
    /// Confidence, 0 to 1: the mean over the windows in which it was found.
    pub score: f32,
    /// In how many windows of 1 s it was found.
    pub windows: usize,
    /// Territory on the recording's own grid `[H, W]`, 0 or 1.
    pub mask: Vec<u8>,
    /// Box round the territory `(y1, x1, y2, x2)`, in the recording's pixels, edges included.
    pub bbox: [usize; 4],
    /// Twitch train `[T]` at the recording's own frame rate, in its own velocity unit.
    pub signal: Vec<f32>,
    /// Firing instants in s from the first frame: the peaks of the twitch train, some tens of ms after the motor neuron fired.
    pub firings_s: Vec<f64>,
    /// Probability of the territory on the grid of [`Placement::grid`](super::resample::Placement::grid).
    pub probability: Vec<f32>,
}

impl MotorUnit {
    /// Number of pixels of the territory.
    pub fn area_px(&self) -> usize {
        self.mask.iter().filter(|m| **m != 0).count()
    }

    /// Diameter in pixels of the circle of the same area.
    pub fn diameter_px(&self) -> f64 {
        (4.0 * self.area_px() as f64 / std::f64::consts::PI).sqrt()
    }

    /// Centre of the territory `(y, x)` in pixels of a grid of `width` columns, where pixel 0 covers 0 to 1.
    pub fn centre_px(&self, width: usize) -> (f64, f64) {
        let (mut y, mut x) = (0.0, 0.0);
        for i in (0..self.mask.len()).filter(|i| self.mask[*i] != 0) {
            y += (i / width) as f64 + 0.5;
            x += (i % width) as f64 + 0.5;
        }
        let area = self.area_px().max(1) as f64;
        (y / area, x / area)
    }

    /// Mean firing rate in Hz between the first and the last firing; `None` with fewer than two.
    pub fn firing_rate_hz(&self) -> Option<f64> {
        let (first, last) = (self.firings_s.first()?, self.firings_s.last()?);
        (last > first).then(|| (self.firings_s.len() - 1) as f64 / (last - first))
    }

    /// Largest velocity of the twitch train, in the recording's unit.
    pub fn peak_velocity(&self) -> f32 {
        self.signal.iter().fold(0.0, |peak, v| peak.max(*v))
    }
}
