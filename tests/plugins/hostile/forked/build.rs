//! Gives the types of this crate the name that those of the interface have: a fork of it.

fn main() {
    println!("cargo::rustc-env=CARGO_PKG_NAME=stillhouse-plugin");
    println!("cargo::rerun-if-changed=build.rs");
}
