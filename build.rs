//! Link settings that make the binary smaller; see docs/performance.md.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if links_with_rusts_lld() {
        // Functions that compile to the same code are kept once.
        println!("cargo::rustc-link-arg-bins=-Wl,--icf=all");
        println!("cargo::rustc-link-arg-bins=-no-pie");
        // Strings that end another string are kept once.
        println!("cargo::rustc-link-arg-bins=-Wl,-O2");
    }
}

/// Whether the linker is the LLD that comes with rustup's toolchains on x86-64 Linux. Elsewhere the
/// binary is linked as usual, and larger.
fn links_with_rusts_lld() -> bool {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let target = variable("TARGET");
    if target != "x86_64-unknown-linux-gnu" || target != variable("HOST") {
        return false;
    }
    let chosen = !variable("RUSTC_LINKER").is_empty();
    let flags = variable("CARGO_ENCODED_RUSTFLAGS");
    if chosen || flags.contains("link") {
        return false;
    }
    let sysroot = Command::new(variable("RUSTC"))
        .args(["--print", "sysroot"])
        .output();
    sysroot.is_ok_and(|output| {
        let sysroot = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let lld = format!("lib/rustlib/{target}/bin/gcc-ld/ld.lld");
        Path::new(&sysroot).join(lld).exists()
    })
}
