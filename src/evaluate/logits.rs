//! The logits themselves, for comparing weft with other programs.

use anyhow::Result;
use burn::data::dataloader::DataLoader;

use crate::data::loader::{Order, ResidentLoader, ResidentSplit};
use crate::model::{Classifier, Mode};

/// The logits of a split, `[image, class]`, as a file of NumPy's format 1.0
/// (<https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>).
pub fn npy(model: &Classifier, split: ResidentSplit, batch_size: usize) -> Result<Vec<u8>> {
    let loader = ResidentLoader::new(split, batch_size, Order::Stored);
    let (mut numbers, mut n_classes) = (Vec::new(), 0);
    for batch in loader.iter() {
        let logits = model.forward(batch?.images, Mode::Inference);
        n_classes = logits.shape()[1];
        let logits = logits.try_into_data_as::<f32>()?;
        numbers.extend(logits.iter::<f32>().flat_map(f32::to_le_bytes));
    }
    let shape = format!("({}, {n_classes})", loader.num_items());
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
    // Magic, version, the header's length and the header together are a multiple of 64 bytes.
    let padded = (header.len() + 11).next_multiple_of(64) - 11;
    header = format!("{header:padded$}\n");
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(numbers);
    Ok(file)
}
