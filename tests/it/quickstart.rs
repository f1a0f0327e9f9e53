//! The two commands of the README, on the real data set: the recipe learns it, and the README shows
//! commands that exist.

use std::path::Path;
use std::process::Command;

use crate::cli::{stdout, weft};
use crate::devices;

const REAL_DATA: &str = "/usr/share/datasets/fashion-mnist";

/// Whether the full data set is here; says so if not, and fails where it is required.
pub(crate) fn data_is_here(test: &str) -> bool {
    let here = Path::new(REAL_DATA).is_dir();
    let required = std::env::var_os("WEFT_REQUIRE_DATA").is_some_and(|value| value == "1");
    assert!(
        here || !required,
        "{test}: WEFT_REQUIRE_DATA=1, but {REAL_DATA} is missing"
    );
    if !here {
        let why = "is missing (package dataset-fashion-mnist)";
        devices::say(&format!("SKIPPED {test}: {REAL_DATA} {why}"));
    }
    here
}

/// The test accuracy that a training prints.
fn train(args: &[&str]) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let mut command: Command = weft();
    let output = command
        .current_dir(folder.path())
        .arg("train")
        .args(args)
        .output()
        .unwrap();
    let text = stdout(&output);
    assert!(
        output.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(text.contains(REAL_DATA), "{text}");
    let accuracy = text
        .lines()
        .find(|line| line.starts_with("accuracy"))
        .unwrap();
    accuracy.split_whitespace().last().unwrap().parse().unwrap()
}

#[test]
fn the_quickstart_learns_the_real_data_on_the_cpu() {
    if data_is_here("the_quickstart_learns_the_real_data_on_the_cpu") {
        let accuracy = train(&["--device", "cpu", "--set", "train.epochs=2"]);
        assert!(accuracy > 0.86, "test accuracy {accuracy} after two epochs");
    }
}

#[test]
fn a_small_network_learns_the_real_data_on_wgpu() {
    let test = "a_small_network_learns_the_real_data_on_wgpu";
    let Some(device) = devices::gpu_choice() else {
        return devices::skip(test);
    };
    if data_is_here(test) {
        let accuracy = train(&[
            "--device",
            &device,
            "--set",
            "train.epochs=1",
            "--set",
            "train.batch_size=256",
            "--set",
            "train.evaluation_batch_size=1000",
            "--set",
            "model.kind=mlp",
            "--set",
            "model.hidden=[64]",
        ]);
        assert!(accuracy > 0.78, "test accuracy {accuracy} after one epoch");
    }
}

#[test]
fn the_readme_opens_with_the_two_commands() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let block = readme.split("```").nth(1).unwrap().trim();
    assert_eq!(block, "cargo run --release -- train\ncargo test --release");
    for file in [
        "configs/reference.toml",
        "docs/ARCHITECTURE.md",
        "docs/performance.md",
    ] {
        assert!(readme.contains(file), "{file}");
        assert!(
            Path::new(env!("CARGO_MANIFEST_DIR")).join(file).exists(),
            "{file}"
        );
    }
}
