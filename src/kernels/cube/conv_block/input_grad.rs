//! The images' gradient: `shaders/conv_block_input_grad.wgsl`.

use burn::tensor::DType;
use burn_cubecl::kernel::into_contiguous;

use super::super::template::Numbers;
use super::super::{empty, launch};
use super::everywhere;
use super::{
    Block, Float, Int, MEMORY, MOST_INVOCATIONS, Machine, Part, area, even, numbers, patch, used,
};
use crate::kernels::conv_block::{Spec, images_shape};

/// How the images' gradient is divided.
pub(super) struct InputGrad {
    machine: Machine,
    /// Channels of a workgroup, and workgroups that have all channels.
    lanes: usize,
    blocks: usize,
    /// Windows on each side of the block of pixels of an invocation.
    tile: [usize; 2],
    /// Blocks of pixels of an image, and the first of them in the padded image, on each axis.
    across: [usize; 2],
    first: [usize; 2],
    /// Blocks of a workgroup.
    group_blocks: usize,
    /// Filters whose weights are in workgroup memory at a time.
    chunk: usize,
    /// Windows before those of a block that reach into it, on each axis.
    reach: usize,
}

impl InputGrad {
    pub(super) fn of(spec: &Spec, machine: Machine) -> Self {
        let lanes = even(spec.in_channels, 32);
        let apart = apart(spec);
        let reach = (patch(spec, spec.pool) - 1) / apart;
        let sides = [spec.height, spec.width];
        let first = |tile: [usize; 2]| tile.map(|windows| spec.padding / (windows * apart));
        let across = |tile: [usize; 2]| {
            [0, 1].map(|axis| {
                let last = (spec.padding + sides[axis] - 1) / (tile[axis] * apart);
                last - first(tile)[axis] + 1
            })
        };
        let tile = match machine {
            Machine::Gpu => [1, 1],
            Machine::Software => fewest_loads(spec, reach, &across),
        };
        let filter = lanes * (area(spec) | 1) * size_of::<f32>();
        Self {
            machine,
            lanes,
            blocks: spec.in_channels.div_ceil(lanes),
            tile,
            across: across(tile),
            first: first(tile),
            group_blocks: MOST_INVOCATIONS / lanes,
            chunk: even(spec.out_channels, MEMORY / filter),
            reach,
        }
    }

    fn group(&self) -> usize {
        self.group_blocks * self.lanes
    }

    pub(super) fn rounds(&self, spec: &Spec) -> usize {
        let staged = self.chunk * self.lanes * area(spec);
        let chunks = spec.out_channels.div_ceil(self.chunk);
        let spans: usize = self
            .tile
            .iter()
            .map(|windows| windows + self.reach)
            .product();
        chunks * (1 + staged.div_ceil(self.group())) + spec.out_channels * spans
    }

    pub(super) fn numbers(&self, spec: &Spec) -> Numbers {
        let mut numbers = numbers(spec);
        let next_filter = if spec.channels_first {
            spec.windows()
        } else {
            1
        };
        numbers.set_all(&[
            ("LANES", self.lanes),
            ("TILE_Y", self.tile[0]),
            ("TILE_X", self.tile[1]),
            ("BLOCK_Y", self.tile[0] * apart(spec)),
            ("BLOCK_X", self.tile[1] * apart(spec)),
            ("BLOCKS_Y", self.across[0]),
            ("BLOCKS_X", self.across[1]),
            ("FIRST_BLOCK_Y", self.first[0]),
            ("FIRST_BLOCK_X", self.first[1]),
            ("GROUP_BLOCKS", self.group_blocks),
            ("GROUP", self.group()),
            ("CHUNK", self.chunk),
            ("STRIDE", area(spec) | 1),
            ("REACH", self.reach),
            ("BEFORE", self.reach * apart(spec)),
            ("SPAN_Y", self.tile[0] + self.reach),
            ("SPAN_X", self.tile[1] + self.reach),
            ("NEXT_FILTER", next_filter),
            ("DENSE", usize::from(self.machine == Machine::Software)),
        ]);
        numbers
    }
}

/// Pixels from one window to the next.
fn apart(spec: &Spec) -> usize {
    spec.pool * spec.stride
}

/// The block with which the images' gradient takes the fewest loads: gradient and, if there is one, route of
/// each window that reaches into it, and the taps.
fn fewest_loads(
    spec: &Spec,
    reach: usize,
    across: &impl Fn([usize; 2]) -> [usize; 2],
) -> [usize; 2] {
    let windows = |tile: [usize; 2]| (tile[0] + reach) * (tile[1] + reach);
    let each = 1 + usize::from(spec.has_route());
    let loads = |tile| across(tile)[0] * across(tile)[1] * (each * windows(tile) + area(spec));
    let few = |tile: [usize; 2]| {
        let pixels = tile[0] * tile[1] * apart(spec) * apart(spec);
        pixels <= 64 && windows(tile) * spec.pool * spec.pool <= 144
    };
    (1..=8)
        .flat_map(|y| (1..=8).map(move |x| [y, x]))
        .filter(|&tile| few(tile))
        .min_by_key(|&tile| loads(tile))
        .unwrap_or([1, 1])
}

/// One launch, or those of [`everywhere`].
pub(in super::super) fn input_grad(
    weight: Float,
    output: Float,
    route: Int,
    grad: Float,
    spec: &Spec,
) -> Float {
    let [weight, output, route, grad] = [weight, output, route, grad].map(into_contiguous);
    if everywhere::applies(spec) {
        return everywhere::images_grad([weight, output, grad], &route, spec);
    }
    let images = empty(&weight, images_shape(spec), DType::F32);
    let machine = Machine::of(&weight);
    let division = InputGrad::of(spec, machine);
    let blocks = spec.batch * division.across[0] * division.across[1];
    let groups = [blocks.div_ceil(division.group_blocks), division.blocks];
    let tensors = [&weight, &grad, &images, &route, &output];
    let program = Block::new(Part::InputGrad, spec, machine);
    launch(program, groups, used(&tensors, spec), &[]);
    images
}
