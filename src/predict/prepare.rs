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

/// A colour this near to the background is background: noise, compression, a faint shadow.
const BACKGROUND: f64 = 12.0;
/// One this far from it is the object. What lies between is a part of each.
const OBJECT: f64 = 32.0;
/// Contrast is raised this much at most: more would show noise.
const MOST_CONTRAST: i32 = 4;
/// The longer side of an object when it is cut out: enough for any model, and nothing to keep.
const CUT_OUT: usize = 256;

/// Prepares a picture. One that has the size of the model's images passes as it is, but for an inversion.
pub fn prepare(picture: &Picture, target: &Target) -> Prepared {
    let scene = image_file::scene(picture);
    let inverted = target
        .invert
        .unwrap_or_else(|| needs_inversion(&scene, target));
    let size = (target.height, target.width);
    let is_ready = (picture.height, picture.width) == size;
    let studio = target
        .background
        .filter(|_| !is_ready && target.channels == 1 && scene.border.is_uniform());
    let (region, mut pixels) = match studio {
        Some(background) => {
            let object = cut_out(picture, &scene, inverted, background.is_dark());
            let whole = Region::whole(&object);
            let around = if background.is_dark() { 0 } else { 255 };
            let place = (background.fill, around);
            let mut pixels = image_file::fit_region(&object, whole, size, 1, place);
            level(&mut pixels, &background);
            (scene.object, pixels)
        }
        None => {
            // 0 as in the training images, where those were image files.
            let around = target.background.map_or(0, |background| background.value);
            // What is filled is inverted with the rest.
            let around = if inverted { 255 - around } else { around };
            let whole = Region::whole(picture);
            let place = (1.0, around);
            let mut pixels = image_file::fit_region(picture, whole, size, target.channels, place);
            if inverted {
                pixels.iter_mut().for_each(|it| *it = 255 - *it);
            }
            (whole, pixels)
        }
    };
    let faces_away = || studio.is_some() && faces_away(&pixels, target);
    let mirrored = target.mirror.unwrap_or_else(faces_away);
    if mirrored {
        pixels = mirror(&pixels, target.width);
    }
    Prepared {
        pixels,
        inverted,
        mirrored,
        region,
        scene,
    }
}

/// The object in grey on a background of one brightness, 0 or 255. What differs from the picture's background
/// in colour is the object, with the brightness that it has: so a pink purse before a wall that is as bright
/// does not vanish.
fn cut_out(picture: &Picture, scene: &Scene, inverted: bool, on_dark: bool) -> Picture {
    let region = scene.object;
    let longer = region.height.max(region.width);
    let side = |length: usize| (length * CUT_OUT.min(longer) / longer).max(1);
    let (rows, columns) = (side(region.height), side(region.width));
    let colors = image_file::resample(picture, region, rows, columns, 3);
    let place = |at: usize, n: usize, first: usize, length: usize, whole: usize| {
        let at = first as f64 + (at as f64 + 0.5) * length as f64 / n as f64 - 0.5;
        image_file::position(at, whole)
    };
    let pixels = colors.chunks_exact(3).enumerate().map(|(at, color)| {
        let x = place(
            at % columns,
            columns,
            region.left,
            region.width,
            picture.width,
        );
        let y = place(
            at / columns,
            rows,
            region.top,
            region.height,
            picture.height,
        );
        let distance = scene
            .background
            .distance(x, y, [color[0], color[1], color[2]]);
        let part = ((distance - BACKGROUND) / (OBJECT - BACKGROUND)).clamp(0.0, 1.0);
        let brightness = f64::from(image_file::luma(color));
        // From the training images' background: 0 is none.
        let strength = if inverted == on_dark {
            255.0 - brightness
        } else {
            brightness
        };
        let strength = (part * strength).round() as u8;
        if on_dark { strength } else { 255 - strength }
    });
    Picture {
        width: columns,
        height: rows,
        channels: 1,
        pixels: pixels.collect(),
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

/// Gives the background, which is 0 or 255, and the farthest pixel the brightness that they have in
/// training, and the rest what lies between.
fn level(pixels: &mut [u8], wanted: &Background) {
    let (around, sign) = if wanted.is_dark() { (0, 1) } else { (255, -1) };
    let strength = |value: u8| (i32::from(value) - around).abs();
    let strongest = pixels
        .iter()
        .map(|&value| strength(value))
        .max()
        .unwrap_or(0);
    let range = (i32::from(wanted.peak) - i32::from(wanted.value)).abs();
    let strongest = strongest.max(range / MOST_CONTRAST).max(1);
    for value in pixels {
        let raised = strength(*value) * range / strongest;
        *value = (i32::from(wanted.value) + sign * raised).clamp(0, 255) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        Target {
            height: 28,
            width: 28,
            channels: 1,
            background: Some(Background {
                value: 0,
                fill: 1.0,
                peak: 255,
            }),
            class_means: Vec::new(),
            invert: None,
            mirror: None,
        }
    }

    /// A grey picture, `at(y, x)`.
    fn picture(height: usize, width: usize, at: impl Fn(usize, usize) -> u8) -> Picture {
        Picture {
            height,
            width,
            channels: 1,
            pixels: (0..height * width)
                .map(|pixel| at(pixel / width, pixel % width))
                .collect(),
        }
    }

    /// A triangle with its point to the left, or to the right.
    fn wedge(around: u8, inside: u8, to_the_right: bool) -> Picture {
        picture(200, 300, |y, x| {
            let x = if to_the_right { 299 - x } else { x };
            let inside_it = (60..240).contains(&x) && y.abs_diff(100) < (x - 60) / 4;
            if inside_it { inside } else { around }
        })
    }

    #[test]
    fn what_the_model_was_trained_on_passes_as_it_is() {
        // Dark around, an object, and nothing of it may change: not its margin, not its contrast.
        let ready = picture(28, 28, |y, x| {
            if y.abs_diff(14) + x.abs_diff(14) < 6 {
                (y * x % 90) as u8 + 60
            } else {
                3
            }
        });
        let prepared = prepare(&ready, &target());
        assert_eq!(prepared.pixels, ready.pixels);
        assert!(!prepared.inverted && !prepared.mirrored);
        let photo = Target {
            background: None,
            ..target()
        };
        let light = picture(28, 28, |_, _| 250);
        assert_eq!(prepare(&light, &photo).pixels, light.pixels);
    }

    #[test]
    fn dark_on_light_and_light_on_dark_come_out_alike() {
        let dark = prepare(&wedge(235, 60, false), &target());
        let light = prepare(&wedge(20, 195, false), &target());
        assert!(dark.inverted && !light.inverted);
        for prepared in [&dark, &light] {
            assert_eq!(
                (prepared.pixels[0], prepared.pixels[27]),
                (0, 0),
                "background"
            );
            assert_eq!(prepared.pixels.iter().max(), Some(&255), "peak");
            // The object is as wide as it can be.
            let rows: Vec<&[u8]> = prepared.pixels.chunks(28).collect();
            assert!(rows.iter().any(|row| row[27] > 100) && rows[14][2] > 100);
        }
        let pairs = dark.pixels.iter().zip(&light.pixels);
        assert!(pairs.map(|(a, b)| a.abs_diff(*b)).max() < Some(12));
        // A light object on a background that is light too: the object decides, not the border.
        assert!(!prepare(&wedge(150, 250, false), &target()).inverted);
        for (asked, expected) in [(Some(false), false), (Some(true), true)] {
            let target = Target {
                invert: asked,
                ..target()
            };
            assert_eq!(prepare(&wedge(235, 60, false), &target).inverted, expected);
        }
    }

    #[test]
    fn margins_and_brightness_are_those_of_the_training_images() {
        let mnist = Target {
            background: Some(Background {
                value: 10,
                fill: 20.0 / 28.0,
                peak: 200,
            }),
            ..target()
        };
        let prepared = prepare(&wedge(240, 0, false), &mnist);
        let used = |at: &usize| prepared.pixels[*at] > 30;
        let columns: Vec<usize> = (0..784).filter(used).map(|at| at % 28).collect();
        assert!(columns.iter().min() >= Some(&3) && columns.iter().max() <= Some(&24));
        assert_eq!(
            (prepared.pixels[0], prepared.pixels.iter().max()),
            (10, Some(&200))
        );
        let light = Target {
            background: Some(Background {
                value: 255,
                fill: 1.0,
                peak: 0,
            }),
            ..target()
        };
        let prepared = prepare(&wedge(20, 200, false), &light);
        assert!(prepared.inverted && prepared.pixels[0] == 255);
        assert_eq!(prepared.pixels.iter().min(), Some(&0));
    }

    #[test]
    fn a_picture_that_faces_away_is_mirrored_where_the_classes_are_known() {
        let left = prepare(&wedge(240, 30, false), &target());
        let known = Target {
            class_means: vec![vec![90; 784], left.pixels.clone()],
            ..target()
        };
        let right = prepare(&wedge(240, 30, true), &known);
        assert!(right.mirrored);
        let pairs = right.pixels.iter().zip(&left.pixels);
        assert!(pairs.map(|(a, b)| a.abs_diff(*b)).max() < Some(40));
        assert!(!prepare(&wedge(240, 30, false), &known).mirrored);
        assert!(!prepare(&wedge(240, 30, true), &target()).mirrored);
        let never = Target {
            mirror: Some(false),
            ..known
        };
        assert!(!prepare(&wedge(240, 30, true), &never).mirrored);
    }

    #[test]
    fn photos_are_fitted_whole_and_never_inverted() {
        let photos = Target {
            background: None,
            channels: 3,
            ..target()
        };
        let prepared = prepare(&wedge(235, 60, false), &photos);
        assert_eq!(prepared.pixels.len(), 3 * 784);
        assert!(!prepared.inverted);
        assert_eq!(prepared.region.width, 300);
        // 300 x 200 becomes 28 x 19: rows 0 to 3 are filled.
        assert_eq!((prepared.pixels[3 * 28], prepared.pixels[6 * 28]), (0, 235));
    }

    #[test]
    fn an_even_picture_shows_no_noise() {
        let faint = picture(60, 60, |y, x| 200 + ((y * 7 + x * 3) % 5) as u8);
        let prepared = prepare(&faint, &target());
        assert!(
            prepared.pixels.iter().all(|it| *it < 40),
            "{:?}",
            prepared.pixels
        );
    }
}
