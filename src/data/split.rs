//! Divides the training images into train and validation, class by class. Pure: labels and a seed
//! in, index lists out.

use crate::random::Stream;

/// Keeps these draws apart from everything else that is keyed by the run's seed.
const TAG: u64 = u64::from_be_bytes(*b"wf.split");

/// Image indices, ascending, so that reading them walks forward through the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    pub train: Vec<u32>,
    pub validation: Vec<u32>,
}

impl Split {
    /// All of `0..n_images` but those that validate train.
    pub(super) fn without(n_images: u32, validation: &[u32]) -> Self {
        let mut validation = validation.to_vec();
        validation.sort_unstable();
        let is_train = |index: &u32| validation.binary_search(index).is_err();
        Self {
            train: (0..n_images).filter(is_train).collect(),
            validation,
        }
    }
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SplitError {
    #[error("the validation fraction is {0:?}\nhint: give a number from 0 up to, not including, 1")]
    Fraction(f64),
    #[error(
        "image {image_index} has label {label}, but the {n_classes} classes are 0 to {}\n\
         hint: check the label file, or the number of classes",
        n_classes.saturating_sub(1)
    )]
    Label {
        image_index: usize,
        label: u8,
        n_classes: usize,
    },
    #[error(
        "class {class} would have no training image: a validation fraction of {fraction:?} takes all \
         {n_images} of its images\nhint: lower the fraction, or add images to class {class}"
    )]
    NoTrainingImage {
        class: usize,
        n_images: usize,
        fraction: f64,
    },
    #[error(
        "a validation fraction of {fraction:?} of {n_images} images is no image at all\n\
         hint: raise the fraction, or set it to 0 to train without a validation split"
    )]
    NoValidationImage { n_images: usize, fraction: f64 },
    #[error("{0} images are more than the 2^32 that one data set may hold\nhint: divide it")]
    TooManyImages(usize),
}

/// Puts `round(n_images * validation_fraction)` images into validation, each class in proportion to
/// within one image. A class that no label names is left alone: that is for the caller to judge.
pub fn stratified(
    labels: &[u8],
    n_classes: usize,
    validation_fraction: f64,
    seed: u64,
) -> Result<Split, SplitError> {
    // Written so that NaN fails too.
    if !(0.0..1.0).contains(&validation_fraction) {
        return Err(SplitError::Fraction(validation_fraction));
    }
    let classes = images_by_class(labels, n_classes)?;
    let class_sizes: Vec<usize> = classes.iter().map(Vec::len).collect();
    let quotas = validation_counts(&class_sizes, validation_fraction);
    check(&class_sizes, &quotas, validation_fraction)?;

    let mut split = Split {
        train: Vec::new(),
        validation: Vec::new(),
    };
    for (class, (mut images, quota)) in classes.into_iter().zip(quotas).enumerate() {
        Stream::new(&[seed, class as u64, TAG]).shuffle(&mut images);
        split.validation.extend(&images[..quota]);
        split.train.extend(&images[quota..]);
    }
    split.train.sort_unstable();
    split.validation.sort_unstable();
    Ok(split)
}

fn images_by_class(labels: &[u8], n_classes: usize) -> Result<Vec<Vec<u32>>, SplitError> {
    if u32::try_from(labels.len()).is_err() {
        return Err(SplitError::TooManyImages(labels.len()));
    }
    let mut classes = vec![Vec::new(); n_classes];
    for (image_index, &label) in labels.iter().enumerate() {
        classes
            .get_mut(usize::from(label))
            .ok_or(SplitError::Label {
                image_index,
                label,
                n_classes,
            })?
            .push(image_index as u32);
    }
    Ok(classes)
}

/// The largest-remainder method: each class gets the whole part of its share, and the images that
/// are left over go to the classes that lost the largest fractions (the first class among equals).
fn validation_counts(class_sizes: &[usize], fraction: f64) -> Vec<usize> {
    let n_images: usize = class_sizes.iter().sum();
    let total = (n_images as f64 * fraction).round() as usize;
    let shares: Vec<f64> = class_sizes
        .iter()
        .map(|&size| size as f64 * fraction)
        .collect();
    let mut counts: Vec<usize> = shares.iter().map(|share| share.floor() as usize).collect();

    let left_over = total.saturating_sub(counts.iter().sum());
    let mut by_remainder: Vec<usize> = (0..class_sizes.len())
        .filter(|&class| class_sizes[class] > 0)
        .collect();
    by_remainder.sort_by(|&a, &b| shares[b].fract().total_cmp(&shares[a].fract()));
    for &class in by_remainder.iter().take(left_over) {
        counts[class] += 1;
    }
    counts
}

fn check(class_sizes: &[usize], quotas: &[usize], fraction: f64) -> Result<(), SplitError> {
    let n_images: usize = class_sizes.iter().sum();
    if fraction > 0.0 && quotas.iter().sum::<usize>() == 0 {
        return Err(SplitError::NoValidationImage { n_images, fraction });
    }
    match class_sizes
        .iter()
        .zip(quotas)
        .position(|(&size, &quota)| size > 0 && quota >= size)
    {
        Some(class) => Err(SplitError::NoTrainingImage {
            class,
            n_images: class_sizes[class],
            fraction,
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counts(indices: &[u32], labels: &[u8], n_classes: usize) -> Vec<usize> {
        let mut counts = vec![0; n_classes];
        for &image in indices {
            counts[usize::from(labels[image as usize])] += 1;
        }
        counts
    }

    #[test]
    fn fashion_mnist_gives_1200_a_class() {
        let labels: Vec<u8> = (0..60_000u32)
            .map(|i| (i.wrapping_mul(7) % 10) as u8)
            .collect();
        let split = stratified(&labels, 10, 0.2, 42).unwrap();
        assert_eq!(
            (split.train.len(), split.validation.len()),
            (48_000, 12_000)
        );
        assert_eq!(counts(&split.validation, &labels, 10), [1_200; 10]);
    }

    #[test]
    fn a_share_just_under_a_whole_number_is_not_lost() {
        // 100 * 0.29 is 28.999999999999996 in f64.
        let labels: Vec<u8> = (0..1_000).map(|i| (i % 10) as u8).collect();
        let split = stratified(&labels, 10, 0.29, 1).unwrap();
        assert_eq!(counts(&split.validation, &labels, 10), [29; 10]);
    }

    #[test]
    fn the_largest_remainders_get_what_is_left_over() {
        // Shares 2.25, 1.5, 0.75 of a total of 4.5, which rounds to 5.
        assert_eq!(validation_counts(&[9, 6, 3], 0.25), [2, 2, 1]);
        assert_eq!(validation_counts(&[9, 0, 3], 0.25), [2, 0, 1]);
    }

    #[test]
    fn the_split_never_changes() {
        let labels = [0, 0, 0, 0, 0, 1, 1, 1, 1, 1];
        assert_eq!(
            stratified(&labels, 2, 0.4, 42).unwrap().validation,
            [0, 1, 8, 9]
        );
    }

    #[test]
    fn fraction_0_means_no_validation() {
        let split = stratified(&[0, 1, 2], 3, 0.0, 1).unwrap();
        assert_eq!(
            split,
            Split {
                train: vec![0, 1, 2],
                validation: vec![]
            }
        );
    }

    #[test]
    fn impossible_splits_say_why() {
        let fails = |labels: &[u8], fraction: f64| stratified(labels, 2, fraction, 1).unwrap_err();
        for fraction in [-0.1, 1.0, 2.0, f64::INFINITY] {
            assert_eq!(fails(&[0, 1], fraction), SplitError::Fraction(fraction));
        }
        assert!(matches!(fails(&[0, 1], f64::NAN), SplitError::Fraction(_)));
        assert_eq!(
            fails(&[0, 3], 0.2),
            SplitError::Label {
                image_index: 1,
                label: 3,
                n_classes: 2
            }
        );
        assert_eq!(
            fails(&[0, 0, 0, 0, 1], 0.8),
            SplitError::NoTrainingImage {
                class: 1,
                n_images: 1,
                fraction: 0.8
            }
        );
        let nothing = fails(&[0, 0, 1, 1], 0.01);
        assert_eq!(
            nothing,
            SplitError::NoValidationImage {
                n_images: 4,
                fraction: 0.01
            }
        );
        assert!(
            nothing.to_string().contains("0.01 of 4 images"),
            "{nothing}"
        );
        assert!(fails(&[0, 0, 0, 0, 1], 0.8).to_string().contains("class 1"));
        assert!(matches!(
            fails(&[], 0.2),
            SplitError::NoValidationImage { n_images: 0, .. }
        ));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn disjoint_complete_proportional_and_pure(
            labels in prop::collection::vec(0u8..5, 20..400),
            fraction in 0.05f64..0.6,
            seed: u64,
        ) {
            let Ok(split) = stratified(&labels, 5, fraction, seed) else {
                return Err(TestCaseError::reject("too few images of a class"));
            };
            prop_assert_eq!(&split, &stratified(&labels, 5, fraction, seed).unwrap());
            prop_assert!(split.train.is_sorted() && split.validation.is_sorted());
            let mut all = [split.train.clone(), split.validation.clone()].concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..labels.len() as u32).collect::<Vec<_>>());

            let expected = (labels.len() as f64 * fraction).round() as usize;
            prop_assert_eq!(split.validation.len(), expected);
            let in_validation = counts(&split.validation, &labels, 5);
            for (class, &n) in in_validation.iter().enumerate() {
                let size = labels.iter().filter(|&&l| usize::from(l) == class).count();
                prop_assert!((n as f64 - size as f64 * fraction).abs() < 1.0 + 1e-9);
            }
        }

        #[test]
        fn differs_by_seed(seed: u64) {
            let labels: Vec<u8> = (0..500).map(|i| (i % 5) as u8).collect();
            let split = |seed| stratified(&labels, 5, 0.2, seed).unwrap();
            prop_assert_ne!(split(seed), split(seed.wrapping_add(1)));
        }
    }
}
