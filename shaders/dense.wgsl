// A fully connected layer in one launch: product, bias, activation, dropout. The product is that of
// dense_product.wgsl. CPU twin: crates/weft-cpu/src/dense.rs.

@if LEFT_WIDE
@group(0) @binding(0) var<storage, read_write> inputs: array<vec4<f32>>; // [batch, input]
@else
@group(0) @binding(0) var<storage, read_write> inputs: array<f32>;       // [batch, input]
@end
@if RIGHT_WIDE
@group(0) @binding(1) var<storage, read_write> weight: array<vec4<f32>>; // [input, output]
@group(0) @binding(2) var<storage, read_write> bias: array<vec4<f32>>;   // [output]
@group(0) @binding(3) var<storage, read_write> result: array<vec4<f32>>; // [batch, output]
@else
@group(0) @binding(1) var<storage, read_write> weight: array<f32>;       // [input, output]
@group(0) @binding(2) var<storage, read_write> bias: array<f32>;         // [output]
@group(0) @binding(3) var<storage, read_write> result: array<f32>;       // [batch, output]
@end
@if DROPOUT
@group(0) @binding(4) var<storage, read> info: array<u32>;               // the dropout's key
@end

alias LeftFetched = vec4<f32>;
alias RightFetched = vec4<f32>;

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
@if RIGHT_WIDE
    return weight[at];
@else
    return vec4<f32>(weight[at.x], weight[at.y], weight[at.z], weight[at.w]);
@end
}

fn right_value(fetched: RightFetched, at: RightAt) -> vec4<f32> {
    return fetched;
}

fn finish(row: u32, column: u32, sum: vec4<f32>) {
@if RIGHT_WIDE
    var value = sum + bias[min(column, COLUMNS - 4u) / 4u];
@else
    let read = min(column + UP, vec4<u32>(COLUMNS - 1u));
    var value = sum + vec4<f32>(bias[read.x], bias[read.y], bias[read.z], bias[read.w]);
@end
    if ACTIVATION == RELU {
        value = select(vec4<f32>(0.0), value, above(value, vec4<f32>(0.0)));
    } else {
        value = activation(value);
    }
@if DROPOUT
    let dropped = drops(info[0], row * COLUMNS + column + UP);
    value = select(value * bitcast<f32>(SCALE_BITS), vec4<f32>(0.0), dropped);
@end
    write(row, column, value);
}
