
// Two sums of each column, in a tree.

var<workgroup> plain_sums: array<Value, ${GROUP}>;
var<workgroup> times_sums: array<Value, ${GROUP}>;

struct Sums {
    plain: Value, // of the gradient before the activation
    times: Value, // of that times the normalised number
}

// The first LANES invocations have them.
fn of_group(local: u32, own: Sums) -> Sums {
    var all = own;
    plain_sums[local] = all.plain;
    times_sums[local] = all.times;
    for (var half = HALF; half > 0u; half /= 2u) {
        workgroupBarrier();
        let other = local + half * LANES;
        if local < half * LANES && other < GROUP {
            all.plain += plain_sums[other];
            all.times += times_sums[other];
            plain_sums[local] = all.plain;
            times_sums[local] = all.times;
        }
    }
    return all;
}
