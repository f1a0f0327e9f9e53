
// Moments of some rows of a column, and how two of them are joined (Chan, Golub and LeVeque, 1979): this
// loses nothing where a mean is large beside its deviation.

struct Moments {
    count: f32,
    mean: Value,
    squares: Value, // sum of the squares of what differs from the mean
}

fn joined(a: Moments, b: Moments) -> Moments {
    let count = a.count + b.count;
    let share = b.count / max(count, 1.0);
    let difference = b.mean - a.mean;
    return Moments(
        count,
        a.mean + difference * share,
        a.squares + b.squares + difference * difference * (a.count * share),
    );
}

var<workgroup> counts: array<f32, ${GROUP}>;
var<workgroup> means: array<Value, ${GROUP}>;
var<workgroup> squares: array<Value, ${GROUP}>;

// Joins those of a workgroup, each column's for itself, in a tree: the first LANES invocations have them.
fn of_group(local: u32, own: Moments) -> Moments {
    var all = own;
    counts[local] = all.count;
    means[local] = all.mean;
    squares[local] = all.squares;
    for (var half = HALF; half > 0u; half /= 2u) {
        workgroupBarrier();
        let other = local + half * LANES;
        if local < half * LANES && other < GROUP {
            all = joined(all, Moments(counts[other], means[other], squares[other]));
            counts[local] = all.count;
            means[local] = all.mean;
            squares[local] = all.squares;
        }
    }
    return all;
}
