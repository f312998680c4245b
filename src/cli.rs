//! The command line: what may be said, and who carries it out.

mod config;
mod demo;
mod serve;

use crate::config::{Environment, Flags, LogFormat, load};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Exit codes, beside those of `send`. After `sysexits.h` where it has one.
pub mod exit {
    /// Something outside failed (`EX_UNAVAILABLE`).
    pub const UNAVAILABLE: u8 = 69;
    /// The configuration cannot be used (`EX_CONFIG`).
    pub const CONFIG: u8 = 78;
}

/// Runs any CLI coding agent as an isolated, self-hosted A2A agent
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server (also without a command)
    Serve(ServeArgs),
    /// What is configured, whether a file is right, the schema
    Config {
        #[command(subcommand)]
        command: config::ConfigCommand,
        /// The configuration file
        #[arg(short, long, global = true)]
        config: Option<PathBuf>,
    },
    /// The demo agent; started by the server
    #[command(name = crate::agent::DEMO_COMMAND, hide = true)]
    Demo,
}

/// Options of `serve`.
#[derive(Debug, Args)]
struct ServeArgs {
    /// Port to listen on (2222)
    #[arg(short, long)]
    port: Option<u16>,
    /// Address to listen on (127.0.0.1)
    #[arg(short = 'H', long)]
    host: Option<String>,
    /// Folder that the sessions work in (./workspace)
    #[arg(short, long)]
    workspace: Option<PathBuf>,
    /// Configuration file (./pilothouse.yaml)
    #[arg(short, long)]
    config: Option<PathBuf>,
    /// Seconds that one turn may take (3600)
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// JSONL file of every line that an agent writes
    #[arg(long, value_name = "FILE")]
    log_path: Option<PathBuf>,
    /// error, warn, info, debug, trace, or a filter (info)
    #[arg(long)]
    log_level: Option<String>,
    /// pretty or json (pretty)
    #[arg(long, value_parser = log_format)]
    log_format: Option<LogFormat>,
    /// Folder of the store, the token and the sessions' homes
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Name on the agent's card
    #[arg(long, value_name = "NAME")]
    agent_name: Option<String>,
    /// Script that runs once in each new session's workspace (./.init-session.sh)
    #[arg(long, value_name = "FILE")]
    init_session: Option<PathBuf>,
    /// Folder that seeds each session's own .claude
    #[arg(long, value_name = "DIR")]
    claude_defaults_dir: Option<PathBuf>,
    /// Agent that serves: a name in `agents`, or auto (auto)
    #[arg(long)]
    agent: Option<String>,
    /// Ask for no token; on a loopback address only
    #[arg(long)]
    no_auth: bool,
    /// With --no-auth: on any address
    #[arg(long)]
    insecure: bool,
    /// Arguments for the agent's program
    #[arg(last = true, value_name = "AGENT_ARGS")]
    agent_args: Vec<String>,
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "pretty" => Ok(LogFormat::Pretty),
        "json" => Ok(LogFormat::Json),
        _ => Err("pretty or json".to_owned()),
    }
}

impl From<ServeArgs> for Flags {
    fn from(args: ServeArgs) -> Self {
        Self {
            port: args.port,
            host: args.host,
            workspace: args.workspace,
            config: args.config,
            timeout: args.timeout,
            log_path: args.log_path,
            log_level: args.log_level,
            log_format: args.log_format,
            state_dir: args.state_dir,
            agent_name: args.agent_name,
            init_session: args.init_session,
            claude_defaults_dir: args.claude_defaults_dir,
            agent: args.agent,
            no_auth: args.no_auth,
            insecure: args.insecure,
            agent_args: args.agent_args,
        }
    }
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
    match cli.command {
        None => serve::run(&cli.serve.into(), &environment, &cwd),
        Some(Command::Serve(args)) => serve::run(&args.into(), &environment, &cwd),
        Some(Command::Config { command, config }) => {
            let flags = Flags { config, ..Flags::default() };
            let loaded = || load(&flags, &environment, &cwd);
            ExitCode::from(config::run(command, loaded, &mut std::io::stdout().lock()))
        }
        Some(Command::Demo) => demo::run(),
    }
}
