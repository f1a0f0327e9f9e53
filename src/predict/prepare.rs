//! A picture becomes what a model was trained on.
//!
//! Fashion-MNIST was made from product photos by a script (Xiao, Rasul and Vollgraf, 2017,
//! arXiv:1708.07747, section 2): trim the edges that are close to the background, make the longer side 28
//! pixels, centre it on a square of background, negate, make it grey. A picture for a model of such a set
//! goes the same way, with the numbers of the set at hand ([`Background`]: how bright the background is, how
//! much of a side the object takes, how bright its brightest pixel is). Without that an object is too small
//! and its background is no background to the model. Such a set may also have all of its shoes point to
//! the left, as Fashion-MNIST does, so that a model takes one that points to the right for a bag: where
//! the mirror image is clearly nearer to the mean image of a class than the picture is to any, it is used.
//!
//! A set of photos has no background in common, and
//! nothing of this is done for it: the whole picture is fitted.

use crate::data::image_file::{self, Picture, Region, Scene};
use crate::run::input::Background;

/// What the model takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// 1 or 3.
    pub channels: usize,
    /// What the training images have in common.
    pub background: Option<Background>,
    /// The mean image of each class, `[class][row][column]`; empty where they are not known.
    pub class_means: Vec<Vec<u8>>,
    /// Whether light and dark change places; None decides by the picture.
    pub invert: Option<bool>,
    /// Whether left and right change places; None decides by the picture.
    pub mirror: Option<bool>,
}

/// A picture as the model takes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// `[channel][row][column]`.
    pub pixels: Vec<u8>,
    /// Whether light and dark changed places.
    pub inverted: bool,
    /// Whether left and right changed places.
    pub mirrored: bool,
    /// What was used of the picture.
    pub region: Region,
    /// What its border said.
    pub scene: Scene,
}

/// Below this, what differs from the background is taken for it: a shadow, compression, dust.
const DEAD: i32 = 8;
/// Contrast is raised this much at most: more would show noise.
const MOST_CONTRAST: i32 = 4;

/// Prepares a picture. One that has the size and channels of the model passes as it is, but for the
/// inversion.
pub fn prepare(picture: &Picture, target: &Target) -> Prepared {
    let scene = image_file::scene(picture);
    let inverted = target
        .invert
        .unwrap_or_else(|| needs_inversion(&scene, target));
    let (height, width, channels) = (target.height, target.width, target.channels);
    let is_ready = (picture.height, picture.width) == (height, width);
    let studio = target
        .background
        .filter(|_| !is_ready && channels == 1 && scene.border.is_uniform());
    let region = match studio {
        Some(_) => scene.object,
        None => Region::whole(picture),
    };
    // What is filled is inverted with the rest.
    let around = |value: u8| if inverted { 255 - value } else { value };
    let (fill, filling) = match (studio, target.background) {
        (Some(background), _) => (background.fill, scene.border.median),
        (None, Some(background)) => (1.0, around(background.value)),
        (None, None) => (1.0, 0),
    };
    let size = (height, width);
    let mut pixels = image_file::fit_region(picture, region, size, channels, (fill, filling));
    if inverted {
        pixels.iter_mut().for_each(|it| *it = 255 - *it);
    }
    if let Some(background) = studio {
        level(&mut pixels, around(scene.border.median), &background);
    }
    let faces_away = || studio.is_some() && faces_away(&pixels, target);
    let mirrored = target.mirror.unwrap_or_else(faces_away);
    if mirrored {
        pixels = mirror(&pixels, width);
    }
    Prepared {
        pixels,
        inverted,
        mirrored,
        region,
        scene,
    }
}

/// Whether the object is dark where the training objects are light, or the other way round. Where the
/// border is no background its own brightness decides.
fn needs_inversion(scene: &Scene, target: &Target) -> bool {
    let Some(background) = target.background.filter(|_| target.channels == 1) else {
        return false;
    };
    let object_is_lighter = scene
        .object_is_lighter
        .filter(|_| scene.border.is_uniform());
    let object_is_lighter = object_is_lighter.unwrap_or(scene.border.median < 128);
    object_is_lighter != background.is_dark()
}

/// The mirror image must be this much nearer to a class's mean image, in squared distance. Of Fashion-MNIST's
/// own test images of shoes, which point to the left, 11 in 3,000 would be turned by that.
const CLEARLY: f64 = 0.85;

fn faces_away(pixels: &[u8], target: &Target) -> bool {
    let nearest = |pixels: &[u8]| {
        let distances = target.class_means.iter().map(|mean| {
            let pairs = pixels.iter().zip(mean);
            pairs
                .map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2))
                .sum::<u64>()
        });
        distances.min().unwrap_or_default() as f64
    };
    nearest(&mirror(pixels, target.width)) < CLEARLY * nearest(pixels)
}

fn mirror(pixels: &[u8], width: usize) -> Vec<u8> {
    let rows = pixels.chunks_exact(width);
    rows.flat_map(|row| row.iter().rev().copied()).collect()
}

/// Gives the background and the farthest pixel the brightness that they have in training, and the rest
/// what lies between.
fn level(pixels: &mut [u8], background: u8, wanted: &Background) {
    let sign = if wanted.is_dark() { 1 } else { -1 };
    let distance = |value: u8| sign * (i32::from(value) - i32::from(background));
    let farthest = pixels
        .iter()
        .map(|&value| distance(value))
        .max()
        .unwrap_or(0);
    let (from, to) = (i32::from(wanted.value), i32::from(wanted.peak));
    let range = (to - from).abs();
    let farthest = farthest.max(range / MOST_CONTRAST).max(1);
    for value in pixels {
        let distance = match distance(*value) {
            near if near < DEAD => 0,
            distance => distance * range / farthest,
        };
        *value = (from + sign * distance).clamp(0, 255) as u8;
    }
}
