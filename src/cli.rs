//! The command line: what may be said, and who carries it out.

mod announce;
mod backup;
mod config;
mod demo;
mod doctor;
mod healthcheck;
mod serve;
mod setup;
mod trial;

use crate::client::failure::Failure;
use crate::client::local::{AgentArgs, Server, ServerArgs};
use crate::client::program::remember_program;
use crate::client::tasks::AnswerCommand;
use crate::client::terminal::Screen;
use crate::client::{card, exit, grants, operate, send, sessions, tasks, token, usage, watch};
use crate::config::guess::nearest;
use crate::config::{Environment, Flags};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::env::{CompleteEnv, Shells};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Runs any CLI coding agent as an isolated, self-hosted A2A agent
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Flags,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server (also without a command)
    Serve(Flags),
    /// Send a message and show the answer as it comes
    Send(send::SendArgs),
    /// List, read, watch and cancel tasks, and answer what they ask
    Tasks {
        #[command(subcommand)]
        command: tasks::TasksCommand,
        #[command(flatten)]
        agent: AgentArgs,
    },
    /// Allow what an agent asks for, and show how its task goes on
    #[command(after_help = send::EXIT_CODES)]
    Approve {
        #[command(flatten)]
        args: tasks::ApproveArgs,
        #[command(flatten)]
        agent: AgentArgs,
    },
    /// Deny what an agent asks for, and show how its task goes on
    #[command(after_help = send::EXIT_CODES)]
    Deny {
        #[command(flatten)]
        args: tasks::DenyArgs,
        #[command(flatten)]
        agent: AgentArgs,
    },
    /// Answer the question of an agent, and show how its task goes on
    #[command(after_help = send::EXIT_CODES)]
    Answer {
        #[command(flatten)]
        args: tasks::AnswerArgs,
        #[command(flatten)]
        agent: AgentArgs,
    },
    /// Leave what an agent asks for later: its process ends, and the answer resumes the conversation
    Defer {
        #[command(flatten)]
        args: grants::DeferArgs,
        #[command(flatten)]
        agent: AgentArgs,
    },
    /// List and revoke what agents may do without asking again
    Grants {
        #[command(subcommand)]
        command: grants::GrantsCommand,
        #[command(flatten)]
        agent: AgentArgs,
    },
    /// Show all sessions live, and answer what they ask
    Watch(AgentArgs),
    /// List, show, attach to and fork sessions
    Sessions {
        #[command(subcommand)]
        command: sessions::SessionsCommand,
        #[command(flatten)]
        agent: AgentArgs,
    },
    /// Make, list and revoke tokens of callers
    Token {
        #[command(subcommand)]
        command: token::TokenCommand,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Remove for good what is kept of a caller (`--caller`), of a context, or of a caller's context
    Erase {
        #[command(flatten)]
        args: operate::EraseArgs,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Have a running server read its configuration again
    Reload(ServerArgs),
    /// Have a running server accept no more messages, and end when no turn runs
    Drain {
        /// Do not wait for its end
        #[arg(long)]
        no_wait: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Write the state of the server on this machine into one file, also while it runs
    Backup(backup::BackupArgs),
    /// Bring a backup back into an empty state folder
    Restore(backup::RestoreArgs),
    /// Show what turns have cost, and what is left of the ceilings
    Usage {
        #[command(flatten)]
        args: usage::UsageArgs,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Fetch an agent's card and check it
    Card(card::CardArgs),
    /// Find what is wrong before a user does
    Doctor(doctor::DoctorArgs),
    /// Build, list and remove the set-ups that are made once for all sessions
    Setup(setup::SetupArgs),
    /// Exit with 0 when the server answers
    Healthcheck(ServerArgs),
    /// Print what a shell needs to complete commands, ids and agents: `source <(pilothouse completions bash)`
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the man pages of all commands
    #[command(hide = true)]
    Man {
        /// The folder, which must exist
        folder: PathBuf,
    },
    /// What is configured, whether a file is right, the schema
    Config {
        #[command(subcommand)]
        command: config::ConfigCommand,
        /// The configuration file
        #[arg(short, long, global = true)]
        config: Option<PathBuf>,
        /// Use files of the working folder although they weaken the sandbox or the access check
        #[arg(long, global = true)]
        trust_folder: bool,
    },
    /// The demo agent; started by the server
    #[command(name = crate::agent::DEMO_COMMAND, hide = true)]
    Demo,
}

/// The commands as `--help` groups them.
const GROUPS: [(&str, &[&str]); 3] = [
    ("Talk to agents", &["send", "approve", "deny", "answer", "defer"]),
    ("See what they do", &["watch", "tasks", "sessions", "grants", "usage", "card"]),
    (
        "Run a server",
        &[
            "serve",
            "reload",
            "drain",
            "backup",
            "restore",
            "erase",
            "token",
            "config",
            "doctor",
            "setup",
            "healthcheck",
            "completions",
        ],
    ),
];

/// The variable by which a shell asks.
const COMPLETE: &str = "_PILOTHOUSE_COMPLETE";

const EXAMPLES: &str = "\
Examples:
  pilothouse send \"fix the failing test\"      show the answer as it comes
  pilothouse send -c last \"now add one more\"  go on with the last conversation
  pilothouse approve                           allow what an agent asks for";

/// The command line, its commands grouped.
fn command() -> clap::Command {
    let command = Cli::command();
    let mut groups = String::new();
    for (heading, names) in GROUPS {
        groups.push_str(&format!("{heading}:\n"));
        for name in names {
            let about = command.find_subcommand(name).and_then(clap::Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            groups.push_str(&format!("  {name:<12} {about}\n"));
        }
        groups.push('\n');
    }
    let template = format!(
        "{{about}}\n\n{{usage-heading}} {{usage}}\n\n{groups}{EXAMPLES}\n\nOptions of the server:\n{{options}}"
    );
    command.help_template(template)
}

/// Reads the command line. A first word that is no command may be a misspelt one.
fn parse(words: Vec<OsString>) -> Result<Cli, clap::Error> {
    let command = command();
    let first = words.get(1).and_then(|word| word.to_str()).map(ToOwned::to_owned);
    let names = command.get_subcommands().filter(|command| !command.is_hide_set());
    let names: Vec<String> = names.map(|command| command.get_name().to_owned()).collect();
    command.try_get_matches_from(words).and_then(|matches| Cli::from_arg_matches(&matches)).map_err(
        |mut error| {
            let meant = first.filter(|_| error.kind() == ErrorKind::UnknownArgument);
            let meant = meant.and_then(|word| {
                nearest(&word, names.iter().map(String::as_str)).map(ToOwned::to_owned)
            });
            if let Some(meant) = meant {
                let meant = ContextValue::Strings(vec![meant]);
                error.insert(ContextKind::SuggestedSubcommand, meant);
            }
            error
        },
    )
}

/// Prints the script by which a shell asks this program what it could complete.
fn print_completions(shell: clap_complete::Shell) -> std::io::Result<()> {
    let shells = Shells::builtins();
    let name = shell.to_string();
    let completer = shells.completer(&name).ok_or(std::io::ErrorKind::Unsupported)?;
    let program = "pilothouse";
    completer.write_registration(COMPLETE, program, program, program, &mut std::io::stdout())
}

/// Reads the command line of this process, or answers a shell that asks what could stand there.
fn read_command_line() -> Cli {
    CompleteEnv::with_factory(command).var(COMPLETE).complete();
    parse(std::env::args_os().collect()).unwrap_or_else(|error| error.exit())
}

/// Carries out what the command line says.
pub fn run() -> ExitCode {
    let cli = read_command_line();
    let environment = Environment::of_process();
    remember_program(&environment);
    let Some(cwd) = read_current_folder() else { return ExitCode::from(exit::UNAVAILABLE) };
    let screen = Screen::of_process(&environment);
    let find = |args: &ServerArgs| Server::find(args, &environment, &cwd);
    let decide = |command, agent: &AgentArgs| answer(command, agent, &environment, &cwd, screen);
    match cli.command {
        None => serve::run(&cli.serve, &environment, &cwd),
        Some(Command::Serve(args)) => serve::run(&args, &environment, &cwd),
        Some(Command::Config { command, config, trust_folder }) => {
            let flags = Flags { config, trust_folder, ..Flags::default() };
            let mut out = std::io::stdout().lock();
            ExitCode::from(config::run(command, &flags, &environment, &cwd, &mut out))
        }
        Some(Command::Send(args)) => carry_out(async {
            let server = Server::find_agent(&args.agent, &environment, &cwd)?;
            let input = &mut std::io::stdin().lock();
            explained(&server, Box::pin(send::run(args, &server, screen, input))).await
        }),
        Some(Command::Tasks { command, agent }) => carry_out(async {
            let server = Server::find_agent(&agent, &environment, &cwd)?;
            explained(&server, Box::pin(tasks::run(command, &server, screen))).await
        }),
        Some(Command::Approve { args, agent }) => decide(AnswerCommand::Approve(args), &agent),
        Some(Command::Deny { args, agent }) => decide(AnswerCommand::Deny(args), &agent),
        Some(Command::Answer { args, agent }) => decide(AnswerCommand::Answer(args), &agent),
        Some(Command::Defer { args, agent }) => carry_out(async {
            let server = Server::find_agent(&agent, &environment, &cwd)?;
            explained(&server, grants::defer(args, &server)).await
        }),
        Some(Command::Grants { command, agent }) => carry_out(async {
            let server = Server::find_agent(&agent, &environment, &cwd)?;
            explained(&server, grants::run(command, &server, screen)).await
        }),
        Some(Command::Watch(agent)) => carry_out(async {
            let server = Server::find_agent(&agent, &environment, &cwd)?;
            explained(&server, watch::run(&server, screen)).await
        }),
        Some(Command::Sessions { command, agent }) => carry_out(async {
            let server = Server::find_agent(&agent, &environment, &cwd)?;
            let editor = environment.get("VISUAL").or_else(|| environment.get("EDITOR"));
            let variables = (environment.get("TERM"), editor);
            explained(&server, Box::pin(sessions::run(command, &server, screen, variables))).await
        }),
        Some(Command::Token { command, server }) => {
            carry_out(async { token::run(command, &find(&server)?, screen).await })
        }
        Some(Command::Erase { args, server }) => {
            carry_out(async { operate::erase(&args, server.caller(), &find(&server)?).await })
        }
        Some(Command::Reload(args)) => carry_out(async { operate::reload(&find(&args)?).await }),
        Some(Command::Drain { no_wait, server }) => {
            carry_out(async { operate::drain(&find(&server)?, no_wait).await })
        }
        Some(Command::Backup(args)) => carry_out(async { args.run(&environment, &cwd) }),
        Some(Command::Restore(args)) => carry_out(async { args.run(&environment, &cwd) }),
        Some(Command::Usage { args, server }) => {
            carry_out(async { usage::run(args, &find(&server)?, screen).await })
        }
        Some(Command::Card(args)) => carry_out(async {
            let server = Server::find_agent(&args.agent(), &environment, &cwd)?;
            explained(&server, card::run(args, &server, screen)).await
        }),
        Some(Command::Doctor(args)) => carry_out(doctor::run(args, &environment, &cwd, screen)),
        Some(Command::Setup(args)) => carry_out(setup::run(args, &environment, &cwd)),
        Some(Command::Healthcheck(args)) => {
            carry_out(async { healthcheck::run(&find(&args)?).await })
        }
        Some(Command::Completions { shell }) => {
            carry_out(async move { Ok(print_completions(shell).map(|()| 0)?) })
        }
        Some(Command::Man { folder }) => {
            carry_out(async move { Ok(clap_mangen::generate_to(command(), folder).map(|()| 0)?) })
        }
        Some(Command::Demo) => demo::run(),
    }
}

/// The folder in which it was started; where that cannot be read it is said why.
fn read_current_folder() -> Option<PathBuf> {
    let found = std::env::current_dir();
    found.inspect_err(|error| eprintln!("pilothouse: cannot read the current folder: {error}")).ok()
}

/// Carries out an answer to an ask.
fn answer(
    command: AnswerCommand,
    agent: &AgentArgs,
    environment: &Environment,
    cwd: &Path,
    screen: Screen,
) -> ExitCode {
    carry_out(async {
        let server = Server::find_agent(agent, environment, cwd)?;
        explained(&server, tasks::answer_ask(&command, &server, screen)).await
    })
}

/// Carries out a command of a client; what it did not find is explained by the agents that the server has.
async fn explained(
    server: &Server,
    work: impl Future<Output = Result<u8, Failure>>,
) -> Result<u8, Failure> {
    match work.await {
        Err(failure) => Err(server.explain(failure).await),
        done => done,
    }
}

/// Runs a command of a client to its end; its exit code, and why where it could not.
fn carry_out(work: impl Future<Output = Result<u8, Failure>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("pilothouse: cannot start its clock: {error}");
            return ExitCode::from(exit::UNAVAILABLE);
        }
    };
    let done = runtime.block_on(Box::pin(work));
    // A name that is still being looked up is no reason to wait.
    runtime.shutdown_background();
    match done {
        Ok(code) => ExitCode::from(code),
        Err(Failure { code, message, .. }) => {
            if !message.is_empty() {
                eprintln!("pilothouse: {message}");
            }
            ExitCode::from(code)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        command().debug_assert();
    }

    #[test]
    fn each_command_stands_in_one_group_of_the_help() {
        let mut grouped: Vec<&str> =
            GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        let command = command();
        let mut all: Vec<&str> = command
            .get_subcommands()
            .filter(|command| !command.is_hide_set())
            .map(clap::Command::get_name)
            .collect();
        grouped.sort_unstable();
        all.sort_unstable();
        assert_eq!(grouped, all);
    }

    #[test]
    fn a_shell_completes_each_id() {
        fn check(command: &clap::Command) {
            for id in command.get_arguments().filter(|argument| argument.get_id() == "id") {
                let is_completed = id.get::<clap_complete::engine::ArgValueCandidates>().is_some();
                assert!(is_completed, "`{}` takes an id that is not completed", command.get_name());
            }
            command.get_subcommands().for_each(check);
        }
        check(&command());
    }

    #[test]
    fn the_examples_of_the_help_can_be_run() {
        for line in EXAMPLES.lines().skip(1) {
            let (line, _) = line.trim().split_once("  ").unwrap();
            Cli::try_parse_from(shell_words::split(line).unwrap()).unwrap();
        }
    }

    #[test]
    fn a_misspelt_command_is_answered_with_the_one_that_is_meant() {
        for (wrong, right) in [("taks", "tasks"), ("aprove", "approve")] {
            let error = parse(vec!["pilothouse".into(), wrong.into()]).unwrap_err();
            assert!(error.to_string().contains(&format!("'{right}'")), "{error}");
        }
    }

    #[test]
    fn no_debug_output_of_the_command_line_shows_a_token() {
        let cli =
            Cli::try_parse_from(["pilothouse", "send", "hello", "--token", "s3cret"]).unwrap();
        assert!(!format!("{cli:?}").contains("s3cret"));
    }

    #[test]
    fn options_of_the_server_may_stand_behind_a_subcommand() {
        Cli::try_parse_from(["pilothouse", "tasks", "list", "--url", "http://127.0.0.1:1"])
            .unwrap();
        Cli::try_parse_from(["pilothouse", "sessions", "--url", "http://127.0.0.1:1", "show", "x"])
            .unwrap();
        for line in ["send hello", "tasks list", "tasks asks", "sessions list", "card"] {
            let words = format!("pilothouse {line} --agent other");
            Cli::try_parse_from(words.split(' ')).unwrap();
        }
    }
}
