//! The `thalweg` command: subcommands, exit codes, how an error is printed.
//!
//! Owns the tree of subcommands and nothing of what they do: each has its own file. The client
//! commands work against any Kafka broker; `serve` runs ours; `segment` reads files and needs no
//! broker. Standard output carries results only; everything else goes to standard error.

mod banner;
mod broker;
mod config;
mod consume;
mod failure;
mod follow;
mod format;
mod group;
mod group_reset;
mod interrupt;
mod place;
mod preflight;
mod probe;
mod produce;
mod segment;
mod serve;
mod topic;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use failure::Failure;

/// A Kafka-protocol broker and its client commands.
#[derive(Debug, Parser)]
#[command(name = "thalweg", version, propagate_version = true, max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::ServeArguments),
    Topic(topic::TopicArguments),
    Group(group::GroupArguments),
    Config(config::ConfigArguments),
    Produce(produce::ProduceArguments),
    Consume(consume::ConsumeArguments),
    Segment(segment::SegmentArguments),
}

/// Run the command and print its error, if any.
pub fn run(arguments: &Arguments) -> ExitCode {
    let result = match &arguments.command {
        Command::Serve(arguments) => serve::run(arguments),
        Command::Topic(arguments) => topic::run(arguments),
        Command::Group(arguments) => group::run(arguments),
        Command::Config(arguments) => config::run(arguments),
        Command::Produce(arguments) => produce::run(arguments),
        Command::Consume(arguments) => consume::run(arguments),
        Command::Segment(arguments) => segment::run(arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
