
// The sums that the gradients of a batch norm need, over a slice of the rows; batch_norm_grad_sum.wgsl adds
// them up. CPU twin: crates/weft-cpu/src/batch_norm.rs.

@group(0) @binding(0) var<storage, read_write> x: array<Value>;        // [row, column]
@group(0) @binding(1) var<storage, read_write> grad: array<Value>;     // [row, column]: of the output
@group(0) @binding(2) var<storage, read_write> mean: array<Value>;     // [column]
@group(0) @binding(3) var<storage, read_write> variance: array<Value>; // [column]
@group(0) @binding(4) var<storage, read_write> gamma: array<Value>;    // [column]
@group(0) @binding(5) var<storage, read_write> beta: array<Value>;     // [column]
@group(0) @binding(6) var<storage, read_write> parts: array<Value>;    // [slice][plain, then times][column]
@group(0) @binding(7) var<storage, read> info: array<u32>;             // rows, then rows of a slice

@compute @workgroup_size(${GROUP}, 1, 1)
fn main(@builtin(local_invocation_index) local: u32, @builtin(workgroup_id) id: vec3<u32>) {
    let column = id.z * LANES + local % LANES;
    // An invocation too many computes what another does.
    let from_column = min(column, COLUMNS - 1u);
    let middle = mean[from_column];
    let rate = rate_of(variance[from_column]);
    let scale = gamma[from_column] * rate;
    let shift = beta[from_column];
    let start = id.x * info[1];
    let end = min(start + info[1], info[0]);
    var own = Sums(Value(), Value());
    for (var row = start + local / LANES; row < end; row += ${AHEAD * SUBS}u) {
        var plain = Value();
        var times = Value();
@unroll i AHEAD
        let row$i = row + ${i * SUBS}u;
        let at$i = min(row$i, end - 1u) * COLUMNS + from_column;
        let difference$i = x[at$i] - middle;
        let before$i = before(difference$i * scale + shift, grad[at$i]);
        plain += select(Value(), before$i, row$i < end);
        times += select(Value(), before$i * difference$i, row$i < end);
@end
        own.plain += plain;
        own.times += times;
    }
    own.times *= rate;
    let all = of_group(local, own);
    if local < LANES && column < COLUMNS {
        let to = id.x * ${2 * COLUMNS}u + column;
        parts[to] = all.plain;
        parts[to + COLUMNS] = all.times;
    }
}
