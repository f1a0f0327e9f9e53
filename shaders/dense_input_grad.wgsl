// The gradient of a fully connected layer's inputs, before * weight^T. The product is that of
// dense_product.wgsl, `before` is explained in dense_before.wgsl. CPU twin: crates/weft-cpu/src/dense.rs.

@if GRAD_WIDE
@group(0) @binding(0) var<storage, read_write> weight: array<vec4<f32>>;  // [input, output]
@group(0) @binding(1) var<storage, read_write> grad: array<vec4<f32>>;    // [batch, output]
@else
@group(0) @binding(0) var<storage, read_write> weight: array<f32>;        // [input, output]
@group(0) @binding(1) var<storage, read_write> grad: array<f32>;          // [batch, output]
@end
@if WIDE
@group(0) @binding(2) var<storage, read_write> result: array<vec4<f32>>;  // [batch, input]
@else
@group(0) @binding(2) var<storage, read_write> result: array<f32>;        // [batch, input]
@end
@if DERIVED && GRAD_WIDE
@group(0) @binding(3) var<storage, read_write> outputs: array<vec4<f32>>; // [batch, output]
@else
@if DERIVED
@group(0) @binding(3) var<storage, read_write> outputs: array<f32>;       // [batch, output]
@end
@end
@if DRAWS
@group(0) @binding(${3 + DERIVED}) var<storage, read> info: array<u32>;   // the dropout's key
@end

alias LeftFetched = Fetched;
alias RightFetched = vec4<f32>;

fn fetch_left(at: LeftAt) -> LeftFetched {
    return fetch_grad(at);
}

fn left_value(fetched: LeftFetched, at: LeftAt) -> vec4<f32> {
    return before_activation(fetched, at);
}

fn fetch_right(at: RightAt) -> RightFetched {
@if GRAD_WIDE
    return weight[at];
@else
    return vec4<f32>(weight[at.x], weight[at.y], weight[at.z], weight[at.w]);
@end
}

fn right_value(fetched: RightFetched, at: RightAt) -> vec4<f32> {
    return fetched;
}

fn finish(row: u32, column: u32, sum: vec4<f32>) {
    write(row, column, sum);
}
