//! Forward: `shaders/conv_block.wgsl`.

use burn::tensor::DType;
use burn_cubecl::kernel::into_contiguous;

use super::super::template::Numbers;
use super::super::{empty, launch};
use super::{Block, Float, Int, MEMORY, Machine, Part, area, even, numbers, patch};
use crate::kernels::conv_block::Spec;

/// How the forward pass is divided.
pub(super) struct Forward {
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
    pub(super) fn of(spec: &Spec) -> Self {
        let all_quads = spec.out_channels.div_ceil(4);
        let quads = even(all_quads, 8);
        let tile = tile(spec);
        let out = [spec.out_height(), spec.out_width()];
        // Four channels of a larger patch are too much for the registers.
        let [rows, columns] = tile.map(|windows| patch(spec, windows * spec.pool));
        let step = match spec.in_channels.is_multiple_of(4) && rows * columns <= 16 {
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

    /// Workgroups of a launch.
    pub(super) fn groups(&self, spec: &Spec) -> [usize; 2] {
        let tiles = spec.batch * self.tiles[0] * self.tiles[1];
        [tiles.div_ceil(self.group_tiles), self.blocks]
    }

    pub(super) fn rounds(&self, spec: &Spec) -> usize {
        let staged = self.chunk * area(spec) * self.quads;
        let chunks = spec.in_channels.div_ceil(self.chunk);
        chunks * (1 + staged.div_ceil(self.group())) + spec.in_channels
    }

    pub(super) fn numbers(&self, spec: &Spec) -> Numbers {
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
            ("PATCH_Y", patch(spec, side[0])),
            ("PATCH_X", patch(spec, side[1])),
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

/// Rows and columns of windows that an invocation takes: without a pool positions share their pixels, with
/// a stride fewer of them.
fn tile(spec: &Spec) -> [usize; 2] {
    match (spec.pool, spec.stride) {
        (1, 1) => [2, 2],
        (1, _) => [1, 2],
        _ => [1, 1],
    }
}

/// An odd number of vectors from tap to tap, so that writing them meets all banks.
fn stride(quads: usize) -> usize {
    quads | 1
}

/// One launch.
pub(in super::super) fn forward(
    images: Float,
    weight: Float,
    bias: Float,
    spec: &Spec,
) -> (Float, Int) {
    let [images, weight, bias] = [images, weight, bias].map(into_contiguous);
    let output = empty(&images, spec.output_shape(), DType::F32);
    let route = match spec.has_route() {
        true => empty(&images, spec.output_shape(), DType::I32),
        false => empty(&images, [0], DType::I32),
    };
    let division = Forward::of(spec);
    let groups = division.groups(spec);
    let key: Vec<u32> = spec.dropout.iter().map(|dropout| dropout.key).collect();
    let mut tensors = vec![&images, &weight, &output];
    tensors.extend(spec.bias.then_some(&bias));
    tensors.extend(spec.has_route().then_some(&route));
    launch(
        Block::new(Part::Forward, spec, Machine::Gpu),
        groups,
        &tensors,
        &key,
    );
    (output, route)
}
