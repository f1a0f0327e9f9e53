//! The mask of inverted dropout: the CPU twin of `shaders/dropout_mask.wgsl`.

use crate::random::{draw, happens, threshold};
use crate::threads::{Parts, for_each};

/// Which elements are dropped, and what the others are multiplied by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DropoutSpec {
    /// Key of the draws: a function of (seed, epoch, step).
    pub key: u32,
    /// The dropout layer, counted from the input.
    pub layer: u32,
    /// Probability of dropping an element, in [0, 1).
    pub probability: f64,
}

impl DropoutSpec {
    /// The shader's `spec` array for a mask of `n_elements`.
    pub fn words(&self, n_elements: usize) -> [u32; 5] {
        [
            n_elements as u32,
            self.key,
            self.layer,
            threshold(self.probability),
            self.scale().to_bits(),
        ]
    }

    /// What keeps the expectation: 1 / (1 - p).
    fn scale(&self) -> f32 {
        (1.0 / (1.0 - self.probability)) as f32
    }
}

/// The CPU twin: `n_elements` of 0 or 1 / (1 - p).
pub fn on_cpu(n_elements: usize, spec: &DropoutSpec) -> Vec<f32> {
    const CHUNK: usize = 16 * 1024;
    let (limit, scale) = (threshold(spec.probability), spec.scale());
    let mut mask = vec![0f32; n_elements];
    let parts = Parts::new(&mut mask, CHUNK);
    for_each(parts.count(), &|chunk| {
        let first = (chunk * CHUNK) as u32;
        // SAFETY: each task has a part of its own.
        for (element, value) in (first..).zip(unsafe { parts.of(chunk) }) {
            let dropped = happens(draw(spec.key, element, spec.layer), limit);
            *value = if dropped { 0.0 } else { scale };
        }
    });
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_keeps_the_expectation() {
        let spec = DropoutSpec {
            key: 11,
            layer: 2,
            probability: 0.25,
        };
        let mask = on_cpu(100_000, &spec);
        let mean = mask.iter().sum::<f32>() / mask.len() as f32;
        assert!((mean - 1.0).abs() < 0.01, "{mean}");
        assert!(mask.iter().all(|&v| v == 0.0 || v == (4.0 / 3.0) as f32));
    }
}
