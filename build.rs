//! Embeds the built page of the dashboard (`ui/dist`), each file compressed. Without it the program is built all the same, and
//! `/ui/` says what to do.

use flate2::Compression;
use flate2::write::GzEncoder;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

/// The longest wait for a page that is being built.
const PATIENCE: Duration = Duration::from_secs(600);

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let variable = |name: &str| env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"));
    let ui = PathBuf::from(variable("CARGO_MANIFEST_DIR")).join("ui");
    let dist = ui.join("dist");
    await_page();
    // A path that is not there would have this run at every build.
    let watched = if dist.is_dir() { &dist } else { &ui };
    if watched.is_dir() {
        println!("cargo::rerun-if-changed={}", watched.display());
    }
    let mut files = Vec::new();
    if dist.join("index.html").is_file() {
        collect(&dist, &mut files).unwrap_or_else(|error| panic!("cannot read ui/dist: {error}"));
    }
    files.sort();
    let out = PathBuf::from(variable("OUT_DIR"));
    let table =
        embed(&dist, &files, &out).unwrap_or_else(|error| panic!("cannot embed ui/dist: {error}"));
    fs::write(out.join("page.rs"), table)
        .unwrap_or_else(|error| panic!("cannot write to OUT_DIR: {error}"));
}

/// Waits while the file that this variable names is there: `tools/build.sh` builds the page beside the compiler's work.
fn await_page() {
    let Some(pending) = env::var_os("PILOTHOUSE_UI_PENDING").map(PathBuf::from) else { return };
    let began = Instant::now();
    while pending.exists() && began.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(200));
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        match path.is_dir() {
            true => collect(&path, files)?,
            false => files.push(path),
        }
    }
    Ok(())
}

/// Compresses the files into `out`; the table of them as source.
fn embed(dist: &Path, files: &[PathBuf], out: &Path) -> io::Result<String> {
    let mut table = String::from("&[\n");
    for (number, file) in files.iter().enumerate() {
        let packed = out.join(format!("page.{number}.gz"));
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&fs::read(file)?)?;
        fs::write(&packed, encoder.finish()?)?;
        let name = file.strip_prefix(dist).unwrap_or(file).to_string_lossy();
        writeln!(table, "    ({name:?}, include_bytes!({:?})),", packed.display().to_string())
            .map_err(io::Error::other)?;
    }
    table.push(']');
    Ok(table)
}
