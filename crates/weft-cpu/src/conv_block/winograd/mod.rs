//! 3 x 3 kernels at every pixel, by minimal filtering: two by two positions share a tile of 4 x 4 pixels and take
//! 16 products for each pair of channels instead of 36. F(2 x 2, 3 x 3) for outputs and for the images'
//! gradient, F(3 x 3, 2 x 2) for the weights' (Lavin and Gray, "Fast Algorithms for Convolutional Neural
//! Networks", 2016, after Winograd, "Arithmetic Complexity of Computations", 1980).
//!
//! Tiles are brought into another form in which a convolution is 16 matrix products, one for each place in a tile:
//! tiles by channels times channels by filters. What the other form adds in rounding its shorter sums save: the
//! outcome is nearer to the exact one than that of direct sums (a test has 8, 16 and 64 channels).

mod images;
mod product;
mod transform;
mod weights;

use std::mem::MaybeUninit;

use super::pack::{SLACK, by_tap};
use super::spec::Spec;
use crate::simd::Instructions;
pub(super) use weights::add_weight_grad;

/// Images that one task takes.
const IMAGES: usize = 4;

/// Places of a tile.
const PLACES: usize = 16;

/// Numbers that lie between what belongs to one place and what belongs to the next: else all 16 would fall on
/// the same lines of a cache.
const GAP: usize = 16;

/// Tiles that are at work at once, at most: twice the rows that a product has in registers, or a little more where that
/// spares a small last group.
const GROUP: usize = 32;

/// The same for the weights' gradient, whose sums are read and written once for each group.
const GROUP_OF_WEIGHTS: usize = 64;

/// Whether [`forward`], [`input_grad`] and [`add_weight_grad`] do this block, and gain by it.
pub(super) fn serves(spec: &Spec) -> bool {
    let tiles = spec.out_height().div_ceil(2) * spec.out_width().div_ceil(2);
    has_tiles(spec)
        && !spec.has_route()
        && !spec.channels_first
        // Tiles that reach over the edge are work for nothing.
        && 5 * PLACES * tiles <= 4 * 9 * spec.windows()
}

/// Whether [`pooled`] does this block: its pool's windows are the tiles.
pub(super) fn serves_pooled(spec: &Spec) -> bool {
    has_tiles(spec) && spec.pool == 2
}

fn has_tiles(spec: &Spec) -> bool {
    spec.kernel == 3
        && spec.stride == 1
        && spec.padding <= 2
        && spec.image_len() > 0
        && spec.in_channels.min(spec.out_channels) >= 8
}

/// As [`super::forward`].
pub(super) fn forward(
    instructions: Instructions,
    spec: &Spec,
    images: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    output: &mut [f32],
) {
    let sides = Sides::of(spec);
    let kernels = by_tap(spec, weight, 2 * instructions.lanes());
    images::convolve(instructions, &sides, images, &kernels, bias, output);
}

/// As [`super::forward`], with a pool over two by two.
pub(super) fn pooled(
    instructions: Instructions,
    spec: &Spec,
    images: &[f32],
    weight: &[f32],
    bias: &[f32],
    output: &mut [f32],
    route: &mut [u8],
) {
    let kernels = by_tap(spec, weight, 2 * instructions.lanes());
    let sides = Sides::of(spec);
    let to = (output, route);
    images::pool(instructions, spec, &sides, images, &kernels, bias, to);
}

/// As [`super::input_grad`]: the convolution of the gradient with turned kernels.
///
/// * `kernels`: `[block of channels, tap, lane]`, the taps turned, `(row, column, filter)`
pub(super) fn input_grad(
    instructions: Instructions,
    spec: &Spec,
    kernels: &[f32],
    grad: &[f32],
    images_grad: &mut [f32],
) {
    let sides = Sides {
        from: [spec.out_height(), spec.out_width()],
        channels: spec.out_channels,
        zeros: spec.kernel - 1 - spec.padding,
        to: [spec.height, spec.width],
        filters: spec.in_channels,
    };
    images::convolve(instructions, &sides, grad, kernels, None, images_grad);
}

/// Shapes of a convolution, rows first.
#[derive(Clone, Copy)]
struct Sides {
    from: [usize; 2],
    channels: usize,
    /// Before the first row and column.
    zeros: usize,
    to: [usize; 2],
    filters: usize,
}

impl Sides {
    /// Of a forward pass: where positions that no window of the pool covers are left out.
    fn of(spec: &Spec) -> Self {
        Self {
            from: [spec.height, spec.width],
            channels: spec.in_channels,
            zeros: spec.padding,
            to: [spec.out_height(), spec.out_width()].map(|side| side * spec.pool),
            filters: spec.out_channels,
        }
    }

    /// Tiles of an image, rows first.
    fn tiles(&self) -> [usize; 2] {
        self.to.map(|side| side.div_ceil(2))
    }

    fn of_an_image(&self) -> usize {
        self.tiles().iter().product()
    }

    /// Tiles from the `first` on: the image of each, and its row and column there.
    #[inline(always)]
    fn tiles_from(&self, first: usize) -> Tiles {
        let [rows, columns] = self.tiles();
        let at = first % (rows * columns);
        Tiles {
            sides: [rows, columns],
            image: first / (rows * columns),
            at: [at / columns, at % columns],
        }
    }

    fn image_len(&self) -> usize {
        self.from[0] * self.from[1] * self.channels
    }

    fn output_len(&self) -> usize {
        self.to[0] * self.to[1] * self.filters
    }

    /// Where a vector of a product lies: `[block of filters, row, lane]`, the lanes of two vectors, or of one in a
    /// last block that needs no more.
    #[inline(always)]
    fn panel(&self, rows: usize, row: usize, filter: usize, lanes: usize) -> usize {
        let first = filter - filter % (2 * lanes);
        let narrow = self.filters - first <= lanes;
        let width = if narrow { lanes } else { 2 * lanes };
        first * rows + row * width + filter - first
    }
}

/// Tiles in their order, without divisions.
struct Tiles {
    sides: [usize; 2],
    image: usize,
    at: [usize; 2],
}

impl Tiles {
    /// The tile at hand; the next one is at hand then.
    #[inline(always)]
    fn next(&mut self) -> (usize, [usize; 2]) {
        let tile = (self.image, self.at);
        self.at[1] += 1;
        if self.at[1] == self.sides[1] {
            self.at = [self.at[0] + 1, 0];
        }
        if self.at[0] == self.sides[0] {
            self.at = [0, 0];
            self.image += 1;
        }
        tile
    }
}

/// Tiles in each of as few groups as possible of at most `most`.
fn group(all: usize, most: usize) -> usize {
    all.div_ceil(all.div_ceil(most).max(1))
}

/// Room for numbers, in which there is nothing yet.
fn scratch(len: usize) -> Vec<MaybeUninit<f32>> {
    let mut room = Vec::with_capacity(len);
    // SAFETY: such numbers need not be written.
    unsafe { room.set_len(len) };
    room
}

fn padded(channels: usize, to: usize) -> usize {
    channels.next_multiple_of(to)
}

/// An image with zeros around it, as far as its tiles reach.
struct Room {
    row: usize,
    /// Of the first pixel.
    first: usize,
    channels: usize,
    numbers: Vec<f32>,
}

impl Room {
    /// * `zeros`: before the first row and column
    /// * `tiles`: rows and columns of tiles, `beyond` pixels more than two by two each
    fn new(channels: usize, zeros: usize, tiles: [usize; 2], beyond: usize) -> Self {
        let [rows, columns] = tiles.map(|tiles| 2 * tiles + beyond);
        let row = columns * channels;
        Self {
            row,
            first: zeros * (row + channels),
            channels,
            numbers: vec![0.0; rows * row + SLACK],
        }
    }

    /// Copies an image, but for what no tile reaches.
    fn fill(&mut self, width: usize, image: &[f32]) {
        let columns = (self.row - self.first % self.row) / self.channels;
        let len = width.min(columns) * self.channels;
        let rows = (self.numbers.len() - SLACK - self.first).div_ceil(self.row);
        let lines = self.numbers[self.first..].chunks_mut(self.row);
        let images = image.chunks_exact(width * self.channels);
        for (to, line) in lines.take(rows).zip(images) {
            to[..len].copy_from_slice(&line[..len]);
        }
    }

    /// Where a tile begins.
    fn tile(&self, [y, x]: [usize; 2]) -> *const f32 {
        let at = 2 * (y * self.row + x * self.channels);
        self.numbers[at..].as_ptr()
    }
}
