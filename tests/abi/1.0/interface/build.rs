//! Notes which compiler built the crate, so that a plugin file can say so before any of its code runs; and gives the types that
//! cross the version of the interface, since `abi_stable` takes types of another `CARGO_PKG_VERSION` for other types.
use std::{env, process::Command};

fn main() {
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let version = Command::new(rustc)
        .arg("--version")
        .output()
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .unwrap_or_else(|| "rustc of unknown version".into());
    let target = env::var("TARGET").unwrap_or_default();
    let words: Vec<&str> = version.split_whitespace().take(2).collect();
    println!("cargo::rustc-env=STILLHOUSE_BUILT_WITH={} {target}", words.join(" "));
    let minor = u32::from(env::var_os("CARGO_FEATURE_NEXT").is_some());
    println!("cargo::rustc-env=CARGO_PKG_VERSION=1.{minor}.0");
    // To the host its types are those of the living crate.
    println!("cargo::rustc-env=CARGO_PKG_NAME=stillhouse-plugin");
    println!("cargo::rerun-if-changed=build.rs");
}
