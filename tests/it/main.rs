//! The house from outside: the real binary, real sockets, real processes, one fact per test.
//!
//! Each test builds a [`world::World`] of its own: a server on a free port with fresh folders and an
//! empty environment. When a world is dropped it asserts what no test remembers to: the server has
//! ended, and no process that it started is left.

#![expect(clippy::unwrap_used, reason = "a test may fail by panic, in its helpers too")]

mod bindings;
mod budgets;
mod building;
mod calling;
mod h2c;
mod http;
mod processes;
mod reading;
mod webhook;
mod world;

mod acp_bad;
mod acp_real;
mod activity;
mod agents;
mod asks;
mod attach;
mod audit;
mod audit_page;
mod bad_input;
mod bare;
mod bounds;
mod callers;
mod cancel;
mod cards;
mod chaos;
mod claude;
mod cli_agents;
mod cli_asks;
mod cli_complete;
mod cli_ids;
mod cli_terminal;
mod cli_watch;
mod clocks;
mod connections;
mod console;
mod containers;
mod contexts;
mod descriptors;
mod environment;
mod examples;
mod extensions;
mod failing_store;
mod fairness;
mod first_contact;
mod floods;
mod foreign;
mod grpc;
mod guards;
mod hostile;
mod imports;
mod input_required;
mod leaving;
mod lengths;
mod limits;
mod list;
mod many_agents;
mod memory;
mod names;
mod numbers;
mod offers;
mod openapi;
mod prompts;
mod proxies;
mod push;
mod races;
mod recovery;
mod repeats;
mod rest;
mod same_everywhere;
mod scripted_claude;
mod send;
mod signatures;
mod sizes;
mod slow_reader;
mod start;
mod steering;
mod stopping;
mod stream;
mod strict_client;
mod subscribe;
mod sweeping;
mod unread;
mod upgrades;
mod v0_1;
mod v0_3;
mod waits;
mod walls;
mod workspaces;
