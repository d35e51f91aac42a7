//! One pass over all values of a recording: whether they can be searched, and where tissue moves.

use super::frames::{Frames, parts};
use crate::{Error, Result};

/// Values that are looked at at a time: 1 MiB.
const BLOCK: usize = 1 << 18;

/// The root mean square over time of every pixel, `[H, W]`.
///
/// # Errors
/// If a value is not finite or all are equal, or the frames cannot be read.
pub(super) fn survey(frames: &Frames, shape: [usize; 3]) -> Result<Vec<f32>> {
    let [total, height, width] = shape;
    let pixels = height * width;
    let mut squares = vec![0f64; pixels];
    let first_value = frames.read(shape, 0..1)?[0];
    let (mut varies, mut bad, mut first_bad) = (false, 0, None);
    for part in parts(0..total, pixels, BLOCK) {
        let values = frames.read(shape, part.clone())?;
        for (t, frame) in part.zip(values.chunks_exact(pixels)) {
            squares.iter_mut().zip(frame).for_each(|(sum, v)| *sum += f64::from(*v) * f64::from(*v));
            varies = varies || frame.iter().any(|v| *v != first_value);
            if !frame.iter().fold(true, |finite, v| finite & v.is_finite()) {
                bad += frame.iter().filter(|v| !v.is_finite()).count();
                first_bad = first_bad.or_else(|| Some((t, frame.iter().position(|v| !v.is_finite())?, frame.to_vec())));
            }
        }
    }
    if let Some((t, at, frame)) = first_bad {
        return Err(Error::value(
            "velocity",
            format!(
                "expected finite values, found {bad} that are not (the first is {} at frame {t}, row {}, column {}): \
                 replace or cut them out",
                frame[at],
                at / width,
                at % width
            ),
        ));
    }
    if !varies {
        return Err(Error::value(
            "velocity",
            format!(
                "expected values that vary, found {first_value} everywhere: check the export or choose another array"
            ),
        ));
    }
    Ok(squares.iter().map(|sum| (sum / total as f64).sqrt() as f32).collect())
}
