//! The way out over real sockets of loopback, with names and upstreams of the tests' own.

mod mixing;
mod models;
mod passes;
mod proxying;
mod repositories;
mod streams;
mod world;
