//! Interlaced GIF: the decoder (gif 0.14.2) calls about one small interlaced file in a thousand cut short,
//! which its authors have mended but not released. So the file is decoded as if its rows were stored in
//! order, and the rows are put in order here (GIF89a specification, appendix E).

/// The first frame of a file, if its rows are interlaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interlaced {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
    /// Where the byte with the flag stands.
    flags_at: usize,
}

const INTERLACED: u8 = 0x40;

impl Interlaced {
    /// None where the first frame is not interlaced, is not found, or reaches over the picture's edge.
    pub(super) fn find(bytes: &[u8]) -> Option<Self> {
        let short = |at: usize| {
            Some(usize::from(u16::from_le_bytes([
                *bytes.get(at)?,
                *bytes.get(at + 1)?,
            ])))
        };
        let (width, height) = (short(6)?, short(8)?);
        let mut at = 13 + color_table_bytes(*bytes.get(10)?);
        // Extensions before the frame: two bytes, then blocks that say their length, up to an empty one.
        while *bytes.get(at)? == 0x21 {
            at += 2;
            loop {
                let block = usize::from(*bytes.get(at)?);
                at += 1 + block;
                if block == 0 {
                    break;
                }
            }
        }
        let frame = Self {
            left: short(at + 1)?,
            top: short(at + 3)?,
            width: short(at + 5)?,
            height: short(at + 7)?,
            flags_at: at + 9,
        };
        let is_interlaced = bytes[at] == 0x2c && bytes.get(at + 9)? & INTERLACED != 0;
        let is_inside = frame.left + frame.width <= width && frame.top + frame.height <= height;
        (is_interlaced && is_inside).then_some(frame)
    }

    /// The file with rows that are said to be in order.
    pub(super) fn straightened(self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        bytes[self.flags_at] &= !INTERLACED;
        bytes
    }

    /// Puts the rows of the frame in order. `pixels`: the whole picture, `row_bytes` a row.
    pub(super) fn sort_rows(self, pixels: &mut [u8], row_bytes: usize, bytes_per_pixel: usize) {
        let stored = pixels.to_vec();
        let columns = self.left * bytes_per_pixel..(self.left + self.width) * bytes_per_pixel;
        for (from, to) in self.order().enumerate() {
            let row = |row: usize| {
                let start = (self.top + row) * row_bytes;
                start + columns.start..start + columns.end
            };
            pixels[row(to)].copy_from_slice(&stored[row(from)]);
        }
    }

    /// The row that each stored row is: every eighth, those between, those between again, the rest.
    fn order(self) -> impl Iterator<Item = usize> {
        [(0, 8), (4, 8), (2, 4), (1, 2)]
            .into_iter()
            .flat_map(move |(first, step)| (first..self.height).step_by(step))
    }
}

/// From the byte of flags of the screen.
fn color_table_bytes(flags: u8) -> usize {
    match flags & 0x80 {
        0 => 0,
        _ => 3 << ((flags & 7) + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Backdrop, decode};

    #[test]
    fn rows_come_back_in_order() {
        for height in 1..40u16 {
            let in_order = gif(height, false);
            let interlaced = gif(height, true);
            assert_ne!(in_order, interlaced);
            let decoded = |bytes: &[u8]| decode(bytes, Backdrop::White).unwrap();
            assert_eq!(decoded(&interlaced), decoded(&in_order), "{height} rows");
        }
    }

    /// Written by hand: a screen with a frame in its middle, a colour per row, codes of 9 bits that are
    /// never compressed (a clear code before each row).
    fn gif(height: u16, is_interlaced: bool) -> Vec<u8> {
        let (width, [low, high]) = (5, (height + 3).to_le_bytes());
        let mut bytes = b"GIF89a".to_vec();
        bytes.extend([width + 3, 0, low, high, 0xf7, 0, 0]);
        bytes.extend((0..=255u8).flat_map(|grey| [grey, 255 - grey, grey / 2]));
        bytes.extend([0x21, 0xfe, 2, b'h', b'i', 0]);
        let [low, high] = height.to_le_bytes();
        let flags = if is_interlaced { 0x40 } else { 0 };
        bytes.extend([0x2c, 2, 0, 1, 0, width, 0, low, high, flags, 8]);
        let rows: Vec<u16> = match is_interlaced {
            false => (0..height).collect(),
            true => {
                let passes = [(0, 8), (4, 8), (2, 4), (1, 2)].into_iter();
                let rows = passes.flat_map(|(first, step)| (first..height).step_by(step));
                rows.collect()
            }
        };
        let mut codes = Vec::new();
        for row in rows {
            codes.push(256);
            codes.extend(std::iter::repeat_n(row * 6 + 3, usize::from(width)));
        }
        codes.push(257);
        let bits: Vec<bool> = codes
            .iter()
            .flat_map(|code| (0..9).map(move |bit| code >> bit & 1 == 1))
            .collect();
        let packed = bits.chunks(8).map(|bits| {
            let set = bits.iter().enumerate().filter(|(_, bit)| **bit);
            set.fold(0u8, |byte, (at, _)| byte | 1 << at)
        });
        let packed: Vec<u8> = packed.collect();
        for block in packed.chunks(255) {
            bytes.push(block.len() as u8);
            bytes.extend(block);
        }
        bytes.extend([0, 0x3b]);
        bytes
    }
}
