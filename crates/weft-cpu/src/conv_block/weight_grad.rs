//! Backward for the weights: each routed gradient adds the pixels under it to its filter's gradient.
//! Vectors run over the pixels of a kernel's row where those are many, over the filters where they are few.

use super::pack::{Padded, Routed, Runs};
use super::spec::{NO_ROUTE, Spec};
use super::winograd;
use crate::simd::{Instructions, Simd, for_each_instruction_set};
use crate::threads::{Parts, for_each, part_of};

/// Images whose sums are taken one after another. The parts are added in order, whatever thread made
/// them: the sum does not depend on the number of threads.
const IMAGES: usize = 16;

/// The gradients of the weights, `[filter, channel, kernel, kernel]`, and of the bias, `[filter]`, which means
/// nothing where there is none.
///
/// * `images`: `[batch, height, width, channel]`
/// * `output`, `route`: what the forward pass gave; `grad`: the output's gradient, all in its layout
pub fn weight_grad(
    instructions: Instructions,
    spec: &Spec,
    images: &[f32],
    output: &[f32],
    route: &[u8],
    grad: &[f32],
) -> (Vec<f32>, Vec<f32>) {
    let runs = Runs::of(spec, instructions.lanes());
    // Short runs would leave most of a vector empty; without a pool every position has a gradient.
    let short = runs.used < 2 * instructions.lanes() && runs.used < 24;
    let by_filter = short || spec.pool == 1;
    let lanes = by_filter.then(|| instructions.lanes());
    let n_parts = spec.batch.div_ceil(IMAGES);
    let mut parts: Vec<Part> = (0..n_parts)
        .map(|_| Part::zeros(spec, &runs, lanes))
        .collect();
    let each = Parts::new(&mut parts, 1);
    for_each(n_parts, &|index| {
        let task = Task {
            spec,
            runs,
            first: index * IMAGES,
            images: part_of(images, IMAGES * spec.image_len(), index),
            output,
            route,
            grad,
        };
        // SAFETY: each task has an index of its own.
        let part = unsafe { &mut each.of(index)[0] };
        match by_filter {
            true if winograd::serves(spec) => some_by_tile(instructions, &task, part),
            true => some_by_filter(instructions, &task, part),
            false => some_by_run(instructions, &task, part),
        }
    });
    let mut parts = parts.into_iter();
    let first = parts.next();
    let mut sum = first.unwrap_or_else(|| Part::zeros(spec, &runs, lanes));
    for part in parts {
        add(&mut sum.weight, &part.weight);
        add(&mut sum.bias, &part.bias);
    }
    let mut weight = vec![0.0; spec.weight_len()];
    match by_filter {
        true => unpack_by_filter(spec, &sum.weight, instructions.lanes(), &mut weight),
        false => runs.unpack(spec, &sum.weight, &mut weight),
    }
    (weight, sum.bias)
}

fn add(sum: &mut [f32], part: &[f32]) {
    for (sum, part) in sum.iter_mut().zip(part) {
        *sum += part;
    }
}

struct Task<'a> {
    spec: &'a Spec,
    runs: Runs,
    /// Index in the batch of the first image.
    first: usize,
    images: &'a [f32],
    output: &'a [f32],
    route: &'a [u8],
    grad: &'a [f32],
}

/// The sums over some images.
struct Part {
    /// As [`Runs`], or `[tap, filter]` with whole vectors of filters.
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Part {
    fn zeros(spec: &Spec, runs: &Runs, by_filter_of: Option<usize>) -> Self {
        let len = match by_filter_of {
            Some(lanes) => spec.kernel * runs.used * spec.out_channels.next_multiple_of(lanes),
            None => spec.out_channels * spec.kernel * runs.len,
        };
        Self {
            weight: vec![0.0; len],
            bias: vec![0.0; spec.out_channels],
        }
    }

    #[inline(always)]
    fn add_bias(&mut self, routed: &Routed) {
        let filters = self.bias.len();
        let windows = routed
            .grad
            .chunks_exact(filters)
            .zip(routed.route.chunks_exact(filters));
        for (grad, route) in windows {
            for ((bias, &grad), &route) in self.bias.iter_mut().zip(grad).zip(route) {
                *bias += if route == NO_ROUTE { 0.0 } else { grad };
            }
        }
    }
}

for_each_instruction_set! {
    fn some_by_run = by_run(task: &Task, part: &mut Part)
}
for_each_instruction_set! {
    fn some_by_tile = by_tile(task: &Task, part: &mut Part)
}
for_each_instruction_set! {
    fn some_by_filter = by_filter(task: &Task, part: &mut Part)
}

/// Where the gradients of one filter come from: offset of the pixels, gradient.
type Sources = Vec<(u32, f32)>;

#[inline(always)]
unsafe fn by_run<S: Simd>(task: &Task, part: &mut Part) {
    let spec = task.spec;
    let padded = Padded::of(spec);
    let mut image = padded.zeros();
    let mut routed = Routed::default();
    let windows = spec.windows();
    let mut sources: Sources = vec![(0, 0.0); spec.out_channels * (windows + 1)];
    let mut lens = vec![0usize; spec.out_channels];
    let offsets = offsets(spec, padded.row);
    let places = spec.pool * spec.pool;
    for (index, from) in task.images.chunks_exact(spec.image_len()).enumerate() {
        padded.fill(spec, from, &mut image);
        routed.fill(spec, task.first + index, task.output, task.route, task.grad);
        part.add_bias(&routed);
        lens.fill(0);
        for window in 0..windows {
            let of_window = window * spec.out_channels..(window + 1) * spec.out_channels;
            let routes = routed.route[of_window.clone()].iter();
            let entries = routes.zip(&routed.grad[of_window]).zip(&mut lens);
            for (filter, ((&route, &grad), len)) in entries.enumerate() {
                // Written in any case, counted where there is a route: no branch to guess wrong.
                let place = usize::from(route).min(places - 1);
                let offset = offsets[window * places + place];
                sources[filter * (windows + 1) + *len] = (offset, grad);
                *len += usize::from(route != NO_ROUTE);
            }
        }
        for (filter, &len) in lens.iter().enumerate() {
            let sources = &sources[filter * (windows + 1)..][..len];
            let sums = &mut part.weight[filter * spec.kernel * task.runs.len..];
            for row in 0..spec.kernel {
                let sums = &mut sums[row * task.runs.len..][..task.runs.len];
                unsafe { add_run::<S>(sources, &image[row * padded.row..], sums) };
            }
        }
    }
}

/// Where the pixels under each position of each window begin.
fn offsets(spec: &Spec, row: usize) -> Vec<u32> {
    let mut offsets = Vec::with_capacity(spec.windows() * spec.pool * spec.pool);
    for window in 0..spec.windows() {
        let (y, x) = (window / spec.out_width(), window % spec.out_width());
        for place in 0..spec.pool * spec.pool {
            let y = y * spec.pool + place / spec.pool;
            let x = x * spec.pool + place % spec.pool;
            offsets.push((spec.stride * (y * row + x * spec.in_channels)) as u32);
        }
    }
    offsets
}

#[inline(always)]
unsafe fn add_run<S: Simd>(sources: &[(u32, f32)], pixels: &[f32], sums: &mut [f32]) {
    let vectors = sums.len() / S::LANES;
    if let Some(last) = sources.last() {
        // Offsets grow from window to window, but for a place within one: checked for each below.
        debug_assert!(last.0 as usize + sums.len() <= pixels.len());
    }
    let reach = sources.iter().map(|source| source.0).max().unwrap_or(0) as usize;
    assert!(reach + sums.len() <= pixels.len());
    let mut first = 0;
    while first < vectors {
        let group = (vectors - first).min(12);
        // SAFETY: `first + group` vectors are in a run, and the farthest run is in `pixels`.
        unsafe {
            let sums = sums.as_mut_ptr().add(first * S::LANES);
            let pixels = pixels.as_ptr().add(first * S::LANES);
            macro_rules! widths {
                ($($width:literal)*) => {
                    match group {
                        $($width => add_group::<S, $width>(sources, pixels, sums),)*
                        _ => unreachable!("a group has at most 12 vectors"),
                    }
                };
            }
            widths!(1 2 3 4 5 6 7 8 9 10 11 12);
        }
        first += group;
    }
}

#[inline(always)]
unsafe fn add_group<S: Simd, const G: usize>(
    sources: &[(u32, f32)],
    pixels: *const f32,
    to: *mut f32,
) {
    unsafe {
        let mut sums = [S::splat(0.0); G];
        for (v, sum) in sums.iter_mut().enumerate() {
            *sum = S::load(to.add(v * S::LANES));
        }
        for &(offset, grad) in sources {
            let pixels = pixels.add(offset as usize);
            let grad = S::splat(grad);
            for (v, sum) in sums.iter_mut().enumerate() {
                *sum = S::fma(grad, S::load(pixels.add(v * S::LANES)), *sum);
            }
        }
        for (v, sum) in sums.iter().enumerate() {
            S::store(to.add(v * S::LANES), *sum);
        }
    }
}

/// Numbers of some images and their gradients that are walked through once for each group of taps: they
/// stay in the second cache.
const CACHED: usize = 128 * 1024;

/// With vectors over the filters: the routed gradients of some images are spread over the positions that
/// they came from, and each tap sums over all of these.
#[inline(always)]
unsafe fn by_filter<S: Simd>(task: &Task, part: &mut Part) {
    let spec = task.spec;
    let padded = Padded::of(spec);
    let mut routed = Routed::default();
    let filters = spec.out_channels.next_multiple_of(S::LANES);
    let rows = spec.out_height() * spec.pool;
    let columns = spec.out_width() * spec.pool;
    let image = padded.zeros().len();
    let at = Walk {
        images: (CACHED / (image + rows * columns * filters)).clamp(1, IMAGES),
        rows,
        columns,
        filters,
        image,
        row: padded.row,
        stride: spec.stride,
        channels: spec.in_channels,
    };
    // Where every position has its gradient and the filters are whole vectors, nothing is to be spread.
    let plain = !spec.has_route() && !spec.channels_first && filters == spec.out_channels;
    let len = rows * columns * filters;
    let mut spread = match plain {
        true => Vec::new(),
        false => vec![0f32; at.images * len],
    };
    let mut images = vec![0f32; at.images * at.image];
    let most = at.images;
    let some = task.images.chunks(most * spec.image_len());
    for (group, some) in some.enumerate() {
        let count = some.len() / spec.image_len();
        for (index, from) in some.chunks_exact(spec.image_len()).enumerate() {
            padded.fill(spec, from, &mut images[index * at.image..][..at.image]);
            if plain {
                continue;
            }
            let of_batch = task.first + group * most + index;
            routed.fill(spec, of_batch, task.output, task.route, task.grad);
            part.add_bias(&routed);
            let spread = &mut spread[index * len..][..len];
            for (row, spread) in spread
                .chunks_exact_mut(spec.pool * columns * filters)
                .enumerate()
            {
                spread_row(spec, row, &routed, filters, spread);
            }
        }
        let at = Walk {
            images: count,
            ..at
        };
        let run = (spec.kernel, task.runs.used);
        let grads = match plain {
            true => &task.grad[(task.first + group * most) * len..][..count * len],
            false => &spread,
        };
        if plain && spec.bias {
            add_rows(&mut part.bias, grads);
        }
        unsafe { add_taps::<S>(&at, run, grads, &images, &mut part.weight) };
    }
}

/// 3 x 3 kernels at every position.
#[inline(always)]
unsafe fn by_tile<S: Simd>(task: &Task, part: &mut Part) {
    let spec = task.spec;
    let n_images = task.images.len() / spec.image_len();
    let len = spec.output_len();
    let grads = &task.grad[task.first * len..][..n_images * len];
    if spec.bias {
        add_rows(&mut part.bias, grads);
    }
    unsafe { winograd::add_weight_grad::<S>(spec, task.images, grads, &mut part.weight) };
}

#[inline(always)]
fn add_rows(sums: &mut [f32], rows: &[f32]) {
    for row in rows.chunks_exact(sums.len()) {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += value;
        }
    }
}

/// `spread`: `[row in the window, column, filter]`
#[inline(always)]
fn spread_row(spec: &Spec, row: usize, routed: &Routed, filters: usize, spread: &mut [f32]) {
    let (pool, columns) = (spec.pool, spec.out_width() * spec.pool);
    for column in 0..spec.out_width() {
        let from = (row * spec.out_width() + column) * spec.out_channels;
        let grads = &routed.grad[from..][..spec.out_channels];
        let routes = &routed.route[from..][..spec.out_channels];
        for place in 0..pool * pool {
            let x = column * pool + place % pool;
            let to = &mut spread[(place / pool * columns + x) * filters..][..spec.out_channels];
            for ((to, &grad), &route) in to.iter_mut().zip(grads).zip(routes) {
                *to = if usize::from(route) == place {
                    grad
                } else {
                    0.0
                };
            }
        }
    }
}

/// The positions of some images, and where their numbers are.
#[derive(Clone, Copy)]
struct Walk {
    images: usize,
    /// Positions of the kernel on an image.
    rows: usize,
    columns: usize,
    /// Gradients of a position.
    filters: usize,
    /// Numbers of a padded image.
    image: usize,
    /// Numbers of its row.
    row: usize,
    stride: usize,
    channels: usize,
}

/// * `run`: rows of the kernel, and taps of a row
/// * `grads`: `[image, row, column, filter]`
/// * `sums`: `[tap, filter]`
#[inline(always)]
unsafe fn add_taps<S: Simd>(
    at: &Walk,
    run: (usize, usize),
    grads: &[f32],
    pixels: &[f32],
    sums: &mut [f32],
) {
    let (kernel, used) = run;
    let last = (at.images - 1) * at.image
        + ((at.rows - 1) * at.stride + kernel - 1) * at.row
        + (at.columns - 1) * at.stride * at.channels
        + used;
    assert!(last <= pixels.len());
    assert!(grads.len() >= at.images * at.rows * at.columns * at.filters);
    assert!(sums.len() == kernel * used * at.filters);
    // Accumulators stay in registers: AVX-512 has 32, AVX2 16.
    let most = if S::LANES == 16 { 12 } else { 6 };
    let mut filter = 0;
    while filter < at.filters {
        let wide = at.filters - filter >= 2 * S::LANES;
        // SAFETY: the lengths are as asserted.
        unsafe {
            let grads = grads.as_ptr().add(filter);
            let mut tap = 0;
            // All nine taps of a 3x3 kernel over one channel at once: each gradient is read once.
            if kernel == 3 && used == 3 && !wide {
                let sums = sums.as_mut_ptr().add(filter);
                add_tap_rows::<S, 3, 3, 1>(at, grads, pixels.as_ptr(), sums);
                tap = 9;
            }
            while tap < kernel * used {
                let (y, x) = (tap / used, tap % used);
                let group = (used - x).min(most);
                let pixels = pixels.as_ptr().add(y * at.row + x);
                let sums = sums.as_mut_ptr().add(tap * at.filters + filter);
                macro_rules! widths {
                    ($vectors:literal: $($width:literal)*) => {
                        match group {
                            $($width => add_tap_rows::<S, 1, $width, $vectors>(
                                at, grads, pixels, sums,
                            ),)*
                            _ => unreachable!("a group has at most 12 taps"),
                        }
                    };
                }
                match (S::LANES, wide) {
                    (16, true) => widths!(2: 1 2 3 4 5 6 7 8 9 10 11 12),
                    (16, false) => widths!(1: 1 2 3 4 5 6 7 8 9 10 11 12),
                    (_, true) => widths!(2: 1 2 3 4 5 6),
                    (_, false) => widths!(1: 1 2 3 4 5 6),
                }
                tap += group;
            }
        }
        filter += S::LANES << usize::from(wide);
    }
}

#[inline(always)]
unsafe fn add_tap_rows<S: Simd, const Y: usize, const G: usize, const V: usize>(
    at: &Walk,
    grads: *const f32,
    pixels: *const f32,
    to: *mut f32,
) {
    unsafe {
        let mut sums = [[[S::splat(0.0); V]; G]; Y];
        let place = |y, g, v| (y * G + g) * at.filters + v * S::LANES;
        for (y, sums) in sums.iter_mut().enumerate() {
            for (g, sums) in sums.iter_mut().enumerate() {
                for (v, sum) in sums.iter_mut().enumerate() {
                    *sum = S::load(to.add(place(y, g, v)));
                }
            }
        }
        let step = at.stride * at.channels;
        let mut grads = grads;
        for row in 0..at.images * at.rows {
            let (image, row) = (row / at.rows, row % at.rows);
            let mut pixels = pixels.add(image * at.image + row * at.stride * at.row);
            for _ in 0..at.columns {
                let mut grad = [S::splat(0.0); V];
                for (v, grad) in grad.iter_mut().enumerate() {
                    *grad = S::load(grads.add(v * S::LANES));
                }
                for (y, sums) in sums.iter_mut().enumerate() {
                    for (g, sums) in sums.iter_mut().enumerate() {
                        let pixel = S::splat(*pixels.add(y * at.row + g));
                        for (sum, &grad) in sums.iter_mut().zip(&grad) {
                            *sum = S::fma(pixel, grad, *sum);
                        }
                    }
                }
                grads = grads.add(at.filters);
                pixels = pixels.add(step);
            }
        }
        for (y, sums) in sums.iter().enumerate() {
            for (g, sums) in sums.iter().enumerate() {
                for (v, &sum) in sums.iter().enumerate() {
                    S::store(to.add(place(y, g, v)), sum);
                }
            }
        }
    }
}

fn unpack_by_filter(spec: &Spec, sums: &[f32], lanes: usize, weight: &mut [f32]) {
    let filters = spec.out_channels.next_multiple_of(lanes);
    let (channels, area) = (spec.in_channels, spec.kernel * spec.kernel);
    for (at, value) in weight.iter_mut().enumerate() {
        let (place, channel) = (at % area, at / area % channels);
        let filter = at / (area * channels);
        *value = sums[(place * channels + channel) * filters + filter];
    }
}
