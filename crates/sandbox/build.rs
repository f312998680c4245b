//! Compiles the launcher (`launcher/main.rs`), a small static program that the binary carries inside.

use std::env;
use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=../../launcher");
    let variable = |name: &str| env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"));
    let program = PathBuf::from(variable("OUT_DIR")).join("launcher");
    let mut compiler = Command::new(variable("RUSTC"));
    compiler
        .args(["--edition", "2024", "--crate-name", "launcher", "--crate-type", "bin"])
        .args(["--target", &variable("TARGET")])
        .args([
            "-C",
            "panic=abort",
            "-C",
            "opt-level=s",
            "-C",
            "overflow-checks=off",
            "-C",
            "debuginfo=0",
        ])
        .args([
            "-C",
            "relocation-model=static",
            "-C",
            "target-feature=+crt-static",
            "-C",
            "strip=symbols",
        ])
        .args([
            "-C",
            "link-arg=-nostartfiles",
            "-C",
            "link-arg=-nostdlib",
            "-C",
            "link-arg=-static",
        ])
        .args(["-C", "link-arg=-Wl,--build-id=none,-z,norelro,-z,noseparate-code"])
        // The lints are those of the workspace, which `launcher` is a member of.
        .args(["--cap-lints", "allow"])
        .arg("-o")
        .arg(&program)
        .arg("../../launcher/main.rs");
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        compiler.args(["-C", &format!("linker={linker}")]);
    }
    let status = compiler
        .status()
        .unwrap_or_else(|error| panic!("cannot run the compiler for the launcher: {error}"));
    assert!(status.success(), "the launcher could not be compiled: {status}");
    println!("cargo::rustc-env=PILOTHOUSE_LAUNCHER={}", program.display());
}
