//! Images of the data set within a picture.

use anyhow::Result;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::imageops;
use image::{ExtendedColorType, ImageEncoder, RgbImage};

use crate::data::idx::Images;

/// An image in RGB.
#[derive(Clone)]
pub(super) struct Picture {
    pub(super) width: u32,
    pub(super) height: u32,
    /// `[row, column, channel]`
    pub(super) rgb: Vec<u8>,
}

impl Picture {
    /// One image of a set.
    pub(super) fn of(images: &Images, image_index: usize) -> Self {
        Self::from_planes(images.image(image_index), images.height, images.width)
    }

    /// * `pixels`: `[channel, row, column]`, of one channel or three
    pub(super) fn from_planes(pixels: &[u8], height: usize, width: usize) -> Self {
        let n = height * width;
        let channel = |index: usize| &pixels[index * n..][..n];
        let of_plane = if pixels.len() >= 3 * n {
            [0, 1, 2]
        } else {
            [0; 3]
        };
        let planes = of_plane.map(channel);
        let rgb = (0..n).flat_map(|at| planes.map(|plane| plane[at]));
        Self {
            width: width as u32,
            height: height as u32,
            rgb: rgb.collect(),
        }
    }

    /// As it is drawn in a frame of so many pixels: a larger one is made smaller by averaging; a
    /// smaller one is left as it is, and enlarged without smoothing where it is drawn.
    pub(super) fn at_most(self, side: u32) -> Self {
        let largest = self.width.max(self.height);
        if largest <= side {
            return self;
        }
        let scaled = |n: u32| (n * side / largest).max(1);
        let (width, height) = (scaled(self.width), scaled(self.height));
        let Some(image) = RgbImage::from_raw(self.width, self.height, self.rgb) else {
            unreachable!("three bytes a pixel");
        };
        Self {
            width,
            height,
            rgb: imageops::thumbnail(&image, width, height).into_raw(),
        }
    }

    /// Where it is drawn in a square frame so that its shape stays: offset and size.
    pub(super) fn fit(&self, side: f64) -> ((f64, f64), (f64, f64)) {
        let scale = side / f64::from(self.width.max(self.height)).max(1.0);
        let size = (
            f64::from(self.width) * scale,
            f64::from(self.height) * scale,
        );
        (((side - size.0) / 2.0, (side - size.1) / 2.0), size)
    }

    /// Enlarged without smoothing.
    pub(super) fn stretched(&self, width: u32, height: u32) -> Vec<u8> {
        let mut rgb = Vec::with_capacity(width as usize * height as usize * 3);
        let mut row = Vec::with_capacity(width as usize * 3);
        for y in 0..height {
            let from = u64::from(y) * u64::from(self.height) / u64::from(height);
            let start = from as usize * self.width as usize * 3;
            row.clear();
            for x in 0..width {
                let column = u64::from(x) * u64::from(self.width) / u64::from(width);
                let at = start + column as usize * 3;
                row.extend_from_slice(&self.rgb[at..at + 3]);
            }
            rgb.extend_from_slice(&row);
        }
        rgb
    }

    /// A small file: one channel where there is no colour.
    pub(super) fn png(&self) -> Result<Vec<u8>> {
        let is_grey = self
            .rgb
            .chunks_exact(3)
            .all(|p| p[0] == p[1] && p[1] == p[2]);
        let (bytes, kind) = if is_grey {
            let grey = self.rgb.iter().step_by(3).copied().collect();
            (grey, ExtendedColorType::L8)
        } else {
            (self.rgb.clone(), ExtendedColorType::Rgb8)
        };
        encode(&bytes, self.width, self.height, kind, CompressionType::Best)
    }
}

/// A PNG file.
pub(super) fn encode(
    bytes: &[u8],
    width: u32,
    height: u32,
    kind: ExtendedColorType,
    compression: CompressionType,
) -> Result<Vec<u8>> {
    let mut file = Vec::new();
    let filter = FilterType::Adaptive;
    let encoder = PngEncoder::new_with_quality(&mut file, compression, filter);
    encoder.write_image(bytes, width, height, kind)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::Picture;

    #[test]
    fn planes_become_pixels_and_grey_becomes_three_equal_channels() {
        let colour = Picture::from_planes(&[1, 2, 3, 4, 5, 6], 1, 2);
        assert_eq!(colour.rgb, [1, 3, 5, 2, 4, 6]);
        let grey = Picture::from_planes(&[7, 8], 2, 1);
        assert_eq!(grey.rgb, [7, 7, 7, 8, 8, 8]);
    }

    #[test]
    fn enlarging_repeats_pixels() {
        let picture = Picture::from_planes(&[10, 20], 1, 2);
        let large = picture.stretched(4, 2);
        let row = [10, 10, 10, 10, 10, 10, 20, 20, 20, 20, 20, 20];
        assert_eq!(large, [row, row].concat());
    }

    #[test]
    fn a_large_image_is_made_smaller_and_keeps_its_shape() {
        let picture = Picture::from_planes(&[9; 400 * 200], 200, 400).at_most(100);
        assert_eq!((picture.width, picture.height), (100, 50));
        assert_eq!(picture.fit(80.0), ((0.0, 20.0), (80.0, 40.0)));
        assert!(picture.rgb.iter().all(|&byte| byte == 9));
    }
}
