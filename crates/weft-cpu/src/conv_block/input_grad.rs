//! Backward for the input: each routed gradient adds its filter to the pixels under it. Without a pool
//! there is a gradient at each position: then see [`everywhere`].

use super::everywhere;
use super::pack::{Padded, Routed, Runs};
use super::spec::Spec;
use crate::simd::{Instructions, Simd, for_each_instruction_set};
use crate::threads::{Parts, for_each};

/// Images that one task takes.
const IMAGES: usize = 4;

/// The gradient of the images, `[batch, height, width, channel]`, into `images_grad`.
///
/// * `weight`: `[filter, channel, kernel, kernel]`
/// * `output`, `route`: what the forward pass gave; `grad`: the output's gradient, all in its layout
pub fn input_grad(
    instructions: Instructions,
    spec: &Spec,
    weight: &[f32],
    output: &[f32],
    route: &[u8],
    grad: &[f32],
    images_grad: &mut [f32],
) {
    if spec.pool == 1 {
        return everywhere::input_grad(
            instructions,
            spec,
            weight,
            output,
            route,
            grad,
            images_grad,
        );
    }
    let runs = Runs::of(spec, instructions.lanes());
    let weight = runs.pack(spec, weight);
    let parts = Parts::new(images_grad, IMAGES * spec.image_len());
    for_each(parts.count(), &|index| {
        let task = Task {
            spec,
            runs,
            first: index * IMAGES,
            weight: &weight,
            output,
            route,
            grad,
        };
        // SAFETY: each task has an index of its own.
        some_images(instructions, &task, unsafe { parts.of(index) });
    });
}

struct Task<'a> {
    spec: &'a Spec,
    runs: Runs,
    /// Index in the batch of the first image.
    first: usize,
    weight: &'a [f32],
    output: &'a [f32],
    route: &'a [u8],
    grad: &'a [f32],
}

for_each_instruction_set! {
    fn some_images = images(task: &Task, images_grad: &mut [f32])
}

#[inline(always)]
unsafe fn images<S: Simd>(task: &Task, images_grad: &mut [f32]) {
    let spec = task.spec;
    let padded = Padded::of(spec);
    let mut image = padded.zeros();
    let mut routed = Routed::default();
    let mut lists = Lists::new(spec);
    for (index, images_grad) in images_grad.chunks_exact_mut(spec.image_len()).enumerate() {
        routed.fill(spec, task.first + index, task.output, task.route, task.grad);
        image.fill(0.0);
        for window in 0..spec.windows() {
            lists.fill(spec, window, &routed);
            let (y, x) = (window / spec.out_width(), window % spec.out_width());
            for place in 0..spec.pool * spec.pool {
                let y = y * spec.pool + place / spec.pool;
                let x = x * spec.pool + place % spec.pool;
                let corner = spec.stride * (y * padded.row + x * spec.in_channels);
                for row in 0..spec.kernel {
                    let to = &mut image[corner + row * padded.row..];
                    unsafe { add_row::<S>(task, row, lists.of(place), to) };
                }
            }
        }
        padded.take(spec, &image, images_grad);
    }
}

/// The filters whose gradient goes to each position of a window.
struct Lists {
    /// `[position][entry]`, and one list more for those that go nowhere.
    entries: Vec<(u32, f32)>,
    lens: Vec<usize>,
    capacity: usize,
}

impl Lists {
    fn new(spec: &Spec) -> Self {
        let places = spec.pool * spec.pool + 1;
        Self {
            entries: vec![(0, 0.0); places * spec.out_channels],
            lens: vec![0; places],
            capacity: spec.out_channels,
        }
    }

    #[inline(always)]
    fn fill(&mut self, spec: &Spec, window: usize, routed: &Routed) {
        let nowhere = self.lens.len() - 1;
        self.lens.fill(0);
        let of_window = window * spec.out_channels..(window + 1) * spec.out_channels;
        let routes = routed.route[of_window.clone()].iter();
        for (filter, (&route, &grad)) in routes.zip(&routed.grad[of_window]).enumerate() {
            let place = usize::from(route).min(nowhere);
            self.entries[place * self.capacity + self.lens[place]] = (filter as u32, grad);
            self.lens[place] += 1;
        }
    }

    #[inline(always)]
    fn of(&self, place: usize) -> &[(u32, f32)] {
        &self.entries[place * self.capacity..][..self.lens[place]]
    }
}

/// Adds one row of the listed filters, each times its gradient, to a run of pixels.
#[inline(always)]
unsafe fn add_row<S: Simd>(task: &Task, row: usize, list: &[(u32, f32)], to: &mut [f32]) {
    if list.is_empty() {
        return;
    }
    let (len, kernel) = (task.runs.len, task.spec.kernel);
    let vectors = len / S::LANES;
    assert!(to.len() >= len && task.weight.len() == task.spec.out_channels * kernel * len);
    let mut first = 0;
    while first < vectors {
        let group = (vectors - first).min(12);
        let offset = row * len + first * S::LANES;
        // SAFETY: `first + group` vectors are in a run, and filters in a list exist.
        unsafe {
            let to = to.as_mut_ptr().add(first * S::LANES);
            let from = task.weight.as_ptr().add(offset);
            macro_rules! widths {
                ($($width:literal)*) => {
                    match group {
                        $($width => add_group::<S, $width>(list, kernel * len, from, to),)*
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
    list: &[(u32, f32)],
    stride: usize,
    from: *const f32,
    to: *mut f32,
) {
    unsafe {
        let mut sums = [S::splat(0.0); G];
        for (v, sum) in sums.iter_mut().enumerate() {
            *sum = S::load(to.add(v * S::LANES));
        }
        for &(filter, grad) in list {
            let from = from.add(filter as usize * stride);
            let grad = S::splat(grad);
            for (v, sum) in sums.iter_mut().enumerate() {
                *sum = S::fma(grad, S::load(from.add(v * S::LANES)), *sum);
            }
        }
        for (v, sum) in sums.iter().enumerate() {
            S::store(to.add(v * S::LANES), *sum);
        }
    }
}
