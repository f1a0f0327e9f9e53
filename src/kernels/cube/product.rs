//! Products of two matrices: how one is divided among workgroups and invocations, as
//! `shaders/dense_product.wgsl` has it.

use burn::backend::tensor::FloatTensor;
use burn::cubecl::Device;
use burn::cubecl::device::WgpuDeviceKind;
use burn_cubecl::CubeBackend;

use super::template::Numbers;
use super::{MEMORY, MOST_ROUNDS, WORKGROUP};

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

/// Whether an index or a loop can count what a product has: rows, columns, and what is summed over.
pub(super) fn fits([rows, columns, inner]: [usize; 3]) -> bool {
    // The least depth of a tile, and the first and last rounds of a loop.
    let counted = |side: usize| side > 0 && side / 16 + 128 < MOST_ROUNDS;
    let numbered = [(rows, inner), (inner, columns), (rows, columns)]
        .iter()
        .all(|(a, b)| a.saturating_mul(*b) < 1 << 30);
    [rows, columns, inner].iter().all(|&side| counted(side)) && numbered
}

/// One product.
#[derive(Clone, Copy, Debug)]
pub(super) struct Product {
    /// Rows, columns, and what is summed over.
    size: [usize; 3],
    /// Whether the lines of the left and of the right matrix lie along what is summed over.
    along: [bool; 2],
    tile: Tile,
}

impl Product {
    /// `cores`: workgroups that the device computes at a time
    pub(super) fn new(size: [usize; 3], along: [bool; 2], cores: usize) -> Self {
        let tile = Tile::of(size[0], size[1], cores);
        Self { size, along, tile }
    }

    pub(super) fn groups(&self) -> usize {
        self.tile.groups(self.size[0], self.size[1])
    }

    /// All that the shader names, and no bias.
    pub(super) fn numbers(&self) -> Numbers {
        let [rows, columns, inner] = self.size;
        let mut numbers = Numbers::default();
        numbers.set_all(&[
            ("ROWS", rows),
            ("COLUMNS", columns),
            ("INNER", inner),
            ("GROUP", GROUP),
            ("GROUPS", self.groups()),
            ("COLUMN_TILES", columns.div_ceil(self.tile.columns)),
            ("ROUNDS", inner.div_ceil(self.tile.depth)),
            ("WIDE", usize::from(columns % 4 == 0)),
            ("BIAS_GRAD", 0),
        ]);
        self.division(&mut numbers);
        numbers
    }

    /// How a workgroup's invocations divide its tile, and its memory.
    fn division(&self, numbers: &mut Numbers) {
        let ([rows, columns, inner], tile) = (self.size, &self.tile);
        let lanes = tile.lanes();
        let slices = GROUP / lanes;
        let piece = slices.min(4);
        let mut sizes = [0; 2];
        for (side, name) in ["LEFT", "RIGHT"].iter().enumerate() {
            let along = self.along[side];
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

/// As many as a large GPU has; a small one is served as well by its tiles. A CPU needs no more than a few.
pub(super) fn cores(tensor: &Float) -> usize {
    match &tensor.device {
        Device::Wgpu(device) if device.kind == WgpuDeviceKind::Cpu => 1,
        _ => 128,
    }
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
