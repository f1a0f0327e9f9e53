//! Tells what is on an image, with a model from `weft export RUN --format bpk`.
//!
//! `cargo run --release --example classify -- runs/quickstart/export/quickstart.bpk IMAGE`
#![expect(clippy::print_stdout, reason = "it prints its answer")]

use std::path::Path;

use weft::device;
use weft::export::bpk::Predictor;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, image] = &arguments[..] else {
        anyhow::bail!("usage: classify MODEL.bpk IMAGE");
    };
    let model = Predictor::read(Path::new(model), &device::host())?;
    let pixels = model.pixels(&std::fs::read(image)?)?;
    let probabilities = model.probabilities(&pixels)?.remove(0);
    for (name, probability) in model.class_names.iter().zip(probabilities) {
        println!("{name:20} {:5.1} %", 100.0 * probability);
    }
    Ok(())
}
