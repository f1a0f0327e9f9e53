//! What the network saw, beside the picture: for people who wonder about a prediction.

use std::io::{self, Cursor};
use std::path::{Path, PathBuf};

use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};

use super::prepare::{Prepared, Target};
use crate::data::image_file::{self, Picture};
use crate::run::{atomic, disk};

/// Smallest side of a panel.
const SIDE: usize = 280;
const GAP: usize = 20;
const AROUND: [u8; 3] = [238, 238, 238];
const FRAME: [u8; 3] = [214, 39, 40];

/// Two panels: the picture with a frame around what was used of it, and the network's pixels enlarged
/// without smoothing.
#[derive(Clone, Debug)]
pub struct Sketch {
    width: usize,
    height: usize,
    /// `[row][column][channel]`, RGB.
    pixels: Vec<u8>,
}

impl Sketch {
    /// Draws one.
    pub fn new(picture: &Picture, prepared: &Prepared, target: &Target) -> Self {
        let factor = SIDE.div_ceil(target.height.max(target.width)).max(1);
        let (rows, columns) = (target.height * factor, target.width * factor);
        let mut sketch = Self {
            width: 2 * columns + 3 * GAP,
            height: rows + 2 * GAP,
            pixels: Vec::new(),
        };
        sketch.pixels = AROUND.repeat(sketch.width * sketch.height);
        let n = rows * columns;
        let fitted = image_file::fit(picture, rows, columns, 3, AROUND[0]);
        let left = |at: usize| [fitted[at], fitted[n + at], fitted[2 * n + at]];
        let of_network = |at: usize| {
            let (y, x) = (at / columns / factor, at % columns / factor);
            let plane = target.height * target.width;
            let value = |channel: usize| {
                let channel = channel.min(target.channels - 1);
                prepared.pixels[channel * plane + y * target.width + x]
            };
            [value(0), value(1), value(2)]
        };
        for at in 0..n {
            let (y, x) = (GAP + at / columns, GAP + at % columns);
            sketch.set(y, x, left(at));
            sketch.set(y, x + columns + GAP, of_network(at));
        }
        sketch.frame(picture, prepared, (rows, columns));
        sketch
    }

    /// Around the region, where it is not the whole picture. As in `fit`, the picture is centred.
    fn frame(&mut self, picture: &Picture, prepared: &Prepared, (rows, columns): (usize, usize)) {
        let region = prepared.region;
        if (region.height, region.width) == (picture.height, picture.width) {
            return;
        }
        let scale =
            (rows as f64 / picture.height as f64).min(columns as f64 / picture.width as f64);
        let scaled = |length: usize| (length as f64 * scale).round() as usize;
        let top = GAP + (rows - scaled(picture.height).min(rows)) / 2 + scaled(region.top);
        let left = GAP + (columns - scaled(picture.width).min(columns)) / 2 + scaled(region.left);
        let (bottom, right) = (top + scaled(region.height), left + scaled(region.width));
        for x in left..=right {
            self.set(top - 1, x, FRAME);
            self.set(bottom, x, FRAME);
        }
        for y in top..=bottom {
            self.set(y, left - 1, FRAME);
            self.set(y, right, FRAME);
        }
    }

    fn set(&mut self, y: usize, x: usize, color: [u8; 3]) {
        if y < self.height && x < self.width {
            let at = (y * self.width + x) * 3;
            self.pixels[at..at + 3].copy_from_slice(&color);
        }
    }

    /// As a PNG.
    pub fn png(&self) -> image::ImageResult<Vec<u8>> {
        let mut bytes = Cursor::new(Vec::new());
        PngEncoder::new(&mut bytes).write_image(
            &self.pixels,
            self.width as u32,
            self.height as u32,
            ExtendedColorType::Rgb8,
        )?;
        Ok(bytes.into_inner())
    }
}

/// Writes a PNG into a folder under a name made of `name`'s last part, and never over a file that is
/// there: a number is added until the name is free. Returns where it is.
pub fn write(folder: &Path, name: &str, png: &[u8]) -> io::Result<PathBuf> {
    disk::create_folders(folder).map_err(|error| {
        let text = format!("cannot create {}: {error}", folder.display());
        io::Error::new(error.kind(), text)
    })?;
    let stem = safe_stem(name);
    let numbered = (2u32..).map(|number| format!("{stem}-explained-{number}.png"));
    for file in std::iter::once(format!("{stem}-explained.png")).chain(numbered) {
        let path = folder.join(file);
        if path.symlink_metadata().is_ok() {
            continue;
        }
        match atomic::publish_new(&path, png) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
            Ok(()) => return Ok(path),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Letters and digits of any script, `-`, `_` and inner dots of the last part of a path; the rest becomes
/// `_`. At most 80 characters of 160 bytes together: a name of 255 bytes is the usual limit.
fn safe_stem(name: &str) -> String {
    let last = Path::new(name).file_stem().unwrap_or_default();
    let last = last.to_string_lossy();
    let safe = |letter: char| match letter {
        '-' | '_' | '.' => letter,
        letter if letter.is_alphanumeric() => letter,
        _ => '_',
    };
    let mut n_bytes = 0;
    let fits = |letter: &char| {
        n_bytes += letter.len_utf8();
        n_bytes <= 160
    };
    let letters = last.chars().take(80).map(safe);
    let stem: String = letters.take_while(fits).collect();
    let stem = stem.trim_matches('.');
    match stem {
        "" | "-" => "stdin".to_owned(),
        stem => stem.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_and_nothing_is_overwritten() {
        for (name, stem) in [
            ("a/b/shoe.png", "shoe"),
            ("-", "stdin"),
            ("..", "stdin"),
            ("x/\u{1b}[2J.jpg", "__2J"),
            ("Schuh größe 42.v2.webp", "Schuh_größe_42.v2"),
        ] {
            assert_eq!(safe_stem(name), stem, "{name:?}");
        }
        assert_eq!(safe_stem(&"a".repeat(200)), "a".repeat(80));
        assert_eq!(safe_stem(&"靴".repeat(78)), "靴".repeat(53));
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("shoe-explained.png");
        std::fs::write(&taken, "mine").unwrap();
        for expected in ["shoe-explained-2.png", "shoe-explained-3.png"] {
            let path = write(folder.path(), "x/shoe.jpg", b"png").unwrap();
            assert_eq!(path, folder.path().join(expected));
        }
        assert_eq!(std::fs::read(taken).unwrap(), b"mine");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
    }
}
