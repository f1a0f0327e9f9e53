//! The images of a folder in the parts of a data set.

use std::collections::HashMap;
use std::path::Path;

use super::Options;
use super::convert::Packed;
use super::error::ImageFolderError;
use super::scan::{Part, Scan};
use crate::data::fashion_mnist::LabeledImages;
use crate::data::idx::Images;
use crate::data::split::{SplitError, stratified};
use crate::random::mix;

/// Keeps the draws of the test split apart from those of the validation split.
const TEST_TAG: u64 = u64::from_be_bytes(*b"wf.test ");

/// Part and label of each image that is packed.
fn usable(scan: &Scan, packed: &Packed) -> Vec<(Part, u8)> {
    let mut bad = packed.bad.iter().map(|&(index, _)| index).peekable();
    let files = scan.files.iter().enumerate();
    let usable = files.filter(|(index, _)| bad.next_if_eq(index).is_none());
    usable.map(|(_, file)| (file.part, file.label)).collect()
}

pub(super) fn check_classes(
    scan: &Scan,
    packed: &Packed,
    folder: &Path,
) -> Result<(), ImageFolderError> {
    let count = |images: &mut dyn Iterator<Item = (Part, u8)>| {
        let mut counts = vec![0usize; scan.class_names.len()];
        for (part, label) in images {
            counts[usize::from(label)] += usize::from(part == Part::Train);
        }
        counts
    };
    let all = count(&mut scan.files.iter().map(|file| (file.part, file.label)));
    let usable = count(&mut usable(scan, packed).into_iter());
    for (label, name) in scan.class_names.iter().enumerate() {
        let (folder, name) = (folder.to_owned(), name.clone());
        match (all[label], usable[label]) {
            (0, _) => return Err(ImageFolderError::EmptyClass { folder, name }),
            (n_bad, 0) => {
                return Err(ImageFolderError::AllBad {
                    folder,
                    name,
                    n_bad,
                });
            }
            _ => {}
        }
    }
    Ok(())
}

/// A part that has a folder has images: training images never stand in for them.
pub(super) fn check_parts(
    scan: &Scan,
    packed: &Packed,
    folder: &Path,
) -> Result<(), ImageFolderError> {
    let usable = usable(scan, packed);
    let without = scan
        .parts
        .iter()
        .find(|part| !usable.iter().any(|(of, _)| of == *part));
    match without {
        None => Ok(()),
        Some(&part) => Err(ImageFolderError::EmptyPart {
            folder: folder.to_owned(),
            part: part.as_str(),
            n_bad: scan.files.iter().filter(|file| file.part == part).count(),
        }),
    }
}

pub(super) struct Divided {
    pub(super) train: LabeledImages,
    pub(super) test: LabeledImages,
    pub(super) validation: Option<Vec<u32>>,
}

/// As the folders say; where there is no test/, a part of the training images is set aside.
pub(super) fn divide(
    scan: &Scan,
    packed: Packed,
    options: &Options,
) -> Result<Divided, ImageFolderError> {
    let usable = usable(scan, &packed);
    let of_part = |wanted: Part| -> Vec<u32> {
        let parts = usable.iter().enumerate();
        let of_part = parts.filter(|(_, (part, _))| *part == wanted);
        of_part.map(|(index, _)| index as u32).collect()
    };
    let mut train = of_part(Part::Train);
    let mut test = of_part(Part::Test);
    if !scan.parts.contains(&Part::Test) {
        let labels: Vec<u8> = train.iter().map(|&at| usable[at as usize].1).collect();
        let key = mix(&[options.seed, TEST_TAG]);
        let n_classes = scan.class_names.len();
        let split = stratified(&labels, n_classes, options.test_fraction, key);
        let split = split.map_err(|reason| ImageFolderError::Test {
            folder: options.folder.to_owned(),
            reason: named(reason, &scan.class_names),
        })?;
        let picked = |indices: &[u32]| indices.iter().map(|&at| train[at as usize]).collect();
        (train, test) = (picked(&split.train), picked(&split.validation));
    }
    let validation = of_part(Part::Validation);
    let first = train.len() as u32;
    let given =
        (!validation.is_empty()).then(|| (first..first + validation.len() as u32).collect());
    train.extend(validation);
    // The test images first: the others then take the place of all.
    let test = pick(&packed, &usable, &test);
    Ok(Divided {
        train: keep(packed, &usable, &train),
        test,
        validation: given,
    })
}

/// A class by its name instead of its number.
fn named(error: SplitError, class_names: &[String]) -> String {
    match error {
        SplitError::NoTrainingImage {
            class, n_images, ..
        } => format!(
            "class {} has only {n_images} image{}",
            class_names[class],
            if n_images == 1 { "" } else { "s" }
        ),
        SplitError::NoValidationImage { n_images, fraction } => {
            format!("{fraction:?} of {n_images} images is no image at all")
        }
        other => other.to_string(),
    }
}

/// A copy of some images.
fn pick(packed: &Packed, usable: &[(Part, u8)], indices: &[u32]) -> LabeledImages {
    let n_values = packed.n_values();
    let mut pixels = Vec::with_capacity(indices.len() * n_values);
    for &index in indices {
        pixels.extend_from_slice(&packed.pixels[index as usize * n_values..][..n_values]);
    }
    labeled(
        [packed.channels, packed.height, packed.width],
        pixels,
        usable,
        indices,
    )
}

/// These images without the others, in the memory of all. The indices ascend: images only move toward the
/// start, over what is no longer wanted.
fn keep(packed: Packed, usable: &[(Part, u8)], indices: &[u32]) -> LabeledImages {
    assert!(indices.is_sorted(), "a later image would be lost");
    let n_values = packed.n_values();
    let mut pixels = packed.pixels;
    for (to, &from) in indices.iter().enumerate() {
        let from = from as usize * n_values;
        pixels.copy_within(from..from + n_values, to * n_values);
    }
    pixels.truncate(indices.len() * n_values);
    pixels.shrink_to_fit();
    labeled(
        [packed.channels, packed.height, packed.width],
        pixels,
        usable,
        indices,
    )
}

fn labeled(
    [channels, height, width]: [usize; 3],
    pixels: Vec<u8>,
    usable: &[(Part, u8)],
    indices: &[u32],
) -> LabeledImages {
    let labels = indices.iter().map(|&index| usable[index as usize].1);
    LabeledImages {
        images: Images {
            n_images: indices.len(),
            channels,
            height,
            width,
            pixels,
        },
        labels: labels.collect(),
    }
}

/// How many test images are also training images, and how many images another class has too.
pub(super) fn count_twins(train: &LabeledImages, test: &LabeledImages) -> (usize, usize) {
    let mut seen: HashMap<&[u8], u8> = HashMap::new();
    let mut n_in_two_classes = 0;
    for (index, &label) in train.labels.iter().enumerate() {
        let first = *seen.entry(train.images.image(index)).or_insert(label);
        n_in_two_classes += usize::from(first != label);
    }
    let mut n_leaked = 0;
    for (index, &label) in test.labels.iter().enumerate() {
        if let Some(&of_train) = seen.get(test.images.image(index)) {
            n_leaked += 1;
            n_in_two_classes += usize::from(of_train != label);
        }
    }
    (n_leaked, n_in_two_classes)
}
