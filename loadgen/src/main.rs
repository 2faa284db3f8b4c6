//! The `loadgen` command.

mod admin;
mod batch;
mod clock;
mod compress;
mod connection;
mod consume;
mod histogram;
mod pace;
mod payload;
mod plan;
mod poll;
mod produce;
mod recorder;
mod request;
mod verify;

fn main() {}
