//! Launching `shaders/batch_norm*.wgsl`. What is summed over the rows is summed in slices, then over the
//! slices: two launches. The number of rows is not in the text: a batch of another size is no new shader.

use burn::backend::TensorMetadata;
use burn::backend::tensor::FloatTensor;
use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::machine::Machine;
use super::template::{Numbers, expand};
use super::{MAX_WORKGROUPS, MOST_ROUNDS, Program, WORKGROUP, activation, empty, launch};
use crate::kernels::batch_norm::Spec;
use crate::kernels::conv_block::Activation;

type Float = FloatTensor<CubeBackend>;

/// Rows that an invocation reads before it uses them.
const AHEAD: usize = 8;

/// Whether the shaders can do it: what indices and loops can count.
pub(super) fn fits(rows: usize, channels: usize) -> bool {
    let counted = rows > 0 && channels > 0 && rows.saturating_mul(channels) < 1 << 30;
    let fits = |machine| {
        let rows = Rows::of(rows, channels, machine);
        rows.rounds() < MOST_ROUNDS && rows.columns.blocks <= MAX_WORKGROUPS as usize
    };
    counted && fits(Machine::Gpu) && fits(Machine::Software)
}

/// How the channels are divided. A column is a channel, or four.
struct Columns {
    wide: bool,
    count: usize,
    /// Columns of a workgroup, and workgroups that have all columns.
    lanes: usize,
    blocks: usize,
    /// Rows side by side in a workgroup.
    subs: usize,
}

impl Columns {
    fn of(channels: usize) -> Self {
        let wide = channels.is_multiple_of(4);
        let count = if wide { channels / 4 } else { channels };
        let blocks = count.div_ceil(32);
        let lanes = count.div_ceil(blocks);
        Self {
            wide,
            count,
            lanes,
            blocks,
            subs: WORKGROUP as usize / lanes,
        }
    }
}

/// How the rows are divided.
struct Rows {
    columns: Columns,
    count: usize,
    /// Rows of a slice, and slices.
    length: usize,
    slices: usize,
    /// Rows of an invocation that sums nothing.
    each: usize,
}

impl Rows {
    fn of(rows: usize, channels: usize, machine: Machine) -> Self {
        let columns = Columns::of(channels);
        let groups = match machine {
            Machine::Gpu => 512,
            Machine::Software => 32,
        };
        let slices = (groups / columns.blocks).max(1);
        let at_once = AHEAD * columns.subs;
        let length = rows.div_ceil(slices).next_multiple_of(at_once);
        Self {
            columns,
            count: rows,
            length,
            slices: rows.div_ceil(length),
            each: each(machine),
        }
    }

    /// Of the longest loops.
    fn rounds(&self) -> usize {
        self.length / (AHEAD * self.columns.subs) + self.slices / self.columns.subs + 10
    }

    /// As the shaders take them.
    fn words(&self) -> [u32; 3] {
        [self.count, self.length, self.slices].map(|n| n as u32)
    }

    /// Workgroups that sum slices.
    fn of_slices(&self) -> [usize; 2] {
        [self.slices, self.columns.blocks]
    }

    /// Workgroups that write each number.
    fn of_all(&self) -> [usize; 2] {
        let rows = self.columns.subs * self.each;
        [self.count.div_ceil(rows), self.columns.blocks]
    }
}

fn each(machine: Machine) -> usize {
    match machine {
        Machine::Gpu => 4,
        Machine::Software => 64,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Part {
    Statistics,
    Join,
    Forward,
    GradParts,
    GradSum,
    Gradient,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct BatchNorm {
    part: Part,
    machine: Machine,
    spec: Spec,
}

impl Program for BatchNorm {
    fn text(&self) -> String {
        let Columns {
            wide,
            count,
            lanes,
            subs,
            ..
        } = Columns::of(self.spec.channels);
        let mut numbers = Numbers::default();
        numbers.set_all(&[
            ("WIDE", usize::from(wide)),
            ("COLUMNS", count),
            ("LANES", lanes),
            ("SUBS", subs),
            ("GROUP", lanes * subs),
            ("HALF", subs.next_power_of_two() / 2),
            ("AHEAD", AHEAD),
            ("EACH", each(self.machine)),
            ("OF_BATCH", usize::from(self.spec.of_batch)),
        ]);
        numbers.set("ACTIVATION", activation(self.spec.activation));
        numbers.set("EPSILON_BITS", self.spec.epsilon_bits);
        let common = concat!(
            include_str!("../../../shaders/activation.wgsl"),
            include_str!("../../../shaders/batch_norm_common.wgsl")
        );
        expand(&[common, self.part.shader()].concat(), &numbers)
    }
}

impl Part {
    fn shader(self) -> &'static str {
        match self {
            Self::Statistics => concat!(
                include_str!("../../../shaders/batch_norm_moments.wgsl"),
                include_str!("../../../shaders/batch_norm_statistics.wgsl")
            ),
            Self::Join => concat!(
                include_str!("../../../shaders/batch_norm_moments.wgsl"),
                include_str!("../../../shaders/batch_norm_join.wgsl")
            ),
            Self::Forward => include_str!("../../../shaders/batch_norm.wgsl"),
            Self::GradParts => concat!(
                include_str!("../../../shaders/batch_norm_sums.wgsl"),
                include_str!("../../../shaders/batch_norm_grad_parts.wgsl")
            ),
            Self::GradSum => concat!(
                include_str!("../../../shaders/batch_norm_sums.wgsl"),
                include_str!("../../../shaders/batch_norm_grad_sum.wgsl")
            ),
            Self::Gradient => include_str!("../../../shaders/batch_norm_grad.wgsl"),
        }
    }
}

/// The launches for one input.
struct Launches {
    spec: Spec,
    machine: Machine,
    rows: Rows,
}

impl Launches {
    fn of(x: &Float, spec: &Spec) -> Self {
        let machine = Machine::of(x);
        let rows = x.shape().num_elements() / spec.channels;
        Self {
            spec: *spec,
            machine,
            rows: Rows::of(rows, spec.channels, machine),
        }
    }

    fn launch(&self, part: Part, groups: [usize; 2], tensors: &[&CubeTensor]) {
        let program = BatchNorm {
            part,
            machine: self.machine,
            spec: self.spec,
        };
        launch(program, groups, tensors, &self.rows.words());
    }

    /// What is summed of each slice: two numbers for each channel.
    fn parts(&self, beside: &Float) -> Float {
        let shape = [self.rows.slices, 2, self.spec.channels];
        empty(beside, shape, DType::F32)
    }
}

/// Mean and biased variance of each channel.
pub(super) fn statistics(x: Float, channels: usize) -> (Float, Float) {
    let x = into_contiguous(x);
    let spec = Spec {
        channels,
        activation: Activation::Identity,
        epsilon_bits: 0,
        of_batch: true,
    };
    let launches = Launches::of(&x, &spec);
    let parts = launches.parts(&x);
    launches.launch(Part::Statistics, launches.rows.of_slices(), &[&x, &parts]);
    let [mean, variance] = [(); 2].map(|()| empty(&x, [channels], DType::F32));
    let groups = [1, launches.rows.columns.blocks];
    launches.launch(Part::Join, groups, &[&parts, &mean, &variance]);
    (mean, variance)
}

/// Normalises, scales, shifts and activates.
pub(super) fn forward(x: Float, layer: [Float; 4], spec: &Spec) -> Float {
    let x = into_contiguous(x);
    let [mean, variance, gamma, beta] = layer.map(into_contiguous);
    let launches = Launches::of(&x, spec);
    let y = empty(&x, x.shape(), DType::F32);
    let tensors = [&x, &mean, &variance, &gamma, &beta, &y];
    launches.launch(Part::Forward, launches.rows.of_all(), &tensors);
    y
}

/// The gradients of `x`, gamma and beta.
pub(super) fn gradient(
    x: Float,
    layer: [Float; 4],
    grad: Float,
    spec: &Spec,
) -> (Float, Float, Float) {
    let [x, grad] = [x, grad].map(into_contiguous);
    let [mean, variance, gamma, beta] = layer.map(into_contiguous);
    let launches = Launches::of(&x, spec);
    let parts = launches.parts(&x);
    let tensors = [&x, &grad, &mean, &variance, &gamma, &beta, &parts];
    launches.launch(Part::GradParts, launches.rows.of_slices(), &tensors);

    let [gamma_grad, beta_grad] = [(); 2].map(|()| empty(&x, [spec.channels], DType::F32));
    let columns = empty(&x, [4, spec.channels], DType::F32);
    let groups = [1, launches.rows.columns.blocks];
    let tensors = [&parts, &mean, &variance, &gamma_grad, &beta_grad, &columns];
    launches.launch(Part::GradSum, groups, &tensors);

    let x_grad = empty(&x, x.shape(), DType::F32);
    let tensors = [&x, &grad, &columns, &gamma, &beta, &x_grad];
    launches.launch(Part::Gradient, launches.rows.of_all(), &tensors);
    (x_grad, gamma_grad, beta_grad)
}
