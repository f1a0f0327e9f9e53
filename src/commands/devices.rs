//! `weft devices`

use super::say;
use crate::config::{ExperimentConfig, QUICKSTART};
use crate::device::{self, Adapter};
use crate::model::InputShape;
use crate::model::kernel_path::kernel_path;

pub(super) fn run() {
    let adapters = device::adapters();
    let best = device::best(&adapters).map(|adapter| adapter.index);
    if adapters.is_empty() {
        say("no GPU driver was found (Vulkan, Metal or DX12)\n");
    }
    for adapter in &adapters {
        describe(adapter, best);
    }
    let threads = device::threads();
    let mark = if best.is_none() { "   <- auto" } else { "" };
    say(&format!(
        "cpu      burn's flex backend, {threads} threads, kernels {}{mark}",
        kernels(None)
    ));
    say(&format!(
        "ndarray  burn's ndarray backend, {threads} threads, kernels {}; slower, a second CPU path",
        kernels(None)
    ));
    say("\nnext   weft train --device gpu    weft train --device cpu");
}

fn describe(adapter: &Adapter, best: Option<usize>) {
    let index = adapter.index;
    let mark = match best {
        Some(best) if best == index => "   <- auto",
        _ if adapter.is_software() => "   software: used only when named",
        _ => "",
    };
    let f16 = if adapter.f16 { "yes" } else { "no" };
    let mib = |bytes: u64| bytes / (1024 * 1024);
    say(&format!("gpu:{index}    {}{mark}", adapter.name));
    say(&format!(
        "         {} {}, driver {}",
        adapter.api, adapter.kind, adapter.driver
    ));
    say(&format!("         kernels {}", kernels(Some(adapter))));
    say(&format!(
        "         largest binding {} MiB, largest buffer {} MiB, {} invocations a workgroup, f16 {f16}\n",
        mib(adapter.max_binding),
        mib(adapter.max_buffer),
        adapter.max_invocations
    ));
}

/// Those of the quickstart.
fn kernels(adapter: Option<&Adapter>) -> String {
    let quickstart: Result<ExperimentConfig, _> = toml::from_str(QUICKSTART);
    let quickstart = quickstart.unwrap_or_default();
    let batch = quickstart.train.batch_size;
    kernel_path(&quickstart.model, FASHION_MNIST, batch, adapter.is_none())
}

/// Its images.
const FASHION_MNIST: InputShape = InputShape {
    channels: 1,
    height: 28,
    width: 28,
    n_classes: 10,
};
