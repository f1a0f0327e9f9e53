// B * gram + C * gram * gram. In the first iteration the gram matrix is that of numbers that were not yet
// scaled. The product is that of dense_product.wgsl. CPU twin: crates/weft-cpu/src/orthogonal.rs.

@if WIDE
@group(0) @binding(0) var<storage, read_write> gram: array<vec4<f32>>; // [small, small]
@else
@group(0) @binding(0) var<storage, read_write> gram: array<f32>;       // [small, small]
@end
@if WIDE
@group(0) @binding(1) var<storage, read_write> result: array<vec4<f32>>; // [small, small]
@else
@group(0) @binding(1) var<storage, read_write> result: array<f32>;       // [small, small]
@end
@if FIRST
@group(0) @binding(2) var<storage, read_write> scale: array<f32>;      // [1]
@end

alias LeftFetched = vec4<f32>;
alias RightFetched = vec4<f32>;

fn fetch_left(at: LeftAt) -> LeftFetched {
@if LEFT_WIDE
    return gram[at];
@else
    return vec4<f32>(gram[at.x], gram[at.y], gram[at.z], gram[at.w]);
@end
}

fn left_value(fetched: LeftFetched, at: LeftAt) -> vec4<f32> {
@if FIRST
    return scale[0] * (scale[0] * fetched);
@else
    return fetched;
@end
}

fn fetch_right(at: RightAt) -> RightFetched {
@if RIGHT_WIDE
    return gram[at];
@else
    return vec4<f32>(gram[at.x], gram[at.y], gram[at.z], gram[at.w]);
@end
}

fn right_value(fetched: RightFetched, at: RightAt) -> vec4<f32> {
    return fetched;
}

fn four_of_gram(row: u32, column: u32) -> vec4<f32> {
@if WIDE
    return gram[(min(row, ROWS - 1u) * COLUMNS + min(column, COLUMNS - 4u)) / 4u];
@else
    let at = min(row, ROWS - 1u) * COLUMNS + min(column + UP, vec4<u32>(COLUMNS - 1u));
    return vec4<f32>(gram[at.x], gram[at.y], gram[at.z], gram[at.w]);
@end
}

fn finish(row: u32, column: u32, sum: vec4<f32>) {
@if FIRST
    // Of a scaled matrix by one that is not: a product of two that are not might be too large for a number.
    let once = scale[0] * (scale[0] * four_of_gram(row, column));
    let twice = scale[0] * (scale[0] * sum);
@else
    let once = four_of_gram(row, column);
    let twice = sum;
@end
    write(row, column, bitcast<f32>(B_BITS) * once + bitcast<f32>(C_BITS) * twice);
}
