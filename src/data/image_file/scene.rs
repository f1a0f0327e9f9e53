//! Where on a picture its object is: what differs from the surface that its border belongs to.

use super::border::{Border, Region};
use super::resize::resample;
use super::surface::Surface;
use super::{Picture, luma};

/// The longer side of the small copy on which a picture is looked at.
const SMALL: usize = 128;
/// Points of the border that are farther from the background than this are the object's.
const NEAR: f64 = 20.0;

/// What the border of a picture says about the rest of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scene {
    /// Median brightness of the border, and how much of it is background.
    pub border: Border,
    /// The background, for the whole picture.
    pub background: Surface,
    /// Where something differs from it; all of the picture where nothing does.
    pub object: Region,
    /// Whether what differs is lighter than the background, on the whole. None where nothing differs.
    pub object_is_lighter: Option<bool>,
}

/// Where pixel `at` of `n` lies, from -1 to 1.
pub fn position(at: f64, n: usize) -> f64 {
    (2.0 * at + 1.0) / n as f64 - 1.0
}

/// Looks at a small copy of a picture, in which noise is averaged away.
pub fn scene(picture: &Picture) -> Scene {
    let longer = picture.height.max(picture.width);
    let small = |side: usize| (side * SMALL.min(longer) / longer).max(1);
    let (rows, columns) = (small(picture.height), small(picture.width));
    let colors = resample(picture, Region::whole(picture), rows, columns, 3);
    let color = |y: usize, x: usize| {
        let at = (y * columns + x) * 3;
        [colors[at], colors[at + 1], colors[at + 2]]
    };
    let place = |y: usize, x: usize| (position(x as f64, columns), position(y as f64, rows));
    let (background, uniform) = background(rows, columns, |y, x| {
        let (across, down) = place(y, x);
        (across, down, color(y, x))
    });
    let grey: Vec<u8> = colors.chunks_exact(3).map(luma).collect();
    let border = Border {
        uniform,
        ..Border::of(&grey, rows, columns)
    };
    let differs = |y: usize, x: usize| {
        let (across, down) = place(y, x);
        background.distance(across, down, color(y, x)) > f64::from(Border::NEAR)
    };
    let in_row = |y: usize| (0..columns).any(|x| differs(y, x));
    let in_column = |x: usize| (0..rows).any(|y| differs(y, x));
    let nothing = Scene {
        border,
        background,
        object: Region::whole(picture),
        object_is_lighter: None,
    };
    let (Some((top, bottom)), Some((left, right))) = (span(rows, in_row), span(columns, in_column))
    else {
        return nothing;
    };
    let mut lighter = 0.0;
    for (y, x) in (top..bottom).flat_map(|y| (left..right).map(move |x| (y, x))) {
        if differs(y, x) {
            let (across, down) = place(y, x);
            let behind = background
                .at(across, down)
                .map(|it| it.clamp(0.0, 255.0) as u8);
            lighter += f64::from(luma(&color(y, x))) - f64::from(luma(&behind));
        }
    }
    let (top, height) = enlarged(top, bottom, rows, picture.height);
    let (left, width) = enlarged(left, right, columns, picture.width);
    Scene {
        object: Region {
            top,
            left,
            height,
            width,
        },
        object_is_lighter: Some(lighter > 0.0),
        ..nothing
    }
}

/// The surface that most of the border belongs to, and the part that does. It begins with the colour in
/// the middle of each channel, and twice goes through the points that are near.
fn background(
    rows: usize,
    columns: usize,
    point: impl Fn(usize, usize) -> (f64, f64, [u8; 3]),
) -> (Surface, f64) {
    let mut points = Vec::new();
    for y in 0..rows {
        let is_inner = y > 0 && y + 1 < rows;
        let step = if is_inner { (columns - 1).max(1) } else { 1 };
        points.extend((0..columns).step_by(step).map(|x| point(y, x)));
    }
    let median = [0, 1, 2].map(|channel| {
        let mut values: Vec<u8> = points.iter().map(|(_, _, color)| color[channel]).collect();
        values.sort_unstable();
        values[values.len() / 2]
    });
    // First with room for what a surface explains and one colour does not.
    let mut surface = Surface::even(median);
    for room in [2.5 * NEAR, 1.25 * NEAR, NEAR] {
        let near = points
            .iter()
            .filter(|(x, y, color)| surface.distance(*x, *y, *color) <= room);
        surface = Surface::through(&near.copied().collect::<Vec<_>>());
    }
    let belongs = |(x, y, color): &&(f64, f64, [u8; 3])| surface.distance(*x, *y, *color) <= NEAR;
    let n_belonging = points.iter().filter(belongs).count();
    (surface, n_belonging as f64 / points.len() as f64)
}

/// The first of `n` that holds and the one behind the last.
fn span(n: usize, holds: impl Fn(usize) -> bool) -> Option<(usize, usize)> {
    let first = (0..n).find(|&at| holds(at))?;
    let last = (0..n).rev().find(|&at| holds(at))?;
    Some((first, last + 1))
}

/// Where `first..end` of `small` pixels begins among `large`, and its length.
fn enlarged(first: usize, end: usize, small: usize, large: usize) -> (usize, usize) {
    let from = first * large / small;
    (from, ((end * large).div_ceil(small)).min(large) - from)
}
