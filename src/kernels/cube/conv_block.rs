//! Launching `shaders/conv_block*.wgsl`: how the work is divided, and which blocks they can do.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::template::{Numbers, expand};
use super::{MEMORY, MOST_ROUNDS, Program, activation, empty, launch};
use crate::kernels::conv_block::{Activation, Spec, images_shape};

type Float = FloatTensor<CubeBackend>;
type Int = IntTensor<CubeBackend>;

/// Invocations of a workgroup that every WebGPU device allows.
const MOST_INVOCATIONS: usize = 256;

/// Whether the shaders can do a block on any WebGPU device. Refused are kernels over 7 x 7 and pools over
/// 4 x 4, whose registers would not suffice, and sizes that no index or loop can count.
pub(super) fn fits(spec: &Spec) -> bool {
    if !(spec.is_valid() && spec.batch > 0 && spec.kernel <= 7 && spec.pool <= 4) {
        return false;
    }
    let numbers = [spec.image_len(), spec.output_len(), spec.windows()]
        .map(|n| n.saturating_mul(spec.batch.max(8)));
    let counted = numbers.iter().all(|&n| n < 1 << 30) && spec.weight_len() < 1 << 26;
    let input = InputGrad::of(spec);
    let weight = WeightGrad::of(spec);
    let rounds = [
        Forward::of(spec).rounds(spec),
        weight.length + weight.slices,
        input.rounds(spec),
    ];
    counted && rounds.iter().all(|&rounds| rounds < MOST_ROUNDS)
}

/// What is computed, and how the work is divided: all of it is in the shader's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Block {
    Forward(Spec),
    WeightGrad(Spec),
    WeightSum(Spec),
    InputGrad(Spec),
}

impl Program for Block {
    fn text(&self) -> String {
        let common = concat!(
            include_str!("../../../shaders/activation.wgsl"),
            include_str!("../../../shaders/conv_block_common.wgsl")
        );
        match self {
            Self::Forward(spec) => {
                let numbers = Forward::of(spec).numbers(spec);
                let random = match spec.dropout {
                    Some(_) => include_str!("../../../shaders/random.wgsl"),
                    None => "",
                };
                let shader = include_str!("../../../shaders/conv_block.wgsl");
                expand(&[common, random, shader].concat(), &numbers)
            }
            Self::WeightGrad(spec) => {
                let numbers = WeightGrad::of(spec).numbers(spec);
                let shader = include_str!("../../../shaders/conv_block_weight_grad.wgsl");
                expand(&[common, shader].concat(), &numbers)
            }
            Self::WeightSum(spec) => {
                let numbers = WeightGrad::of(spec).numbers(spec);
                let shader = include_str!("../../../shaders/conv_block_weight_sum.wgsl");
                expand(shader, &numbers)
            }
            Self::InputGrad(spec) => {
                let numbers = InputGrad::of(spec).numbers(spec);
                let shader = include_str!("../../../shaders/conv_block_input_grad.wgsl");
                expand(&[common, shader].concat(), &numbers)
            }
        }
    }
}

/// Windows on a side of what an invocation computes: without a pool, four positions share their pixels.
fn tile(spec: &Spec) -> usize {
    if spec.pool == 1 { 2 } else { 1 }
}

/// `n` in as few parts of at most `most` as possible: the length of the longest.
fn even(n: usize, most: usize) -> usize {
    n.div_ceil(n.div_ceil(most.max(1)).max(1))
}

/// What all shaders of a block know.
fn numbers(spec: &Spec) -> Numbers {
    let mut numbers = Numbers::default();
    for (name, value) in [
        ("BATCH", spec.batch),
        ("HEIGHT", spec.height),
        ("WIDTH", spec.width),
        ("CHANNELS", spec.in_channels),
        ("FILTERS", spec.out_channels),
        ("KERNEL", spec.kernel),
        ("AREA", spec.kernel * spec.kernel),
        ("PADDING", spec.padding),
        ("POOL", spec.pool),
        ("TILE", tile(spec)),
        ("OUT_HEIGHT", spec.out_height()),
        ("OUT_WIDTH", spec.out_width()),
        ("WINDOWS", spec.windows()),
        ("CHANNELS_FIRST", usize::from(spec.channels_first)),
    ] {
        numbers.set(name, value);
    }
    numbers.set("ACTIVATION", activation(spec.activation));
    let scale = spec.dropout.map_or(1f32.to_bits(), |d| d.scale_bits);
    numbers.set("SCALE_BITS", scale);
    numbers
}

/// The spec without what changes from step to step.
fn fixed(spec: &Spec) -> Spec {
    let dropout = spec.dropout.map(|mut dropout| {
        dropout.key = 0;
        dropout
    });
    Spec { dropout, ..*spec }
}

/// How the forward pass is divided.
struct Forward {
    /// Quads of filters in a workgroup, and workgroups that have all filters.
    quads: usize,
    blocks: usize,
    /// Tiles of windows of an image, on each axis.
    tiles: [usize; 2],
    /// Tiles of a workgroup.
    group_tiles: usize,
    /// Channels whose weights are in workgroup memory at a time.
    chunk: usize,
    /// Channels that are read at once.
    step: usize,
}

impl Forward {
    fn of(spec: &Spec) -> Self {
        let all_quads = spec.out_channels.div_ceil(4);
        let quads = even(all_quads, 8);
        let tile = tile(spec);
        let patch = tile * spec.pool + spec.kernel - 1;
        // Four channels of a larger patch are too much for the registers.
        let step = if spec.in_channels % 4 == 0 && patch <= 4 {
            4
        } else {
            1
        };
        let channel = spec.kernel * spec.kernel * stride(quads) * size_of::<[f32; 4]>();
        let chunk = even(spec.in_channels.div_ceil(step), MEMORY / (channel * step)) * step;
        Self {
            quads,
            blocks: all_quads.div_ceil(quads),
            tiles: [
                spec.out_height().div_ceil(tile),
                spec.out_width().div_ceil(tile),
            ],
            group_tiles: 128 / quads,
            chunk,
            step,
        }
    }

    fn group(&self) -> usize {
        self.group_tiles * self.quads
    }

    fn rounds(&self, spec: &Spec) -> usize {
        let staged = self.chunk * spec.kernel * spec.kernel * self.quads;
        let chunks = spec.in_channels.div_ceil(self.chunk);
        chunks * (1 + staged.div_ceil(self.group())) + spec.in_channels
    }

    fn numbers(&self, spec: &Spec) -> Numbers {
        let mut numbers = numbers(spec);
        let side = tile(spec) * spec.pool;
        let ragged = [spec.out_height(), spec.out_width()]
            .iter()
            .any(|side| side % tile(spec) != 0);
        for (name, value) in [
            ("QUADS", self.quads),
            ("STRIDE", stride(self.quads)),
            ("TILES", self.tiles[0] * self.tiles[1]),
            ("TILES_X", self.tiles[1]),
            ("GROUP_TILES", self.group_tiles),
            ("GROUP", self.group()),
            ("CHUNK", self.chunk),
            ("STEP", self.step),
            ("VECTOR", usize::from(self.step == 4)),
            ("SIDE", side),
            ("PATCH", side + spec.kernel - 1),
            ("CLAMPED", usize::from(spec.padding > 0 || ragged)),
            (
                "WIDE",
                usize::from(spec.out_channels % 4 == 0 && !spec.channels_first),
            ),
            ("DROPOUT", usize::from(spec.dropout.is_some())),
        ] {
            numbers.set(name, value);
        }
        if let Some(dropout) = spec.dropout {
            numbers.set("DROPOUT_LAYER", dropout.layer);
            numbers.set("DROPOUT_THRESHOLD", dropout.threshold);
        }
        numbers
    }
}

/// An odd number of vectors from tap to tap, so that writing them meets all banks.
fn stride(quads: usize) -> usize {
    quads | 1
}

/// How the weights' gradient is divided.
struct WeightGrad {
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
    fn of(spec: &Spec) -> Self {
        // More sums than 25 would leave the registers.
        let rows = if spec.kernel <= 5 { spec.kernel } else { 1 };
        let row_groups = spec.kernel.div_ceil(rows);
        let all_lanes = spec.out_channels * spec.in_channels * row_groups;
        let lanes = all_lanes.next_power_of_two().min(32);
        let subs = MOST_INVOCATIONS / lanes;
        let windows = spec.batch * spec.windows();
        // Enough invocations for a large GPU, and walks that are worth their sum.
        let walks = (128 * 1024 / all_lanes).max(1);
        let length = windows.div_ceil(walks).max(16);
        Self {
            rows,
            row_groups,
            all_lanes,
            lanes,
            subs,
            length,
            slices: windows.div_ceil(length * subs),
        }
    }

    fn taps(&self, spec: &Spec) -> usize {
        self.rows * spec.kernel
    }

    fn numbers(&self, spec: &Spec) -> Numbers {
        let mut numbers = numbers(spec);
        for (name, value) in [
            ("ROWS", self.rows),
            ("ROW_GROUPS", self.row_groups),
            ("TAPS", self.taps(spec)),
            ("ALL_LANES", self.all_lanes),
            ("LANES", self.lanes),
            ("SUBS", self.subs),
            ("GROUP", self.lanes * self.subs),
            ("LENGTH", self.length),
            ("SLICES", self.slices),
        ] {
            numbers.set(name, value);
        }
        numbers
    }
}

/// How the images' gradient is divided.
struct InputGrad {
    /// Channels of a workgroup, and workgroups that have all channels.
    lanes: usize,
    blocks: usize,
    /// Blocks of pixels of an image, on each axis, and the first of them in the padded image.
    across: [usize; 2],
    first: usize,
    /// Blocks of a workgroup.
    group_blocks: usize,
    /// Filters whose weights are in workgroup memory at a time.
    chunk: usize,
    /// Windows on each axis that reach into a block.
    span: usize,
}

impl InputGrad {
    fn of(spec: &Spec) -> Self {
        let lanes = even(spec.in_channels, 32);
        let tile = tile(spec);
        let side = tile * spec.pool;
        let first = spec.padding / side;
        let filter = lanes * ((spec.kernel * spec.kernel) | 1) * size_of::<f32>();
        Self {
            lanes,
            blocks: spec.in_channels.div_ceil(lanes),
            across: [spec.height, spec.width]
                .map(|length| (spec.padding + length - 1) / side - first + 1),
            first,
            group_blocks: MOST_INVOCATIONS / lanes,
            chunk: even(spec.out_channels, MEMORY / filter),
            span: tile - 1 + (spec.kernel + spec.pool - 2) / spec.pool + 1,
        }
    }

    fn group(&self) -> usize {
        self.group_blocks * self.lanes
    }

    fn rounds(&self, spec: &Spec) -> usize {
        let staged = self.chunk * self.lanes * spec.kernel * spec.kernel;
        let chunks = spec.out_channels.div_ceil(self.chunk);
        chunks * (1 + staged.div_ceil(self.group())) + spec.out_channels * self.span * self.span
    }

    fn numbers(&self, spec: &Spec) -> Numbers {
        let mut numbers = numbers(spec);
        for (name, value) in [
            ("LANES", self.lanes),
            ("BLOCKS_Y", self.across[0]),
            ("BLOCKS_X", self.across[1]),
            ("FIRST_BLOCK", self.first),
            ("BLOCK", tile(spec) * spec.pool),
            ("GROUP_BLOCKS", self.group_blocks),
            ("GROUP", self.group()),
            ("CHUNK", self.chunk),
            ("STRIDE", (spec.kernel * spec.kernel) | 1),
            ("SPAN", self.span),
        ] {
            numbers.set(name, value);
        }
        numbers
    }
}

pub(super) fn forward(images: Float, weight: Float, bias: Float, spec: &Spec) -> (Float, Int) {
    let [images, weight, bias] = [images, weight, bias].map(into_contiguous);
    let output = empty(&images, spec.output_shape(), DType::F32);
    let route = empty(&images, spec.output_shape(), DType::I32);
    let division = Forward::of(spec);
    let groups =
        (spec.batch * division.tiles[0] * division.tiles[1]).div_ceil(division.group_tiles);
    let key: Vec<u32> = spec.dropout.iter().map(|dropout| dropout.key).collect();
    let tensors = [&images, &weight, &bias, &output, &route];
    let kernel = Block::Forward(fixed(spec));
    launch(kernel, [groups, division.blocks], &tensors, &key);
    (output, route)
}

pub(super) fn weight_grad(
    images: Float,
    output: Float,
    route: Int,
    grad: Float,
    spec: &Spec,
) -> (Float, Float) {
    let [images, output, route, grad] = [images, output, route, grad].map(into_contiguous);
    let division = WeightGrad::of(spec);
    let sums = division.all_lanes * (division.taps(spec) + 1);
    let parts = empty(&images, [division.slices * sums], DType::F32);
    let kernel = Block::WeightGrad(fixed(spec));
    let groups = [division.all_lanes.div_ceil(division.lanes), division.slices];
    let tensors = [&images, &route, &grad, &parts, &output];
    launch(kernel, groups, used(&tensors, spec), &[]);

    let area = [spec.kernel, spec.kernel];
    let shape = [spec.out_channels, spec.in_channels, area[0], area[1]];
    let weight = empty(&images, shape, DType::F32);
    let bias = empty(&images, [spec.out_channels], DType::F32);
    let kernel = Block::WeightSum(fixed(spec));
    launch(
        kernel,
        [sums.div_ceil(32), 1],
        &[&parts, &weight, &bias],
        &[],
    );
    (weight, bias)
}

pub(super) fn input_grad(
    weight: Float,
    output: Float,
    route: Int,
    grad: Float,
    spec: &Spec,
) -> Float {
    let [weight, output, route, grad] = [weight, output, route, grad].map(into_contiguous);
    let images = empty(&weight, images_shape(spec), DType::F32);
    let division = InputGrad::of(spec);
    let blocks = spec.batch * division.across[0] * division.across[1];
    let groups = [blocks.div_ceil(division.group_blocks), division.blocks];
    let tensors = [&weight, &route, &grad, &images, &output];
    launch(
        Block::InputGrad(fixed(spec)),
        groups,
        used(&tensors, spec),
        &[],
    );
    images
}

/// The tensors without the last one, the output, where no derivative needs it.
fn used<'a>(tensors: &'a [&'a CubeTensor], spec: &Spec) -> &'a [&'a CubeTensor] {
    match spec.activation {
        Activation::Identity | Activation::Relu => &tensors[..tensors.len() - 1],
        Activation::Tanh | Activation::Selu => tensors,
    }
}
