//! Layouts in which the inner loops read: padded images, weights by vector, gradients by window.

use super::spec::{Activation, NO_ROUTE, Spec};

/// Numbers that a vector may read or write beyond the end of a row.
pub(super) const SLACK: usize = 16;

/// An image with its zeros around it, `[row, column, channel]`. The taps of one row of the kernel are
/// one run of `kernel * in_channels` numbers.
#[derive(Clone, Copy)]
pub(super) struct Padded {
    /// Numbers of a row.
    pub(super) row: usize,
    /// Numbers of the image.
    len: usize,
}

impl Padded {
    pub(super) fn of(spec: &Spec) -> Self {
        let row = (spec.width + 2 * spec.padding) * spec.in_channels;
        let len = (spec.height + 2 * spec.padding) * row;
        Self { row, len }
    }

    /// A buffer of zeros for one image.
    pub(super) fn zeros(&self) -> Vec<f32> {
        vec![0.0; self.len + SLACK]
    }

    fn line(&self, spec: &Spec, y: usize) -> std::ops::Range<usize> {
        let start = (y + spec.padding) * self.row + spec.padding * spec.in_channels;
        start..start + spec.width * spec.in_channels
    }

    /// Copies an image into the buffer.
    pub(super) fn fill(&self, spec: &Spec, image: &[f32], padded: &mut [f32]) {
        for (y, line) in image
            .chunks_exact(spec.width * spec.in_channels)
            .enumerate()
        {
            padded[self.line(spec, y)].copy_from_slice(line);
        }
    }

    /// Copies the image out of the buffer.
    pub(super) fn take(&self, spec: &Spec, padded: &[f32], image: &mut [f32]) {
        let lines = image.chunks_exact_mut(spec.width * spec.in_channels);
        for (y, line) in lines.enumerate() {
            line.copy_from_slice(&padded[self.line(spec, y)]);
        }
    }
}

/// Weights as the forward pass reads them: `[block, tap, lane]`, a block being two vectors of filters
/// and the taps in the order (row, column, channel). Filters that do not exist are zero.
pub(super) fn by_tap(spec: &Spec, weight: &[f32], block: usize) -> Vec<f32> {
    let (channels, area) = (spec.in_channels, spec.kernel * spec.kernel);
    let taps = area * channels;
    let mut packed = vec![0.0; spec.out_channels.div_ceil(block) * taps * block];
    for (filter, weight) in weight.chunks_exact(taps).enumerate() {
        let packed = &mut packed[filter / block * taps * block + filter % block..];
        for (channel, plane) in weight.chunks_exact(area).enumerate() {
            for (place, &value) in plane.iter().enumerate() {
                packed[(place * channels + channel) * block] = value;
            }
        }
    }
    packed
}

/// Weights or their gradients by run: `[filter, row, run]`, each run (column, channel) padded with zeros
/// to whole vectors.
#[derive(Clone, Copy)]
pub(super) struct Runs {
    /// Numbers of a run that count.
    pub(super) used: usize,
    /// Numbers of a run.
    pub(super) len: usize,
}

impl Runs {
    pub(super) fn of(spec: &Spec, lanes: usize) -> Self {
        let used = spec.kernel * spec.in_channels;
        Self {
            used,
            len: used.next_multiple_of(lanes),
        }
    }

    pub(super) fn pack(&self, spec: &Spec, weight: &[f32]) -> Vec<f32> {
        let mut packed = vec![0.0; spec.out_channels * spec.kernel * self.len];
        for (at, &value) in weight.iter().enumerate() {
            packed[self.place(spec, at)] = value;
        }
        packed
    }

    pub(super) fn unpack(&self, spec: &Spec, packed: &[f32], weight: &mut [f32]) {
        for (at, value) in weight.iter_mut().enumerate() {
            *value = packed[self.place(spec, at)];
        }
    }

    /// Where the weight at `at` in `[filter, channel, row, column]` lies.
    fn place(&self, spec: &Spec, at: usize) -> usize {
        let (kernel, channels) = (spec.kernel, spec.in_channels);
        let (column, row) = (at % kernel, at / kernel % kernel);
        let (channel, filter) = (
            at / (kernel * kernel) % channels,
            at / (kernel * kernel * channels),
        );
        (filter * kernel + row) * self.len + column * channels + channel
    }
}

/// The gradient of one image's block at its convolution: `[window, filter]`, and where it goes.
#[derive(Default)]
pub(super) struct Routed {
    /// Gradient at the winning position; anything where there is no route.
    pub(super) grad: Vec<f32>,
    /// The winning position in the window, row by row; [`NO_ROUTE`] where the gradient is zero.
    pub(super) route: Vec<u8>,
}

impl Routed {
    /// * `image`: index in the batch
    /// * `output`, `route`, `grad`: the whole batch's, in the layout of the output
    #[inline(always)]
    pub(super) fn fill(
        &mut self,
        spec: &Spec,
        image: usize,
        output: &[f32],
        route: &[u8],
        grad: &[f32],
    ) {
        let len = spec.output_len();
        let of_image = image * len..(image + 1) * len;
        let output = &output[of_image.clone()];
        let grad = &grad[of_image.clone()];
        self.grad.resize(len, 0.0);
        self.route.resize(len, NO_ROUTE);
        if !spec.has_route() {
            self.fill_plain(spec, grad);
            return;
        }
        let route = &route[of_image];
        if spec.channels_first {
            let (windows, filters) = (spec.windows(), spec.out_channels);
            for filter in 0..filters {
                for window in 0..windows {
                    let (from, to) = (filter * windows + window, window * filters + filter);
                    self.grad[to] = grad[from];
                    self.route[to] = route[from];
                }
            }
        } else {
            self.grad.copy_from_slice(grad);
            self.route.copy_from_slice(route);
        }
        let scale = spec.dropout.map_or(1.0, |dropout| dropout.scale());
        if !matches!(spec.activation, Activation::Identity | Activation::Relu) {
            self.derive(spec, output, scale);
        } else if scale != 1.0 {
            for grad in &mut self.grad {
                *grad *= scale;
            }
        }
    }

    /// Without a pool and an activation: every position won.
    fn fill_plain(&mut self, spec: &Spec, grad: &[f32]) {
        self.route.fill(0);
        if !spec.channels_first {
            self.grad.copy_from_slice(grad);
            return;
        }
        for (at, &grad) in grad.iter().enumerate() {
            let (filter, window) = (at / spec.windows(), at % spec.windows());
            self.grad[window * spec.out_channels + filter] = grad;
        }
    }

    fn derive(&mut self, spec: &Spec, output: &[f32], scale: f32) {
        let (windows, filters) = (spec.windows(), spec.out_channels);
        for (at, grad) in self.grad.iter_mut().enumerate() {
            let from = match spec.channels_first {
                true => at % filters * windows + at / filters,
                false => at,
            };
            *grad *= scale * spec.activation.derivative(output[from] / scale);
        }
    }
}
