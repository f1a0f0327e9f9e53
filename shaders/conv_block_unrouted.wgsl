
// The gradient of a convolution without a pool, from that of its block's output: before dropout and
// activation, and zero where none passes. CPU twin: crates/weft-cpu/src/conv_block/everywhere.rs. One
// invocation for an element.

@group(0) @binding(0) var<storage, read_write> grad: array<f32>;     // Spec::output_shape()
@group(0) @binding(1) var<storage, read_write> unrouted: array<f32>; // [batch, height, width, filter]
@if ROUTED
@group(0) @binding(2) var<storage, read_write> route: array<i32>;    // as the gradient
@end
@if ACTIVATION >= 2
@group(0) @binding(3) var<storage, read_write> output: array<f32>;   // Spec::output_shape()
@end

@compute @workgroup_size(${GROUP}, 1, 1)
fn main(
    @builtin(local_invocation_index) local: u32,
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let to = (id.x + id.y * groups.x) * GROUP + local;
    if to >= BATCH * WINDOWS * FILTERS {
        return;
    }
    let at = element(to / (WINDOWS * FILTERS), to / FILTERS % WINDOWS, to % FILTERS);
    var g = grad[at] * bitcast<f32>(SCALE_BITS);
@if ACTIVATION >= 2
    g *= derivative(output[at] / bitcast<f32>(SCALE_BITS));
@end
@if ROUTED
    g = select(g, 0.0, route[at] == i32(NO_ROUTE));
@end
    unrouted[to] = g;
}
