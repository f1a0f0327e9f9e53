//! Image files as people have them: PNG, JPEG, WebP, BMP or GIF, of any size, colour and depth. They are
//! told apart by content, never by name, and a hostile one costs no more memory than a photo does.
//!
//! [`decode`] gives 8-bit grey or RGB, upright; [`fit`] gives what a model takes.

mod border;
mod gif;
mod jpeg;
mod resize;
mod scene;
mod surface;
mod webp;

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::Path;

use image::metadata::Orientation;
use image::{ColorType, ImageDecoder, ImageFormat, ImageReader, Limits};

use crate::failure;
use crate::text::first_line;

pub use border::{Border, Region, common_background};
pub use resize::{fit, fit_region, resample};
pub use scene::{Scene, position, scene};

/// What decoding one picture may hold at once, the file included. With what a process has anyway it
/// stays within 256 MiB, and a photo of 24 million pixels (6000 x 4000) fits.
pub const MOST_BYTES: u64 = 176 << 20;
/// A file above this is not read: it would leave no room for its pixels.
pub const MOST_FILE_BYTES: u64 = 80 << 20;

/// For what a header holds beside numbers: a real colour profile has a hundredth of it.
const MOST_HEADER_BYTES: u64 = 8 << 20;

/// A picture, upright, without transparency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// 1 (grey) or 3 (red, green, blue; sRGB).
    pub channels: usize,
    /// `[row][column][channel]`.
    pub pixels: Vec<u8>,
}

/// What stands behind transparent pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backdrop {
    /// White, as on a page: right for a set of pictures, which should all be treated alike.
    White,
    /// White, or black where what is opaque is itself light: so that a white shirt does not vanish.
    Contrasting,
}

/// Why a file is no picture that can be used. The text is `what\nhint: fix`.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// It cannot be read.
    #[error("cannot be read: {0}\nhint: check the path and its permissions")]
    Read(#[from] io::Error),
    /// No bytes.
    #[error("is empty\nhint: save or download it again")]
    Empty,
    /// The file alone is too large.
    #[error(
        "has {bytes} bytes, and at most {MOST_FILE_BYTES} are read\nhint: make the picture smaller"
    )]
    LargeFile {
        /// Its size, where it is known.
        bytes: u64,
    },
    /// Not one of the five formats.
    #[error("is {what}\nhint: use PNG, JPEG, WebP, BMP or GIF; convert it first")]
    Format {
        /// What it looks like.
        what: &'static str,
    },
    /// Too many pixels.
    #[error(
        "is {width} x {height} pixels, which would take {} MiB to decode, and at most {} are used\n\
         hint: make the picture smaller, such as 2000 x 2000",
        .bytes.div_ceil(1 << 20), MOST_BYTES >> 20
    )]
    LargePicture {
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
        /// What decoding would hold.
        bytes: u64,
    },
    /// It ends too early.
    #[error("is cut short: {0}\nhint: download or copy it again")]
    Truncated(String),
    /// Its content is wrong.
    #[error(
        "is damaged: {0}\nhint: download or copy it again, or save it anew from another program"
    )]
    Damaged(String),
    /// A kind of its format that is not read.
    #[error("is of a kind that is not read: {0}\nhint: save it anew as 8-bit PNG or JPEG")]
    Unsupported(String),
}

/// What a file's header says, and what decoding it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Pixels in a row, before it is turned upright.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Most bytes that decoding holds at once, those of the file included.
    pub cost: u64,
    orientation: Orientation,
}

impl Header {
    /// Rows and columns once it is upright.
    #[must_use]
    pub fn upright_sides(&self) -> (usize, usize) {
        let (height, width) = (self.height as usize, self.width as usize);
        match self.orientation {
            Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH => (width, height),
            Orientation::NoTransforms
            | Orientation::Rotate180
            | Orientation::FlipHorizontal
            | Orientation::FlipVertical => (height, width),
        }
    }
}

/// Reads a regular file of at most [`MOST_FILE_BYTES`].
pub fn read(path: &Path) -> Result<Vec<u8>, ImageError> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        let what = match metadata.is_dir() {
            true => "a folder",
            false => "no regular file",
        };
        return Err(ImageError::Format { what });
    }
    if metadata.len() > MOST_FILE_BYTES {
        let bytes = metadata.len();
        return Err(ImageError::LargeFile { bytes });
    }
    read_from(file, metadata.len())
}

/// Reads to the end, unless that lies behind [`MOST_FILE_BYTES`]. Room for `expected` bytes is taken at
/// once, which costs no memory until they come; where it is more, by a quarter at a time. Doubling could
/// take more than there is.
pub fn read_from(mut source: impl Read, expected: u64) -> Result<Vec<u8>, ImageError> {
    let mut bytes = Vec::with_capacity(expected.min(MOST_FILE_BYTES) as usize + 64);
    loop {
        let room = (bytes.capacity() - bytes.len()).max(32); // to see the end without growing
        let n_read = source.by_ref().take(room as u64).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MOST_FILE_BYTES {
            let bytes = bytes.len() as u64;
            return Err(ImageError::LargeFile { bytes });
        }
        if n_read < room {
            return Ok(bytes);
        }
        bytes.reserve_exact((bytes.len() / 4).max(64 << 10));
    }
}

/// Looks at a file's header; no pixel is decoded.
pub fn header(bytes: &[u8]) -> Result<Header, ImageError> {
    unless_it_panics(|| header_of(bytes))
}

/// A decoder that fails where it should have said what is wrong with the file ends no more than that file.
fn unless_it_panics<T>(decodes: impl FnOnce() -> Result<T, ImageError>) -> Result<T, ImageError> {
    let panicked = |_| Err(ImageError::Damaged("its decoder failed".to_owned()));
    failure::expecting(decodes).unwrap_or_else(panicked)
}

fn header_of(bytes: &[u8]) -> Result<Header, ImageError> {
    let format = format_of(bytes)?;
    let mut decoder = open(bytes, format)?;
    weigh(bytes, format, &mut decoder)
}

/// Decodes a picture: the first frame of an animation, turned upright as its EXIF orientation says, 16
/// bits rounded to 8, transparency filled with `backdrop`. CMYK becomes RGB; colour profiles are not
/// applied. What would take more than [`MOST_BYTES`] is refused before a pixel is allocated.
pub fn decode(bytes: &[u8], backdrop: Backdrop) -> Result<Picture, ImageError> {
    unless_it_panics(|| decoded(bytes, backdrop))
}

fn decoded(bytes: &[u8], backdrop: Backdrop) -> Result<Picture, ImageError> {
    let format = format_of(bytes)?;
    let interlaced = match format {
        ImageFormat::Gif => gif::Interlaced::find(bytes),
        _ => None,
    };
    let straightened = interlaced.map(|frame| frame.straightened(bytes));
    let bytes = straightened.as_deref().unwrap_or(bytes);
    let mut decoder = open(bytes, format)?;
    let header = weigh(bytes, format, &mut decoder)?;
    let color = decoder.color_type();
    let n_bytes = decoder.total_bytes() as usize; // at most MOST_BYTES
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MOST_BYTES.saturating_sub(n_bytes as u64));
    decoder.set_limits(limits).map_err(told)?;
    let mut pixels = vec![0; n_bytes];
    decoder.read_image(&mut pixels).map_err(told)?;
    if let Some(frame) = interlaced {
        let bytes_per_pixel = usize::from(color.bytes_per_pixel());
        let row_bytes = header.width as usize * bytes_per_pixel;
        frame.sort_rows(&mut pixels, row_bytes, bytes_per_pixel);
    }
    let channels = flatten(&mut pixels, color, backdrop)?;
    let picture = Picture {
        width: header.width as usize,
        height: header.height as usize,
        channels,
        pixels,
    };
    Ok(upright(picture, header.orientation))
}

/// Whether a file that begins so is in one of the five formats.
pub fn is_known(start: &[u8]) -> bool {
    format_of(start).is_ok()
}

fn format_of(bytes: &[u8]) -> Result<ImageFormat, ImageError> {
    if bytes.is_empty() {
        return Err(ImageError::Empty);
    }
    match image::guess_format(bytes) {
        Ok(
            format @ (ImageFormat::Png
            | ImageFormat::Jpeg
            | ImageFormat::WebP
            | ImageFormat::Bmp
            | ImageFormat::Gif),
        ) => Ok(format),
        _ => Err(ImageError::Format {
            what: resemblance(bytes),
        }),
    }
}

/// What a file that is none of the five formats looks like.
fn resemblance(bytes: &[u8]) -> &'static str {
    let brand = bytes
        .get(8..12)
        .filter(|_| bytes.get(4..8) == Some(b"ftyp"));
    let text = || std::str::from_utf8(&bytes[..bytes.len().min(64)]);
    match (brand, bytes) {
        (Some(b"avif" | b"avis"), _) => "an AVIF picture",
        (Some(b"heic" | b"heix" | b"heif" | b"mif1" | b"hevc" | b"msf1"), _) => "a HEIC picture",
        (_, [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..]) => {
            "a TIFF picture or a camera's raw file"
        }
        (_, [b'%', b'P', b'D', b'F', ..]) => "a PDF document",
        (_, [0xff, 0x0a, ..]) => "a JPEG XL picture",
        _ if text().is_ok_and(|text| text.contains("<svg") || text.starts_with("<?xml")) => {
            "an SVG drawing or other XML"
        }
        _ if text().is_ok_and(|text| !text.contains('\0')) => "text, not a picture",
        _ => "no picture of a known format",
    }
}

fn open<'a>(bytes: &'a [u8], format: ImageFormat) -> Result<impl ImageDecoder + 'a, ImageError> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::no_limits();
    // For PNG it takes effect here: profiles that unpack to more are passed over.
    limits.max_alloc = Some(MOST_HEADER_BYTES);
    reader.limits(limits);
    reader.into_decoder().map_err(told)
}

/// Refuses what is too large or cut short, from what the header says.
fn weigh(
    bytes: &[u8],
    format: ImageFormat,
    decoder: &mut impl ImageDecoder,
) -> Result<Header, ImageError> {
    let (width, height) = decoder.dimensions();
    let n_pixels = u64::from(width) * u64::from(height);
    let file = bytes.len() as u64;
    let decoded = n_pixels.saturating_mul(u64::from(decoder.color_type().bytes_per_pixel()));
    let (file, working) = match format {
        // The decoder keeps a copy of the file.
        ImageFormat::Jpeg => (2 * file, jpeg::working_bytes(bytes)?),
        ImageFormat::WebP => (file, webp::working_bytes(bytes, (width, height))?),
        // A copy whose rows are in order; a frame that does not cover the screen is decoded on its own.
        ImageFormat::Gif => (2 * file, n_pixels.saturating_mul(4)),
        // The row, the one before it, and what is unpacked of the next ones.
        ImageFormat::Png => (file, 4 * decoded / u64::from(height).max(1)),
        _ => (file, 0),
    };
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    // A second picture of 3 bytes a pixel, once the decoder is gone.
    let turned = match orientation {
        Orientation::NoTransforms => 0,
        _ => decoded.saturating_add(n_pixels.saturating_mul(3)),
    };
    let most = decoded.saturating_add(working).max(turned);
    let cost = most.saturating_add(file);
    if cost > MOST_BYTES {
        return Err(ImageError::LargePicture {
            width,
            height,
            bytes: cost,
        });
    }
    if n_pixels == 0 {
        return Err(ImageError::Damaged("it has no pixels".to_owned()));
    }
    Ok(Header {
        width,
        height,
        cost,
        orientation,
    })
}

/// Makes decoded pixels 8-bit grey or RGB in place, and returns the channels.
fn flatten(
    pixels: &mut Vec<u8>,
    color: ColorType,
    backdrop: Backdrop,
) -> Result<usize, ImageError> {
    let channels = usize::from(color.channel_count());
    match usize::from(color.bytes_per_pixel()) / channels {
        1 => {}
        2 => {
            for at in 0..pixels.len() / 2 {
                let value = u16::from_ne_bytes([pixels[2 * at], pixels[2 * at + 1]]);
                // 65535 / 255 = 257, rounded to the nearest.
                pixels[at] = ((u32::from(value) + 128) / 257) as u8;
            }
            pixels.truncate(pixels.len() / 2);
        }
        _ => return Err(ImageError::Unsupported(format!("{color:?}"))),
    }
    if !color.has_alpha() {
        return Ok(channels);
    }
    let kept = channels - 1;
    let behind = u32::from(backdrop.value(pixels, kept));
    for at in 0..pixels.len() / channels {
        let alpha = u32::from(pixels[at * channels + kept]);
        for channel in 0..kept {
            let value = u32::from(pixels[at * channels + channel]);
            let mixed = (value * alpha + behind * (255 - alpha) + 127) / 255;
            pixels[at * kept + channel] = mixed as u8;
        }
    }
    pixels.truncate(pixels.len() / channels * kept);
    Ok(kept)
}

impl Backdrop {
    /// The grey behind pixels of `n_colors` values and one of opacity.
    fn value(self, pixels: &[u8], n_colors: usize) -> u8 {
        if self == Self::White {
            return 255;
        }
        let (mut sum, mut weight) = (0u64, 0u64);
        for pixel in pixels.chunks_exact(n_colors + 1) {
            let alpha = u64::from(pixel[n_colors]);
            sum += alpha * u64::from(luma(&pixel[..n_colors]));
            weight += alpha;
        }
        // Where it is lighter than this, black stands out more than white does.
        if sum > weight * 160 { 0 } else { 255 }
    }
}

/// Luma of grey or RGB: 0.299 R + 0.587 G + 0.114 B of the encoded values (ITU-R BT.601-7, 2.5.1), as
/// Pillow, OpenCV and MNIST-like data sets have it. Equal values give themselves.
pub fn luma(pixel: &[u8]) -> u8 {
    match *pixel {
        [red, green, blue, ..] => {
            let sum = 299 * u32::from(red) + 587 * u32::from(green) + 114 * u32::from(blue);
            ((sum + 500) / 1000) as u8
        }
        [grey, ..] => grey,
        [] => 0,
    }
}

fn upright(picture: Picture, orientation: Orientation) -> Picture {
    let (turned, mirrored_x, mirrored_y) = match orientation {
        Orientation::NoTransforms => return picture,
        Orientation::FlipHorizontal => (false, true, false),
        Orientation::Rotate180 => (false, true, true),
        Orientation::FlipVertical => (false, false, true),
        Orientation::Rotate90FlipH => (true, false, false),
        Orientation::Rotate90 => (true, false, true),
        Orientation::Rotate270FlipH => (true, true, true),
        Orientation::Rotate270 => (true, true, false),
    };
    let (rows, columns, channels) = (picture.height, picture.width, picture.channels);
    let (height, width) = match turned {
        true => (columns, rows),
        false => (rows, columns),
    };
    let mut pixels = Vec::with_capacity(picture.pixels.len());
    for y in 0..height {
        for x in 0..width {
            let (mut from_y, mut from_x) = if turned { (x, y) } else { (y, x) };
            if mirrored_x {
                from_x = columns - 1 - from_x;
            }
            if mirrored_y {
                from_y = rows - 1 - from_y;
            }
            let at = (from_y * columns + from_x) * channels;
            pixels.extend_from_slice(&picture.pixels[at..at + channels]);
        }
    }
    Picture {
        width,
        height,
        channels,
        pixels,
    }
}

/// A decoder's error in our words.
fn told(error: image::ImageError) -> ImageError {
    use image::ImageError as Of;
    let cut = |text: &str| {
        let text = text.to_ascii_lowercase();
        [
            "unexpected eof",
            "unexpected end",
            "fill whole buffer",
            "end of file",
            "exhausted",
        ]
        .iter()
        .any(|sign| text.contains(sign))
    };
    match error {
        Of::IoError(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            ImageError::Truncated("it ends amid its pixels".to_owned())
        }
        Of::Unsupported(error) => ImageError::Unsupported(first_line(&error)),
        Of::Limits(error) => ImageError::Damaged(format!("it would take too much memory: {error}")),
        other => {
            let text = first_line(&other);
            match cut(&text) {
                true => ImageError::Truncated(text),
                false => ImageError::Damaged(text),
            }
        }
    }
}

#[cfg(test)]
mod tests;
