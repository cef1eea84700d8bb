//! A GopherShip node: the rooms of the daemon `gophership`, as a table of contents.

pub mod admin;
pub mod buffer;
pub mod certs;
pub mod cli;
pub mod config;
pub mod context;
pub mod control;
pub mod demo;
pub mod dev;
pub mod export;
mod flag;
mod health;
pub mod ingester;
pub mod limits;
pub mod logging;
pub mod machine;
pub mod metrics;
pub mod node_state;
mod operate;
pub mod preflight;
pub mod readiness;
mod reload;
mod replay;
pub mod run;
mod sink;
pub mod stochastic;
pub mod tls;
