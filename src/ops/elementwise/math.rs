//! Transcendental functions as plain arithmetic, so that loops over them vectorise; the same bits on every instruction
//! set (no fused multiply-add is assumed).

/// `e^x` within 2 ulp; 0 below -104, infinity above 88.73, NaN for NaN.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    /// 1.5 * 2^23: adding and subtracting it rounds to an integer.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts, the first short enough that its product with the integer below is exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let clamped = x.clamp(-105.0, 89.0);
    let rounded = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = (clamped - n * LN2_HIGH) - n * LN2_LOW;
    // (e^r - 1 - r) / r^2, interpolated at Chebyshev nodes on |r| <= ln(2)/2: relative error of e^r 8e-9.
    let q = 1.392_692_6e-3;
    let q = q * r + 8.363_774e-3;
    let q = q * r + 4.166_655e-2;
    let q = q * r + 0.166_665_73;
    let q = q * r + 0.5;
    let y = (q * r) * r + r + 1.0;
    // 2^n in two factors, so that results down to the subnormal ones and up to the largest keep their digits.
    // The integer stands in the low bits of `rounded`: a cast would saturate, which does not vectorise.
    let n = (rounded.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let half = n >> 1;
    y * power_of_two(half) * power_of_two(n - half)
}

#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Hyperbolic tangent within 3 ulp.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let z = x * x;
    // (tanh x - x) / x^3 as a polynomial of x^2, interpolated at Chebyshev nodes: relative error 2e-8 below 0.625.
    let p = -6.045_165e-3;
    let p = p * z + 2.096_133e-2;
    let p = p * z - 5.384_326e-2;
    let p = p * z + 0.133_327_19;
    let p = p * z - 0.333_333_28;
    let small = (p * z) * x + x;
    let large = 1.0 - 2.0 / (exp(2.0 * x.abs()) + 1.0);
    if x.abs() < 0.6 { small } else { large.copysign(x) }
}

/// `clip(0.2 x + 0.5, 0, 1)`.
#[inline(always)]
pub fn hard_sigmoid(x: f32) -> f32 {
    (0.2 * x + 0.5).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Distance in units of the last place of the reference.
    fn ulps(found: f32, expected: f64) -> f64 {
        let nearest = expected as f32;
        let spacing = (f32::from_bits(nearest.abs().to_bits() + 1) - nearest.abs()) as f64;
        (found as f64 - expected).abs() / spacing
    }

    #[test]
    fn functions_are_within_a_few_ulp_of_double_precision() {
        for i in -200_000..=200_000i32 {
            let x = i as f32 * 4.3e-4;
            assert!(ulps(exp(x), (x as f64).exp()) < 2.0, "exp({x})");
            assert!(ulps(tanh(x), (x as f64).tanh()) < 3.0, "tanh({x}) = {}", tanh(x));
            assert!(ulps(sigmoid(x), 1.0 / (1.0 + (-x as f64).exp())) < 4.0, "sigmoid({x})");
        }
    }

    #[test]
    fn limits_are_those_of_the_functions() {
        assert_eq!((exp(-200.0), exp(f32::NEG_INFINITY)), (0.0, 0.0));
        assert_eq!((exp(100.0), exp(f32::INFINITY)), (f32::INFINITY, f32::INFINITY));
        assert_eq!((exp(0.0), tanh(0.0), sigmoid(0.0)), (1.0, 0.0, 0.5));
        assert_eq!((tanh(50.0), tanh(-50.0)), (1.0, -1.0));
        assert_eq!((sigmoid(200.0), sigmoid(-200.0)), (1.0, 0.0));
        assert!(exp(f32::NAN).is_nan() && tanh(f32::NAN).is_nan() && sigmoid(f32::NAN).is_nan());
    }
}
