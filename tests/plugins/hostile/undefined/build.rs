//! Lets the linker leave a symbol undefined where it would not by itself.

fn main() {
    if std::env::var("CARGO_CFG_TARGET_VENDOR").is_ok_and(|vendor| vendor == "apple") {
        println!("cargo::rustc-link-arg=-Wl,-undefined,dynamic_lookup");
    }
    println!("cargo::rerun-if-changed=build.rs");
}
