//! The weights' gradient: `shaders/conv_block_weight_grad.wgsl` and `shaders/conv_block_weight_sum.wgsl`.

use burn::tensor::DType;
use burn_cubecl::kernel::into_contiguous;

use super::super::template::Numbers;
use super::super::{empty, launch};
use super::{
    Block, Float, Int, MEMORY, MOST_INVOCATIONS, Machine, Part, even, numbers, patch, used,
};
use crate::kernels::conv_block::{Spec, weight_shape};

/// How the weights' gradient is divided.
pub(super) struct WeightGrad {
    /// Filters of one invocation.
    each: usize,
    /// Rows of the kernel of one invocation, and how often that makes all rows.
    rows: usize,
    row_groups: usize,
    /// Invocations for all weights, and those of a workgroup.
    all_lanes: usize,
    lanes: usize,
    /// Walks of a workgroup, a power of two.
    subs: usize,
    /// Windows of a walk.
    length: usize,
    /// Workgroups that go through the whole batch.
    slices: usize,
}

impl WeightGrad {
    pub(super) fn of(spec: &Spec, machine: Machine) -> Self {
        let rows = if spec.kernel <= 5 { spec.kernel } else { 1 };
        let row_groups = spec.kernel.div_ceil(rows);
        // Sums of an invocation, which stay in registers, and invocations in all.
        let (most, invocations) = match machine {
            Machine::Gpu => (104, 64 * 1024),
            Machine::Software => (52, 2 * 1024),
        };
        let each = [8, 4, 2, 1]
            .into_iter()
            .find(|each| each * (rows * spec.kernel + 1) <= most && *each < 2 * spec.out_channels)
            .unwrap_or(1);
        let all_lanes = spec.out_channels.div_ceil(each) * spec.in_channels * row_groups;
        let lanes = all_lanes.next_power_of_two().min(32);
        let subs = MOST_INVOCATIONS / lanes;
        let windows = spec.batch * spec.windows();
        // Long enough that they are worth their sum.
        let walks = (invocations / all_lanes).max(1);
        let length = windows.div_ceil(walks).clamp(8, 16 * 1024);
        Self {
            each,
            rows,
            row_groups,
            all_lanes,
            lanes,
            subs,
            length,
            slices: windows.div_ceil(length * subs),
        }
    }

    /// Sums of an invocation: the taps and, if there is one, the bias of its filters.
    fn sums(&self, spec: &Spec) -> usize {
        self.each * (self.rows * spec.kernel + usize::from(spec.bias))
    }

    pub(super) fn numbers(&self, spec: &Spec) -> Numbers {
        let mut numbers = numbers(spec);
        let piece = MEMORY / (self.lanes * self.subs / 2 * size_of::<f32>());
        let piece = even(self.sums(spec), piece);
        let wide = spec.out_channels.is_multiple_of(4)
            && self.each.is_multiple_of(4)
            && !spec.channels_first;
        numbers.set_all(&[
            ("EACH", self.each),
            ("ROWS", self.rows),
            ("ROW_GROUPS", self.row_groups),
            ("TAPS", self.rows * spec.kernel),
            ("PATCH_Y", patch(spec, spec.pool) - spec.kernel + self.rows),
            ("PATCH_X", patch(spec, spec.pool)),
            ("ALL_LANES", self.all_lanes),
            ("LANES", self.lanes),
            ("SUBS", self.subs),
            ("GROUP", self.lanes * self.subs),
            ("LENGTH", self.length),
            ("SLICES", self.slices),
            ("PIECE", piece),
            ("PIECES", self.sums(spec).div_ceil(piece)),
            ("WIDE", usize::from(wide)),
        ]);
        numbers
    }

    /// Windows of a walk, then slices: the longest loops.
    pub(super) fn rounds(&self) -> usize {
        self.length + self.slices
    }
}

/// Two launches: parts, and their sum.
pub(in super::super) fn weight_grad(
    images: Float,
    output: Float,
    route: Int,
    grad: Float,
    spec: &Spec,
) -> (Float, Float) {
    let [images, output, route, grad] = [images, output, route, grad].map(into_contiguous);
    let machine = Machine::of(&images);
    let division = WeightGrad::of(spec, machine);
    let sums = division.all_lanes * division.sums(spec);
    let parts = empty(&images, [division.slices * sums], DType::F32);
    let groups = [division.all_lanes.div_ceil(division.lanes), division.slices];
    let tensors = [&images, &grad, &parts, &route, &output];
    let program = Block::new(Part::WeightGrad, spec, machine);
    launch(program, groups, used(&tensors, spec), &[]);

    let weight = empty(&images, weight_shape(spec), DType::F32);
    let n_biases = if spec.bias { spec.out_channels } else { 0 };
    let bias = empty(&images, [n_biases], DType::F32);
    let program = Block::new(Part::WeightSum, spec, machine);
    let mut tensors = vec![&parts, &weight];
    tensors.extend(spec.bias.then_some(&bias));
    launch(program, [sums.div_ceil(32), 1], &tensors, &[]);
    (weight, bias)
}
