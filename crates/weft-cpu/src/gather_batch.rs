//! Gather, augment and normalise one batch: the CPU twin of `shaders/gather_batch.wgsl`.

use rayon::prelude::*;

use crate::random::{draw, happens, threshold};
use crate::threads::{Parts, for_each};

/// What one launch does. The names are those of the shader.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GatherSpec {
    /// Position in the order of the batch's first image.
    pub first: u32,
    /// Images in the batch.
    pub n_images: u32,
    /// Channels of an image: all of them are flipped, shifted and erased alike.
    pub channels: u32,
    /// Rows of an image.
    pub height: u32,
    /// Columns of an image.
    pub width: u32,
    /// Key of the draws: a function of (seed, epoch). The image's index is the counter.
    pub key: u32,
    /// Which images are flipped.
    pub flip: FlipDraw,
    /// How the images are changed.
    pub augmentation: Augmentation,
}

/// What decides whether an image is flipped, beside its index and the probability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FlipDraw {
    /// Key of the draw: that of the others, or one that is the same in all epochs.
    pub key: u32,
    /// Flips those that the draw leaves, and leaves those that it flips.
    pub other_way: bool,
}

impl FlipDraw {
    /// As the other draws: anew for each key.
    pub fn anew(key: u32) -> Self {
        Self {
            key,
            other_way: false,
        }
    }
}

/// Random changes of an image. The default changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Augmentation {
    /// Probability of a horizontal flip, in 1/2^24 (see [`threshold`]).
    pub flip_threshold: u32,
    /// Whether that is drawn for the first epoch alone, and each later one flips what the one before it
    /// did not. The kernel knows no epochs: see [`FlipDraw`].
    pub alternates: bool,
    /// Largest shift in pixels, each way and on each axis; what enters is zero.
    pub shift: u32,
    /// Probability of erasing a rectangle, in 1/2^24.
    pub erase_threshold: u32,
    /// Shortest side of the rectangle in pixels.
    pub erase_min: u32,
    /// Longest side of the rectangle in pixels.
    pub erase_max: u32,
}

impl Augmentation {
    /// From probabilities in [0, 1] and pixels.
    pub fn new(flip: f64, shift: u32, erase: f64, erase_min: u32, erase_max: u32) -> Self {
        Self {
            flip_threshold: threshold(flip),
            alternates: false,
            shift,
            erase_threshold: threshold(erase),
            erase_min: erase_min.min(erase_max),
            erase_max,
        }
    }
}

impl GatherSpec {
    /// Shape of the batch: `[batch, channel, height, width]`.
    pub fn shape(&self) -> Vec<usize> {
        [self.n_images, self.channels, self.height, self.width]
            .map(|n| n as usize)
            .to_vec()
    }

    /// Numbers of an image.
    fn n_values(&self) -> usize {
        self.channels as usize * self.n_pixels()
    }

    /// Numbers of one channel of an image.
    fn n_pixels(&self) -> usize {
        self.height as usize * self.width as usize
    }

    /// The shader's `spec` array.
    pub fn words(&self) -> [u32; 14] {
        let augmentation = &self.augmentation;
        [
            self.first,
            self.n_images,
            self.channels,
            self.height,
            self.width,
            words_per_image(self.n_values()) as u32,
            self.key,
            augmentation.flip_threshold,
            augmentation.shift,
            augmentation.erase_threshold,
            augmentation.erase_min,
            augmentation.erase_max,
            self.flip.key,
            u32::from(self.flip.other_way),
        ]
    }
}

/// Words of four bytes that an image of `n_values` takes; the last one is padded with zeros.
pub fn words_per_image(n_values: usize) -> usize {
    n_values.div_ceil(4)
}

/// Packs images (`[image][channel][pixel]`, `n_values` bytes each) four bytes to a word, little end
/// first, in the order of `image_indices`.
pub fn pack(pixels: &[u8], n_values: usize, image_indices: &[u32]) -> Vec<i32> {
    let words = words_per_image(n_values);
    let mut packed = vec![0i32; image_indices.len() * words];
    packed
        .par_chunks_mut(words)
        .zip(image_indices)
        .for_each(|(words, &index)| {
            let image = &pixels[index as usize * n_values..][..n_values];
            for (word, bytes) in words.iter_mut().zip(image.chunks(4)) {
                let mut four = [0u8; 4];
                four[..bytes.len()].copy_from_slice(bytes);
                *word = i32::from_le_bytes(four);
            }
        });
    packed
}

/// One channel's table, the bits of the f32 value of each byte: `(byte / 255 - mean) / deviation`. A table, so that every
/// device gives the same bits whatever its division does.
pub fn table(mean: f64, deviation: f64) -> Vec<i32> {
    (0..256)
        .map(|byte| {
            let value = (f64::from(byte) / 255.0 - mean) / deviation;
            (value as f32).to_bits() as i32
        })
        .collect()
}

/// Images that one task takes.
const IMAGES: usize = 16;

/// The CPU twin.
pub fn on_cpu(packed: &[i32], order: &[i32], table: &[i32], spec: &GatherSpec) -> Vec<f32> {
    let n_values = spec.n_values();
    let words = words_per_image(n_values);
    let bits = table.iter().map(|&bits| f32::from_bits(bits as u32));
    let values: Vec<f32> = bits.collect();
    let mut images = vec![0f32; spec.n_images as usize * n_values];
    let batch = &order[spec.first as usize..];
    let parts = Parts::new(&mut images, IMAGES * n_values);
    for_each(parts.count(), &|part| {
        // SAFETY: each task has a part of its own.
        let outputs = unsafe { parts.of(part) }.chunks_exact_mut(n_values);
        for (output, &image_index) in outputs.zip(&batch[part * IMAGES..]) {
            let image = &packed[image_index as usize * words..][..words];
            let change = Change::draw(spec, image_index as u32);
            let channels = output.chunks_mut(spec.n_pixels()).zip(values.chunks(256));
            for (channel, (output, values)) in channels.enumerate() {
                let plane = Plane {
                    image,
                    start: channel * spec.n_pixels(),
                };
                if change == Change::NONE {
                    plane.unpack(values, output);
                } else {
                    change.apply(&plane, values, spec, output);
                }
            }
        }
    });
    images
}

/// One channel of a packed image.
struct Plane<'a> {
    image: &'a [i32],
    /// Which byte of the image is the channel's first.
    start: usize,
}

impl Plane<'_> {
    fn byte(&self, at: usize) -> usize {
        let at = self.start + at;
        usize::from(self.image[at / 4].to_le_bytes()[at % 4])
    }

    fn unpack(&self, values: &[f32], output: &mut [f32]) {
        let Ok(values) = <&[f32; 256]>::try_from(values) else {
            return; // a table has 256 values
        };
        if !self.start.is_multiple_of(4) {
            for (at, pixel) in output.iter_mut().enumerate() {
                *pixel = values[self.byte(at)];
            }
            return;
        }
        let words = &self.image[self.start / 4..];
        for (pixels, word) in output.chunks_mut(4).zip(words) {
            for (pixel, byte) in pixels.iter_mut().zip(word.to_le_bytes()) {
                *pixel = values[usize::from(byte)];
            }
        }
    }
}

/// What the draws say for one image.
#[derive(Clone, Copy, PartialEq)]
struct Change {
    flip: bool,
    shift_y: i32,
    shift_x: i32,
    /// Top, left, height and width of what is erased.
    erase: Option<[i32; 4]>,
}

impl Change {
    const NONE: Self = Self {
        flip: false,
        shift_y: 0,
        shift_x: 0,
        erase: None,
    };

    fn draw(spec: &GatherSpec, image_index: u32) -> Self {
        let a = &spec.augmentation;
        let bits = |counter| draw(spec.key, image_index, counter);
        let shift = |counter| match a.shift {
            0 => 0,
            shift => (bits(counter) % (2 * shift + 1)) as i32 - shift as i32,
        };
        let erase = happens(bits(3), a.erase_threshold).then(|| {
            let sides = a.erase_max - a.erase_min + 1;
            let height = (a.erase_min + bits(4) % sides) as i32;
            let width = (a.erase_min + bits(5) % sides) as i32;
            let top = (bits(6) % spec.height) as i32 - height / 2;
            let left = (bits(7) % spec.width) as i32 - width / 2;
            [top, left, height, width]
        });
        Self {
            flip: happens(draw(spec.flip.key, image_index, 0), a.flip_threshold)
                != spec.flip.other_way,
            shift_y: shift(1),
            shift_x: shift(2),
            erase,
        }
    }

    /// Writes one channel.
    fn apply(&self, plane: &Plane, values: &[f32], spec: &GatherSpec, output: &mut [f32]) {
        let (height, width) = (spec.height as i32, spec.width as i32);
        for y in 0..height {
            for x in 0..width {
                let source_y = y - self.shift_y;
                let mut source_x = x - self.shift_x;
                if self.flip {
                    source_x = width - 1 - source_x;
                }
                let inside = (0..height).contains(&source_y) && (0..width).contains(&source_x);
                let byte = if inside && !self.erases(y, x) {
                    plane.byte((source_y * width + source_x) as usize)
                } else {
                    0
                };
                output[(y * width + x) as usize] = values[byte];
            }
        }
    }

    fn erases(&self, y: i32, x: i32) -> bool {
        self.erase.is_some_and(|[top, left, height, width]| {
            (top..top + height).contains(&y) && (left..left + width).contains(&x)
        })
    }
}
