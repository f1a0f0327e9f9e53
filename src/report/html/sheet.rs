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
    /// As many of the images as fit into `most_bytes`, the first ones first.
    pub(super) fn fitting(
        images: &Images,
        wanted: &[usize],
        most_bytes: usize,
    ) -> Result<(Self, usize)> {
        let mut n = wanted.len();
        loop {
            let sheets = Self::of(images, &wanted[..n])?;
            let bytes = sheets.bytes();
            if bytes <= most_bytes || n == 0 {
                return Ok((sheets, n));
            }
            // A little less than in proportion, so that a few rounds do.
            n = (n * most_bytes / bytes * 19 / 20).min(n - 1);
        }
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

    fn noise(n_images: usize, side: usize) -> Images {
        let mut state = 1u32;
        let pixels = (0..n_images * side * side).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        });
        Images {
            channels: 1,
            n_images,
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
        let images = noise(150, 28);
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
    fn the_budget_is_kept_and_used() {
        let images = noise(60, 200);
        let wanted: Vec<usize> = (0..60).collect();
        let all = Sheets::of(&images, &wanted).unwrap();
        assert!(all.reduced && (all.width, all.height) == (64, 64));
        let most = all.bytes() / 3;
        let (sheets, n) = Sheets::fitting(&images, &wanted, most).unwrap();
        assert!(sheets.bytes() <= most && (15..=20).contains(&n), "{n}");
        assert_eq!(Sheets::fitting(&images, &wanted, 10).unwrap().1, 0);
    }
}
