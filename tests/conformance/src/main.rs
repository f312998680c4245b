//! A scripted agent for the public conformance kits.

fn main() {}
