//! The logits themselves, for comparing weft with other programs.

/// Logits, `[image, class]`, as a file of NumPy's format 1.0
/// (<https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>).
#[must_use]
pub fn npy(logits: &[f32], n_classes: usize) -> Vec<u8> {
    let shape = format!("({}, {n_classes})", logits.len() / n_classes.max(1));
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
    // Magic, version, the header's length and the header together are a multiple of 64 bytes.
    let padded = (header.len() + 11).next_multiple_of(64) - 11;
    header = format!("{header:padded$}\n");
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(logits.iter().flat_map(|logit| logit.to_le_bytes()));
    file
}
