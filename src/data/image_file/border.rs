//! How bright the border of a picture is, and what the borders of a set have in common.

use super::Picture;
use crate::run::input::Background;

/// A part of a picture, in pixels. Not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Rows above it.
    pub top: usize,
    /// Columns before it.
    pub left: usize,
    /// Its rows.
    pub height: usize,
    /// Its columns.
    pub width: usize,
}

impl Region {
    /// All of it.
    pub fn whole(picture: &Picture) -> Self {
        Self {
            top: 0,
            left: 0,
            height: picture.height,
            width: picture.width,
        }
    }
}

/// How bright the border is: the pixels of the outermost rows and columns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Border {
    /// Median, 0 to 255.
    pub median: u8,
    /// Part of the border that is within [`Border::NEAR`] of the median.
    pub uniform: f64,
}

impl Border {
    /// A tenth of the range: what noise, compression and the light of a room change.
    pub const NEAR: u8 = 25;

    /// Of grey pixels, `[row][column]`.
    pub fn of(pixels: &[u8], height: usize, width: usize) -> Self {
        let mut counts = [0usize; 256];
        let mut n = 0;
        for (y, row) in pixels.chunks_exact(width.max(1)).take(height).enumerate() {
            let inner = y > 0 && y + 1 < height;
            for (x, &value) in row.iter().enumerate() {
                if !inner || x == 0 || x + 1 == width {
                    counts[usize::from(value)] += 1;
                    n += 1;
                }
            }
        }
        let mut below = 0;
        let median = counts.iter().position(|count| {
            below += count;
            2 * below >= n
        });
        let median = median.unwrap_or_default() as u8;
        let near = median.saturating_sub(Self::NEAR)..=median.saturating_add(Self::NEAR);
        let n_near: usize = near.map(|value| counts[usize::from(value)]).sum();
        Self {
            median,
            uniform: n_near as f64 / n.max(1) as f64,
        }
    }

    /// Whether most of it has one brightness, so that it can be taken for the background although an object
    /// may reach it.
    pub fn is_uniform(&self) -> bool {
        self.uniform >= 0.6
    }
}

/// The background that grey images (`[row][column]` each) have in common: that of 95 in 100, by the median
/// of their border, is dark, or that of as many is light. None for photos, whose borders are of any
/// brightness, and where there are no images.
pub fn common_background<'a>(
    images: impl Iterator<Item = &'a [u8]>,
    height: usize,
    width: usize,
) -> Option<Background> {
    let (mut values, mut fills, mut peaks) = (
        Counts::new(256),
        Counts::new(height.max(width) + 1),
        Counts::new(256),
    );
    for pixels in images {
        let border = Border::of(pixels, height, width);
        values.add(usize::from(border.median));
        let differs = |at: usize| pixels[at].abs_diff(border.median) > Border::NEAR;
        let rows = (0..height).filter(|y| (0..width).any(|x| differs(y * width + x)));
        let columns = (0..width).filter(|x| (0..height).any(|y| differs(y * width + x)));
        // Of the side that fills its own more: the object was made as large as it fits.
        let rows = extent(rows) * height.max(width) / height.max(1);
        let columns = extent(columns) * height.max(width) / width.max(1);
        fills.add(rows.max(columns));
        let farthest = pixels.iter().max_by_key(|it| it.abs_diff(border.median));
        peaks.add(usize::from(farthest.copied().unwrap_or_default()));
    }
    let n_images = values.n;
    let dark = values.below(64);
    let light = n_images - values.below(192);
    let in_common = n_images > 0 && dark.max(light) * 100 >= n_images * 95;
    in_common.then(|| Background {
        value: values.median() as u8,
        fill: fills.median().max(1) as f64 / height.max(width) as f64,
        peak: peaks.median() as u8,
    })
}

/// From the first to the last.
fn extent(mut positions: impl Iterator<Item = usize>) -> usize {
    let Some(first) = positions.next() else {
        return 0;
    };
    positions.last().unwrap_or(first) - first + 1
}

/// How often each number was seen.
struct Counts {
    of: Vec<usize>,
    n: usize,
}

impl Counts {
    fn new(n: usize) -> Self {
        Self {
            of: vec![0; n],
            n: 0,
        }
    }

    fn add(&mut self, number: usize) {
        self.of[number] += 1;
        self.n += 1;
    }

    fn below(&self, number: usize) -> usize {
        self.of[..number].iter().sum()
    }

    fn median(&self) -> usize {
        let half = |&number: &usize| 2 * self.below(number + 1) >= self.n;
        (0..self.of.len()).find(half).unwrap_or_default()
    }
}
