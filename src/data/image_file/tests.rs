use super::*;
use image::{DynamicImage, ExtendedColorType, ImageEncoder};

/// A gradient that no two pixels of a row share, for `[row][column][channel]`.
fn gradient(width: usize, height: usize, channels: usize) -> Vec<u8> {
    let at = |y: usize, x: usize, c: usize| (x * 5 + y * 9 + c * 60) as u8;
    let mut pixels = Vec::new();
    for y in 0..height {
        for x in 0..width {
            pixels.extend((0..channels).map(|c| at(y, x, c)));
        }
    }
    pixels
}

fn png(width: u32, height: u32, color: ExtendedColorType, pixels: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    image::codecs::png::PngEncoder::new(&mut bytes)
        .write_image(pixels, width, height, color)
        .unwrap();
    bytes
}

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn rgb(width: u32, height: u32) -> DynamicImage {
    let pixels = gradient(width as usize, height as usize, 3);
    image::RgbImage::from_raw(width, height, pixels)
        .unwrap()
        .into()
}

#[test]
fn a_grey_picture_of_the_right_size_passes_byte_for_byte() {
    let pixels = gradient(28, 28, 1);
    for (format, exact) in [
        (ImageFormat::Png, true),
        (ImageFormat::Bmp, true),
        (ImageFormat::Gif, true),
        (ImageFormat::WebP, true),
        (ImageFormat::Jpeg, false),
    ] {
        let grey = image::GrayImage::from_raw(28, 28, pixels.clone()).unwrap();
        let grey = DynamicImage::from(grey);
        let grey = match format {
            ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::Bmp => grey,
            _ => grey.to_rgb8().into(),
        };
        let picture = decode(&encoded(&grey, format), Backdrop::White).unwrap();
        assert_eq!((picture.width, picture.height), (28, 28), "{format:?}");
        let fitted = fit(&picture, 28, 28, 1, 0);
        assert_eq!(fitted == pixels, exact, "{format:?}");
        // JPEG is not exact, but not far.
        let farthest = fitted
            .iter()
            .zip(&pixels)
            .map(|(a, b)| a.abs_diff(*b))
            .max();
        assert!(farthest.unwrap() < 120, "{format:?}");
    }
}
