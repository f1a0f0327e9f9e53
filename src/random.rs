//! The host's randomness: a pure function of its key, so that a resumed run draws what an
//! uninterrupted one would have drawn. Nothing here is stored in a checkpoint.
//!
//! The mixing function and its constants are those of SplitMix64: Steele, Lea and Flood, "Fast
//! splittable pseudorandom number generators" (OOPSLA 2014), in Sebastiano Vigna's public-domain
//! variant (<https://prng.di.unimi.it/splitmix64.c>). It is not for secrets.

/// 2^64 divided by the golden ratio, made odd: consecutive multiples are spread over all of u64.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// Turns a key of any length into 64 well mixed bits. The order and the number of the parts count.
#[must_use]
pub fn mix(parts: &[u64]) -> u64 {
    // Starting from the length keeps `[a]` and `[a, 0]` apart.
    let start = parts.len() as u64;
    parts.iter().fold(start, |state, part| {
        finalise((state ^ part).wrapping_add(GAMMA))
    })
}

/// A bijection of u64 in which every input bit reaches every output bit.
fn finalise(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A sequence of draws under one key. Make one where it is needed and drop it; never store it.
#[derive(Debug, Clone)]
pub struct Stream {
    key: u64,
    counter: u64,
}

impl Stream {
    /// Give each purpose a tag of its own among `parts`, or two purposes draw the same numbers.
    #[must_use]
    pub fn new(parts: &[u64]) -> Self {
        Self {
            key: mix(parts),
            counter: 0,
        }
    }

    pub fn next_u64(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(1);
        finalise(self.key.wrapping_add(self.counter.wrapping_mul(GAMMA)))
    }

    /// A whole number in `0..n`, each equally likely (Lemire, "Fast random integer generation in an
    /// interval", 2019: the high half of a product, rejecting the draws that would favour some).
    ///
    /// # Panics
    /// When `n` is 0: the range is empty.
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "a draw below 0 does not exist");
        let surplus = n.wrapping_neg() % n; // 2^64 mod n
        loop {
            let product = u128::from(self.next_u64()) * u128::from(n);
            if low_half(product) >= surplus {
                return high_half(product);
            }
        }
    }

    /// In `[0, 1)`, a multiple of 2^-53.
    pub fn uniform(&mut self) -> f64 {
        const STEP: f64 = 1.0 / (1u64 << 53) as f64;
        (self.next_u64() >> 11) as f64 * STEP
    }

    /// Mean 0, standard deviation 1 (Box and Muller 1958). The second value of the pair is thrown
    /// away: keeping it would be state. `ln` and `cos` are the system's, so the last bit may
    /// differ between platforms.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt(); // 1 - u is never 0
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Fisher and Yates: each order is equally likely.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last as u64 + 1) as usize;
            items.swap(last, other);
        }
    }
}

fn low_half(product: u128) -> u64 {
    product as u64
}

fn high_half(product: u128) -> u64 {
    (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_splitmix64() {
        // The published first outputs of splitmix64 from the state 1234567.
        let mut stream = Stream {
            key: 1_234_567,
            counter: 0,
        };
        let drawn: Vec<u64> = (0..5).map(|_| stream.next_u64()).collect();
        let published = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        assert_eq!(drawn, published);
    }

    /// A change here changes every shuffle and every initial weight: old runs no longer resume
    /// onto the same trajectory. The values come from a second implementation, in Python.
    #[test]
    fn the_values_never_change() {
        assert_eq!(mix(&[]), 0);
        assert_eq!(mix(&[0]), 10_451_216_379_200_822_465);
        assert_eq!(mix(&[1, 2, 3]), 74_078_413_316_773_926);
        let mut stream = Stream::new(&[42, 1]);
        let below: Vec<u64> = (0..8).map(|_| stream.below(100)).collect();
        assert_eq!(below, [23, 59, 97, 51, 82, 24, 42, 65]);
        assert!((stream.uniform() - 0.323_976_771_101_228_7).abs() < 1e-15);
        assert!((stream.normal() - 0.066_360_971_027_973_36).abs() < 1e-12);
    }

    #[test]
    fn order_and_length_of_the_key_count() {
        let keys: [&[u64]; 6] = [&[], &[0], &[0, 0], &[1, 2], &[2, 1], &[1, 2, 0]];
        let mixed: std::collections::HashSet<u64> = keys.iter().map(|key| mix(key)).collect();
        assert_eq!(mixed.len(), keys.len());
    }

    #[test]
    fn below_reaches_all_values_evenly() {
        let mut stream = Stream::new(&[7]);
        let mut counts = [0u32; 6];
        for _ in 0..60_000 {
            counts[stream.below(6) as usize] += 1;
        }
        // Chi-squared with 5 degrees of freedom exceeds 25 once in 7,000 keys; this key is fixed.
        let chi_squared: f64 = counts
            .iter()
            .map(|&n| (f64::from(n) - 10_000.0).powi(2) / 10_000.0)
            .sum();
        assert!(chi_squared < 25.0, "{counts:?}");
        assert_eq!(stream.below(1), 0);
        assert!(stream.below(u64::MAX) < u64::MAX);
    }

    #[test]
    fn uniform_and_normal_have_their_moments() {
        let mut stream = Stream::new(&[11]);
        let n = 50_000;
        let uniform: Vec<f64> = (0..n).map(|_| stream.uniform()).collect();
        let normal: Vec<f64> = (0..n).map(|_| stream.normal()).collect();
        assert!(uniform.iter().all(|u| (0.0..1.0).contains(u)));
        assert!(normal.iter().all(|z| z.is_finite()));
        let mean = |values: &[f64]| values.iter().sum::<f64>() / f64::from(n);
        let square = |values: &[f64]| values.iter().map(|v| v * v).sum::<f64>() / f64::from(n);
        assert!((mean(&uniform) - 0.5).abs() < 0.006);
        assert!((square(&uniform) - 1.0 / 3.0).abs() < 0.006);
        assert!(mean(&normal).abs() < 0.02);
        assert!((square(&normal) - 1.0).abs() < 0.03);
        let within = normal.iter().filter(|z| z.abs() < 1.96).count() as f64 / f64::from(n);
        assert!((within - 0.95).abs() < 0.005);
    }
}
