//! What a WebP file says about itself that its decoder does not look at first: whether it is whole, and
//! the size of the frames in it (the WebP container specification; RFC 9649).

use super::ImageError;

/// Bytes that decoding needs beside the pixels. Refuses a file that ends early, and a frame that is
/// larger than the picture, for which the decoder would make room.
pub(super) fn working_bytes(bytes: &[u8], (width, height): (u32, u32)) -> Result<u64, ImageError> {
    let stated = match bytes.get(4..8) {
        Some(&[a, b, c, d]) => u64::from(u32::from_le_bytes([a, b, c, d])) + 8,
        _ => 0,
    };
    if stated > bytes.len() as u64 {
        return Err(ImageError::Truncated(format!(
            "it has {} of the {stated} bytes that it should have",
            bytes.len()
        )));
    }
    let mut frames = Frames::default();
    frames.look_at(bytes.get(12..).unwrap_or_default(), false);
    if u64::from(frames.width) > u64::from(width) || u64::from(frames.height) > u64::from(height) {
        return Err(ImageError::Damaged(format!(
            "it has a frame of {} x {} pixels in a picture of {width} x {height}",
            frames.width, frames.height
        )));
    }
    let half_bytes_per_pixel = match () {
        // A canvas, a frame, and what that frame takes.
        () if frames.animated => 28,
        // Luma and chroma; the alpha plane as four bytes, then as one.
        () if frames.alpha => 13,
        () if frames.lossy => 3,
        () => 8,
    };
    Ok((u64::from(width) * u64::from(height)).saturating_mul(half_bytes_per_pixel) / 2)
}

#[derive(Default)]
struct Frames {
    /// The largest of any lossy frame.
    width: u16,
    height: u16,
    lossy: bool,
    alpha: bool,
    animated: bool,
}

impl Frames {
    /// Walks through chunks: four letters, a size, the content padded to even. A frame of an animation holds
    /// chunks, and no further frame.
    fn look_at(&mut self, mut chunks: &[u8], in_frame: bool) {
        while let Some((&[a, b, c, d, s0, s1, s2, s3], rest)) = chunks.split_first_chunk() {
            let size = u32::from_le_bytes([s0, s1, s2, s3]) as usize;
            let content = &rest[..size.min(rest.len())];
            match &[a, b, c, d] {
                b"VP8 " => self.lossy_frame(content),
                b"ALPH" => self.alpha = true,
                b"ANMF" if !in_frame => {
                    self.animated = true;
                    // Sixteen bytes say where and how long.
                    self.look_at(content.get(16..).unwrap_or_default(), true);
                }
                _ => {}
            }
            let padded = size.saturating_add(size % 2);
            chunks = rest.get(padded..).unwrap_or_default();
        }
    }

    /// A key frame: three bytes, a start code of three, width and height with two bits of scale.
    fn lossy_frame(&mut self, content: &[u8]) {
        self.lossy = true;
        if let Some(&[w0, w1, h0, h1]) = content.get(6..10) {
            self.width = self.width.max(u16::from_le_bytes([w0, w1]) & 0x3fff);
            self.height = self.height.max(u16::from_le_bytes([h0, h1]) & 0x3fff);
        }
    }
}
