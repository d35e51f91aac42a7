//! Philox 4x32-10: random bits as a pure function of a key and a counter (Salmon et al., "Parallel random numbers: as easy
//! as 1, 2, 3", SC 2011). Whoever knows the address of a number can compute it alone, on any device, in any order.
//!
//! Everything here is inlined and free of branches, so that a loop over counters vectorises.

use super::approx::{ln, sin_cos_turn};

const MULTIPLIERS: [u32; 2] = [0xd251_1f53, 0xcd9e_8d57];
const WEYL: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];
const ROUNDS: usize = 10;
const TO_UNIT: f32 = 1.0 / (1 << 24) as f32;

/// Four random words for a counter under a key.
#[inline(always)]
pub fn philox(key: [u32; 2], counter: [u32; 4]) -> [u32; 4] {
    let [mut k0, mut k1] = key;
    let [mut c0, mut c1, mut c2, mut c3] = counter;
    for round in 0..ROUNDS {
        if round > 0 {
            k0 = k0.wrapping_add(WEYL[0]);
            k1 = k1.wrapping_add(WEYL[1]);
        }
        let p0 = u64::from(MULTIPLIERS[0]) * u64::from(c0);
        let p1 = u64::from(MULTIPLIERS[1]) * u64::from(c2);
        (c0, c1, c2, c3) = ((p1 >> 32) as u32 ^ c1 ^ k0, p1 as u32, (p0 >> 32) as u32 ^ c3 ^ k1, p0 as u32);
    }
    [c0, c1, c2, c3]
}

/// The key that belongs to a seed: its low and its high word.
pub fn key_of(seed: u64) -> [u32; 2] {
    [seed as u32, (seed >> 32) as u32]
}

/// A word as a number in [0, 1): its upper 24 bits / 2^24.
#[inline(always)]
pub fn uniform(word: u32) -> f32 {
    ((word >> 8) as i32) as f32 * TO_UNIT
}

/// A word as a number in (0, 1]: (its upper 24 bits + 1) / 2^24.
#[inline(always)]
pub fn uniform_open(word: u32) -> f32 {
    (((word >> 8) + 1) as i32) as f32 * TO_UNIT
}

/// A word as an integer below `n` (bias below n / 2^32).
#[inline(always)]
pub fn below(word: u32, n: u32) -> u32 {
    ((u64::from(word) * u64::from(n)) >> 32) as u32
}

/// Two words as two independent standard normal numbers (Box and Muller): radius from `a` in (0, 1], angle from the upper
/// 24 bits of `b`; the cosine comes first. At most 5.77 in size.
#[inline(always)]
pub fn box_muller(a: u32, b: u32) -> [f32; 2] {
    let radius = (-2.0 * ln(uniform_open(a))).sqrt();
    let (sin, cos) = sin_cos_turn(b >> 8);
    [radius * cos, radius * sin]
}

/// Four standard normal numbers for a counter under a key: words 0 and 1 give the first two, words 2 and 3 the others.
#[inline(always)]
pub fn normals(key: [u32; 2], counter: [u32; 4]) -> [f32; 4] {
    let [w0, w1, w2, w3] = philox(key, counter);
    let ([n0, n1], [n2, n3]) = (box_muller(w0, w1), box_muller(w2, w3));
    [n0, n1, n2, n3]
}

/// Random numbers one after the other: counter word 0 counts blocks of four, the other three words name the stream. Number
/// `k` of a stream is word `k % 4` of block `k / 4`, whatever was asked before it.
#[derive(Clone, Debug)]
pub struct Stream {
    key: [u32; 2],
    name: [u32; 3],
    position: u64,
}

impl Stream {
    /// The stream of counters `[block, name[0], name[1], name[2]]`.
    pub fn new(key: [u32; 2], name: [u32; 3]) -> Self {
        Self { key, name, position: 0 }
    }

    fn counter(&self) -> [u32; 4] {
        [(self.position / 4) as u32, self.name[0], self.name[1], self.name[2]]
    }

    /// The next word.
    pub fn word(&mut self) -> u32 {
        let word = philox(self.key, self.counter())[(self.position % 4) as usize];
        self.position += 1;
        word
    }

    /// The next word as a number in [0, 1).
    pub fn uniform(&mut self) -> f32 {
        uniform(self.word())
    }

    /// The next word as an integer below `n`.
    pub fn below(&mut self, n: u32) -> u32 {
        below(self.word(), n)
    }

    /// The next standard normal number: number `k` is normal `k % 4` of block `k / 4`.
    pub fn normal(&mut self) -> f32 {
        let normal = normals(self.key, self.counter())[(self.position % 4) as usize];
        self.position += 1;
        normal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers published with the generator's reference implementation (Random123, `kat_vectors`).
    #[test]
    fn known_answers() {
        let all = u32::MAX;
        assert_eq!(philox([0; 2], [0; 4]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([all; 2], [all; 4]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox([0xa409_3822, 0x299f_31d0], [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn uniforms_keep_to_their_intervals() {
        assert_eq!((uniform(0), uniform(u32::MAX)), (0.0, 1.0 - TO_UNIT));
        assert_eq!((uniform_open(0), uniform_open(u32::MAX)), (TO_UNIT, 1.0));
        assert_eq!((below(0, 26), below(u32::MAX, 26)), (0, 25));
        assert!(box_muller(0, 0)[0] < 5.8 && box_muller(u32::MAX, 0)[0] == 0.0);
    }

    #[test]
    fn normals_have_the_moments_and_tails_of_the_normal_distribution() {
        let n = 400_000;
        let mut stream = Stream::new([1, 2], [3, 4, 5]);
        let x: Vec<f64> = (0..n).map(|_| f64::from(stream.normal())).collect();
        let moment = |p: i32| x.iter().map(|v| v.powi(p)).sum::<f64>() / f64::from(n);
        let sigmas = 4.5 / f64::from(n).sqrt();
        assert!(moment(1).abs() < sigmas);
        assert!((moment(2) - 1.0).abs() < sigmas * 2f64.sqrt());
        assert!(moment(3).abs() < sigmas * 15f64.sqrt());
        assert!((moment(4) - 3.0).abs() < sigmas * 96f64.sqrt());
        for (bound, expected) in [(1.0, 0.317_310_5), (2.0, 0.045_500_3), (3.0, 0.002_699_8)] {
            let share = x.iter().filter(|v| v.abs() > bound).count() as f64 / f64::from(n);
            assert!((share - expected).abs() < sigmas * f64::sqrt(expected * (1.0 - expected)), "{bound}: {share}");
        }
        // Neighbours in a block (the two of a pair, and across pairs) are uncorrelated.
        for lag in 1..=4 {
            let products: f64 = x.iter().zip(&x[lag..]).map(|(a, b)| a * b).sum();
            assert!((products / f64::from(n)).abs() < sigmas, "lag {lag}");
        }
    }

    #[test]
    fn a_stream_is_addressed_by_position() {
        let mut words = Stream::new([7, 8], [1, 2, 3]);
        let first: Vec<u32> = (0..10).map(|_| words.word()).collect();
        for (k, word) in first.iter().enumerate() {
            assert_eq!(philox([7, 8], [(k / 4) as u32, 1, 2, 3])[k % 4], *word);
        }
    }
}
