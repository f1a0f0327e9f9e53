//! The order in which an epoch reads the training images: a function of (seed, epoch) alone, so a
//! run that is resumed in the middle of an epoch finds the rest of it unchanged.

use crate::random::Stream;

/// Keeps these draws apart from everything else that is keyed by the run's seed.
const TAG: u64 = u64::from_be_bytes(*b"wf.order");

/// A permutation of `0..n`.
///
/// # Panics
/// When `n` does not fit an index of 32 bits.
#[must_use]
pub fn epoch_order(n: usize, seed: u64, epoch: u64) -> Vec<u32> {
    let n = u32::try_from(n).expect("a data set holds fewer than 2^32 images");
    let mut order: Vec<u32> = (0..n).collect();
    Stream::new(&[seed, epoch, TAG]).shuffle(&mut order);
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_order_never_changes() {
        assert_eq!(epoch_order(10, 42, 1), [5, 9, 1, 6, 0, 2, 7, 4, 3, 8]);
    }

    #[test]
    fn every_image_reaches_every_place() {
        let mut places = [[0u32; 4]; 4];
        for epoch in 0..4_000 {
            for (place, &image) in epoch_order(4, 0, epoch).iter().enumerate() {
                places[place][image as usize] += 1;
            }
        }
        assert!(
            places.iter().flatten().all(|n| (850..1_150).contains(n)),
            "{places:?}"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn is_a_permutation_and_pure(n in 0usize..500, seed: u64, epoch: u64) {
            let order = epoch_order(n, seed, epoch);
            prop_assert_eq!(&order, &epoch_order(n, seed, epoch));
            let mut sorted = order;
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..n as u32).collect::<Vec<_>>());
        }

        #[test]
        fn differs_between_epochs_and_seeds(seed: u64, epoch in 0u64..10_000) {
            let order = epoch_order(100, seed, epoch);
            prop_assert_ne!(&order, &epoch_order(100, seed, epoch + 1));
            prop_assert_ne!(&order, &epoch_order(100, seed.wrapping_add(1), epoch));
        }
    }
}
