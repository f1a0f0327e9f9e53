//! The devices that tests run on: flex, ndarray, and wgpu where there is an adapter. Proves nothing
//! itself, but makes skipping visible: without an adapter a wgpu test says so on stderr, and with
//! WEFT_REQUIRE_GPU=1 (as in CI) it fails.

use std::io::Write;
use std::sync::OnceLock;

use burn::tensor::Device;
use weft::device::{DeviceChoice, adapters, best, configure_runtimes};

/// flex and ndarray.
pub(crate) fn cpus() -> Vec<Device> {
    [DeviceChoice::Cpu, DeviceChoice::NdArray]
        .iter()
        .map(|choice| choice.open().unwrap().device)
        .collect()
}

/// The adapter that wgpu tests use: the best hardware one, else a software one.
pub(crate) fn gpu_choice() -> Option<String> {
    static CHOICE: OnceLock<Option<String>> = OnceLock::new();
    CHOICE
        .get_or_init(|| {
            // Tuned kernels are kept for the next run of the tests.
            configure_runtimes();
            let adapters = adapters();
            let adapter = best(&adapters).or(adapters.first())?;
            Some(format!("gpu:{}", adapter.index))
        })
        .clone()
}

/// The wgpu device, or a visible skip.
pub(crate) fn gpu(test: &str) -> Option<Device> {
    static DEVICE: OnceLock<Option<Device>> = OnceLock::new();
    let device = DEVICE.get_or_init(|| {
        let choice: DeviceChoice = gpu_choice()?.parse().unwrap();
        Some(choice.open().unwrap().device)
    });
    if device.is_none() {
        skip(test);
    }
    device.clone()
}

/// A line that is seen although the test passes: the test harness captures the print macros only.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Says that a wgpu test was skipped; fails where that is not allowed.
pub(crate) fn skip(test: &str) {
    let required = std::env::var_os("WEFT_REQUIRE_GPU").is_some_and(|value| value == "1");
    assert!(
        !required,
        "{test}: WEFT_REQUIRE_GPU=1, but there is no wgpu adapter"
    );
    say(&format!("SKIPPED {test}: there is no wgpu adapter"));
}

/// All of them.
pub(crate) fn all(test: &str) -> Vec<Device> {
    let mut devices = cpus();
    devices.extend(gpu(test));
    devices
}
