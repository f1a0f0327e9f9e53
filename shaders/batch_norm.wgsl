
// Batch normalisation and its activation. CPU twin: crates/weft-cpu/src/batch_norm.rs. An invocation has
// a column and EACH rows.

@group(0) @binding(0) var<storage, read_write> x: array<Value>;        // [row, column]
@group(0) @binding(1) var<storage, read_write> mean: array<Value>;     // [column]
@group(0) @binding(2) var<storage, read_write> variance: array<Value>; // [column]
@group(0) @binding(3) var<storage, read_write> gamma: array<Value>;    // [column]
@group(0) @binding(4) var<storage, read_write> beta: array<Value>;     // [column]
@group(0) @binding(5) var<storage, read_write> y: array<Value>;        // [row, column]
@group(0) @binding(6) var<storage, read> info: array<u32>;             // rows

@compute @workgroup_size(${GROUP}, 1, 1)
fn main(
    @builtin(local_invocation_index) local: u32,
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let column = id.z * LANES + local % LANES;
    if column >= COLUMNS {
        return;
    }
    let middle = mean[column];
    let scale = gamma[column] * rate_of(variance[column]);
    let shift = beta[column];
    let start = (id.x + id.y * groups.x) * ${SUBS * EACH}u;
    let end = min(start + ${SUBS * EACH}u, info[0]);
    for (var row = start + local / LANES; row < end; row += SUBS) {
        let at = row * COLUMNS + column;
        y[at] = activated((x[at] - middle) * scale + shift);
    }
}
