//! The IDX format of MNIST and its relatives, read and written on plain bytes.
//!
//! A file is `00 00`, the element type (`08`: unsigned byte), the number of dimensions, each
//! dimension as a big-endian u32, then the elements. The bytes come from disks and networks, so
//! nothing here trusts a length: no read panics, and no allocation outgrows the input or its header.

use std::io::Read;

use flate2::read::MultiGzDecoder;

/// The most a file may hold once decompressed: twenty times MNIST, far below any machine's memory.
pub const MAX_CONTENT_BYTES: usize = 1 << 30;

const UNSIGNED_BYTE: u8 = 0x08;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Images, `pixels` as `[image, channel, row, column]`; 0 is the background.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    pub n_images: usize,
    /// 1 is grey, as IDX files are; 3 are red, green and blue.
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    pub pixels: Vec<u8>,
}

impl Images {
    /// Bytes of an image.
    pub fn n_values(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// The bytes of an image, `[channel, row, column]`.
    pub fn image(&self, index: usize) -> &[u8] {
        &self.pixels[index * self.n_values()..][..self.n_values()]
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdxError {
    #[error("not an IDX file: expected it to begin with 00 00, found {:02x} {:02x}", .found[0], .found[1])]
    Magic { found: [u8; 2] },
    #[error("expected IDX element type 08 (unsigned byte), found {found:02x}")]
    ElementType { found: u8 },
    #[error("expected an IDX file of {expected} dimensions, found {found}")]
    Rank { expected: &'static str, found: u8 },
    #[error("cut short: expected {expected} bytes, found {found}")]
    Truncated { expected: usize, found: usize },
    #[error("bytes after the end: expected {expected} bytes, found at least {found}")]
    TrailingBytes { expected: usize, found: usize },
    #[error(
        "too large: expected at most {MAX_CONTENT_BYTES} bytes, found dimensions {dimensions:?}"
    )]
    TooLarge { dimensions: Vec<u32> },
    #[error("empty: expected every dimension to be at least 1, found {dimensions:?}")]
    Empty { dimensions: Vec<u32> },
    #[error("damaged gzip: expected a whole stream, found after {after} decoded bytes: {reason}")]
    Gzip { after: usize, reason: String },
}

/// Reads a rank-3 file: `[image, row, column]`.
pub fn read_images(bytes: &[u8]) -> Result<Images, IdxError> {
    let (header, content) = split(bytes)?;
    let [n_images, height, width] = header.sizes[..] else {
        return Err(header.wrong_rank("3 (images)"));
    };
    Ok(Images {
        n_images,
        channels: 1,
        height,
        width,
        pixels: content.to_vec(),
    })
}

/// Reads a rank-1 file: one label per image.
pub fn read_labels(bytes: &[u8]) -> Result<Vec<u8>, IdxError> {
    let (header, content) = split(bytes)?;
    match header.sizes[..] {
        [_] => Ok(content.to_vec()),
        _ => Err(header.wrong_rank("1 (labels)")),
    }
}

/// Gunzips an IDX file that begins with the gzip magic (one member or several) and copies any other.
///
/// The IDX header is read first and bounds the rest, so that a decompression bomb is an error
/// after at most one byte too many.
pub fn decompress(bytes: &[u8]) -> Result<Vec<u8>, IdxError> {
    if bytes.starts_with(&GZIP_MAGIC) {
        read_bounded(MultiGzDecoder::new(bytes))
    } else {
        read_bounded(bytes)
    }
}

/// The exact opposite of [`read_images`]: grey images. The dimensions must fit in 32 bits, as the format says.
pub fn write_images(images: &Images) -> Vec<u8> {
    write(
        &[images.n_images, images.height, images.width],
        &images.pixels,
    )
}

/// The exact opposite of [`read_labels`].
pub fn write_labels(labels: &[u8]) -> Vec<u8> {
    write(&[labels.len()], labels)
}

struct Header {
    /// The rank byte as found, for messages.
    rank: u8,
    sizes: Vec<usize>,
    /// Bytes of the header itself, and of the whole file.
    length: usize,
    file_length: usize,
}

impl Header {
    fn wrong_rank(&self, expected: &'static str) -> IdxError {
        IdxError::Rank {
            expected,
            found: self.rank,
        }
    }
}

/// How many bytes the header takes, from its first four.
fn header_length(start: &[u8]) -> Result<usize, IdxError> {
    let &[first, second, element_type, rank, ..] = start else {
        return Err(IdxError::Truncated {
            expected: 4,
            found: start.len(),
        });
    };
    if [first, second] != [0, 0] {
        return Err(IdxError::Magic {
            found: [first, second],
        });
    }
    if element_type != UNSIGNED_BYTE {
        return Err(IdxError::ElementType {
            found: element_type,
        });
    }
    if rank != 1 && rank != 3 {
        return Err(IdxError::Rank {
            expected: "3 (images) or 1 (labels)",
            found: rank,
        });
    }
    Ok(4 + 4 * usize::from(rank))
}

fn read_header(bytes: &[u8]) -> Result<Header, IdxError> {
    let length = header_length(bytes)?;
    let Some(fields) = bytes.get(4..length) else {
        return Err(IdxError::Truncated {
            expected: length,
            found: bytes.len(),
        });
    };
    let dimensions: Vec<u32> = fields
        .chunks_exact(4)
        .map(|field| u32::from_be_bytes([field[0], field[1], field[2], field[3]]))
        .collect();
    if dimensions.contains(&0) {
        return Err(IdxError::Empty { dimensions });
    }
    // Products of up to three u32 overflow a u64, hence u128.
    let content: u128 = dimensions.iter().map(|&size| u128::from(size)).product();
    let file_length = usize::try_from(content)
        .ok()
        .filter(|&content| content <= MAX_CONTENT_BYTES);
    let Some(file_length) = file_length else {
        return Err(IdxError::TooLarge { dimensions });
    };
    Ok(Header {
        rank: bytes[3],
        sizes: dimensions.iter().map(|&size| size as usize).collect(),
        length,
        file_length: length + file_length,
    })
}

fn split(bytes: &[u8]) -> Result<(Header, &[u8]), IdxError> {
    let header = read_header(bytes)?;
    let (expected, found) = (header.file_length, bytes.len());
    if found < expected {
        return Err(IdxError::Truncated { expected, found });
    }
    if found > expected {
        return Err(IdxError::TrailingBytes { expected, found });
    }
    let content = &bytes[header.length..];
    Ok((header, content))
}

fn read_bounded(mut reader: impl Read) -> Result<Vec<u8>, IdxError> {
    let mut decoded = Vec::new();
    read_up_to(&mut reader, 4, &mut decoded)?;
    read_up_to(&mut reader, header_length(&decoded)?, &mut decoded)?;
    let expected = read_header(&decoded)?.file_length;
    // One byte more than promised: it shows trailing bytes, and asking for it makes the decoder
    // check the CRC at the end of the stream.
    read_up_to(&mut reader, expected + 1, &mut decoded)?;
    match decoded.len() {
        found if found < expected => Err(IdxError::Truncated { expected, found }),
        found if found > expected => Err(IdxError::TrailingBytes { expected, found }),
        _ => Ok(decoded),
    }
}

/// Fills `decoded` to `total` bytes, or to the end of the stream. It grows as bytes arrive.
fn read_up_to(reader: &mut impl Read, total: usize, decoded: &mut Vec<u8>) -> Result<(), IdxError> {
    let wanted = total.saturating_sub(decoded.len()) as u64;
    let outcome = reader.take(wanted).read_to_end(decoded);
    outcome.map(drop).map_err(|error| IdxError::Gzip {
        after: decoded.len(),
        reason: error.to_string(),
    })
}

fn write(sizes: &[usize], content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, UNSIGNED_BYTE, sizes.len() as u8];
    for &size in sizes {
        bytes.extend((size as u32).to_be_bytes());
    }
    bytes.extend(content);
    bytes
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn two_images() -> Vec<u8> {
        write_images(&Images {
            n_images: 2,
            channels: 1,
            height: 1,
            width: 3,
            pixels: vec![1, 2, 3, 4, 5, 6],
        })
    }

    #[test]
    fn every_kind_of_damage_is_its_own_error() {
        let good = two_images();
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            bytes
        };
        assert_eq!(
            read_images(&with(1, 7)),
            Err(IdxError::Magic { found: [0, 7] })
        );
        assert_eq!(
            read_images(&with(2, 0x0d)),
            Err(IdxError::ElementType { found: 0x0d })
        );
        assert!(matches!(
            read_images(&with(3, 2)),
            Err(IdxError::Rank { found: 2, .. })
        ));
        assert_eq!(
            read_images(&[]),
            Err(IdxError::Truncated {
                expected: 4,
                found: 0
            })
        );
        assert_eq!(
            read_images(&good[..9]),
            Err(IdxError::Truncated {
                expected: 16,
                found: 9
            })
        );
        assert_eq!(
            read_images(&good[..20]),
            Err(IdxError::Truncated {
                expected: 22,
                found: 20
            })
        );
        assert_eq!(
            read_images(&[&good[..], &[0]].concat()),
            Err(IdxError::TrailingBytes {
                expected: 22,
                found: 23
            })
        );
        assert_eq!(
            read_images(&with(7, 0)),
            Err(IdxError::Empty {
                dimensions: vec![0, 1, 3]
            })
        );
        assert!(matches!(
            read_images(&with(4, 0xff)),
            Err(IdxError::TooLarge { .. })
        ));
    }

    #[test]
    fn images_are_not_labels_and_labels_are_not_images() {
        let labels = write_labels(&[3, 1]);
        assert_eq!(
            read_images(&labels),
            Err(IdxError::Rank {
                expected: "3 (images)",
                found: 1
            })
        );
        assert_eq!(
            read_labels(&two_images()),
            Err(IdxError::Rank {
                expected: "1 (labels)",
                found: 3
            })
        );
        assert_eq!(
            read_labels(&write_labels(&[])),
            Err(IdxError::Empty {
                dimensions: vec![0]
            })
        );
    }

    #[test]
    fn messages_say_expected_and_found() {
        let message = read_images(&two_images()[..20]).unwrap_err().to_string();
        assert_eq!(message, "cut short: expected 22 bytes, found 20");
        let message = read_images(b"GIF89a").unwrap_err().to_string();
        assert!(
            message.contains("expected it to begin with 00 00, found 47 49"),
            "{message}"
        );
    }

    #[test]
    fn dimensions_whose_product_overflows_are_too_large() {
        let bytes = [&[0, 0, 8, 3][..], &[0xff; 12]].concat();
        assert_eq!(
            read_images(&bytes),
            Err(IdxError::TooLarge {
                dimensions: vec![u32::MAX; 3]
            })
        );
        assert_eq!(
            decompress(&gzip(&bytes)),
            Err(IdxError::TooLarge {
                dimensions: vec![u32::MAX; 3]
            })
        );
    }

    #[test]
    fn gzip_of_one_member_or_two_decompresses_and_plain_is_copied() {
        let plain = two_images();
        let two_members = [gzip(&plain[..10]), gzip(&plain[10..])].concat();
        assert_eq!(decompress(&gzip(&plain)), Ok(plain.clone()));
        assert_eq!(decompress(&two_members), Ok(plain.clone()));
        assert_eq!(decompress(&plain), Ok(plain));
    }

    #[test]
    fn damaged_gzip_is_an_error() {
        let mut compressed = gzip(&two_images());
        assert!(matches!(
            decompress(&compressed[..compressed.len() - 3]),
            Err(IdxError::Gzip { .. })
        ));
        let crc = compressed.len() - 8;
        compressed[crc] ^= 1;
        assert!(matches!(
            decompress(&compressed),
            Err(IdxError::Gzip { after: 22, .. })
        ));
    }

    #[test]
    fn a_decompression_bomb_stops_at_what_the_header_says() {
        let bomb = gzip(&[two_images(), vec![0; 8 << 20]].concat());
        assert_eq!(
            decompress(&bomb),
            Err(IdxError::TrailingBytes {
                expected: 22,
                found: 23
            })
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), good_start in any::<bool>()) {
            let mut bytes = bytes;
            if good_start && bytes.len() > 4 {
                let rank = 1 + 2 * (bytes[3] & 1);
                bytes[..4].copy_from_slice(&[0, 0, 8, rank]);
            }
            let _ = (read_images(&bytes), read_labels(&bytes), decompress(&bytes), decompress(&gzip(&bytes)));
            let _ = decompress(&[&GZIP_MAGIC[..], &bytes].concat());
        }

        #[test]
        fn what_is_written_is_read_back(n_images in 1usize..5, height in 1usize..6, width in 1usize..6, seed in any::<u8>()) {
            let pixels = (0..n_images * height * width).map(|at| (at as u8).wrapping_mul(31) ^ seed).collect();
            let images = Images { n_images, channels: 1, height, width, pixels };
            let bytes = decompress(&gzip(&write_images(&images))).unwrap();
            prop_assert_eq!(read_images(&bytes).unwrap(), images.clone());
            prop_assert_eq!(read_labels(&write_labels(&images.pixels)).unwrap(), images.pixels);
        }
    }
}
