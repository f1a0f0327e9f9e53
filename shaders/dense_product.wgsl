// The product of two matrices, [ROWS, INNER] * [INNER, COLUMNS], for the shaders of fully connected
// layers and of Muon. A shader defines where the operands are from (`fetch_left`, `left_value` and their twins),
// `result`, and `finish`, which gets four columns of a row.
//
// A workgroup has a tile of TILE_ROWS x TILE_COLUMNS, an invocation THREAD_ROWS x THREAD_COLUMNS of it
// in registers. DEPTH terms of the sums at a time lie in workgroup memory, as vectors in the order of
// storage: where an operand's lines follow INNER (ALONG), a vector is four terms of a line, and lines
// 0, 4, 8 … come first, then 1, 5, 9 …, each a vector longer than needed, so that neighbours read from
// different banks; else a vector is four lines of a term. SLICES groups of LANES invocations take turns
// with the terms, four at a time, and are added up at the end in a fixed order. The next vectors are on
// their way from storage while these are multiplied.

const UP: vec4<u32> = vec4<u32>(0u, 1u, 2u, 3u);

@if LEFT_WIDE
alias LeftAt = u32;       // a vector's index
@else
alias LeftAt = vec4<u32>; // four numbers' indices
@end
@if RIGHT_WIDE
alias RightAt = u32;
@else
alias RightAt = vec4<u32>;
@end

var<workgroup> tiles: array<vec4<f32>, ${MEMORY}>;

fn write(row: u32, column: u32, value: vec4<f32>) {
@if WIDE
    if row < ROWS && column < COLUMNS {
        result[(row * COLUMNS + column) / 4u] = value;
    }
@else
@unroll c 4
    if row < ROWS && column + ${c}u < COLUMNS {
        result[row * COLUMNS + column + ${c}u] = value[$c];
    }
@end
@end
}

@compute @workgroup_size(${GROUP}, 1, 1)
fn main(
    @builtin(local_invocation_index) local: u32,
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let group = id.x + id.y * groups.x;
    if group >= GROUPS {
        return;
    }
    let first_row = group / COLUMN_TILES * TILE_ROWS;
    let first_column = group % COLUMN_TILES * TILE_COLUMNS;
    let lane_x = local % LANES_X;
    let lane_y = local % LANES / LANES_X;
    let slice = local / LANES;

    // Where this invocation's vectors are from, and where in the tiles they go. Lines past the last are
    // copies of it: nothing is written of them.
@unroll n LEFT_LOADS
    let left$n = local + ${n * GROUP}u;
@if LEFT_ALONG
    let left_line$n = left$n / ${DEPTH / 4}u;
    let left_term$n = left$n % ${DEPTH / 4}u * 4u;
    let left_to$n = (left_line$n % 4u * ${TILE_ROWS / 4}u + left_line$n / 4u) * LEFT_STRIDE + left_term$n / 4u;
@if LEFT_WIDE
    let left_from$n = (min(first_row + left_line$n, ROWS - 1u) * INNER + left_term$n) / 4u;
@else
    let left_from$n = min(first_row + left_line$n, ROWS - 1u) * INNER + left_term$n + UP;
@end
@else
    let left_line$n = first_row + left$n % ${TILE_ROWS / 4}u * 4u;
    let left_term$n = left$n / ${TILE_ROWS / 4}u;
    let left_to$n = left$n;
@if LEFT_WIDE
    let left_from$n = (left_term$n * ROWS + min(left_line$n, ROWS - 4u)) / 4u;
@else
    let left_from$n = left_term$n * ROWS + min(left_line$n + UP, vec4<u32>(ROWS - 1u));
@end
@end
    var left_next$n: LeftFetched;
    var left_at$n: LeftAt;
@end
@unroll n RIGHT_LOADS
    let right$n = local + ${n * GROUP}u;
@if RIGHT_ALONG
    let right_line$n = right$n / ${DEPTH / 4}u;
    let right_term$n = right$n % ${DEPTH / 4}u * 4u;
    let right_to$n = LEFT_SIZE + (right_line$n % 4u * ${TILE_COLUMNS / 4}u + right_line$n / 4u) * RIGHT_STRIDE + right_term$n / 4u;
@if RIGHT_WIDE
    let right_from$n = (min(first_column + right_line$n, COLUMNS - 1u) * INNER + right_term$n) / 4u;
@else
    let right_from$n = min(first_column + right_line$n, COLUMNS - 1u) * INNER + right_term$n + UP;
@end
@else
    let right_line$n = first_column + right$n % ${TILE_COLUMNS / 4}u * 4u;
    let right_term$n = right$n / ${TILE_COLUMNS / 4}u;
    let right_to$n = LEFT_SIZE + right$n;
@if RIGHT_WIDE
    let right_from$n = (right_term$n * COLUMNS + min(right_line$n, COLUMNS - 4u)) / 4u;
@else
    let right_from$n = right_term$n * COLUMNS + min(right_line$n + UP, vec4<u32>(COLUMNS - 1u));
@end
@end
    var right_next$n: RightFetched;
    var right_at$n: RightAt;
@end

@unroll r THREAD_ROWS
@unroll q THREAD_COLUMNS / 4
    var sum$r_$q = vec4<f32>(0.0);
@end
@end
@if BIAS_GRAD
    var column_sums = vec4<f32>(0.0);
@end
    // A round fetches its terms and multiplies those of the round before.
    for (var round = 0u; round <= ROUNDS; round++) {
@if BUFFERS == 1
        let buffer = 0u;
        workgroupBarrier();
@else
        let buffer = round % BUFFERS * ${LEFT_SIZE + RIGHT_SIZE}u;
@end
        if round > 0u {
            let first = (round - 1u) * DEPTH;
@unroll n LEFT_LOADS
            {
                var value = left_value(left_next$n, left_at$n);
@if INNER % DEPTH > 0
@if LEFT_ALONG > LEFT_WIDE
                value = select(vec4<f32>(0.0), value, first + left_term$n + UP < vec4<u32>(INNER));
@else
                value = select(vec4<f32>(0.0), value, first + left_term$n < INNER);
@end
@end
                tiles[buffer + left_to$n] = value;
            }
@end
@unroll n RIGHT_LOADS
            {
                var value = right_value(right_next$n, right_at$n);
@if INNER % DEPTH > 0
@if RIGHT_ALONG > RIGHT_WIDE
                value = select(vec4<f32>(0.0), value, first + right_term$n + UP < vec4<u32>(INNER));
@else
                value = select(vec4<f32>(0.0), value, first + right_term$n < INNER);
@end
@end
                tiles[buffer + right_to$n] = value;
@if BIAS_GRAD
                column_sums += value;
@end
            }
@end
        }
        workgroupBarrier();
        if round < ROUNDS {
            let first = round * DEPTH;
@unroll n LEFT_LOADS
            left_at$n = left_from$n + round * LEFT_STEP;
@if INNER % DEPTH > 0
@if LEFT_ALONG > LEFT_WIDE
            left_at$n = select(LeftAt(), left_at$n, first + left_term$n + UP < vec4<u32>(INNER));
@else
            left_at$n = select(LeftAt(), left_at$n, first + left_term$n < INNER);
@end
@end
            left_next$n = fetch_left(left_at$n);
@end
@unroll n RIGHT_LOADS
            right_at$n = right_from$n + round * RIGHT_STEP;
@if INNER % DEPTH > 0
@if RIGHT_ALONG > RIGHT_WIDE
            right_at$n = select(RightAt(), right_at$n, first + right_term$n + UP < vec4<u32>(INNER));
@else
            right_at$n = select(RightAt(), right_at$n, first + right_term$n < INNER);
@end
@end
            right_next$n = fetch_right(right_at$n);
@end
        }
        if round > 0u {
@unroll j DEPTH / 4 / SLICES
            {
                let quad = ${j * SLICES}u + slice;
@if LEFT_ALONG
                let left_tile = buffer + lane_y * LEFT_STRIDE + quad;
@unroll r THREAD_ROWS
                let a$r = tiles[left_tile + ${(r % 4 * (TILE_ROWS / 4) + r / 4 * LANES_Y) * LEFT_STRIDE}u];
@end
@else
                let left_tile = buffer + lane_y + quad * ${4 * LEFT_STRIDE}u;
@unroll k 4
@unroll q THREAD_ROWS / 4
                let a$k_$q = tiles[left_tile + ${k * LEFT_STRIDE + q * LANES_Y}u];
@end
@end
@end
@if RIGHT_ALONG
                let right_tile = buffer + LEFT_SIZE + lane_x * RIGHT_STRIDE + quad;
@unroll c THREAD_COLUMNS
                let c$c = tiles[right_tile + ${(c % 4 * (TILE_COLUMNS / 4) + c / 4 * LANES_X) * RIGHT_STRIDE}u];
@end
@unroll k 4
@unroll q THREAD_COLUMNS / 4
                let b$k_$q = vec4<f32>(c${4 * q}[$k], c${4 * q + 1}[$k], c${4 * q + 2}[$k], c${4 * q + 3}[$k]);
@end
@end
@else
                let right_tile = buffer + LEFT_SIZE + lane_x + quad * ${4 * RIGHT_STRIDE}u;
@unroll k 4
@unroll q THREAD_COLUMNS / 4
                let b$k_$q = tiles[right_tile + ${k * RIGHT_STRIDE + q * LANES_X}u];
@end
@end
@end
@unroll k 4
@unroll r THREAD_ROWS
@unroll q THREAD_COLUMNS / 4
@if LEFT_ALONG
                sum$r_$q += a$r[$k] * b$k_$q;
@else
                sum$r_$q += a$k_${r / 4}[${r % 4}] * b$k_$q;
@end
@end
@end
@end
            }
@end
        }
    }

@if BIAS_GRAD
    if first_row == 0u {
        workgroupBarrier();
        tiles[local] = column_sums;
        workgroupBarrier();
        if local < ${TILE_COLUMNS / 4}u {
            var sum = vec4<f32>(0.0);
            for (var at = local; at < GROUP; at += ${TILE_COLUMNS / 4}u) {
                sum += tiles[at];
            }
            finish_bias(first_column + local * 4u, sum);
        }
    }
@end
@if SLICES == 1
@unroll r THREAD_ROWS
@unroll q THREAD_COLUMNS / 4
    finish(
        first_row + (${r / 4 * LANES_Y}u + lane_y) * 4u + ${r % 4}u,
        first_column + (${q * LANES_X}u + lane_x) * 4u,
        sum$r_$q,
    );
@end
@end
@else
    // PIECE rows at a time.
    let lane = local % LANES;
@unroll p THREAD_ROWS / PIECE
@unroll q THREAD_COLUMNS / 4
    workgroupBarrier();
@unroll i PIECE
    tiles[local + ${i * GROUP}u] = sum${p * PIECE + i}_$q;
@end
    workgroupBarrier();
    if slice < PIECE {
        let first = slice * GROUP + lane;
        var sum = tiles[first];
@unroll s SLICES - 1
        sum += tiles[first + ${(s + 1) * LANES}u];
@end
        let r = ${p * PIECE}u + slice;
        finish(
            first_row + (r / 4u * LANES_Y + lane_y) * 4u + r % 4u,
            first_column + (${q * LANES_X}u + lane_x) * 4u,
            sum,
        );
    }
@end
@end
@end
}
