//! A picture made as large as a model's input.

use super::border::Region;
use super::{Picture, luma};

/// The whole picture as large as it fits into `height` x `width`, its aspect ratio kept, centred; the rest
/// is `background`. Returns `[channel][row][column]`.
///
/// A picture of just that size and those channels passes byte for byte; RGB becomes grey by [`luma`], grey
/// becomes three equal channels. Else it is resampled, enlarged or shrunk, by Keys' cubic convolution with
/// a = -1/2 ("Cubic convolution interpolation for digital image processing", 1981), stretched when
/// shrinking so that every pixel counts, as Pillow's BICUBIC does. That is done on the encoded values and
/// not in linear light: so were the pictures made that Fashion-MNIST and most other sets consist of, and
/// what a model sees should be made as its training data was.
pub fn fit(
    picture: &Picture,
    height: usize,
    width: usize,
    channels: usize,
    background: u8,
) -> Vec<u8> {
    let whole = Region::whole(picture);
    fit_region(picture, whole, (height, width), channels, (1.0, background))
}

/// The same for a part of the picture, which takes the part `fill` (in (0, 1]) of the longer side that
/// it can take.
pub fn fit_region(
    picture: &Picture,
    region: Region,
    (height, width): (usize, usize),
    channels: usize,
    (fill, background): (f64, u8),
) -> Vec<u8> {
    let scale_y = height as f64 / region.height as f64;
    let scale = scale_y.min(width as f64 / region.width as f64) * fill;
    let side = |length: usize, most: usize| {
        let length = (length as f64 * scale).round() as usize;
        length.clamp(1, most)
    };
    let (rows, columns) = (side(region.height, height), side(region.width, width));
    let resampled = resample(picture, region, rows, columns, channels);
    let (top, left) = ((height - rows) / 2, (width - columns) / 2);
    let mut output = vec![background; channels * height * width];
    for channel in 0..channels {
        for y in 0..rows {
            let row = &mut output[(channel * height + top + y) * width + left..][..columns];
            for (x, value) in row.iter_mut().enumerate() {
                *value = resampled[(y * columns + x) * channels + channel];
            }
        }
    }
    output
}

/// A part of a picture as `rows` x `columns` pixels, `[row][column][channel]`.
pub fn resample(
    picture: &Picture,
    region: Region,
    rows: usize,
    columns: usize,
    channels: usize,
) -> Vec<u8> {
    let row_at = |y: usize| {
        let at = (region.top + y) * picture.width + region.left;
        &picture.pixels[at * picture.channels..][..region.width * picture.channels]
    };
    if (rows, columns) == (region.height, region.width) {
        let mut same = Vec::with_capacity(rows * columns * channels);
        (0..rows).for_each(|y| recolor(row_at(y), picture.channels, channels, |it| same.push(it)));
        return same;
    }
    // Down the columns first: a row of the picture is looked at once for each row that it is part of, and
    // no second picture of full width is needed.
    let across = taps(region.width, columns);
    let mut colors = Vec::with_capacity(region.width * channels);
    let mut sums = vec![0f32; region.width * channels];
    let mut output = Vec::with_capacity(rows * columns * channels);
    for tap in taps(region.height, rows) {
        sums.fill(0.0);
        for (offset, &weight) in tap.weights.iter().enumerate() {
            colors.clear();
            recolor(
                row_at(tap.first + offset),
                picture.channels,
                channels,
                |it| colors.push(it),
            );
            for (sum, &color) in sums.iter_mut().zip(&colors) {
                *sum += weight * f32::from(color);
            }
        }
        for tap in &across {
            for channel in 0..channels {
                let terms = tap.weights.iter().enumerate();
                let sum: f32 = terms
                    .map(|(offset, &weight)| {
                        weight * sums[(tap.first + offset) * channels + channel]
                    })
                    .sum();
                output.push(sum.round().clamp(0.0, 255.0) as u8);
            }
        }
    }
    output
}

/// A row in the colours that are wanted.
fn recolor(row: &[u8], from: usize, to: usize, mut push: impl FnMut(u8)) {
    match (from, to) {
        _ if from == to => row.iter().for_each(|&value| push(value)),
        (_, 1) => row.chunks_exact(from).for_each(|pixel| push(luma(pixel))),
        _ => {
            let grey = row.chunks_exact(from).map(luma);
            grey.for_each(|value| (0..to).for_each(|_| push(value)));
        }
    }
}

/// The inputs that an output is made of.
struct Taps {
    first: usize,
    /// They add up to 1.
    weights: Vec<f32>,
}

fn taps(from: usize, to: usize) -> Vec<Taps> {
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    let tap = |index: usize| {
        let center = (index as f64 + 0.5) * scale;
        let first = (center - 2.0 * stretch).floor().max(0.0) as usize;
        let end = ((center + 2.0 * stretch).ceil() as usize).clamp(first + 1, from);
        let first = first.min(from - 1);
        let weights: Vec<f64> = (first..end)
            .map(|at| cubic((at as f64 + 0.5 - center) / stretch))
            .collect();
        let sum: f64 = weights.iter().sum();
        let weights = weights.iter().map(|weight| (weight / sum) as f32);
        Taps {
            first,
            weights: weights.collect(),
        }
    };
    (0..to).map(tap).collect()
}

/// Keys' kernel with a = -1/2.
fn cubic(x: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        (1.5 * x - 2.5) * x * x + 1.0
    } else if x < 2.0 {
        ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    } else {
        0.0
    }
}
