// The gradients of a fully connected layer's weights, inputs^T * before, and bias, the column sums of
// `before`, which the workgroups of the first rows have on their way. The product is that of
// dense_product.wgsl, `before` is explained in dense_before.wgsl. CPU twin: crates/weft-cpu/src/dense.rs.

@if LEFT_WIDE
@group(0) @binding(0) var<storage, read_write> inputs: array<vec4<f32>>;    // [batch, input]
@else
@group(0) @binding(0) var<storage, read_write> inputs: array<f32>;          // [batch, input]
@end
@if WIDE
@group(0) @binding(1) var<storage, read_write> grad: array<vec4<f32>>;      // [batch, output]
@group(0) @binding(2) var<storage, read_write> result: array<vec4<f32>>;    // [input, output]
@group(0) @binding(3) var<storage, read_write> bias_grad: array<vec4<f32>>; // [output]
@else
@group(0) @binding(1) var<storage, read_write> grad: array<f32>;            // [batch, output]
@group(0) @binding(2) var<storage, read_write> result: array<f32>;          // [input, output]
@group(0) @binding(3) var<storage, read_write> bias_grad: array<f32>;       // [output]
@end
@if DERIVED && WIDE
@group(0) @binding(4) var<storage, read_write> outputs: array<vec4<f32>>;   // [batch, output]
@else
@if DERIVED
@group(0) @binding(4) var<storage, read_write> outputs: array<f32>;         // [batch, output]
@end
@end
@if DRAWS
@group(0) @binding(${4 + DERIVED}) var<storage, read> info: array<u32>;     // the dropout's key
@end

alias LeftFetched = vec4<f32>;
alias RightFetched = Fetched;

fn fetch_left(at: LeftAt) -> LeftFetched {
@if LEFT_WIDE
    return inputs[at];
@else
    return vec4<f32>(inputs[at.x], inputs[at.y], inputs[at.z], inputs[at.w]);
@end
}

fn left_value(fetched: LeftFetched, at: LeftAt) -> vec4<f32> {
    return fetched;
}

fn fetch_right(at: RightAt) -> RightFetched {
    return fetch_grad(at);
}

fn right_value(fetched: RightFetched, at: RightAt) -> vec4<f32> {
    return before_activation(fetched, at);
}

fn finish(row: u32, column: u32, sum: vec4<f32>) {
    write(row, column, sum);
}

fn finish_bias(column: u32, sum: vec4<f32>) {
@if WIDE
    if column < COLUMNS {
        bias_grad[column / 4u] = sum;
    }
@else
@unroll c 4
    if column + ${c}u < COLUMNS {
        bias_grad[column + ${c}u] = sum[$c];
    }
@end
@end
}
