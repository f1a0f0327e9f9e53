//! Forward: a few rows of the convolution at a time, pooled while they are in the nearest cache.

use super::pack::{Padded, by_tap};
use super::spec::{Activation, Dropout, NO_ROUTE, Spec};
use super::winograd;
use crate::simd::{Instructions, Simd, for_each_instruction_set};
use crate::threads::{Parts, for_each, part_of};

/// Images that one task takes.
const IMAGES: usize = 4;

/// * `images`: `[batch, height, width, channel]`
/// * `weight`: `[filter, channel, kernel, kernel]`; `bias`: `[filter]`, or not read where the spec has none
/// * `output`, `route`: as [`Spec::output_shape`]; the route is the winning position in the window, row
///   by row, or [`NO_ROUTE`]. Where [`Spec::has_route`] says that there is none, it may be empty
pub fn forward(
    instructions: Instructions,
    spec: &Spec,
    images: &[f32],
    weight: &[f32],
    bias: &[f32],
    output: &mut [f32],
    route: &mut [u8],
) {
    if winograd::serves(spec) {
        route.fill(0);
        let bias = spec.bias.then_some(bias);
        return winograd::forward(instructions, spec, images, weight, bias, output);
    }
    let block = 2 * instructions.lanes();
    let zeros;
    let bias = match spec.bias {
        true => bias,
        false => {
            zeros = vec![0f32; spec.out_channels];
            &zeros
        }
    };
    if winograd::serves_pooled(spec) {
        return winograd::pooled(instructions, spec, images, weight, bias, output, route);
    }
    let weight = by_tap(spec, weight, block);
    let outputs = Parts::new(output, IMAGES * spec.output_len());
    let plain = !spec.has_route() && !spec.channels_first;
    if plain {
        route.fill(0);
    }
    let mut unwanted = Vec::new();
    let route = match route.is_empty() && !plain {
        true => {
            unwanted.resize(output.len(), 0);
            &mut unwanted
        }
        false => route,
    };
    let routes = Parts::new(route, IMAGES * spec.output_len());
    for_each(outputs.count(), &|index| {
        let task = Task {
            spec,
            first: index * IMAGES,
            images: part_of(images, IMAGES * spec.image_len(), index),
            weight: &weight,
            bias,
        };
        // SAFETY: each task has an index of its own.
        let output = unsafe { outputs.of(index) };
        match plain {
            true => some_plain_images(instructions, &task, output),
            // SAFETY: likewise.
            false => some_images(instructions, &task, output, unsafe { routes.of(index) }),
        }
    });
}

struct Task<'a> {
    spec: &'a Spec,
    /// Index in the batch of the first image.
    first: usize,
    images: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
}

for_each_instruction_set! {
    fn some_images = images(task: &Task, output: &mut [f32], route: &mut [u8])
}
for_each_instruction_set! {
    fn some_plain_images = plain_images(task: &Task, output: &mut [f32])
}

/// Nothing but the convolution and its bias.
#[inline(always)]
unsafe fn plain_images<S: Simd>(task: &Task, output: &mut [f32]) {
    let spec = task.spec;
    let padded = Padded::of(spec);
    let mut image = padded.zeros();
    let block = 2 * S::LANES;
    let taps = Taps::of(spec, padded.row);
    let mut row = vec![0f32; spec.out_width() * block];
    for (index, output) in output.chunks_exact_mut(spec.output_len()).enumerate() {
        let from = &task.images[index * spec.image_len()..][..spec.image_len()];
        padded.fill(spec, from, &mut image);
        let lines = output.chunks_exact_mut(spec.out_width() * spec.out_channels);
        for (y, line) in lines.enumerate() {
            let from = &image[y * spec.stride * padded.row..];
            for (block_index, weight) in task.weight.chunks_exact(taps.len() * block).enumerate() {
                let first = block_index * block;
                let used = block.min(spec.out_channels - first);
                let narrow = used <= S::LANES;
                unsafe { conv_row::<S>(&taps, narrow, from, weight, &mut row) };
                let bias = &task.bias[first..first + used];
                let columns = line.chunks_exact_mut(spec.out_channels);
                for (to, from) in columns.zip(row.chunks_exact(block)) {
                    let to = to[first..first + used].iter_mut();
                    for ((to, &from), &bias) in to.zip(from).zip(bias) {
                        *to = from + bias;
                    }
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn images<S: Simd>(task: &Task, output: &mut [f32], route: &mut [u8]) {
    let spec = task.spec;
    let padded = Padded::of(spec);
    let mut image = padded.zeros();
    let block = 2 * S::LANES;
    let blocks = spec.out_channels.div_ceil(block);
    let columns = spec.out_width() * spec.pool;
    let taps = Taps::of(spec, padded.row);
    let weight_block = taps.len() * block;
    let mut rows = vec![0f32; spec.pool * columns * block];
    let mut pooled = Pooled::new(block);
    let outputs = output
        .chunks_exact_mut(spec.output_len())
        .zip(route.chunks_exact_mut(spec.output_len()));
    for (index, (output, route)) in outputs.enumerate() {
        let from = &task.images[index * spec.image_len()..][..spec.image_len()];
        padded.fill(spec, from, &mut image);
        for pooled_row in 0..spec.out_height() {
            for block_index in 0..blocks {
                let weight = &task.weight[block_index * weight_block..][..weight_block];
                let narrow = spec.out_channels - block_index * block <= S::LANES;
                for y in 0..spec.pool {
                    let row = (pooled_row * spec.pool + y) * spec.stride;
                    let from = &image[row * padded.row..];
                    let to = &mut rows[y * columns * block..][..columns * block];
                    unsafe { conv_row::<S>(&taps, narrow, from, weight, to) };
                }
                let at = At {
                    image: task.first + index,
                    row: pooled_row,
                    filter: block_index * block,
                };
                unsafe { pooled.rows::<S>(spec, &at, &rows, task.bias, output, route) };
            }
        }
    }
}

/// What a position of a kernel covers.
pub(super) struct Taps {
    /// Rows of the kernel.
    pub(super) rows: usize,
    /// Numbers under one of its rows: one after the other.
    pub(super) run: usize,
    /// From a row of the image to the next.
    pub(super) row: usize,
    /// From a position to the next one.
    pub(super) step: usize,
}

impl Taps {
    fn of(spec: &Spec, row: usize) -> Self {
        Self {
            rows: spec.kernel,
            run: spec.kernel * spec.in_channels,
            row,
            step: spec.stride * spec.in_channels,
        }
    }

    /// Their number.
    pub(super) fn len(&self) -> usize {
        self.rows * self.run
    }
}

/// One row of a convolution: `to` is `[column, lane]`, two vectors of filters for each column, of which
/// the second is left alone if `narrow`. `weight` is `[tap, lane]`.
#[inline(always)]
pub(super) unsafe fn conv_row<S: Simd>(
    taps: &Taps,
    narrow: bool,
    from: &[f32],
    weight: &[f32],
    to: &mut [f32],
) {
    let columns = to.len() / (2 * S::LANES);
    // Accumulators, two of them for each column, stay in registers: AVX-512 has 32, AVX2 16.
    let most = if S::LANES == 16 { 14 } else { 6 };
    let tiles = columns.div_ceil(most);
    let tile = columns.div_ceil(tiles);
    for index in 0..tiles {
        // The last tile overlaps the one before rather than being narrower.
        let x = (index * tile).min(columns - tile);
        let from = &from[x * taps.step..];
        let to = &mut to[x * 2 * S::LANES..];
        macro_rules! widths {
            ($vectors:literal: $($width:literal)*) => {
                match tile {
                    $($width => unsafe {
                        conv_tile::<S, $width, $vectors>(taps, from, weight, to)
                    },)*
                    _ => unreachable!("a tile has at most 14 columns"),
                }
            };
        }
        match (S::LANES, narrow) {
            (16, false) => widths!(2: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
            (16, true) => widths!(1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
            (_, false) => widths!(2: 1 2 3 4 5 6),
            (_, true) => widths!(1: 1 2 3 4 5 6),
        }
    }
}

#[inline(always)]
unsafe fn conv_tile<S: Simd, const P: usize, const V: usize>(
    taps: &Taps,
    from: &[f32],
    weight: &[f32],
    to: &mut [f32],
) {
    assert!(from.len() >= (taps.rows - 1) * taps.row + (P - 1) * taps.step + taps.run);
    assert!(weight.len() == taps.len() * 2 * S::LANES && to.len() >= P * 2 * S::LANES);
    // SAFETY: the lengths are as asserted, and V is 1 or 2.
    unsafe {
        let mut sums = [[S::splat(0.0); V]; P];
        let mut weight = weight.as_ptr();
        for y in 0..taps.rows {
            let from = from.as_ptr().add(y * taps.row);
            for tap in 0..taps.run {
                let mut vectors = [S::splat(0.0); V];
                for (v, vector) in vectors.iter_mut().enumerate() {
                    *vector = S::load(weight.add(v * S::LANES));
                }
                weight = weight.add(2 * S::LANES);
                for (p, sums) in sums.iter_mut().enumerate() {
                    let pixel = S::splat(*from.add(p * taps.step + tap));
                    for (sum, &vector) in sums.iter_mut().zip(&vectors) {
                        *sum = S::fma(pixel, vector, *sum);
                    }
                }
            }
        }
        for (p, sums) in sums.iter().enumerate() {
            for (v, &sum) in sums.iter().enumerate() {
                S::store(to.as_mut_ptr().add((p * 2 + v) * S::LANES), sum);
            }
        }
    }
}

/// Where a pooled row of a block of filters goes.
pub(super) struct At {
    pub(super) image: usize,
    pub(super) row: usize,
    pub(super) filter: usize,
}

/// One window, for a block of filters.
pub(super) struct Pooled {
    /// Room for a vector.
    value: Vec<f32>,
    bias: Vec<f32>,
    /// What dropout multiplies by.
    factor: Vec<f32>,
}

impl Pooled {
    pub(super) fn new(block: usize) -> Self {
        Self {
            value: vec![0.0; block],
            bias: vec![0.0; block],
            factor: vec![1.0; block],
        }
    }

    /// Pools `rows`, `[row in the window, column, lane]`, and puts the results in their places.
    #[inline(always)]
    pub(super) unsafe fn rows<S: Simd>(
        &mut self,
        spec: &Spec,
        at: &At,
        rows: &[f32],
        bias: &[f32],
        output: &mut [f32],
        route: &mut [u8],
    ) {
        let block = 2 * S::LANES;
        let filters = block.min(spec.out_channels - at.filter);
        self.bias[..filters].copy_from_slice(&bias[at.filter..][..filters]);
        for column in 0..spec.out_width() {
            let window = at.row * spec.out_width() + column;
            if let Some(dropout) = &spec.dropout {
                let first = spec.element(at.image, window, at.filter);
                drop_some(dropout, first, spec.windows() as u32, &mut self.factor);
            }
            let to = window * spec.out_channels + at.filter;
            if filters == block && !spec.channels_first {
                let (value, route) = (&mut output[to..][..block], &mut route[to..][..block]);
                unsafe { self.window::<S>(spec, column, rows, value, route) };
                continue;
            }
            let (mut value, mut place) = ([0f32; 32], [0u8; 32]);
            let (value, place) = (&mut value[..block], &mut place[..block]);
            unsafe { self.window::<S>(spec, column, rows, value, place) };
            for filter in 0..filters {
                let to = match spec.channels_first {
                    true => (at.filter + filter) * spec.windows() + window,
                    false => to + filter,
                };
                output[to] = value[filter];
                route[to] = place[filter];
            }
        }
    }

    /// The first of the largest, its place, bias, activation, dropout. NaN is larger than all, so that
    /// it is seen.
    #[inline(always)]
    unsafe fn window<S: Simd>(
        &mut self,
        spec: &Spec,
        column: usize,
        rows: &[f32],
        value: &mut [f32],
        route: &mut [u8],
    ) {
        let (block, pool) = (2 * S::LANES, spec.pool);
        let row = spec.out_width() * pool * block;
        assert!(rows.len() >= pool * row && value.len() >= block && route.len() >= block);
        // SAFETY: the lengths are as asserted; the other buffers have the length of a block.
        unsafe {
            for half in [0, S::LANES] {
                let from = rows.as_ptr().add(column * pool * block + half);
                let mut best = S::load(from);
                let mut place = S::splat(0.0);
                for y in 0..pool {
                    for x in 0..pool {
                        let candidate = S::load(from.add(y * row + x * block));
                        let above = S::above(candidate, best);
                        best = S::select(above, candidate, best);
                        place = S::select(above, S::splat((y * pool + x) as f32), place);
                    }
                }
                best = S::add(best, S::load(self.bias.as_ptr().add(half)));
                match spec.activation {
                    Activation::Identity => {}
                    Activation::Relu => {
                        let zero = S::splat(0.0);
                        let open = S::above(best, zero);
                        best = S::select(open, best, zero);
                        place = S::select(open, place, S::splat(f32::from(NO_ROUTE)));
                    }
                    other => {
                        S::store(self.value.as_mut_ptr(), best);
                        for value in &mut self.value[..S::LANES] {
                            *value = other.value(*value);
                        }
                        best = S::load(self.value.as_ptr());
                    }
                }
                if spec.dropout.is_some() {
                    let factor = S::load(self.factor.as_ptr().add(half));
                    let kept = S::above(factor, S::splat(0.0));
                    best = S::select(kept, S::mul(best, factor), S::splat(0.0));
                    place = S::select(kept, place, S::splat(f32::from(NO_ROUTE)));
                }
                S::store(value.as_mut_ptr().add(half), best);
                S::store_bytes(route.as_mut_ptr().add(half), place);
            }
        }
    }
}

/// Zero, or the dropout's scale, for elements `first`, `first + step`, …
#[inline(always)]
fn drop_some(dropout: &Dropout, first: u32, step: u32, factors: &mut [f32]) {
    let scale = dropout.scale();
    for (index, factor) in (0u32..).zip(factors) {
        let dropped = dropout.drops(first.wrapping_add(index.wrapping_mul(step)));
        *factor = if dropped { 0.0 } else { scale };
    }
}
