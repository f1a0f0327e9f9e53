// A * x + polynomial * x, or A * x + x * polynomial where x is taller than wide. In the first iteration x was
// not yet scaled. The product is that of dense_product.wgsl. CPU twin: crates/weft-cpu/src/orthogonal.rs.

@if WIDE
@group(0) @binding(0) var<storage, read_write> x: array<vec4<f32>>; // [row, column]
@else
@group(0) @binding(0) var<storage, read_write> x: array<f32>;       // [row, column]
@end
@if SMALL % 4 == 0
@group(0) @binding(1) var<storage, read_write> polynomial: array<vec4<f32>>; // [small, small]
@else
@group(0) @binding(1) var<storage, read_write> polynomial: array<f32>;       // [small, small]
@end
@if WIDE
@group(0) @binding(2) var<storage, read_write> result: array<vec4<f32>>; // [row, column]
@else
@group(0) @binding(2) var<storage, read_write> result: array<f32>;       // [row, column]
@end
@if FIRST
@group(0) @binding(3) var<storage, read_write> scale: array<f32>;            // [1]
@end

alias LeftFetched = vec4<f32>;
alias RightFetched = vec4<f32>;

@if TALL
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
    return polynomial[at];
@else
    return vec4<f32>(polynomial[at.x], polynomial[at.y], polynomial[at.z], polynomial[at.w]);
@end
}

fn right_value(fetched: RightFetched, at: RightAt) -> vec4<f32> {
    return fetched;
}

@else
fn fetch_left(at: LeftAt) -> LeftFetched {
@if LEFT_WIDE
    return polynomial[at];
@else
    return vec4<f32>(polynomial[at.x], polynomial[at.y], polynomial[at.z], polynomial[at.w]);
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

@end
fn four_of_x(row: u32, column: u32) -> vec4<f32> {
@if WIDE
    return x[(min(row, ROWS - 1u) * COLUMNS + min(column, COLUMNS - 4u)) / 4u];
@else
    let at = min(row, ROWS - 1u) * COLUMNS + min(column + UP, vec4<u32>(COLUMNS - 1u));
    return vec4<f32>(x[at.x], x[at.y], x[at.z], x[at.w]);
@end
}

fn finish(row: u32, column: u32, sum: vec4<f32>) {
    var value = bitcast<f32>(A_BITS) * four_of_x(row, column) + sum;
@if FIRST
    value *= scale[0];
@end
    write(row, column, value);
}
