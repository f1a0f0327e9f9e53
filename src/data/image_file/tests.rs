use std::io::Write;

use image::codecs::{gif::GifEncoder, jpeg::JpegEncoder, png::PngEncoder};
use image::{DynamicImage, ExtendedColorType, Frame, ImageEncoder, RgbImage, RgbaImage};

use super::*;

/// `[row][column][channel]`, with few equal neighbours.
fn gradient(width: usize, height: usize, channels: usize) -> Vec<u8> {
    let value = |at: usize| {
        let (y, x, c) = (at / channels / width, at / channels % width, at % channels);
        (x * 5 + y * 9 + c * 60) as u8
    };
    (0..width * height * channels).map(value).collect()
}

fn rgb(width: u32, height: u32) -> RgbImage {
    RgbImage::from_raw(width, height, gradient(width as usize, height as usize, 3)).unwrap()
}

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn png(width: u32, height: u32, color: ExtendedColorType, pixels: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let encoder = PngEncoder::new(&mut bytes);
    encoder.write_image(pixels, width, height, color).unwrap();
    bytes
}

fn picture(bytes: &[u8]) -> Picture {
    decode(bytes, Backdrop::White).unwrap()
}

fn error(bytes: &[u8]) -> String {
    decode(bytes, Backdrop::White).unwrap_err().to_string()
}

const FORMATS: [ImageFormat; 5] = [
    ImageFormat::Png,
    ImageFormat::Jpeg,
    ImageFormat::WebP,
    ImageFormat::Bmp,
    ImageFormat::Gif,
];

/// A PNG from its parts, with right checksums.
fn raw_png(header: [u32; 2], depth_and_color: [u8; 2], chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut ihdr: Vec<u8> = header.iter().flat_map(|it| it.to_be_bytes()).collect();
    ihdr.extend(depth_and_color);
    ihdr.extend([0, 0, 0]);
    let all = std::iter::once((b"IHDR", &ihdr[..]))
        .chain(chunks.iter().copied())
        .chain([(b"IEND", &b""[..])]);
    for (name, content) in all {
        let mut crc = flate2::Crc::new();
        crc.update(name);
        crc.update(content);
        bytes.extend((content.len() as u32).to_be_bytes());
        bytes.extend(name);
        bytes.extend(content);
        bytes.extend(crc.sum().to_be_bytes());
    }
    bytes
}

fn zlib(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// EXIF with an orientation: a little-endian TIFF of one entry.
fn exif(orientation: u8) -> Vec<u8> {
    let mut bytes = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    bytes.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
    bytes
}

/// A grey or four-coloured JPEG of 8 x 8 pixels, all coefficients zero: each value is 128.
fn raw_jpeg(frame: u8, n_components: u8) -> Vec<u8> {
    let mut bytes = vec![0xff, 0xd8];
    let mut segment = |marker: u8, content: &[u8]| {
        bytes.extend([0xff, marker]);
        bytes.extend((content.len() as u16 + 2).to_be_bytes());
        bytes.extend(content);
    };
    if n_components == 4 {
        segment(0xee, b"Adobe\0\x64\0\0\0\0\0"); // transform 0: CMYK
    }
    segment(0xdb, &[&[0][..], &[1; 64]].concat());
    let mut content = vec![8, 0, 8, 0, 8, n_components];
    (1..=n_components).for_each(|id| content.extend([id, 0x11, 0]));
    segment(frame, &content);
    // One code of one bit, for "no difference" and for "end of block".
    for class in [0x00, 0x10] {
        segment(0xc4, &[&[class, 1][..], &[0; 15], &[0]].concat());
    }
    let mut content = vec![n_components];
    (1..=n_components).for_each(|id| content.extend([id, 0]));
    let is_progressive = frame == 0xc2;
    content.extend([0, if is_progressive { 0 } else { 63 }, 0]);
    segment(0xda, &content);
    let n_bits = usize::from(n_components) * if is_progressive { 1 } else { 2 };
    bytes.push(0xff_u8.checked_shr(n_bits as u32).unwrap_or(0)); // zeros, padded with ones
    bytes.extend([0xff, 0xd9]);
    bytes
}

/// A WebP of two frames from lossless ones.
fn animated_webp(frames: &[RgbImage]) -> Vec<u8> {
    let chunk = |name: &[u8; 4], content: &[u8]| {
        let mut bytes = name.to_vec();
        bytes.extend((content.len() as u32).to_le_bytes());
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(2), 0);
        bytes
    };
    let (width, height) = frames[0].dimensions();
    let u24 = |it: u32| it.to_le_bytes()[..3].to_vec();
    let size = [u24(width - 1), u24(height - 1)].concat();
    let mut content = b"WEBP".to_vec();
    content.extend(chunk(b"VP8X", &[&[0x02, 0, 0, 0][..], &size].concat()));
    content.extend(chunk(b"ANIM", &[0, 0, 0, 0, 0, 0]));
    for frame in frames {
        let still = encoded(&frame.clone().into(), ImageFormat::WebP);
        let place = [u24(0), u24(0)].concat();
        let frame = [place, size.clone(), u24(100), vec![0], still[12..].to_vec()].concat();
        content.extend(chunk(b"ANMF", &frame));
    }
    chunk(b"RIFF", &content)
}

#[test]
fn a_picture_of_the_right_size_passes_byte_for_byte() {
    let grey = gradient(28, 28, 1);
    let bytes = png(28, 28, ExtendedColorType::L8, &grey);
    assert_eq!(fit(&picture(&bytes), 28, 28, 1, 0), grey);
    let image = image::GrayImage::from_raw(28, 28, grey.clone()).unwrap();
    for format in [ImageFormat::Bmp, ImageFormat::Gif, ImageFormat::WebP] {
        // Equal red, green and blue are that grey.
        let rgb = DynamicImage::from(image.clone()).to_rgb8();
        let bytes = encoded(&rgb.into(), format);
        assert_eq!(fit(&picture(&bytes), 28, 28, 1, 0), grey, "{format:?}");
    }
    let color = rgb(30, 20);
    let planes = fit(
        &picture(&encoded(&color.clone().into(), ImageFormat::Png)),
        20,
        30,
        3,
        0,
    );
    for (at, &value) in planes.iter().enumerate() {
        let (channel, pixel) = (at / 600, at % 600);
        assert_eq!(value, color.as_raw()[pixel * 3 + channel]);
    }
}

#[test]
fn every_format_is_told_by_its_content() {
    for format in FORMATS {
        let image = rgb(40, 30);
        let decoded = picture(&encoded(&image.clone().into(), format));
        assert_eq!(
            (decoded.width, decoded.height, decoded.channels),
            (40, 30, 3)
        );
        let pairs = decoded.pixels.iter().zip(image.as_raw());
        let error: f64 = pairs.map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / 3600.0;
        let most = match format {
            ImageFormat::Png | ImageFormat::WebP | ImageFormat::Bmp => 0.0,
            _ => 12.0, // JPEG loses some, GIF has 256 colours
        };
        assert!(error <= most, "{format:?}: {error}");
    }
}

#[test]
fn sixteen_bits_are_rounded_and_fewer_than_eight_are_spread() {
    let values = [0u16, 128, 129, 257, 32_768, 65_406, 65_407, 65_535];
    let bytes: Vec<u8> = values.iter().flat_map(|it| it.to_ne_bytes()).collect();
    let decoded = picture(&png(8, 1, ExtendedColorType::L16, &bytes));
    assert_eq!(decoded.pixels, [0, 0, 1, 1, 128, 254, 255, 255]);
    let wide: Vec<u8> = bytes.repeat(3);
    assert_eq!(
        picture(&png(8, 1, ExtendedColorType::Rgb16, &wide)).channels,
        3
    );
    // Two bits a pixel: 0, 1, 2, 3.
    let bits = raw_png([4, 1], [2, 0], &[(b"IDAT", &zlib(&[0, 0b0001_1011]))]);
    assert_eq!(picture(&bits).pixels, [0, 85, 170, 255]);
}

#[test]
fn a_palette_becomes_its_colours() {
    let chunks: [(&[u8; 4], &[u8]); 3] = [
        (b"PLTE", &[10, 20, 30, 200, 100, 50]),
        (b"tRNS", &[255, 0]),
        (b"IDAT", &zlib(&[0, 0b0100_0000])),
    ];
    // One bit a pixel: the first colour, then the second one, which is transparent.
    let bytes = raw_png([2, 1], [1, 3], &chunks);
    assert_eq!(picture(&bytes).pixels, [10, 20, 30, 255, 255, 255]);
    let opaque = raw_png([2, 1], [1, 3], &[chunks[0], chunks[2]]);
    assert_eq!(picture(&opaque).pixels, [10, 20, 30, 200, 100, 50]);
}

#[test]
fn transparency_shows_what_makes_the_object_stand_out() {
    let transparent = |color: [u8; 3]| {
        let image = RgbaImage::from_fn(9, 9, |x, _| {
            let [r, g, b] = color;
            image::Rgba([r, g, b, [0, 128, 255][x as usize / 3]])
        });
        encoded(&image.into(), ImageFormat::Png)
    };
    let row = |color, backdrop| {
        let decoded = decode(&transparent(color), backdrop).unwrap();
        assert_eq!(decoded.channels, 3);
        [decoded.pixels[0], decoded.pixels[12], decoded.pixels[24]]
    };
    assert_eq!(row([40; 3], Backdrop::White), [255, 147, 40]);
    assert_eq!(row([40; 3], Backdrop::Contrasting), [255, 147, 40]);
    assert_eq!(row([250; 3], Backdrop::White), [255, 252, 250]);
    assert_eq!(row([250; 3], Backdrop::Contrasting), [0, 125, 250]);
    let grey = png(2, 1, ExtendedColorType::La8, &[100, 255, 100, 0]);
    assert_eq!(
        (picture(&grey).channels, picture(&grey).pixels),
        (1, vec![100, 255])
    );
    let deep: Vec<u8> = [25_700u16, 65_535, 25_700, 0]
        .iter()
        .flat_map(|it| it.to_ne_bytes())
        .collect();
    assert_eq!(
        picture(&png(2, 1, ExtendedColorType::La16, &deep)).pixels,
        [100, 255]
    );
}

#[test]
fn the_first_frame_of_an_animation_is_taken() {
    let frames = [[200u8, 10, 10], [10, 10, 200]]
        .map(|color| RgbImage::from_pixel(12, 10, image::Rgb(color)));
    let mut gif = Vec::new();
    let mut encoder = GifEncoder::new(&mut gif);
    for frame in &frames {
        let frame = DynamicImage::from(frame.clone()).to_rgba8();
        encoder.encode_frame(Frame::new(frame)).unwrap();
    }
    drop(encoder);
    for bytes in [gif, animated_webp(&frames)] {
        let decoded = picture(&bytes);
        assert_eq!((decoded.width, decoded.height), (12, 10));
        // GIF has a palette, which is chosen for all of a picture.
        let near = decoded.pixels.iter().zip([200u8, 10, 10].iter().cycle());
        assert!(near.clone().all(|(a, b)| a.abs_diff(*b) <= 3));
    }
}

#[test]
fn cmyk_and_progressive_jpeg_are_read() {
    let grey = picture(&raw_jpeg(0xc0, 1));
    assert_eq!((grey.channels, grey.pixels[0]), (1, 128));
    let progressive = picture(&raw_jpeg(0xc2, 1));
    assert_eq!(progressive, grey);
    let cmyk = picture(&raw_jpeg(0xc0, 4));
    assert_eq!((cmyk.width, cmyk.channels), (8, 3));
    // Half of each ink, then half of black: a quarter of white.
    assert!(
        cmyk.pixels.iter().all(|it| it.abs_diff(64) <= 1),
        "{:?}",
        &cmyk.pixels[..3]
    );
}

#[test]
fn frames_within_frames_do_not_fill_the_stack() {
    let frame = [&b"ANMF\xff\xff\xff\x7f"[..], &[0; 16]].concat();
    let mut content = b"WEBPVP8L\x05\0\0\0\x2f\0\0\0\0\0".to_vec();
    content.extend(frame.repeat(200_000));
    let size = (content.len() as u32).to_le_bytes();
    let bytes = [&b"RIFF"[..], &size, &content].concat();
    let header = header(&bytes).unwrap();
    assert_eq!((header.width, header.height), (1, 1));
}

#[test]
fn a_decoder_that_panics_has_found_damage() {
    let panics = || -> Result<Header, ImageError> { panic!("out of bounds") };
    let error = unless_it_panics(panics).unwrap_err().to_string();
    assert!(
        error.starts_with("is damaged: its decoder failed\nhint: "),
        "{error}"
    );
}

#[test]
fn a_picture_is_turned_upright_as_its_exif_says() {
    // Columns and rows, then the letters row by row. EXIF 2.32, table 6: where row 0 and column 0 are.
    let upright: [(u8, u32, &[u8; 6]); 8] = [
        (1, 2, b"abcdef"),
        (2, 2, b"badcfe"),
        (3, 2, b"fedcba"),
        (4, 2, b"efcdab"),
        (5, 3, b"acebdf"),
        (6, 3, b"ecafdb"),
        (7, 3, b"fdbeca"),
        (8, 3, b"bdface"),
    ];
    for (orientation, width, letters) in upright {
        let rows = zlib(b"\0ab\0cd\0ef");
        let exif = exif(orientation);
        let bytes = raw_png([2, 3], [8, 0], &[(b"eXIf", &exif), (b"IDAT", &rows)]);
        let decoded = picture(&bytes);
        assert_eq!(decoded.width, width as usize, "orientation {orientation}");
        let sides = header(&bytes).unwrap().upright_sides();
        assert_eq!(sides, (decoded.height, decoded.width), "{orientation}");
        assert_eq!(decoded.pixels, letters, "orientation {orientation}");
    }
    // As a phone writes it.
    let image = RgbImage::from_fn(32, 16, |x, _| image::Rgb([if x < 16 { 250 } else { 5 }; 3]));
    let mut jpeg = Vec::new();
    JpegEncoder::new(&mut jpeg).encode_image(&image).unwrap();
    let app1 = [b"Exif\0\0", &exif(6)[..]].concat();
    let mut turned = jpeg[..2].to_vec();
    turned.extend([0xff, 0xe1]);
    turned.extend((app1.len() as u16 + 2).to_be_bytes());
    turned.extend(app1);
    turned.extend(&jpeg[2..]);
    let decoded = picture(&turned);
    assert_eq!((decoded.width, decoded.height), (16, 32));
    assert!(decoded.pixels[0] > 200 && decoded.pixels[decoded.pixels.len() - 1] < 50);
}

#[test]
fn a_file_that_is_cut_short_is_never_half_a_picture() {
    let whole: Vec<(String, Vec<u8>)> = FORMATS
        .iter()
        .map(|&format| (format!("{format:?}"), encoded(&rgb(40, 30).into(), format)))
        .chain([(
            "animated".to_owned(),
            animated_webp(&[rgb(40, 30), rgb(40, 30)]),
        )])
        .collect();
    for (name, bytes) in whole {
        let expected = picture(&bytes);
        for length in 0..bytes.len() {
            // Metadata behind the pixels may be missing; a part of the pixels may not.
            if let Ok(decoded) = decode(&bytes[..length], Backdrop::White) {
                assert_eq!(
                    decoded,
                    expected,
                    "{name} cut to {length} of {}",
                    bytes.len()
                );
            }
        }
        let half = error(&bytes[..bytes.len() / 2]);
        assert!(half.contains("\nhint: "), "{name}: {half}");
    }
}

#[test]
fn damaged_bytes_give_an_error_or_a_picture_and_end_nothing() {
    for format in FORMATS {
        let bytes = encoded(&rgb(24, 24).into(), format);
        for n in 0..1500u64 {
            let mut damaged = bytes.clone();
            for change in 0..1 + n % 3 {
                let random = crate::random::mix(&[n, change, format as u64]);
                let at = random as usize % damaged.len();
                damaged[at] = (random >> 32) as u8;
            }
            if let Ok(picture) = decode(&damaged, Backdrop::Contrasting) {
                let n_values = picture.width * picture.height * picture.channels;
                assert_eq!(picture.pixels.len(), n_values);
                assert_eq!(fit(&picture, 28, 28, 1, 0).len(), 784);
                scene(&picture);
            }
        }
    }
}

#[test]
fn what_is_no_picture_is_named() {
    for (bytes, what) in [
        (&b""[..], "is empty"),
        (b"just words", "text, not a picture"),
        (b"<?xml version=\"1.0\"?><svg/>", "SVG"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"II*\0\x08\0\0\0", "TIFF"),
        (b"%PDF-1.7", "PDF"),
        (&[0, 1, 2, 3], "no picture of a known format"),
    ] {
        let error = error(bytes);
        assert!(
            error.contains(what) && error.contains("\nhint: "),
            "{error}"
        );
        assert!(!is_known(bytes));
    }
}

#[test]
fn pictures_that_are_too_large_are_refused_by_their_headers() {
    let mut bmp = encoded(&rgb(4, 4).into(), ImageFormat::Bmp);
    bmp[18..22].copy_from_slice(&50_000u32.to_le_bytes());
    bmp[22..26].copy_from_slice(&50_000u32.to_le_bytes());
    let mut gif = encoded(&rgb(4, 4).into(), ImageFormat::Gif);
    gif[6..10].fill(0xff);
    let mut jpeg = encoded(&rgb(4, 4).into(), ImageFormat::Jpeg);
    let frame = jpeg.windows(2).position(|it| it == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0xc3, 0x50, 0xc3, 0x50]);
    let mut webp = animated_webp(&[rgb(4, 4), rgb(4, 4)]);
    webp[24..30].copy_from_slice(&[0x4f, 0xc3, 0, 0x4f, 0xc3, 0]);
    let png = raw_png([50_000, 50_000], [8, 2], &[(b"IDAT", &zlib(&[0; 1000]))]);
    for (name, bytes) in [
        ("bmp", bmp),
        ("gif", gif),
        ("jpeg", jpeg),
        ("webp", webp),
        ("png", png),
    ] {
        let error = decode(&bytes, Backdrop::White).unwrap_err();
        assert!(
            matches!(error, ImageError::LargePicture { .. }),
            "{name}: {error}"
        );
    }
    // A photo of 24 million pixels is not; nor is one that lies on its side.
    let side = raw_png(
        [6000, 4000],
        [8, 2],
        &[(b"eXIf", &exif(6)), (b"IDAT", &zlib(&[0; 9]))],
    );
    assert!(header(&side).unwrap().cost <= MOST_BYTES);
}

#[test]
fn a_frame_that_is_larger_than_its_picture_is_refused() {
    // The frame says 16,383 x 16,383: its decoder would make room for it before it compares.
    let frame = [
        &[0x30, 1, 0, 0x9d, 1, 0x2a][..],
        &[0xff, 0x3f, 0xff, 0x3f],
        &[0; 20],
    ]
    .concat();
    let mut bytes =
        b"RIFF\x3a\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\x09\0\0\x09\0\0VP8 \x1e\0\0\0".to_vec();
    bytes.extend(frame);
    let size = (bytes.len() as u32 - 8).to_le_bytes();
    bytes[4..8].copy_from_slice(&size);
    assert!(error(&bytes).contains("16383"), "{}", error(&bytes));
}

#[test]
fn a_picture_keeps_its_shape_and_stands_in_the_middle() {
    let wide = Picture {
        width: 100,
        height: 50,
        channels: 1,
        pixels: vec![200; 5000],
    };
    let fitted = fit(&wide, 28, 28, 1, 7);
    for (at, &value) in fitted.iter().enumerate() {
        let inside = (7..21).contains(&(at / 28));
        assert_eq!(value, if inside { 200 } else { 7 }, "row {}", at / 28);
    }
    // Even one of a single row is there.
    let line = Picture {
        height: 1,
        width: 5000,
        ..wide.clone()
    };
    assert_eq!(
        fit(&line, 28, 28, 1, 0)
            .iter()
            .filter(|it| **it == 200)
            .count(),
        28
    );
    // Enlarging, and three channels of one.
    let small = Picture {
        height: 2,
        width: 2,
        pixels: vec![90; 4],
        ..wide
    };
    assert_eq!(fit(&small, 9, 5, 3, 90), [90; 135]);
}

#[test]
fn shrinking_counts_every_pixel() {
    // Lines of one pixel: skipping rows would see only one of the two colours.
    let lines = |period: usize| Picture {
        width: 280,
        height: 280,
        channels: 1,
        pixels: (0..280 * 280)
            .map(|at| if at % 280 % period == 0 { 255 } else { 0 })
            .collect(),
    };
    let inner = |picture: &Picture| fit(picture, 28, 28, 1, 0)[28 * 14 + 5..28 * 14 + 23].to_vec();
    assert!(inner(&lines(2)).iter().all(|it| it.abs_diff(127) <= 3));
    assert!(inner(&lines(5)).iter().all(|it| it.abs_diff(51) <= 3));
    // An edge stays where it is.
    let mut edge = lines(2);
    edge.pixels = (0..280 * 280)
        .map(|at| if at % 280 < 140 { 0 } else { 255 })
        .collect();
    let row = &fit(&edge, 28, 28, 1, 0)[..28];
    assert!(
        row[..13].iter().all(|it| *it < 20) && row[15..].iter().all(|it| *it > 235),
        "{row:?}"
    );
}

#[test]
fn luma_is_that_of_bt_601() {
    assert_eq!(
        [luma(&[255, 0, 0]), luma(&[0, 255, 0]), luma(&[0, 0, 255])],
        [76, 150, 29]
    );
    for value in 0..=255 {
        assert_eq!(luma(&[value; 3]), value);
        assert_eq!(luma(&[value]), value);
    }
}

fn square(size: usize, from: usize, to: usize, around: u8, inside: u8) -> Picture {
    let within = |at: usize| (from..to).contains(&at);
    let pixels = (0..size * size).map(|at| {
        if within(at / size) && within(at % size) {
            inside
        } else {
            around
        }
    });
    Picture {
        width: size,
        height: size,
        channels: 1,
        pixels: pixels.collect(),
    }
}

#[test]
fn the_border_tells_the_background_and_where_the_object_is() {
    let found = scene(&square(400, 100, 250, 240, 30));
    assert_eq!(
        (found.border.median, found.object_is_lighter),
        (240, Some(false))
    );
    assert!(found.border.is_uniform());
    let Region {
        top,
        left,
        height,
        width,
    } = found.object;
    assert!(
        (94..=100).contains(&top) && (94..=100).contains(&left),
        "{found:?}"
    );
    assert!(
        (150..=162).contains(&height) && (150..=162).contains(&width),
        "{found:?}"
    );
    let empty = scene(&square(50, 0, 0, 9, 9));
    assert_eq!((empty.object.width, empty.object_is_lighter), (50, None));
    // Noise everywhere: no background.
    let noise = Picture {
        pixels: (0..10_000)
            .map(|at| crate::random::mix(&[at]) as u8)
            .collect(),
        ..square(100, 0, 0, 0, 0)
    };
    assert!(!scene(&noise).border.is_uniform());
}

#[test]
fn a_common_background_is_found_only_where_there_is_one() {
    let of = |images: &[Picture]| {
        let pixels = images.iter().map(|it| &it.pixels[..]);
        common_background(pixels, 28, 28)
    };
    let dark = of(&vec![square(28, 4, 24, 0, 250); 20]).unwrap();
    assert!(dark.is_dark() && (dark.value, dark.peak) == (0, 250));
    assert!((dark.fill - 20.0 / 28.0).abs() < 1e-9);
    let light = of(&vec![square(28, 4, 24, 255, 10); 20]).unwrap();
    assert!(!light.is_dark() && (light.value, light.peak) == (255, 10));
    let mixed: Vec<Picture> = (0..20).map(|n| square(28, 4, 24, n * 13, 128)).collect();
    assert_eq!(of(&mixed), None);
    assert_eq!(of(&[]), None);
}
