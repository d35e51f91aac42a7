//! Division by a known number, for kernels.

/// What a kernel divides by with a multiplication and a shift. Twin of `Divisor` in `kernels/device/divide.cuh`.
///
/// For `0 <= n < 2^31`: with `s = ceil(log2 d)` and `m = floor(2^32 (2^s - d) / d) + 1`, `n / d = (floor(n m / 2^32) + n) >> s`
/// (Granlund and Montgomery, PLDI 1994).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Divisor {
    value: i32,
    multiplier: u32,
    shift: u32,
}

impl Divisor {
    /// For division by `value`; what is not positive counts as 1.
    pub fn new(value: i32) -> Self {
        let divisor = value.max(1) as u64;
        let shift = divisor.next_power_of_two().trailing_zeros();
        let multiplier = (((1u64 << shift) - divisor) << 32) / divisor + 1;
        Self { value: divisor as i32, multiplier: multiplier as u32, shift }
    }

    /// `n / value` as kernels compute it.
    pub fn quotient(self, n: i32) -> i32 {
        let high = (n as u64 * self.multiplier as u64) >> 32;
        ((high + n as u64) >> self.shift) as i32
    }
}

#[cfg(test)]
mod tests {
    use super::Divisor;

    #[test]
    fn divides_as_integers_do() {
        let edges =
            [0, 1, 2, 3, 5, 6, 7, 9, 10, 63, 64, 65, 100, 343, 999, 65_535, 65_536, 1 << 30, i32::MAX - 1, i32::MAX];
        for value in edges.into_iter().filter(|value| *value > 0) {
            let divisor = Divisor::new(value);
            let around = |n: i32| [n.saturating_sub(1), n, n.saturating_add(1)];
            let multiples = (0..50).map(|i| value.saturating_mul(i)).flat_map(around).filter(|n| *n >= 0);
            for n in multiples.chain(edges) {
                assert_eq!(divisor.quotient(n), n / value, "{n} / {value}");
            }
        }
    }
}
