//! safetensors (<https://github.com/huggingface/safetensors#format>): the length of a JSON header, the
//! header, then the numbers. Written here and not by the crate of that name, whose metadata come in
//! another order each time; a test reads it with that crate.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::{Value, json};

use super::Exported;
use super::layers::{Layer, Operation, flat};

/// The header ends where the numbers may be read in place.
const ALIGNMENT: usize = 8;

/// The bytes of a file: the state_dict of the module that [`super::pytorch`] prints.
pub(super) fn to_bytes(model: &Exported) -> Result<Vec<u8>> {
    let metadata: BTreeMap<&str, &str> = [("format", "pt")]
        .into_iter()
        .chain(
            model
                .metadata
                .iter()
                .map(|(key, value)| (*key, value.as_str())),
        )
        .collect();
    file(&metadata, tensors(model))
}

/// A tensor of a file: name, dtype, shape, numbers in little-endian.
pub(crate) type Tensor = (String, &'static str, Vec<usize>, Vec<u8>);

/// The bytes of a file with these tensors, in this order. Those of the largest numbers come first, so
/// that each number lies at a multiple of its size.
pub(crate) fn file(metadata: &BTreeMap<&str, &str>, tensors: Vec<Tensor>) -> Result<Vec<u8>> {
    let mut header: BTreeMap<String, Value> = BTreeMap::new();
    if !metadata.is_empty() {
        header.insert("__metadata__".to_owned(), json!(metadata));
    }
    let mut numbers = Vec::new();
    for (name, dtype, shape, bytes) in tensors {
        let start = numbers.len();
        numbers.extend(bytes);
        let offsets = [start, numbers.len()];
        let entry = json!({ "dtype": dtype, "shape": shape, "data_offsets": offsets });
        header.insert(name, entry);
    }
    let mut header = serde_json::to_vec(&header)?;
    header.resize(header.len().next_multiple_of(ALIGNMENT), b' ');
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header);
    file.extend(numbers);
    Ok(file)
}

/// The integers come first.
fn tensors(model: &Exported) -> Vec<Tensor> {
    let is_norm = |layer: &&Layer| matches!(layer.operation, Operation::BatchNorm { .. });
    let step = model.step.to_le_bytes().to_vec();
    // PyTorch's batch norm counts the batches that it has seen in training: one in each step.
    let layers = flat(&model.layers);
    let counts = layers.iter().copied().filter(is_norm).map(|layer| {
        let name = format!("{}.num_batches_tracked", layer.name);
        (name, "I64", Vec::new(), step.clone())
    });
    let weights = layers.iter().copied().flat_map(Layer::weights);
    let weights =
        weights.map(|(name, weights)| (name, "F32", weights.shape.clone(), weights.to_bytes()));
    counts.chain(weights).collect()
}
