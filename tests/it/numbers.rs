//! The launcher's table of system calls: a wrong number there would make another call.

/// The table as rows: the launcher's name, the number of `libc`, and that of the launcher for this machine.
macro_rules! numbers {
    ($($class:ident { $($name:ident $libc:ident $x86_64:tt $aarch64:tt,)* })*) => {
        const TABLE: &[(&str, Option<i64>, Option<i64>)] = &[
            $($((stringify!($name), number!($libc), number!(here $x86_64 $aarch64)),)*)*
        ];
    };
}

macro_rules! number {
    (new) => {
        None
    };
    (here $x86_64:tt -) => {
        if cfg!(target_arch = "x86_64") { Some($x86_64) } else { None }
    };
    (here $x86_64:tt $aarch64:tt) => {
        Some(if cfg!(target_arch = "x86_64") { $x86_64 } else { $aarch64 })
    };
    ($libc:ident) => {
        Some(libc::$libc)
    };
}

include!("../../launcher/numbers.rs");

#[test]
fn the_launcher_calls_each_system_call_by_the_number_that_libc_gives_it() {
    let known: Vec<_> =
        TABLE.iter().filter_map(|&(name, libc, own)| Some((name, libc?, own?))).collect();
    assert!(known.len() > 100, "{} rows", known.len());
    for (name, libc, own) in known {
        assert_eq!(own, libc, "{name}");
    }
}
