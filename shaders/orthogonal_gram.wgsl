// The smaller of the two products of a matrix with itself: x * x^T, or x^T * x where x is taller than wide.
// The product is that of dense_product.wgsl. CPU twin: crates/weft-cpu/src/orthogonal.rs.

@if LEFT_WIDE
@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>; // [row, column]
@else
@group(0) @binding(0) var<storage, read_write> x: array<f32>;       // [row, column]
@end
@if WIDE
@group(0) @binding(1) var<storage, read_write> result: array<vec4<f32>>; // [small, small]
@else
@group(0) @binding(1) var<storage, read_write> result: array<f32>;       // [small, small]
@end

alias LeftFetched = vec4<f32>;
alias RightFetched = vec4<f32>;

fn fetch_left(at: LeftAt) -> LeftFetched {
@if LEFT_WIDE
    return x[at];
@else
    return vec4<f32>(x[at.x], x[at.y], x[at.z], x[at.w]);
@end
}

fn left_value(fetched: LeftFetched, at: LeftAt) -> vec4<f32> {
    return fetched;
}

fn fetch_right(at: RightAt) -> RightFetched {
@if RIGHT_WIDE
    return x[at];
@else
    return vec4<f32>(x[at.x], x[at.y], x[at.z], x[at.w]);
@end
}

fn right_value(fetched: RightFetched, at: RightAt) -> vec4<f32> {
    return fetched;
}

fn finish(row: u32, column: u32, sum: vec4<f32>) {
    write(row, column, sum);
}
