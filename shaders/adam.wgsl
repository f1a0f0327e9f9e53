// One step of Adam or AdamW. CPU twin: crates/weft-cpu/src/adam.rs. One invocation for an element.
// A tensor whose memory is its own is changed in place; of another a new one is made.

@group(0) @binding(0) var<storage, read_write> parameter: array<f32>;
@group(0) @binding(1) var<storage, read_write> grad: array<f32>;
@group(0) @binding(2) var<storage, read_write> first: array<f32>;  // moment
@group(0) @binding(3) var<storage, read_write> second: array<f32>; // moment
@if NEW_PARAMETER
@group(0) @binding(4) var<storage, read_write> new_parameter: array<f32>;
@end
@if NEW_FIRST
@group(0) @binding(${4 + NEW_PARAMETER}) var<storage, read_write> new_first: array<f32>;
@end
@if NEW_SECOND
@group(0) @binding(${4 + NEW_PARAMETER + NEW_FIRST}) var<storage, read_write> new_second: array<f32>;
@end
// Number of elements, then the numbers of AdamSpec.
@group(0) @binding(${4 + NEW_PARAMETER + NEW_FIRST + NEW_SECOND}) var<storage, read> info: array<u32>;

@compute @workgroup_size(${GROUP}, 1, 1)
fn main(
    @builtin(local_invocation_index) local: u32,
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let at = (id.x + id.y * groups.x) * GROUP + local;
    if at >= info[0] {
        return;
    }
    let beta_1 = bitcast<f32>(info[1]);
    let beta_2 = bitcast<f32>(info[2]);
    let epsilon = bitcast<f32>(info[3]);
    let step_size = bitcast<f32>(info[4]);
    let root_correction = bitcast<f32>(info[5]);
    let penalty = bitcast<f32>(info[6]);
    let keep = bitcast<f32>(info[7]);

    let old = parameter[at];
    let g = grad[at] + penalty * old;
    let m = beta_1 * first[at] + (1.0 - beta_1) * g;
    let v = beta_2 * second[at] + (1.0 - beta_2) * g * g;
    let updated = keep * old - step_size * m / (sqrt(v) * root_correction + epsilon);
@if NEW_PARAMETER
    new_parameter[at] = updated;
@else
    parameter[at] = updated;
@end
@if NEW_FIRST
    new_first[at] = m;
@else
    first[at] = m;
@end
@if NEW_SECOND
    new_second[at] = v;
@else
    second[at] = v;
@end
}
