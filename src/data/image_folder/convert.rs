//! From image files to bytes of one size: decoded in parallel, a bounded number at a time.

use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::error::ImageFolderError;
use super::scan::{ImageFile, Scan};
use super::{Color, Options, Size};
use crate::data::download::{Progress, sha256_hex};
use crate::data::image_file::{self, Backdrop, ImageError, Picture};
use crate::text::first_line;

/// Bytes that the pictures that are decoded at once may hold.
const MOST_AT_ONCE: u64 = 512 << 20;
/// Files that are decoded before progress is told.
const MOST_FILES_AT_ONCE: usize = 256;
/// Bytes of all fitted images.
const MOST_BYTES: u64 = 16 << 30;
/// Left free behind the pixels, so that the cache can be written from the same buffer.
const ROOM_BEHIND: usize = 1 << 16;
/// Images that are all of one size keep it up to here.
const LARGEST_KEPT_SIDE: usize = 128;
/// The side of what is fitted where nobody said.
const USUAL_SIDE: usize = 64;
/// A pixel is coloured if its channels differ by more: JPEG and scanners tint grey a little.
const TINT: u8 = 8;

/// All images of a folder, fitted.
#[derive(Debug, PartialEq)]
pub(super) struct Packed {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels: usize,
    /// Images that had another size.
    pub(super) n_fitted: usize,
    /// Which files cannot be used, and why; ascending.
    pub(super) bad: Vec<(usize, String)>,
    /// `[image, channel, row, column]` of the others.
    pub(super) pixels: Vec<u8>,
    /// SHA-256 of the pixels, as hexadecimal digits.
    pub(super) sha256: String,
}

/// Why a file cannot be used.
#[derive(Clone)]
struct Bad {
    reason: String,
    /// It could not be read, which another start may do.
    may_pass: bool,
}

impl From<ImageError> for Bad {
    fn from(error: ImageError) -> Self {
        Self {
            reason: first_line(&error),
            may_pass: matches!(error, ImageError::Read(_)),
        }
    }
}

/// What the headers say.
struct Look {
    /// Height, width and what decoding takes; or why that cannot be.
    of: Vec<Result<(usize, usize, u64), Bad>>,
}

/// Decodes and fits every image. Also whether that may be kept: not where a file could not be read, which
/// was read when it was listed.
pub(super) fn convert(
    scan: &Scan,
    options: &Options,
    progress: &mut dyn Progress,
) -> Result<(Packed, bool), ImageFolderError> {
    let look = Look::at(&scan.files);
    let (height, width) = match options.size {
        Size::Auto => look.usual_size(),
        Size::Square(side) => (side, side),
        Size::Sides([height, width]) => (height, width),
    };
    let unread = AtomicBool::new(false);
    let channels = match options.color {
        Color::Auto => match look.any_colored(&scan.files, &unread) {
            true => 3,
            false => 1,
        },
        Color::Rgb => 3,
        Color::Grey => 1,
    };
    let mut packed = Packed {
        height,
        width,
        channels,
        n_fitted: 0,
        bad: Vec::new(),
        pixels: Vec::new(),
        sha256: String::new(),
    };
    packed.reserve(scan, options)?;
    let mut may_keep = !unread.into_inner();
    progress.stage("converting", scan.files.len() as u64);
    for chunk in look.chunks() {
        let fitted: Vec<Result<Fitted, Fault>> = chunk
            .clone()
            .into_par_iter()
            .map(|index| match &look.of[index] {
                Ok(_) => fitted(&scan.files[index], [height, width, channels]),
                Err(bad) => Err(Fault::Bad(bad.clone())),
            })
            .collect();
        progress.advance(chunk.len() as u64);
        for (index, fitted) in chunk.zip(fitted) {
            match fitted {
                Ok(fitted) => {
                    packed.n_fitted += usize::from(fitted.had_other_size);
                    packed.pixels.extend(fitted.pixels);
                }
                Err(Fault::Bad(bad)) => {
                    may_keep &= !bad.may_pass;
                    packed.bad.push((index, bad.reason));
                }
                Err(Fault::Changed) => {
                    let path = scan.files[index].path.clone();
                    return Err(ImageFolderError::Changed { path });
                }
            }
        }
    }
    progress.finish();
    packed.sha256 = sha256_hex(&packed.pixels);
    Ok((packed, may_keep))
}

impl Packed {
    pub(super) fn n_values(&self) -> usize {
        self.channels * self.height * self.width
    }

    fn reserve(&mut self, scan: &Scan, options: &Options) -> Result<(), ImageFolderError> {
        let n_images = scan.files.len();
        let bytes = n_images as u64 * self.n_values() as u64;
        let room = usize::try_from(bytes).ok().filter(|_| bytes <= MOST_BYTES);
        let reserved =
            room.is_some_and(|room| self.pixels.try_reserve_exact(room + ROOM_BEHIND).is_ok());
        match reserved {
            true => Ok(()),
            false => Err(ImageFolderError::TooLarge {
                folder: options.folder.to_owned(),
                n_images,
                height: self.height,
                width: self.width,
                channels: super::color_name(self.channels),
                bytes,
            }),
        }
    }
}

impl Look {
    fn at(files: &[ImageFile]) -> Self {
        let look = |file: &ImageFile| {
            // What could not be read then is part of the listing.
            file.sha256.as_ref().map_err(|reason| Bad {
                reason: reason.clone(),
                may_pass: false,
            })?;
            let header =
                image_file::read(&file.path).and_then(|bytes| image_file::header(&bytes))?;
            let (height, width) = header.upright_sides();
            Ok((height, width, header.cost))
        };
        // A few files at once, for the memory: they are read whole.
        let mut of = Vec::with_capacity(files.len());
        for few in files.chunks(4 * rayon::current_num_threads()) {
            of.par_extend(few.par_iter().map(look));
        }
        Self { of }
    }

    /// That of the images if they are all alike and not large.
    fn usual_size(&self) -> (usize, usize) {
        let mut sizes = self
            .of
            .iter()
            .flatten()
            .map(|&(height, width, _)| (height, width));
        let first = sizes.next().unwrap_or((USUAL_SIDE, USUAL_SIDE));
        let keeps = first.0.max(first.1) <= LARGEST_KEPT_SIDE;
        match keeps && sizes.all(|size| size == first) {
            true => first,
            false => (USUAL_SIDE, USUAL_SIDE),
        }
    }

    /// Ranges of files that may be decoded at once.
    fn chunks(&self) -> Vec<std::ops::Range<usize>> {
        let (mut chunks, mut start, mut sum) = (Vec::new(), 0, 0);
        for (index, look) in self.of.iter().enumerate() {
            let cost = look.as_ref().map_or(0, |&(_, _, cost)| cost);
            let full = index - start == MOST_FILES_AT_ONCE || sum + cost > MOST_AT_ONCE;
            if full && index > start {
                chunks.push(start..index);
                (start, sum) = (index, 0);
            }
            sum += cost;
        }
        chunks.push(start..self.of.len());
        chunks
    }

    /// Whether any image has colour. The first one mostly tells. `unread` is set where a file could not be
    /// read by now.
    fn any_colored(&self, files: &[ImageFile], unread: &AtomicBool) -> bool {
        let colored = |index: usize| {
            if self.of[index].is_err() {
                return false;
            }
            let picture = image_file::read(&files[index].path)
                .and_then(|bytes| image_file::decode(&bytes, Backdrop::White));
            if let Err(ImageError::Read(_)) = picture {
                unread.store(true, Ordering::Relaxed);
            }
            picture.is_ok_and(|picture| is_colored(&picture))
        };
        let mut chunks = self.chunks().into_iter();
        chunks.any(|chunk| chunk.into_par_iter().any(colored))
    }
}

fn is_colored(picture: &Picture) -> bool {
    let differs = |pixel: &[u8]| match *pixel {
        [red, green, blue] => red.max(green).max(blue) - red.min(green).min(blue) > TINT,
        _ => false,
    };
    let channels = picture.channels.max(1);
    picture.pixels.chunks_exact(channels).any(differs)
}

struct Fitted {
    pixels: Vec<u8>,
    had_other_size: bool,
}

enum Fault {
    Bad(Bad),
    Changed,
}

fn fitted(file: &ImageFile, [height, width, channels]: [usize; 3]) -> Result<Fitted, Fault> {
    let bad = |error: ImageError| Fault::Bad(error.into());
    let bytes = image_file::read(&file.path).map_err(bad)?;
    let sha256: [u8; 32] = Sha256::digest(&bytes).into();
    if file.sha256.as_ref() != Ok(&sha256) {
        return Err(Fault::Changed);
    }
    let picture = image_file::decode(&bytes, Backdrop::White).map_err(bad)?;
    Ok(Fitted {
        pixels: image_file::fit(&picture, height, width, channels, 0),
        had_other_size: (picture.height, picture.width) != (height, width),
    })
}
