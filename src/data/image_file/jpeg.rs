//! What a JPEG file says about itself that its decoder does not tell: whether it is whole, and the memory
//! that decoding needs beside its pixels (ITU-T T.81, annex B).

use super::ImageError;

/// Bytes of the coefficients that are kept until the last scan: those of a progressive file, and of one
/// whose components come one after another. Refuses a file without an end: its decoder would fill the
/// rest with grey and say nothing.
pub(super) fn working_bytes(bytes: &[u8]) -> Result<u64, ImageError> {
    let mut at = 2; // behind SOI
    let (mut coefficients, mut n_components, mut kept) = (0u64, 0u8, false);
    loop {
        let (marker, segment) = next_marker(bytes, at).ok_or_else(cut_short)?;
        if marker == 0xd9 {
            break;
        }
        if marker == 0x01 || (0xd0..=0xd8).contains(&marker) {
            at = segment; // stands alone
            continue;
        }
        let length = bytes.get(segment..segment + 2).ok_or_else(cut_short)?;
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        let body = bytes
            .get(segment + 2..segment + length.max(2))
            .ok_or_else(cut_short)?;
        match marker {
            0xc0..=0xcf if ![0xc4, 0xc8, 0xcc].contains(&marker) => {
                kept |= marker == 0xc2;
                n_components = body.get(5).copied().unwrap_or_default();
                coefficients = coefficients.max(of_frame(body));
            }
            0xda => kept |= body.first().is_some_and(|&of_scan| of_scan < n_components),
            _ => {}
        }
        at = segment + length.max(2);
    }
    Ok(if kept { coefficients } else { 0 })
}

fn cut_short() -> ImageError {
    ImageError::Truncated("the end marker of JPEG is missing".to_owned())
}

/// The next marker that is none of the stuffed zeros and restarts amid the entropy-coded data, and where
/// its segment begins.
fn next_marker(bytes: &[u8], from: usize) -> Option<(u8, usize)> {
    let rest = bytes.get(from..)?;
    rest.windows(2).enumerate().find_map(|(at, pair)| {
        let is_marker = pair[0] == 0xff && !matches!(pair[1], 0 | 0xff | 0xd0..=0xd7);
        is_marker.then(|| (pair[1], from + at + 2))
    })
}

/// Two bytes for each coefficient of a frame: whole blocks of 64, whole units of the largest sampling.
fn of_frame(body: &[u8]) -> u64 {
    let [_, h1, h0, w1, w0, _, components @ ..] = body else {
        return 0;
    };
    let height = u64::from(u16::from_be_bytes([*h1, *h0]));
    let width = u64::from(u16::from_be_bytes([*w1, *w0]));
    let sampling = || {
        let factors = components.chunks_exact(3).map(|component| component[1]);
        factors.map(|factors| (u64::from(factors >> 4), u64::from(factors & 15)))
    };
    let across = sampling()
        .map(|(across, _)| across)
        .max()
        .unwrap_or(1)
        .max(1);
    let down = sampling().map(|(_, down)| down).max().unwrap_or(1).max(1);
    let units = width.div_ceil(8 * across) * height.div_ceil(8 * down);
    sampling()
        .map(|(across, down)| units * across * down * 128)
        .sum()
}
