//! Convolutions of images: all outputs, or the winners of a pool over two by two.

use std::mem::MaybeUninit;

use super::product::Product;
use super::transform::{outputs, transform_pixels, transform_weights};
use super::{GAP, GROUP, IMAGES, PLACES, Room, Sides, group, padded, scratch};
use crate::conv_block::forward::{At, Pooled};
use crate::conv_block::spec::Spec;
use crate::simd::{Instructions, Simd, for_each_instruction_set};
use crate::threads::{Parts, for_each, part_of};

/// * `images`, `output`: `[image, row, column, channel]`
/// * `by_tap`: `[block of filters, tap, lane]`
pub(super) fn convolve(
    instructions: Instructions,
    sides: &Sides,
    images: &[f32],
    by_tap: &[f32],
    bias: Option<&[f32]>,
    output: &mut [f32],
) {
    let n_images = images.len() / sides.image_len();
    assert_eq!(images.len(), n_images * sides.image_len());
    assert_eq!(output.len(), n_images * sides.output_len());
    let weight = transformed(instructions, sides, by_tap);
    let parts = Parts::new(output, IMAGES * sides.output_len());
    for_each(parts.count(), &|index| {
        let task = Task {
            sides,
            images: part_of(images, IMAGES * sides.image_len(), index),
            weight: &weight,
        };
        // SAFETY: each task has an index of its own.
        every_output(instructions, &task, bias, unsafe { parts.of(index) });
    });
}

/// As [`crate::conv_block::forward()`].
pub(super) fn pool(
    instructions: Instructions,
    spec: &Spec,
    sides: &Sides,
    images: &[f32],
    by_tap: &[f32],
    bias: &[f32],
    (output, route): (&mut [f32], &mut [u8]),
) {
    let n_images = images.len() / sides.image_len();
    assert_eq!(images.len(), n_images * sides.image_len());
    assert_eq!(output.len(), n_images * spec.output_len());
    assert_eq!(route.len(), output.len());
    let weight = transformed(instructions, sides, by_tap);
    let len = IMAGES * spec.output_len();
    let (parts, routes) = (Parts::new(output, len), Parts::new(route, len));
    for_each(parts.count(), &|index| {
        let task = Task {
            sides,
            images: part_of(images, IMAGES * sides.image_len(), index),
            weight: &weight,
        };
        let pool = Pool {
            spec,
            first: index * IMAGES,
            bias,
        };
        // SAFETY: each task has an index of its own.
        let (output, route) = unsafe { (parts.of(index), routes.of(index)) };
        winners(instructions, &task, &pool, output, route);
    });
}

fn transformed(instructions: Instructions, sides: &Sides, by_tap: &[f32]) -> Vec<f32> {
    let mut weight = vec![0f32; by_tap.len() / 9 * PLACES];
    weights(instructions, sides.channels, by_tap, &mut weight);
    weight
}

struct Task<'a> {
    sides: &'a Sides,
    images: &'a [f32],
    /// `[place, block of filters, channel, lane]`
    weight: &'a [f32],
}

struct Pool<'a> {
    spec: &'a Spec,
    /// Index in the batch of the first image.
    first: usize,
    bias: &'a [f32],
}

for_each_instruction_set! {
    fn weights = transform_weights(channels: usize, by_tap: &[f32], weight: &mut [f32])
}
for_each_instruction_set! {
    fn every_output = convolve_images(task: &Task, bias: Option<&[f32]>, output: &mut [f32])
}
for_each_instruction_set! {
    fn winners = pool_images(task: &Task, pool: &Pool, output: &mut [f32], route: &mut [u8])
}

#[inline(always)]
unsafe fn convolve_images<S: Simd>(task: &Task, bias: Option<&[f32]>, output: &mut [f32]) {
    let sides = task.sides;
    let mut work = Work::new::<S>(task, 1);
    let mut biases = vec![0f32; padded(sides.filters, S::LANES)];
    if let Some(bias) = bias {
        biases[..sides.filters].copy_from_slice(bias);
    }
    let mut first = 0;
    while first < work.all {
        let count = unsafe { work.multiply::<S>(task, first) };
        let mut tiles = sides.tiles_from(first);
        for tile in 0..count {
            let (image, [tile_y, tile_x]) = tiles.next();
            let output = &mut output[image * sides.output_len()..][..sides.output_len()];
            for filter in (0..sides.filters).step_by(S::LANES) {
                let used = S::LANES.min(sides.filters - filter);
                // SAFETY: there are biases for whole vectors, and products of the tiles of the group.
                unsafe {
                    let bias = S::load(biases.as_ptr().add(filter));
                    for (y, row) in work.outputs::<S>(sides, tile, filter).iter().enumerate() {
                        for (x, &value) in row.iter().enumerate() {
                            let (y, x) = (2 * tile_y + y, 2 * tile_x + x);
                            if y < sides.to[0] && x < sides.to[1] {
                                let to = (y * sides.to[1] + x) * sides.filters + filter;
                                S::store_some(&mut output[to..to + used], S::add(value, bias));
                            }
                        }
                    }
                }
            }
        }
        first += count;
    }
}

#[inline(always)]
unsafe fn pool_images<S: Simd>(task: &Task, pool: &Pool, output: &mut [f32], route: &mut [u8]) {
    let (sides, spec, block) = (task.sides, pool.spec, 2 * S::LANES);
    let [_, columns] = sides.tiles();
    let mut work = Work::new::<S>(task, columns);
    let mut pooled = Pooled::new(block);
    let row = 2 * columns * block;
    let mut rows = vec![0f32; 2 * row];
    let len = spec.output_len();
    let mut first = 0;
    while first < work.all {
        let count = unsafe { work.multiply::<S>(task, first) };
        for tile in (0..count).step_by(columns) {
            let (image, [tile_y, _]) = sides.tiles_from(first + tile).next();
            let output = &mut output[image * len..][..len];
            let route = &mut route[image * len..][..len];
            for filter in (0..sides.filters).step_by(block) {
                for half in (0..block.min(sides.filters - filter)).step_by(S::LANES) {
                    for x in 0..columns {
                        // SAFETY: `rows` has two of two columns a tile.
                        unsafe {
                            let [upper, lower] = work.outputs::<S>(sides, tile + x, filter + half);
                            let to = rows.as_mut_ptr().add(2 * x * block + half);
                            S::store(to, upper[0]);
                            S::store(to.add(block), upper[1]);
                            S::store(to.add(row), lower[0]);
                            S::store(to.add(row + block), lower[1]);
                        }
                    }
                }
                let at = At {
                    image: pool.first + image,
                    row: tile_y,
                    filter,
                };
                unsafe { pooled.rows::<S>(spec, &at, &rows, pool.bias, output, route) };
            }
        }
        first += count;
    }
}

/// Some tiles at a time, and their products with the weights.
struct Work {
    /// Tiles of all images.
    all: usize,
    /// Tiles that are at work at once.
    group: usize,
    room: Room,
    /// `[place, tile, channel]`, whole vectors of channels.
    tiles: Vec<MaybeUninit<f32>>,
    place: usize,
    /// `[place, block of filters, tile, lane]`
    products: Vec<MaybeUninit<f32>>,
    product_place: usize,
}

impl Work {
    /// `unit`: tiles that stay together.
    #[inline(always)]
    fn new<S: Simd>(task: &Task, unit: usize) -> Self {
        let (sides, block) = (task.sides, 2 * S::LANES);
        let all = task.images.len() / sides.image_len() * sides.of_an_image();
        let group = match unit {
            1 => group(all, GROUP),
            _ => GROUP.next_multiple_of(unit).min(all),
        };
        let place = group * padded(sides.channels, S::LANES) + GAP;
        let product_place = group * padded(sides.filters, block) + GAP;
        Self {
            all,
            group,
            room: Room::new(sides.channels, sides.zeros, sides.tiles(), 2),
            tiles: scratch(PLACES * place),
            place,
            products: scratch(PLACES * product_place),
            product_place,
        }
    }

    /// The products of a group of tiles from `first` on: how many these are. Groups are taken in order.
    #[inline(always)]
    unsafe fn multiply<S: Simd>(&mut self, task: &Task, first: usize) -> usize {
        let (sides, block) = (task.sides, 2 * S::LANES);
        let count = self.group.min(self.all - first);
        let channels = padded(sides.channels, S::LANES);
        let to = self.tiles.as_mut_ptr().cast::<f32>();
        let mut tiles = sides.tiles_from(first);
        for tile in 0..count {
            let (image, at) = tiles.next();
            if at == [0, 0] {
                let from = &task.images[image * sides.image_len()..][..sides.image_len()];
                self.room.fill(sides.from[1], from);
            }
            let from = self.room.tile(at);
            for channel in (0..sides.channels).step_by(S::LANES) {
                // SAFETY: a tile lies in its room, which has slack for the last vector; `tiles` has a row
                // of whole vectors for each tile of the group.
                unsafe {
                    let from = from.add(channel);
                    let to = to.add(tile * channels + channel);
                    transform_pixels::<S>(from, self.room.row, sides.channels, to, self.place);
                }
            }
        }
        let blocks = sides.filters.div_ceil(block);
        let panel = sides.channels * block;
        assert!(task.weight.len() == PLACES * blocks * panel);
        for index in 0..PLACES * blocks {
            let (place, index) = (index / blocks, index % blocks);
            let narrow = sides.filters - index * block <= S::LANES;
            let to = place * self.product_place + index * self.group * block;
            // SAFETY: the weights have the length that was asserted, and both buffers were made for it.
            unsafe {
                let product = Product {
                    rows: count,
                    inner: sides.channels,
                    left: self.tiles.as_ptr().cast::<f32>().add(place * self.place),
                    left_row: channels,
                    left_inner: 1,
                    right: task.weight.as_ptr().add((place * blocks + index) * panel),
                    result: self.products.as_mut_ptr().cast::<f32>().add(to),
                };
                product.run::<S, false>(narrow);
            }
        }
        count
    }

    /// A tile's outputs, for one vector of filters.
    #[inline(always)]
    unsafe fn outputs<S: Simd>(&self, sides: &Sides, tile: usize, filter: usize) -> [[S::V; 2]; 2] {
        let from = sides.panel(self.group, tile, filter, S::LANES);
        let products = self.products.as_ptr().cast::<f32>();
        unsafe { outputs::<S>(products.add(from), self.product_place) }
    }
}
