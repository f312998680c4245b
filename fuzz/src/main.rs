//! libFuzzer over the decoders of foreign bytes; `PILOTHOUSE_FUZZ` names the target.
#![no_main]
#![allow(
    dead_code,
    unused_imports,
    reason = "the server's modules are included whole, and used in part"
)]

#[path = "../../src"]
mod house {
    pub(crate) mod config;
    pub(crate) mod plain_file;
}
mod targets;

pub(crate) use house::{config, plain_file};
use std::sync::LazyLock;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("PILOTHOUSE_FUZZ").expect("PILOTHOUSE_FUZZ names a target");
    let found = targets::TARGETS.iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("no target `{name}`")).1
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| TARGET(bytes));
