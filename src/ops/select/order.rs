//! Sort keys: a total order of floats with their indices, so that every executor orders ties and NaN alike.

/// Maps a float to an integer of the same order; both zeros are equal; NaN gives `None`.
fn ordered(value: f32) -> Option<u32> {
    if value.is_nan() {
        return None;
    }
    let bits = (value + 0.0).to_bits();
    Some(if bits >> 31 == 1 { !bits } else { bits | 0x8000_0000 })
}

/// Key that sorts ascending to descending values: ties by lower index, NaN last.
pub fn descending_key(value: f32, index: usize) -> u64 {
    let major = ordered(value).map_or(u32::MAX, |bits| !bits);
    u64::from(major) << 32 | index as u64
}

/// Key that sorts ascending to ascending values: ties by lower index, NaN last.
pub fn ascending_key(value: f32, index: usize) -> u64 {
    let major = ordered(value).unwrap_or(u32::MAX);
    u64::from(major) << 32 | index as u64
}

/// The index in a key.
pub fn key_index(key: u64) -> usize {
    (key & 0xffff_ffff) as usize
}

/// Brings the smallest `count` keys to the front, sorted.
pub fn sort_smallest(keys: &mut [u64], count: usize) -> &[u64] {
    let count = count.min(keys.len());
    if count == 0 {
        return &[];
    }
    if count < keys.len() {
        keys.select_nth_unstable(count - 1);
    }
    keys[..count].sort_unstable();
    &keys[..count]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_order_values_then_indices_and_put_nan_last() {
        let values = [0.5, f32::NAN, -0.0, 0.0, f32::INFINITY, -3.0, f32::NEG_INFINITY, 0.5];
        let sorted = |key: fn(f32, usize) -> u64| {
            let mut keys: Vec<u64> = values.iter().enumerate().map(|(i, v)| key(*v, i)).collect();
            let all = keys.len();
            sort_smallest(&mut keys, all).iter().map(|key| key_index(*key)).collect::<Vec<_>>()
        };
        assert_eq!(sorted(descending_key), [4, 0, 7, 2, 3, 5, 6, 1]);
        assert_eq!(sorted(ascending_key), [6, 5, 2, 3, 0, 7, 4, 1]);
    }
}
