
// Joins the parts of batch_norm_statistics.wgsl, in a fixed order.

@group(0) @binding(0) var<storage, read_write> parts: array<Value>;    // [slice][mean, then squares][column]
@group(0) @binding(1) var<storage, read_write> mean: array<Value>;     // [column]
@group(0) @binding(2) var<storage, read_write> variance: array<Value>; // [column]
@group(0) @binding(3) var<storage, read> info: array<u32>;             // rows, rows of a slice, slices

@compute @workgroup_size(${GROUP}, 1, 1)
fn main(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) id: vec3<u32>) {
    let column = id.z * LANES + local % LANES;
    let from_column = min(column, COLUMNS - 1u);
    var own = Moments(0.0, Value(), Value());
    for (var slice = local / LANES; slice < info[2]; slice += SUBS) {
        let at = slice * ${2 * COLUMNS}u + from_column;
        let rows = min(info[1], info[0] - slice * info[1]);
        own = joined(own, Moments(f32(rows), parts[at], parts[at + COLUMNS]));
    }
    let all = of_group(local, own);
    if local < LANES && column < COLUMNS {
        mean[column] = all.mean;
        variance[column] = all.squares / f32(info[0]);
    }
}
