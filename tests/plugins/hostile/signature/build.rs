//! Gives the types of this crate the name and version of those of the interface: a fork of it.

fn main() {
    println!("cargo::rustc-env=CARGO_PKG_NAME=stillhouse-plugin");
    println!("cargo::rustc-env=CARGO_PKG_VERSION=1.0.0");
    println!("cargo::rerun-if-changed=build.rs");
}
