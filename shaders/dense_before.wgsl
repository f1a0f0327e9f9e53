// The gradient of a fully connected layer's outputs, taken back through dropout and activation while it
// is read: what the products of the backward pass are made of. CPU twin: `before_activation` in
// crates/weft-cpu/src/dense.rs.

@if GRAD_WIDE
alias GradAt = u32;       // a vector's index
@else
alias GradAt = vec4<u32>; // four numbers' indices
@end

struct Fetched {
    grad: vec4<f32>,
@if DERIVED
    output: vec4<f32>,
@end
}

fn fetch_grad(at: GradAt) -> Fetched {
    var fetched: Fetched;
@if GRAD_WIDE
    fetched.grad = grad[at];
@else
    fetched.grad = vec4<f32>(grad[at.x], grad[at.y], grad[at.z], grad[at.w]);
@end
@if DERIVED && GRAD_WIDE
    fetched.output = outputs[at];
@else
@if DERIVED
    fetched.output = vec4<f32>(outputs[at.x], outputs[at.y], outputs[at.z], outputs[at.w]);
@end
@end
    return fetched;
}

fn before_activation(fetched: Fetched, at: GradAt) -> vec4<f32> {
    let scale = bitcast<f32>(SCALE_BITS);
    var before = fetched.grad * scale;
@if ACTIVATION == 1
    // What was dropped is zero, as a closed ReLU.
    before = select(vec4<f32>(0.0), before, fetched.output > vec4<f32>(0.0));
@end
@if ACTIVATION >= 2
    let y = fetched.output / scale;
    before *= vec4<f32>(derivative(y.x), derivative(y.y), derivative(y.z), derivative(y.w));
@end
@if DRAWS
@if GRAD_WIDE
    let dropped = drops(info[0], at * 4u + UP);
@else
    let dropped = drops(info[0], at);
@end
    before = select(before, vec4<f32>(0.0), dropped);
@end
    return before;
}
