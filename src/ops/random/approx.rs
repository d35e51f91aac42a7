//! Elementary functions in plain f32 multiplications, additions, one division or root: no table, no branch, never a fused
//! multiply-add. So they vectorise, and give the same bits on every instruction set and on any other IEEE device.

use std::f32::consts::{LOG2_E, TAU};

/// ln 2 in two parts: the first has 12 trailing zero bits, so that its product with an exponent is exact.
const LN2_HIGH: f32 = 0.693_115_23;
const LN2_LOW: f32 = 3.194_618_3e-5;
/// Adding and subtracting 1.5 * 2^23 rounds to the nearest integer.
const ROUND: f32 = 12_582_912.0;

/// Natural logarithm of a positive normal number; relative error below 3e-7 (absolute near 1).
///
/// x = 2^e m with m in [sqrt(1/2), sqrt(2)); ln m = 2 atanh(s), s = (m - 1) / (m + 1), by its series.
#[inline(always)]
pub fn ln(x: f32) -> f32 {
    const SQRT_HALF: u32 = 0x3f35_04f3;
    let shifted = x.to_bits().wrapping_sub(SQRT_HALF);
    let exponent = ((shifted as i32) >> 23) as f32;
    let m = f32::from_bits((shifted & 0x007f_ffff) + SQRT_HALF);
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    let tail = z * (1.0 / 3.0 + z * (1.0 / 5.0 + z * (1.0 / 7.0 + z * (1.0 / 9.0))));
    exponent * LN2_HIGH + (exponent * LN2_LOW + (2.0 * s + 2.0 * s * tail))
}

/// Exponential function for arguments up to 87; anything below -87 counts as -87. Relative error below 4e-7 near 0,
/// growing as the argument's own rounding does.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let x = if x < -87.0 { -87.0 } else { x };
    let n = (x * LOG2_E + ROUND) - ROUND;
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    let p = 1.0 + r * (1.0 / 2.0 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0)))));
    let scale = f32::from_bits((((n as i32) + 127) << 23) as u32);
    (1.0 + r * p) * scale
}

/// Sine and cosine of `turn` / 2^24 turns, `turn` < 2^24; absolute error below 2e-7.
#[inline(always)]
pub fn sin_cos_turn(turn: u32) -> (f32, f32) {
    const EIGHTH: u32 = 1 << 21;
    let quadrant = (turn + EIGHTH) >> 22;
    let rest = turn as i32 - (quadrant << 22) as i32;
    let t = rest as f32 * (TAU / (1 << 24) as f32);
    let z = t * t;
    let sin = t + t * z * (-1.0 / 6.0 + z * (1.0 / 120.0 + z * (-1.0 / 5040.0 + z * (1.0 / 362_880.0))));
    let cos = 1.0 + z * (-1.0 / 2.0 + z * (1.0 / 24.0 + z * (-1.0 / 720.0 + z * (1.0 / 40_320.0))));
    let swap = quadrant & 1 != 0;
    let (a, b) = if swap { (cos, sin) } else { (sin, cos) };
    // Quadrants 2 and 3 have a negative sine, 1 and 2 a negative cosine.
    let sin_sign = (quadrant & 2) << 30;
    let cos_sign = ((quadrant + 1) & 2) << 30;
    (f32::from_bits(a.to_bits() ^ sin_sign), f32::from_bits(b.to_bits() ^ cos_sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ln_and_exp_agree_with_double_precision() {
        for k in 1..200_000u32 {
            let x = k as f32 * 5.0e-6;
            let (found, expected) = (f64::from(ln(x)), f64::from(x).ln());
            assert!((found - expected).abs() <= 3e-7 * expected.abs().max(0.5), "ln {x}: {found} {expected}");
            let y = -60.0 + k as f32 * 3.1e-4;
            let (found, expected) = (f64::from(exp(y)), f64::from(y).exp());
            let bound = 4e-7 + 1.2e-7 * f64::from(y.abs());
            assert!((found / expected - 1.0).abs() <= bound, "exp {y}: {found} {expected}");
        }
        assert_eq!(ln(1.0), 0.0);
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(-1e30) < 2e-38 && ln(f32::MIN_POSITIVE) < -87.0);
    }

    #[test]
    fn sine_and_cosine_agree_with_double_precision() {
        for k in 0..(1u32 << 24) / 97 {
            let turn = k * 97;
            let (sin, cos) = sin_cos_turn(turn);
            let angle = f64::from(turn) / f64::from(1 << 24) * std::f64::consts::TAU;
            assert!((f64::from(sin) - angle.sin()).abs() < 2e-7, "{turn}");
            assert!((f64::from(cos) - angle.cos()).abs() < 2e-7, "{turn}");
        }
    }
}
