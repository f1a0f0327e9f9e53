//! Launching `shaders/dense*.wgsl`: how a product is divided, and which layers they can do.

use burn::backend::tensor::FloatTensor;
use burn::cubecl::Device;
use burn::cubecl::device::WgpuDeviceKind;
use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;

use super::template::{Numbers, expand};
use super::{MEMORY, MOST_ROUNDS, Program, WORKGROUP, activation, empty, launch};
use crate::kernels::dense::{Activation, Spec};

type Float = FloatTensor<CubeBackend>;

/// Vectors of four numbers in workgroup memory.
const VECTORS: usize = MEMORY / size_of::<[f32; 4]>();
/// Invocations of a workgroup.
const GROUP: usize = WORKGROUP as usize;

/// What a workgroup computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tile {
    rows: usize,
    columns: usize,
    /// Rows of one invocation, which has four columns.
    thread_rows: usize,
    /// Terms of the sums in workgroup memory.
    depth: usize,
    /// Outputs in the time that the first tile takes for a hundred: a smaller one reads more for each.
    percent: usize,
}

/// The largest first.
const TILES: [Tile; 5] = [
    Tile::new(64, 64, 8, 16, 100),
    Tile::new(32, 64, 8, 32, 95),
    Tile::new(32, 32, 4, 32, 80),
    Tile::new(16, 32, 4, 64, 65),
    Tile::new(16, 16, 4, 64, 50),
];

impl Tile {
    const fn new(
        rows: usize,
        columns: usize,
        thread_rows: usize,
        depth: usize,
        percent: usize,
    ) -> Self {
        Self {
            rows,
            columns,
            thread_rows,
            depth,
            percent,
        }
    }

    /// Invocations that have the whole tile between them.
    fn lanes(&self) -> usize {
        self.rows / self.thread_rows * (self.columns / 4)
    }

    /// Workgroups that have all of a matrix.
    fn groups(&self, rows: usize, columns: usize) -> usize {
        rows.div_ceil(self.rows) * columns.div_ceil(self.columns)
    }

    /// The one that is likely to be fastest for a matrix, whatever is summed over, where `cores` workgroups
    /// are computed at a time.
    fn of(rows: usize, columns: usize, cores: usize) -> Self {
        let [mut best, ..] = TILES;
        let time = |tile: &Self| {
            let groups = tile.groups(rows, columns).max(cores);
            groups * tile.rows * tile.columns * 100 / tile.percent
        };
        for tile in TILES {
            if time(&tile) < time(&best) {
                best = tile;
            }
        }
        best
    }
}

/// Whether the shaders can do a layer on any WebGPU device: refused are sizes that no index or loop can
/// count.
pub(super) fn fits(spec: &Spec) -> bool {
    let sides = [spec.batch, spec.inputs, spec.outputs];
    let [batch, inputs, outputs] = sides;
    // The least depth of a tile, and the first and last rounds of a loop.
    let counted = |side: usize| side > 0 && side / 16 + 128 < MOST_ROUNDS;
    let numbered = [(batch, inputs), (inputs, outputs), (batch, outputs)]
        .iter()
        .all(|(a, b)| a.saturating_mul(*b) < 1 << 30);
    sides.iter().all(|&side| counted(side)) && numbered
}

/// Which of a layer's products; all about it is in the shader's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Part {
    Forward,
    WeightGrad,
    InputGrad,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Dense {
    part: Part,
    /// Without what changes from step to step.
    spec: Spec,
    /// Workgroups that the device computes at a time.
    cores: usize,
}

impl Dense {
    fn new(part: Part, spec: &Spec, cores: usize) -> Self {
        let dropout = spec.dropout.map(|mut dropout| {
            dropout.key = 0;
            dropout
        });
        let spec = Spec {
            dropout,
            input_grad: false,
            ..*spec
        };
        Self { part, spec, cores }
    }

    /// Rows, columns, and what is summed over.
    fn size(&self) -> [usize; 3] {
        let spec = &self.spec;
        match self.part {
            Part::Forward => [spec.batch, spec.outputs, spec.inputs],
            Part::WeightGrad => [spec.inputs, spec.outputs, spec.batch],
            Part::InputGrad => [spec.batch, spec.inputs, spec.outputs],
        }
    }

    fn tile(&self) -> Tile {
        let [rows, columns, _] = self.size();
        Tile::of(rows, columns, self.cores)
    }

    fn groups(&self) -> usize {
        let [rows, columns, _] = self.size();
        self.tile().groups(rows, columns)
    }

    /// Whether the lines of the left and of the right matrix lie along what is summed over.
    fn along(&self) -> [bool; 2] {
        match self.part {
            Part::Forward => [true, false],
            Part::WeightGrad => [false, false],
            Part::InputGrad => [true, true],
        }
    }

    /// Whether the gradient before the activation needs the outputs.
    fn derived(&self) -> bool {
        self.part != Part::Forward && self.spec.activation != Activation::Identity
    }

    /// Whether it is drawn what was dropped: a ReLU's outputs tell.
    fn draws(&self) -> bool {
        let seen = self.part != Part::Forward && self.spec.activation == Activation::Relu;
        self.spec.dropout.is_some() && !seen
    }

    fn numbers(&self) -> Numbers {
        let spec = &self.spec;
        let [rows, columns, inner] = self.size();
        let tile = self.tile();
        let mut numbers = Numbers::default();
        for (name, value) in [
            ("ROWS", rows),
            ("COLUMNS", columns),
            ("INNER", inner),
            ("GROUP", GROUP),
            ("GROUPS", self.groups()),
            ("COLUMN_TILES", columns.div_ceil(tile.columns)),
            ("ROUNDS", inner.div_ceil(tile.depth)),
            ("WIDE", usize::from(columns % 4 == 0)),
            ("GRAD_WIDE", usize::from(spec.outputs.is_multiple_of(4))),
            ("BIAS_GRAD", usize::from(self.part == Part::WeightGrad)),
            ("DERIVED", usize::from(self.derived())),
            ("DRAWS", usize::from(self.draws())),
            ("DROPOUT", usize::from(spec.dropout.is_some())),
        ] {
            numbers.set(name, value);
        }
        numbers.set("ACTIVATION", activation(spec.activation));
        let scale = spec.dropout.map_or(1f32.to_bits(), |d| d.scale_bits);
        numbers.set("SCALE_BITS", scale);
        if let Some(dropout) = spec.dropout {
            numbers.set("DROPOUT_LAYER", dropout.layer);
            numbers.set("DROPOUT_THRESHOLD", dropout.threshold);
        }
        self.division(&tile, &mut numbers);
        numbers
    }

    /// How a workgroup's invocations divide its tile, and its memory.
    fn division(&self, tile: &Tile, numbers: &mut Numbers) {
        let [rows, columns, inner] = self.size();
        let lanes = tile.lanes();
        let slices = GROUP / lanes;
        let piece = slices.min(4);
        let mut sizes = [0; 2];
        for (side, name) in ["LEFT", "RIGHT"].iter().enumerate() {
            let along = self.along()[side];
            let lines = [rows, columns][side];
            let tile_lines = [tile.rows, tile.columns][side];
            // Numbers that lie side by side in storage, and from a round's to the next one's.
            let (run, step) = match along {
                true => (inner, tile.depth),
                false => (lines, lines * tile.depth),
            };
            let (stride, height) = match along {
                true => (tile.depth / 4 + 1, tile_lines),
                false => (tile_lines / 4, tile.depth),
            };
            let wide = run % 4 == 0;
            sizes[side] = stride * height;
            for (number, value) in [
                ("ALONG", usize::from(along)),
                ("WIDE", usize::from(wide)),
                ("LOADS", tile_lines * tile.depth / 4 / GROUP),
                ("STEP", if wide { step / 4 } else { step }),
                ("STRIDE", stride),
                ("SIZE", sizes[side]),
            ] {
                numbers.set(&format!("{name}_{number}"), value);
            }
        }
        let both = sizes[0] + sizes[1];
        let buffers = if 2 * both <= VECTORS { 2 } else { 1 };
        let reduced = if slices > 1 { piece } else { 1 } * GROUP;
        for (name, value) in [
            ("TILE_ROWS", tile.rows),
            ("TILE_COLUMNS", tile.columns),
            ("THREAD_ROWS", tile.thread_rows),
            ("THREAD_COLUMNS", 4),
            ("DEPTH", tile.depth),
            ("LANES", lanes),
            ("LANES_X", tile.columns / 4),
            ("LANES_Y", tile.rows / tile.thread_rows),
            ("SLICES", slices),
            ("PIECE", piece),
            ("BUFFERS", buffers),
            ("MEMORY", (buffers * both).max(reduced)),
        ] {
            numbers.set(name, value);
        }
    }
}

impl Program for Dense {
    fn text(&self) -> String {
        let mut text = include_str!("../../../shaders/activation.wgsl").to_owned();
        text += include_str!("../../../shaders/dense_product.wgsl");
        if self.draws() {
            text += include_str!("../../../shaders/random.wgsl");
            text += include_str!("../../../shaders/dense_drops.wgsl");
        }
        if self.part != Part::Forward {
            text += include_str!("../../../shaders/dense_before.wgsl");
        }
        text += match self.part {
            Part::Forward => include_str!("../../../shaders/dense.wgsl"),
            Part::WeightGrad => include_str!("../../../shaders/dense_weight_grad.wgsl"),
            Part::InputGrad => include_str!("../../../shaders/dense_input_grad.wgsl"),
        };
        expand(&text, &self.numbers())
    }
}

/// As many as a large GPU has; a small one is served as well by its tiles. A CPU needs no more than a few.
fn cores(tensor: &Float) -> usize {
    match &tensor.device {
        Device::Wgpu(device) if device.kind == WgpuDeviceKind::Cpu => 1,
        _ => 128,
    }
}

/// Launches a part. The outputs, if given, are bound where their derivative is needed, and the key where
/// it is drawn with.
fn run(part: Part, spec: &Spec, tensors: &[&Float], outputs: Option<&Float>) {
    let mut tensors = tensors.to_vec();
    let kernel = Dense::new(part, spec, cores(tensors[0]));
    tensors.extend(outputs.filter(|_| kernel.derived()));
    let key = spec.dropout.filter(|_| kernel.draws());
    let words: Vec<u32> = key.iter().map(|dropout| dropout.key).collect();
    launch(kernel, [kernel.groups(), 1], &tensors, &words);
}

pub(super) fn forward(inputs: Float, weight: Float, bias: Float, spec: &Spec) -> Float {
    let [inputs, weight, bias] = [inputs, weight, bias].map(into_contiguous);
    let result = empty(&inputs, [spec.batch, spec.outputs], DType::F32);
    let tensors = [&inputs, &weight, &bias, &result];
    run(Part::Forward, spec, &tensors, None);
    result
}

/// The gradients of inputs (empty if nobody wants it), weights and bias.
pub(super) fn gradient(
    inputs: Float,
    weight: Float,
    outputs: Float,
    grad: Float,
    spec: &Spec,
) -> (Float, Float, Float) {
    let [inputs, weight, outputs, grad] = [inputs, weight, outputs, grad].map(into_contiguous);
    let weight_grad = empty(&inputs, [spec.inputs, spec.outputs], DType::F32);
    let bias_grad = empty(&inputs, [spec.outputs], DType::F32);
    let tensors = [&inputs, &grad, &weight_grad, &bias_grad];
    run(Part::WeightGrad, spec, &tensors, Some(&outputs));
    if !spec.input_grad {
        return (empty(&inputs, [0], DType::F32), weight_grad, bias_grad);
    }
    let inputs_grad = empty(&inputs, [spec.batch, spec.inputs], DType::F32);
    let tensors = [&weight, &grad, &inputs_grad];
    run(Part::InputGrad, spec, &tensors, Some(&outputs));
    (inputs_grad, weight_grad, bias_grad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_are_divided_evenly_and_fit_in_memory() {
        for tile in TILES {
            let (left, right) = (tile.rows * tile.depth / 4, tile.columns * tile.depth / 4);
            assert!(left % GROUP == 0 && right % GROUP == 0, "{tile:?}");
            let slices = GROUP / tile.lanes();
            assert!(slices * tile.lanes() == GROUP, "{tile:?}");
            assert!(tile.depth % (4 * slices) == 0, "{tile:?}");
            assert!(tile.thread_rows % slices.min(4) == 0, "{tile:?}");
            let padded = left + tile.rows + right + tile.columns;
            assert!(padded <= VECTORS, "{tile:?}");
            assert!(GROUP.is_multiple_of(tile.columns / 4), "{tile:?}");
        }
    }

    #[test]
    fn large_gpus_are_filled_where_there_is_enough_to_do() {
        for (size, groups) in [
            ([1024, 512], 128),
            ([128, 512], 128),
            ([784, 512], 200),
            ([1024, 10], 64),
            ([128, 10], 8),
        ] {
            let [rows, columns] = size;
            let tile = Tile::of(rows, columns, 128);
            assert_eq!(tile.groups(rows, columns), groups, "{size:?} {tile:?}");
        }
        assert_eq!(Tile::of(1024, 512, 1), TILES[0]);
    }
}
