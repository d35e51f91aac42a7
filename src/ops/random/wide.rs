//! Elementary functions in plain f64 multiplications, additions, one division or root: what [`super::approx`] is for f32, where
//! f32 is too coarse. The same bits on every IEEE device, which a system's mathematics library does not promise.

use std::f64::consts::{FRAC_2_PI, LOG2_E};

/// ln 2 in two parts: the first has 21 trailing zero bits, so that its product with an exponent is exact.
const LN2_HIGH: f64 = 0.693_147_180_369_123_8;
const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
/// pi / 2 in two parts: the first has 25 trailing zero bits.
const FRAC_PI_2_HIGH: f64 = 1.570_796_325_802_803;
const FRAC_PI_2_LOW: f64 = 9.920_935_796_805_404e-10;
/// Adding 1.5 * 2^52 rounds to the nearest integer, which then stands in the lowest bits.
const ROUND: f64 = 6_755_399_441_055_744.0;

/// Natural logarithm of a positive normal number; relative error below 1e-15 (absolute near 1).
///
/// x = 2^e m with m in [sqrt(1/2), sqrt(2)); ln m = 2 atanh(s), s = (m - 1) / (m + 1), by its series.
pub fn ln(x: f64) -> f64 {
    const SQRT_HALF: u64 = 0x3fe6_a09e_667f_3bcd;
    let shifted = x.to_bits().wrapping_sub(SQRT_HALF);
    let exponent = ((shifted as i64) >> 52) as i32 as f64;
    let m = f64::from_bits((shifted & 0x000f_ffff_ffff_ffff) + SQRT_HALF);
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    let tail = (1..=10).rev().fold(0.0, |tail, k| z * (1.0 / f64::from(2 * k + 1) + tail));
    exponent * LN2_HIGH + (exponent * LN2_LOW + (2.0 * s + 2.0 * s * tail))
}

/// Exponential function for arguments in -700..700 (others count as the nearest of these); relative error below 1e-15 near 0,
/// growing as the argument's own rounding does.
pub fn exp(x: f64) -> f64 {
    let x = if x < -700.0 { -700.0 } else { x };
    let x = if x > 700.0 { 700.0 } else { x };
    let shifted = x * LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    // 1 + r / 1 (1 + r / 2 (1 + r / 3 ...)).
    let power = (1..=13).rev().fold(1.0, |power, k| 1.0 + r * (1.0 / f64::from(k)) * power);
    power * f64::from_bits(shifted.to_bits().wrapping_add(1023) << 52)
}

/// Sine and cosine of an angle in radians, rounded once from f64; absolute error below 1e-13 before that up to 1e5 radians.
pub fn sin_cos(angle: f32) -> (f32, f32) {
    let x = f64::from(angle);
    let shifted = x * FRAC_2_PI + ROUND;
    let n = shifted - ROUND;
    let t = (x - n * FRAC_PI_2_HIGH) - n * FRAC_PI_2_LOW;
    let z = t * t;
    // 1 - z / (k (k + 1)) (1 - z / ((k + 2) (k + 3)) ...).
    let series = |first: i32| {
        let step = |sum: f64, k: i32| 1.0 - z * (1.0 / f64::from((2 * k + first) * (2 * k + first + 1))) * sum;
        (0..8).rev().fold(1.0, step)
    };
    let (sin, cos) = ((t * series(2)) as f32, series(1) as f32);
    match shifted.to_bits() & 3 {
        0 => (sin, cos),
        1 => (cos, -sin),
        2 => (-sin, -cos),
        _ => (-cos, sin),
    }
}

/// Length of the hypotenuse: the squares are exact in f64.
pub fn hypot(a: f32, b: f32) -> f32 {
    (f64::from(a) * f64::from(a) + f64::from(b) * f64::from(b)).sqrt() as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::random::philox::Stream;

    #[test]
    fn functions_agree_with_the_mathematics_library() {
        let mut stream = Stream::new([3, 1], [4, 1, 5]);
        for k in 0..100_000 {
            let u = f64::from(stream.uniform()) + 1e-9;
            let (x, y) = (u * 10f64.powi(k % 9 - 4), 200.0 * u - 100.0);
            assert!((ln(x) - x.ln()).abs() <= 1e-15 * x.ln().abs().max(1.0), "ln {x}: {} {}", ln(x), x.ln());
            let bound = 1e-15 + 2.5e-16 * y.abs();
            assert!((exp(y) / y.exp() - 1.0).abs() <= bound, "exp {y}: {} {}", exp(y), y.exp());
            let angle = ((2.0 * u - 1.0) * 10f64.powi(k % 8 - 2)) as f32;
            let (sin, cos) = sin_cos(angle);
            let exact = f64::from(angle);
            for (found, expected) in [(sin, exact.sin()), (cos, exact.cos())] {
                let bound = 6.1e-8 * expected.abs() + 1e-13;
                assert!((f64::from(found) - expected).abs() <= bound, "{angle}: {found} {expected}");
            }
            let (a, b) = (stream.uniform() * 100.0, stream.uniform() - 0.5);
            assert!((hypot(a, b) / a.hypot(b) - 1.0).abs() <= f32::EPSILON, "{a} {b}");
        }
        assert_eq!((ln(1.0), exp(0.0), sin_cos(0.0), hypot(-3.0, 4.0)), (0.0, 1.0, (0.0, 1.0), 5.0));
        assert!(exp(-1e9) < 1e-303 && exp(1e9) > 1e303);
    }
}
