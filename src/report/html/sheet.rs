//! Small images side by side in one PNG, as a data URI: a sprite sheet.

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{DynamicImage, ExtendedColorType, GrayImage, ImageEncoder, RgbImage, imageops};
use serde::Serialize;

use crate::data::idx::Images;

/// Larger images are made smaller, to this on their longer side, in pixels.
const LARGEST_SIDE: usize = 64;
/// Sides of a sheet in pixels: far below what any browser draws.
const SHEET_SIDE: usize = 1024;

/// Tiles in the order they were given in, from the left and then down, sheet after sheet.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Sheets {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) columns: usize,
    pub(super) rows: usize,
    /// Whether they are smaller than the images.
    pub(super) reduced: bool,
    pub(super) urls: Vec<String>,
}

impl Sheets {
    /// As many of the images as fit into `most_bytes` with `extra` bytes for each, the first ones first;
    /// returns how many.
    pub(super) fn fitting(
        images: &Images,
        wanted: &[usize],
        most_bytes: usize,
        extra: usize,
    ) -> Result<usize> {
        // The first ones tell about how large they are, so that no more are packed than needed.
        const FIRST: usize = 64;
        let mut n = wanted.len().min(FIRST);
        let mut best = 0;
        for _ in 0..8 {
            let bytes = Self::of(images, &wanted[..n])?.bytes() + n * extra;
            if bytes <= most_bytes {
                best = n;
            }
            // A little less than in proportion, so that a few rounds do.
            let next = (n * most_bytes / bytes.max(1) * 19 / 20).min(wanted.len());
            let is_near = bytes <= most_bytes && next <= n + n / 16;
            if best == wanted.len() || is_near || next == 0 {
                break;
            }
            n = next;
        }
        Ok(best)
    }

    pub(super) fn of(images: &Images, wanted: &[usize]) -> Result<Self> {
        let (width, height) = tile_sides(images.width, images.height);
        let (columns, rows) = (SHEET_SIDE.div_ceil(width), SHEET_SIDE.div_ceil(height));
        let mut urls = Vec::new();
        for part in wanted.chunks(columns * rows) {
            let tiles: Vec<DynamicImage> = part.iter().map(|&index| tile(images, index)).collect();
            urls.push(png(&tiles, columns)?);
        }
        Ok(Self {
            width,
            height,
            columns,
            rows,
            reduced: (width, height) != (images.width, images.height),
            urls,
        })
    }

    pub(super) fn bytes(&self) -> usize {
        self.urls.iter().map(String::len).sum()
    }
}

fn tile_sides(width: usize, height: usize) -> (usize, usize) {
    let longer = width.max(height);
    if longer <= LARGEST_SIDE {
        return (width, height);
    }
    let side = |side: usize| (side * LARGEST_SIDE / longer).max(1);
    (side(width), side(height))
}

/// An image as it is, or smaller.
fn tile(images: &Images, index: usize) -> DynamicImage {
    let (width, height) = (images.width, images.height);
    let area = width * height;
    let pixels = images.image(index);
    let (w, h) = (width as u32, height as u32);
    let image = if images.channels == 3 {
        RgbImage::from_fn(w, h, |x, y| {
            let at = y as usize * width + x as usize;
            image::Rgb([0, 1, 2].map(|channel| pixels[channel * area + at]))
        })
        .into()
    } else {
        DynamicImage::from(GrayImage::from_fn(w, h, |x, y| {
            image::Luma([pixels[y as usize * width + x as usize]])
        }))
    };
    let (tile_width, tile_height) = tile_sides(width, height);
    if (tile_width, tile_height) == (width, height) {
        return image;
    }
    image.resize_exact(
        tile_width as u32,
        tile_height as u32,
        imageops::FilterType::Triangle,
    )
}

/// One sheet. `tiles` are of one size and kind, and not none.
fn png(tiles: &[DynamicImage], columns: usize) -> Result<String> {
    let (width, height) = (tiles[0].width(), tiles[0].height());
    let n_columns = columns.min(tiles.len()) as u32;
    let n_rows = tiles.len().div_ceil(columns) as u32;
    let color = tiles[0].color();
    let mut sheet = DynamicImage::new(n_columns * width, n_rows * height, color);
    for (position, tile) in tiles.iter().enumerate() {
        let (column, row) = (position % columns, position / columns);
        let (x, y) = (column as u32 * width, row as u32 * height);
        imageops::replace(&mut sheet, tile, i64::from(x), i64::from(y));
    }
    let mut bytes = Vec::new();
    PngEncoder::new_with_quality(&mut bytes, CompressionType::Best, FilterType::Adaptive)
        .write_image(
            sheet.as_bytes(),
            sheet.width(),
            sheet.height(),
            ExtendedColorType::from(color),
        )?;
    Ok(format!("data:image/png;base64,{}", STANDARD.encode(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(n_images: usize, channels: usize, side: usize) -> Images {
        let mut state = 1u32;
        let pixels = (0..n_images * channels * side * side).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        });
        Images {
            n_images,
            channels,
            height: side,
            width: side,
            pixels: pixels.collect(),
        }
    }

    fn decoded(url: &str) -> DynamicImage {
        let base64 = url.strip_prefix("data:image/png;base64,").unwrap();
        let bytes = STANDARD.decode(base64).unwrap();
        image::load_from_memory(&bytes).unwrap()
    }

    #[test]
    fn a_tile_is_its_image_pixel_by_pixel() {
        let images = noise(150, 1, 28);
        let wanted: Vec<usize> = (0..150).rev().collect();
        let sheets = Sheets::of(&images, &wanted).unwrap();
        assert_eq!(
            (sheets.columns, sheets.rows, sheets.urls.len()),
            (37, 37, 1)
        );
        let sheet = decoded(&sheets.urls[0]).into_luma8();
        for (position, &index) in wanted.iter().enumerate() {
            for (at, &pixel) in images.pixels[index * 784..][..784].iter().enumerate() {
                let x = position % 37 * 28 + at % 28;
                let y = position / 37 * 28 + at / 28;
                assert_eq!(sheet.get_pixel(x as u32, y as u32).0, [pixel]);
            }
        }
    }

    #[test]
    fn planes_become_colors() {
        let images = noise(2, 3, 5);
        let sheets = Sheets::of(&images, &[1]).unwrap();
        let sheet = decoded(&sheets.urls[0]).into_rgb8();
        let image = images.image(1);
        for at in 0..25 {
            let pixel = sheet.get_pixel(at as u32 % 5, at as u32 / 5);
            assert_eq!(pixel.0, [image[at], image[25 + at], image[50 + at]]);
        }
    }

    #[test]
    fn the_budget_is_kept_and_used() {
        let images = noise(60, 3, 200);
        let wanted: Vec<usize> = (0..60).collect();
        let all = Sheets::of(&images, &wanted).unwrap();
        assert!(all.reduced && (all.width, all.height) == (64, 64));
        let most = all.bytes() / 3;
        let n = Sheets::fitting(&images, &wanted, most, 0).unwrap();
        assert!((17..=20).contains(&n), "{n}");
        assert!(Sheets::of(&images, &wanted[..n]).unwrap().bytes() <= most);
        let fewer = Sheets::fitting(&images, &wanted, most, most / 30).unwrap();
        assert!((9..=13).contains(&fewer), "{fewer}");
        assert_eq!(Sheets::fitting(&images, &wanted, 10, 0).unwrap(), 0);
        assert_eq!(
            Sheets::fitting(&images, &wanted, usize::MAX / 100, 0).unwrap(),
            60
        );
    }
}
