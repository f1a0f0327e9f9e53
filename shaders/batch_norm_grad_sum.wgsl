
// Adds up the parts of batch_norm_grad_parts.wgsl, in a fixed order: the gradients of gamma and beta. What
// batch_norm_grad.wgsl needs of a column is put side by side for it.

@group(0) @binding(0) var<storage, read_write> parts: array<Value>;      // [slice][plain, then times][column]
@group(0) @binding(1) var<storage, read_write> mean: array<Value>;       // [column]
@group(0) @binding(2) var<storage, read_write> variance: array<Value>;   // [column]
@group(0) @binding(3) var<storage, read_write> gamma_grad: array<Value>; // [column]
@group(0) @binding(4) var<storage, read_write> beta_grad: array<Value>;  // [column]
@group(0) @binding(5) var<storage, read_write> columns: array<Value>;    // [mean, rate, means of the two sums][column]
@group(0) @binding(6) var<storage, read> info: array<u32>;               // rows, rows of a slice, slices

@compute @workgroup_size(${GROUP}, 1, 1)
fn main(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) id: vec3<u32>) {
    let column = id.z * LANES + local % LANES;
    let from_column = min(column, COLUMNS - 1u);
    var own = Sums(Value(), Value());
    for (var slice = local / LANES; slice < info[2]; slice += SUBS) {
        let at = slice * ${2 * COLUMNS}u + from_column;
        own.plain += parts[at];
        own.times += parts[at + COLUMNS];
    }
    let all = of_group(local, own);
    if local < LANES && column < COLUMNS {
        beta_grad[column] = all.plain;
        gamma_grad[column] = all.times;
        columns[column] = mean[column];
        columns[column + COLUMNS] = rate_of(variance[column]);
@if OF_BATCH
        columns[column + ${2 * COLUMNS}u] = all.plain / f32(info[0]);
        columns[column + ${3 * COLUMNS}u] = all.times / f32(info[0]);
@else
        // Mean and variance do not depend on `x`.
        columns[column + ${2 * COLUMNS}u] = Value();
        columns[column + ${3 * COLUMNS}u] = Value();
@end
    }
}
