//! Counter-based draws of the kernels: the CPU twin of `shaders/random.wgsl`, bit for bit.

/// 32-bit finaliser "lowbias32" (constants found by C. Wellons, "Hash Prospector", 2018).
pub fn mix32(value: u32) -> u32 {
    let mut x = value;
    x ^= x >> 16;
    x = x.wrapping_mul(0x7feb_352d);
    x ^= x >> 15;
    x = x.wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

/// A draw of 32 bits: a pure function of (key, item, counter).
pub fn draw(key: u32, item: u32, counter: u32) -> u32 {
    mix32(mix32(key ^ mix32(item)).wrapping_add(counter.wrapping_mul(0x9e37_79b9)))
}

/// True with probability threshold / 2^24.
pub fn happens(bits: u32, threshold: u32) -> bool {
    (bits >> 8) < threshold
}

/// A probability in [0, 1] as the threshold that [`happens`] takes.
pub fn threshold(probability: f64) -> u32 {
    (probability.clamp(0.0, 1.0) * f64::from(1u32 << 24)).round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_uniform_enough_and_pure() {
        let n = 100_000;
        let half = threshold(0.5);
        let hits = (0..n)
            .filter(|&item| happens(draw(7, item, 3), half))
            .count();
        assert!((hits as f64 / f64::from(n) - 0.5).abs() < 0.01, "{hits}");
        assert_eq!(draw(1, 2, 3), draw(1, 2, 3));
        assert_ne!(draw(1, 2, 3), draw(1, 2, 4));
        assert_ne!(draw(1, 2, 3), draw(1, 3, 3));
    }

    #[test]
    fn certain_and_impossible_events() {
        for item in 0..1000 {
            assert!(happens(draw(1, item, 0), threshold(1.0)));
            assert!(!happens(draw(1, item, 0), threshold(0.0)));
        }
    }
}
