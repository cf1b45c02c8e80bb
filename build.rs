//! Compiles the BPF programs and generates their Rust skeleton; nothing else.

use std::env;
use std::path::PathBuf;

use libbpf_cargo::SkeletonBuilder;

const SOURCE: &str = "bpf/profrec.bpf.c";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=bpf");
    println!("cargo:rerun-if-env-changed=CLANG");
    let output = PathBuf::from(env::var("OUT_DIR")?).join("profrec.skel.rs");
    // libbpf's BPF_PROG gives every program a context parameter, used or not.
    let mut skeleton = SkeletonBuilder::new();
    skeleton.source(SOURCE).clang_args(["-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter"]);
    if let Ok(clang) = env::var("CLANG") {
        skeleton.clang(clang);
    }
    skeleton.build_and_generate(&output)?;
    Ok(())
}
