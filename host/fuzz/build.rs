//! Links the seed of the target `image`.

use std::path::Path;
use std::process::Command;

fn main() {
    let seed = "seeds/plugin.c";
    println!("cargo::rerun-if-changed={seed}");
    let out = std::env::var_os("OUT_DIR").expect("cargo names it");
    let mut linker = Command::new(std::env::var_os("CC").unwrap_or("cc".into()));
    linker.args(["-shared", "-nostdlib", "-s", "-Wl,--build-id=none,-z,noseparate-code,-z,norelro", seed, "-o"]);
    let done = linker.arg(Path::new(&out).join("plugin.so")).status().expect("there is a C compiler");
    assert!(done.success(), "{seed} does not link");
}
