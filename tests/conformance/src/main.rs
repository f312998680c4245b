//! A scripted agent for the public conformance kits: one message in, the event lines of its scene out.
//!
//! The kits say what they want done by the beginning of the message's id, or of its text; `scene`
//! knows these words. The server knows none of them: it passes `A2A_MESSAGE_ID` and the text on.
//!
//! `--leave-open`: every scene that would end the task asks for more instead, as kit 0.3 wants it.
//! `--wait SECONDS` (10): how long the scenes that run for a while do so.

mod scene;

use scene::{Scene, Step};
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

/// What the command line says.
struct Options {
    leave_open: bool,
    wait: Duration,
}

/// What an agent of kit 0.3 takes before it says anything.
const THINKS: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(complaint) => {
            eprintln!("conformance-agent: {complaint}");
            return ExitCode::from(64);
        }
    };
    match play(&options) {
        Ok(()) => ExitCode::SUCCESS,
        // Nobody listens any more: the turn was canceled.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("conformance-agent: {error}");
            ExitCode::FAILURE
        }
    }
}

fn options(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { leave_open: false, wait: Duration::from_secs(10) };
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--leave-open" => options.leave_open = true,
            "--wait" => {
                options.wait = args
                    .next()
                    .and_then(|text| text.parse().ok())
                    .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
                    .ok_or("--wait needs seconds")?;
            }
            other => return Err(format!("unknown argument `{other}`")),
        }
    }
    Ok(options)
}

fn play(options: &Options) -> io::Result<()> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    if options.leave_open {
        // Kit 0.3 looks at a task right after its message and expects an agent that takes its time.
        thread::sleep(THINKS);
    }
    let id = std::env::var("A2A_MESSAGE_ID").unwrap_or_default();
    let task = std::env::var("A2A_TASK_ID").unwrap_or_default();
    let mut scene = Scene::of(&id, &text);
    if options.leave_open {
        scene = scene.left_open();
    } else {
        scene = in_conversation(scene, Path::new("."), &task, &text)?;
    }
    let mut out = io::stdout().lock();
    for step in scene.steps() {
        match step {
            Step::Say(line) => {
                writeln!(out, "{line}")?;
                out.flush()?;
            }
            Step::Wait => thread::sleep(options.wait),
            Step::Forever => loop {
                thread::park();
            },
        }
    }
    Ok(())
}

/// A conversation of several turns goes on until the caller says `done`. A process lives for one
/// turn only, so a file of the workspace remembers it.
fn in_conversation(scene: Scene, workspace: &Path, task: &str, text: &str) -> io::Result<Scene> {
    let memory: PathBuf = workspace.join(format!(".turns-{task}"));
    match scene {
        Scene::MultiTurn => {
            fs::write(&memory, "")?;
            Ok(Scene::MultiTurn)
        }
        Scene::Unknown if memory.exists() => {
            if text.trim_start().starts_with("done") {
                fs::remove_file(&memory)?;
                Ok(Scene::Complete)
            } else {
                Ok(Scene::MultiTurn)
            }
        }
        other => Ok(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> impl Iterator<Item = String> {
        line.split_whitespace().map(str::to_owned)
    }

    #[test]
    fn the_wait_may_be_a_part_of_a_second() {
        let options = options(words("--leave-open --wait 0.25")).unwrap();
        assert!(options.leave_open);
        assert_eq!(options.wait, Duration::from_millis(250));
    }

    #[test]
    fn a_wait_that_is_no_time_is_refused() {
        for line in ["--wait", "--wait soon", "--wait -1", "--wait NaN"] {
            assert!(options(words(line)).is_err(), "{line}");
        }
    }

    #[test]
    fn a_conversation_goes_on_until_the_caller_is_done() {
        let workspace = std::env::temp_dir().join(format!("conformance-{}", std::process::id()));
        fs::create_dir_all(&workspace).unwrap();
        let turn =
            |text: &str| in_conversation(Scene::of("x", text), &workspace, "t", text).unwrap();
        let scenes = ["tck-multi-turn start", "more", "done", "more"].map(turn);
        fs::remove_dir_all(&workspace).unwrap();
        assert_eq!(scenes, [Scene::MultiTurn, Scene::MultiTurn, Scene::Complete, Scene::Unknown]);
    }
}
