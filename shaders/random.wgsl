// Counter-based draws. CPU twin: src/kernels/random.rs (same names, same results, bit for bit).
// A draw is a pure function of its key and counters, so a step gives the same pixels everywhere.

// 32-bit finaliser "lowbias32" (constants found by C. Wellons, "Hash Prospector", 2018).
fn mix32(value: u32) -> u32 {
    var x = value;
    x ^= x >> 16u;
    x *= 0x7feb352du;
    x ^= x >> 15u;
    x *= 0x846ca68bu;
    x ^= x >> 16u;
    return x;
}

fn draw(key: u32, item: u32, counter: u32) -> u32 {
    return mix32(mix32(key ^ mix32(item)) + counter * 0x9e3779b9u);
}

// True with probability threshold / 2^24.
fn happens(bits: u32, threshold: u32) -> bool {
    return (bits >> 8u) < threshold;
}
