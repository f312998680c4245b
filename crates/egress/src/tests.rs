//! The way out over real sockets of loopback, with names and upstreams of the tests' own.

mod credentials;
mod mixing;
mod models;
mod networks;
mod proxying;
mod repositories;
mod streams;
mod telemetry;
mod world;
