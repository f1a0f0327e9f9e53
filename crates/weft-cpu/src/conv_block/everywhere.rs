//! Backward for the input without a pool: a convolution of the output's gradient with the kernel turned by
//! half a circle. With a stride `s` a pixel meets every `s`-th row and column of the kernel, those of its
//! *phase*: pixels of one phase are a convolution with a kernel of its own.

use super::forward::{Taps, conv_row};
use super::pack::{Routed, SLACK};
use super::spec::{NO_ROUTE, Spec};
use super::winograd;
use crate::simd::{Instructions, Simd, for_each_instruction_set};
use crate::threads::{Parts, for_each};

/// Images that one task takes.
const IMAGES: usize = 4;

/// As [`super::input_grad`], for blocks without a pool.
pub(super) fn input_grad(
    instructions: Instructions,
    spec: &Spec,
    weight: &[f32],
    output: &[f32],
    route: &[u8],
    grad: &[f32],
    images_grad: &mut [f32],
) {
    let rows = Phase::all(spec, spec.height);
    let columns = Phase::all(spec, spec.width);
    let block = 2 * instructions.lanes();
    let mut kernels = Vec::with_capacity(rows.len() * columns.len());
    for row in &rows {
        for column in &columns {
            kernels.push(pack(spec, weight, row, column, block));
        }
    }
    if winograd::serves(spec) {
        return winograd::input_grad(instructions, spec, &kernels[0], grad, images_grad);
    }
    let parts = Parts::new(images_grad, IMAGES * spec.image_len());
    for_each(parts.count(), &|index| {
        let task = Task {
            spec,
            first: index * IMAGES,
            rows: &rows,
            columns: &columns,
            kernels: &kernels,
            output,
            route,
            grad,
        };
        // SAFETY: each task has an index of its own.
        some_images(instructions, &task, unsafe { parts.of(index) });
    });
}

/// Pixels along a side that meet the same taps.
struct Phase {
    /// The first of them; the others follow in steps of the stride.
    first: usize,
    count: usize,
    /// The first tap, and how many there are, in steps of the stride.
    tap: usize,
    taps: usize,
    /// Position of the kernel that has its first tap of the phase over the first pixel.
    position: usize,
}

impl Phase {
    fn all(spec: &Spec, side: usize) -> Vec<Self> {
        let phase = |first: usize| {
            let tap = (first + spec.padding) % spec.stride;
            Self {
                first,
                count: (side - first).div_ceil(spec.stride),
                tap,
                taps: spec.kernel.saturating_sub(tap).div_ceil(spec.stride),
                position: (first + spec.padding) / spec.stride,
            }
        };
        (0..spec.stride.min(side)).map(phase).collect()
    }
}

/// Weights of one phase as [`conv_row`] reads them: `[block of channels, tap, lane]`, the taps from the
/// last to the first, in each the filters.
fn pack(spec: &Spec, weight: &[f32], row: &Phase, column: &Phase, block: usize) -> Vec<f32> {
    let (filters, channels, kernel) = (spec.out_channels, spec.in_channels, spec.kernel);
    let taps = row.taps * column.taps * filters;
    let mut packed = vec![0.0; channels.div_ceil(block) * taps * block];
    if packed.is_empty() {
        return packed; // a kernel smaller than the stride
    }
    for filter in 0..filters {
        for channel in 0..channels {
            let weight = &weight[(filter * channels + channel) * kernel * kernel..];
            let packed = &mut packed[channel / block * taps * block + channel % block..];
            for y in 0..row.taps {
                for x in 0..column.taps {
                    let from_row = row.tap + (row.taps - 1 - y) * spec.stride;
                    let from_column = column.tap + (column.taps - 1 - x) * spec.stride;
                    let tap = (y * column.taps + x) * filters + filter;
                    packed[tap * block] = weight[from_row * kernel + from_column];
                }
            }
        }
    }
    packed
}

struct Task<'a> {
    spec: &'a Spec,
    /// Index in the batch of the first image.
    first: usize,
    rows: &'a [Phase],
    columns: &'a [Phase],
    /// Packed weights, `[phase of rows][phase of columns]`.
    kernels: &'a [Vec<f32>],
    output: &'a [f32],
    route: &'a [u8],
    grad: &'a [f32],
}

/// The gradient of one image with zeros around it: as many before as a kernel of a phase reaches back.
struct Room {
    before: usize,
    row: usize,
    numbers: Vec<f32>,
}

impl Room {
    fn new(spec: &Spec) -> Self {
        let before = spec.kernel.div_ceil(spec.stride) - 1;
        let side = |side: usize, out: usize| {
            let last = (side - 1 + spec.padding) / spec.stride;
            before + out.max(last + 1)
        };
        let row = side(spec.width, spec.out_width()) * spec.out_channels;
        let rows = side(spec.height, spec.out_height());
        Self {
            before,
            row,
            numbers: vec![0.0; rows * row + SLACK],
        }
    }

    fn fill(&mut self, spec: &Spec, grad: &[f32]) {
        let len = spec.out_width() * spec.out_channels;
        let first = self.before * (self.row + spec.out_channels);
        for (y, line) in grad.chunks_exact(len).enumerate() {
            self.numbers[first + y * self.row..][..len].copy_from_slice(line);
        }
    }
}

for_each_instruction_set! {
    fn some_images = images(task: &Task, images_grad: &mut [f32])
}

#[inline(always)]
unsafe fn images<S: Simd>(task: &Task, images_grad: &mut [f32]) {
    let spec = task.spec;
    let mut room = Room::new(spec);
    let mut routed = Routed::default();
    let mut row = vec![0f32; spec.width * 2 * S::LANES];
    for (index, images_grad) in images_grad.chunks_exact_mut(spec.image_len()).enumerate() {
        let index = task.first + index;
        if spec.has_route() || spec.channels_first {
            routed.fill(spec, index, task.output, task.route, task.grad);
            if spec.has_route() {
                for (grad, &route) in routed.grad.iter_mut().zip(&routed.route) {
                    *grad = if route == NO_ROUTE { 0.0 } else { *grad };
                }
            }
            room.fill(spec, &routed.grad);
        } else {
            let len = spec.output_len();
            room.fill(spec, &task.grad[index * len..][..len]);
        }
        for (y, rows) in task.rows.iter().enumerate() {
            for (x, columns) in task.columns.iter().enumerate() {
                let kernel = &task.kernels[y * task.columns.len() + x];
                unsafe { phase::<S>(spec, (rows, columns), kernel, &room, &mut row, images_grad) };
            }
        }
    }
}

#[inline(always)]
unsafe fn phase<S: Simd>(
    spec: &Spec,
    (rows, columns): (&Phase, &Phase),
    kernel: &[f32],
    room: &Room,
    row: &mut [f32],
    images_grad: &mut [f32],
) {
    let (block, channels, filters) = (2 * S::LANES, spec.in_channels, spec.out_channels);
    let taps = Taps {
        rows: rows.taps,
        run: columns.taps * filters,
        row: room.row,
        step: filters,
    };
    let row = &mut row[..columns.count * block];
    for index in 0..rows.count {
        let y = rows.first + index * spec.stride;
        let line = &mut images_grad[y * spec.width * channels..][..spec.width * channels];
        let pixels = line
            .chunks_exact_mut(channels)
            .skip(columns.first)
            .step_by(spec.stride);
        if taps.len() == 0 {
            pixels.for_each(|pixel| pixel.fill(0.0));
            continue;
        }
        let first_row = room.before + rows.position + index + 1 - rows.taps;
        let first_column = room.before + columns.position + 1 - columns.taps;
        let from = &room.numbers[first_row * room.row + first_column * filters..];
        for (block_index, weight) in kernel.chunks_exact(taps.len() * block).enumerate() {
            let first = block_index * block;
            let used = block.min(channels - first);
            unsafe { conv_row::<S>(&taps, used <= S::LANES, from, weight, row) };
            let pixels = line
                .chunks_exact_mut(channels)
                .skip(columns.first)
                .step_by(spec.stride);
            for (to, from) in pixels.zip(row.chunks_exact(block)) {
                to[first..first + used].copy_from_slice(&from[..used]);
            }
        }
    }
}
