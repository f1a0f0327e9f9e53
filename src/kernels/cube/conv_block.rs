//! Launching `shaders/conv_block*.wgsl`: how the work is divided, and which blocks they can do.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::machine::Machine;
use super::template::{Numbers, expand};
use super::{MEMORY, MOST_ROUNDS, Program, activation, empty, launch};
use crate::kernels::conv_block::{Activation, Dropout, Spec, images_shape, weight_shape};

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
    let walks = [Machine::Gpu, Machine::Software].map(|machine| {
        let division = WeightGrad::of(spec, machine);
        division.length + division.slices
    });
    let rounds = [
        Forward::of(spec).rounds(spec),
        walks[0].max(walks[1]),
        // A software renderer has the windows of a block side by side, not in a loop.
        InputGrad::of(spec, Machine::Gpu).rounds(spec),
    ];
    counted && rounds.iter().all(|&rounds| rounds < MOST_ROUNDS)
}

/// What is computed, and how the work is divided: all of it is in the shader's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Block {
    part: Part,
    machine: Machine,
    spec: Spec,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Part {
    Forward,
    WeightGrad,
    WeightSum,
    InputGrad,
}

impl Block {
    fn new(part: Part, spec: &Spec, machine: Machine) -> Self {
        // What changes from step to step is not in the text.
        let dropout = spec.dropout.map(|dropout| Dropout { key: 0, ..dropout });
        let spec = Spec { dropout, ..*spec };
        Self {
            part,
            machine,
            spec,
        }
    }
}

impl Program for Block {
    fn text(&self) -> String {
        let Self { spec, machine, .. } = self;
        let common = concat!(
            include_str!("../../../shaders/activation.wgsl"),
            include_str!("../../../shaders/conv_block_common.wgsl")
        );
        let random = include_str!("../../../shaders/random.wgsl");
        let (numbers, shader) = match self.part {
            Part::Forward => (
                Forward::of(spec).numbers(spec),
                include_str!("../../../shaders/conv_block.wgsl"),
            ),
            Part::WeightGrad => (
                WeightGrad::of(spec, *machine).numbers(spec),
                include_str!("../../../shaders/conv_block_weight_grad.wgsl"),
            ),
            Part::WeightSum => (
                WeightGrad::of(spec, *machine).numbers(spec),
                include_str!("../../../shaders/conv_block_weight_sum.wgsl"),
            ),
            Part::InputGrad => (
                InputGrad::of(spec, *machine).numbers(spec),
                include_str!("../../../shaders/conv_block_input_grad.wgsl"),
            ),
        };
        expand(&[common, random, shader].concat(), &numbers)
    }
}

/// `n` in as few parts of at most `most` as possible: the length of the longest.
fn even(n: usize, most: usize) -> usize {
    n.div_ceil(n.div_ceil(most.max(1)).max(1))
}

/// Rows and columns of windows that an invocation takes: without a pool four positions share their pixels.
fn tile(spec: &Spec) -> [usize; 2] {
    match spec.pool {
        1 => [2, 2],
        _ => [1, 1],
    }
}

/// What all shaders of a block know.
fn numbers(spec: &Spec) -> Numbers {
    let mut numbers = Numbers::default();
    numbers.set_all(&[
        ("BATCH", spec.batch),
        ("HEIGHT", spec.height),
        ("WIDTH", spec.width),
        ("CHANNELS", spec.in_channels),
        ("FILTERS", spec.out_channels),
        ("KERNEL", spec.kernel),
        ("AREA", area(spec)),
        ("PADDING", spec.padding),
        ("POOL", spec.pool),
        ("OUT_HEIGHT", spec.out_height()),
        ("OUT_WIDTH", spec.out_width()),
        ("WINDOWS", spec.windows()),
        ("CHANNELS_FIRST", usize::from(spec.channels_first)),
    ]);
    numbers.set("ACTIVATION", activation(spec.activation));
    let scale = spec.dropout.map_or(1f32.to_bits(), |d| d.scale_bits);
    numbers.set("SCALE_BITS", scale);
    numbers
}

fn area(spec: &Spec) -> usize {
    spec.kernel * spec.kernel
}

/// How the forward pass is divided.
struct Forward {
    /// Quads of filters in a workgroup, and workgroups that have all filters.
    quads: usize,
    blocks: usize,
    /// Windows of an invocation, on each axis, and how often that makes an image.
    tile: [usize; 2],
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
        let out = [spec.out_height(), spec.out_width()];
        // Four channels of a larger patch are too much for the registers.
        let patch = tile[0] * spec.pool + spec.kernel - 1;
        let step = match spec.in_channels.is_multiple_of(4) && patch <= 4 {
            true => 4,
            false => 1,
        };
        let channel = area(spec) * stride(quads) * size_of::<[f32; 4]>();
        let chunk = even(spec.in_channels.div_ceil(step), MEMORY / (channel * step)) * step;
        Self {
            quads,
            blocks: all_quads.div_ceil(quads),
            tile,
            tiles: [0, 1].map(|axis| out[axis].div_ceil(tile[axis])),
            group_tiles: 128 / quads,
            chunk,
            step,
        }
    }

    fn group(&self) -> usize {
        self.group_tiles * self.quads
    }

    fn rounds(&self, spec: &Spec) -> usize {
        let staged = self.chunk * area(spec) * self.quads;
        let chunks = spec.in_channels.div_ceil(self.chunk);
        chunks * (1 + staged.div_ceil(self.group())) + spec.in_channels
    }

    fn numbers(&self, spec: &Spec) -> Numbers {
        let mut numbers = numbers(spec);
        let side = self.tile.map(|windows| windows * spec.pool);
        let ragged = spec.out_height() % self.tile[0] + spec.out_width() % self.tile[1] > 0;
        let wide = spec.out_channels.is_multiple_of(4) && !spec.channels_first;
        numbers.set_all(&[
            ("QUADS", self.quads),
            ("STRIDE", stride(self.quads)),
            ("TILE_Y", self.tile[0]),
            ("TILE_X", self.tile[1]),
            ("TILES", self.tiles[0] * self.tiles[1]),
            ("TILES_X", self.tiles[1]),
            ("GROUP_TILES", self.group_tiles),
            ("GROUP", self.group()),
            ("CHUNK", self.chunk),
            ("STEP", self.step),
            ("VECTOR", usize::from(self.step == 4)),
            ("SIDE_Y", side[0]),
            ("SIDE_X", side[1]),
            ("PATCH_Y", side[0] + spec.kernel - 1),
            ("PATCH_X", side[1] + spec.kernel - 1),
            ("CLAMPED", usize::from(spec.padding > 0 || ragged)),
            ("WIDE", usize::from(wide)),
            ("DROPOUT", usize::from(spec.dropout.is_some())),
        ]);
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
    fn of(spec: &Spec, machine: Machine) -> Self {
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

    /// Sums of an invocation: the taps and the bias of its filters.
    fn sums(&self, spec: &Spec) -> usize {
        self.each * (self.rows * spec.kernel + 1)
    }

    fn numbers(&self, spec: &Spec) -> Numbers {
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
            ("PATCH_Y", spec.pool + self.rows - 1),
            ("PATCH_X", spec.pool + spec.kernel - 1),
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
}

/// How the images' gradient is divided.
struct InputGrad {
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
    fn of(spec: &Spec, machine: Machine) -> Self {
        let lanes = even(spec.in_channels, 32);
        let reach = (spec.kernel + spec.pool - 2) / spec.pool;
        let sides = [spec.height, spec.width];
        let first = |tile: [usize; 2]| tile.map(|windows| spec.padding / (windows * spec.pool));
        let across = |tile: [usize; 2]| {
            [0, 1].map(|axis| {
                let last = (spec.padding + sides[axis] - 1) / (tile[axis] * spec.pool);
                last - first(tile)[axis] + 1
            })
        };
        let tile = match machine {
            Machine::Gpu => tile(spec),
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

    fn rounds(&self, spec: &Spec) -> usize {
        let staged = self.chunk * self.lanes * area(spec);
        let chunks = spec.out_channels.div_ceil(self.chunk);
        let spans: usize = self
            .tile
            .iter()
            .map(|windows| windows + self.reach)
            .product();
        chunks * (1 + staged.div_ceil(self.group())) + spec.out_channels * spans
    }

    fn numbers(&self, spec: &Spec) -> Numbers {
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
            ("BLOCK_Y", self.tile[0] * spec.pool),
            ("BLOCK_X", self.tile[1] * spec.pool),
            ("BLOCKS_Y", self.across[0]),
            ("BLOCKS_X", self.across[1]),
            ("FIRST_BLOCK_Y", self.first[0]),
            ("FIRST_BLOCK_X", self.first[1]),
            ("GROUP_BLOCKS", self.group_blocks),
            ("GROUP", self.group()),
            ("CHUNK", self.chunk),
            ("STRIDE", area(spec) | 1),
            ("REACH", self.reach),
            ("SPAN_Y", self.tile[0] + self.reach),
            ("SPAN_X", self.tile[1] + self.reach),
            ("NEXT_FILTER", next_filter),
            ("DENSE", usize::from(self.machine == Machine::Software)),
        ]);
        numbers
    }
}

/// The block with which the images' gradient takes the fewest loads: route and gradient of each window
/// that reaches into it, and the taps.
fn fewest_loads(
    spec: &Spec,
    reach: usize,
    across: &impl Fn([usize; 2]) -> [usize; 2],
) -> [usize; 2] {
    let windows = |tile: [usize; 2]| (tile[0] + reach) * (tile[1] + reach);
    let loads = |tile| across(tile)[0] * across(tile)[1] * (2 * windows(tile) + area(spec));
    let few = |tile: [usize; 2]| {
        let places = spec.pool * spec.pool;
        tile[0] * tile[1] * places <= 64 && windows(tile) * places <= 144
    };
    (1..=8)
        .flat_map(|y| (1..=8).map(move |x| [y, x]))
        .filter(|&tile| few(tile))
        .min_by_key(|&tile| loads(tile))
        .unwrap_or([1, 1])
}

/// One launch.
pub(super) fn forward(images: Float, weight: Float, bias: Float, spec: &Spec) -> (Float, Int) {
    let [images, weight, bias] = [images, weight, bias].map(into_contiguous);
    let output = empty(&images, spec.output_shape(), DType::F32);
    let route = empty(&images, spec.output_shape(), DType::I32);
    let division = Forward::of(spec);
    let tiles = spec.batch * division.tiles[0] * division.tiles[1];
    let groups = [tiles.div_ceil(division.group_tiles), division.blocks];
    let key: Vec<u32> = spec.dropout.iter().map(|dropout| dropout.key).collect();
    let tensors = [&images, &weight, &bias, &output, &route];
    launch(
        Block::new(Part::Forward, spec, Machine::Gpu),
        groups,
        &tensors,
        &key,
    );
    (output, route)
}

/// Two launches: parts, and their sum.
pub(super) fn weight_grad(
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
    let tensors = [&images, &route, &grad, &parts, &output];
    let program = Block::new(Part::WeightGrad, spec, machine);
    launch(program, groups, used(&tensors, spec), &[]);

    let weight = empty(&images, weight_shape(spec), DType::F32);
    let bias = empty(&images, [spec.out_channels], DType::F32);
    let program = Block::new(Part::WeightSum, spec, machine);
    launch(
        program,
        [sums.div_ceil(32), 1],
        &[&parts, &weight, &bias],
        &[],
    );
    (weight, bias)
}

/// One launch.
pub(super) fn input_grad(
    weight: Float,
    output: Float,
    route: Int,
    grad: Float,
    spec: &Spec,
) -> Float {
    let [weight, output, route, grad] = [weight, output, route, grad].map(into_contiguous);
    let images = empty(&weight, images_shape(spec), DType::F32);
    let machine = Machine::of(&weight);
    let division = InputGrad::of(spec, machine);
    let blocks = spec.batch * division.across[0] * division.across[1];
    let groups = [blocks.div_ceil(division.group_blocks), division.blocks];
    let tensors = [&weight, &route, &grad, &images, &output];
    let program = Block::new(Part::InputGrad, spec, machine);
    launch(program, groups, used(&tensors, spec), &[]);
    images
}

/// The tensors without the last one, the output, where no derivative needs it.
fn used<'a>(tensors: &'a [&'a CubeTensor], spec: &Spec) -> &'a [&'a CubeTensor] {
    match spec.activation {
        Activation::Identity | Activation::Relu => &tensors[..tensors.len() - 1],
        Activation::Tanh | Activation::Selu => tensors,
    }
}
