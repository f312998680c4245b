//! The command line: what may be said, and who carries it out.

mod config;
mod demo;
mod doctor;
mod healthcheck;
mod serve;

use crate::client::failure::Failure;
use crate::client::local::{AgentArgs, Server, ServerArgs};
use crate::client::terminal::Screen;
use crate::client::{card, exit, send, sessions, tasks};
use crate::config::{Environment, Flags};
use clap::{CommandFactory, Parser, Subcommand};
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
    /// List, show, attach to and fork sessions
    Sessions {
        #[command(subcommand)]
        command: sessions::SessionsCommand,
        #[command(flatten)]
        agent: AgentArgs,
    },
    /// Fetch an agent's card and check it
    Card(card::CardArgs),
    /// Find what is wrong before a user does
    Doctor(doctor::DoctorArgs),
    /// Exit with 0 when the server answers
    Healthcheck(ServerArgs),
    /// Print the completions of a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
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

/// Carries out what the command line says.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let environment = Environment::of_process();
    let cwd = match std::env::current_dir() {
        Ok(cwd) => cwd,
        Err(error) => {
            eprintln!("pilothouse: cannot read the current folder: {error}");
            return ExitCode::from(exit::UNAVAILABLE);
        }
    };
    let screen = Screen::of_process(&environment);
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
            explained(&server, send::run(args, &server, screen, input)).await
        }),
        Some(Command::Tasks { command, agent }) => carry_out(async {
            let server = Server::find_agent(&agent, &environment, &cwd)?;
            explained(&server, tasks::run(command, &server, screen)).await
        }),
        Some(Command::Approve { args, agent }) => {
            answer(tasks::AnswerCommand::Approve(args), &agent, &environment, &cwd, screen)
        }
        Some(Command::Deny { args, agent }) => {
            answer(tasks::AnswerCommand::Deny(args), &agent, &environment, &cwd, screen)
        }
        Some(Command::Answer { args, agent }) => {
            answer(tasks::AnswerCommand::Answer(args), &agent, &environment, &cwd, screen)
        }
        Some(Command::Sessions { command, agent }) => carry_out(async {
            let server = Server::find_agent(&agent, &environment, &cwd)?;
            let term = environment.get("TERM");
            explained(&server, sessions::run(command, &server, screen, term)).await
        }),
        Some(Command::Card(args)) => carry_out(async {
            let server = Server::find_agent(&args.agent(), &environment, &cwd)?;
            explained(&server, card::run(args, &server, screen)).await
        }),
        Some(Command::Doctor(args)) => carry_out(doctor::run(args, &environment, &cwd, screen)),
        Some(Command::Healthcheck(args)) => {
            carry_out(async { healthcheck::run(&Server::find(&args, &environment, &cwd)?).await })
        }
        Some(Command::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "pilothouse", &mut script);
            carry_out(async move {
                Ok(std::io::Write::write_all(&mut std::io::stdout(), &script).map(|()| 0)?)
            })
        }
        Some(Command::Demo) => demo::run(),
    }
}

/// Carries out an answer to an ask.
fn answer(
    command: tasks::AnswerCommand,
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
        Cli::command().debug_assert();
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
