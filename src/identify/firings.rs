//! Firing instants of a twitch train.

/// Samples of the running mean: 27.5 ms at 400 Hz.
const MEAN: usize = 11;

/// Sample indices of the firings of a twitch train at 400 Hz: local maxima, not below zero, of the running mean over 11
/// samples (centred; at the ends the mean of what is there). A plateau counts once, at its middle.
pub(crate) fn firings(signal: &[f32]) -> Vec<usize> {
    let n = signal.len();
    let smooth: Vec<f64> = (0..n)
        .map(|i| {
            let part = &signal[i.saturating_sub(MEAN / 2)..(i + MEAN / 2 + 1).min(n)];
            part.iter().map(|v| f64::from(*v)).sum::<f64>() / part.len() as f64
        })
        .collect();
    let mut found = Vec::new();
    let mut i = 1;
    while i + 1 < n {
        let mut end = i;
        while end + 1 < n && smooth[end + 1] == smooth[i] {
            end += 1;
        }
        if end + 1 < n && smooth[i] > smooth[i - 1] && smooth[i] > smooth[end + 1] && smooth[i] >= 0.0 {
            found.push((i + end) / 2);
        }
        i = end + 1;
    }
    found
}

/// The firings of a twitch train at 400 Hz, in s.
pub(crate) fn instants_s(signal: &[f32]) -> Vec<f64> {
    firings(signal).into_iter().map(|f| f as f64 / super::resample::GRID_FS_HZ).collect()
}
