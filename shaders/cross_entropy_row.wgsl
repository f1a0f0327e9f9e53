
// The largest logit of a row, its first place, and the logarithm of the sum of exponentials.
struct Row {
    largest: f32,
    place: u32,
    log_sum: f32,
}

fn row_of(first: u32) -> Row {
    var row = Row(-3.4028235e38, 0u, 0.0);
    for (var class_index = 0u; class_index < CLASSES; class_index++) {
        let logit = logits[first + class_index];
        if logit > row.largest {
            row.largest = logit;
            row.place = class_index;
        }
    }
    var sum = 0.0;
    for (var class_index = 0u; class_index < CLASSES; class_index++) {
        sum += exp(logits[first + class_index] - row.largest);
    }
    row.log_sum = log(sum);
    return row;
}
