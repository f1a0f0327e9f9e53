// One update of an exponential moving average. CPU twin: crates/weft-cpu/src/average.rs. One invocation
// for an element. A tensor whose memory is its own is changed in place; of another a new one is made.

@group(0) @binding(0) var<storage, read_write> average: array<f32>;
@group(0) @binding(1) var<storage, read_write> value: array<f32>;
@if NEW
@group(0) @binding(2) var<storage, read_write> new_average: array<f32>;
@end
// Number of elements, then the rate.
@group(0) @binding(${2 + NEW}) var<storage, read> info: array<u32>;

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
    let old = average[at];
    let updated = old + bitcast<f32>(info[1]) * (value[at] - old);
@if NEW
    new_average[at] = updated;
@else
    average[at] = updated;
@end
}
