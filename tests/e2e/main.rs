//! A real broker on loopback, one file per promise.

#[path = "../support/mod.rs"]
mod support;

mod admin;
mod commands;
mod cores;
mod damage;
mod deletion;
mod fetching;
mod flushing;
mod groups;
mod hostile;
mod idle;
mod kill;
mod lifecycle;
mod lookup;
mod machine;
mod page;
mod pressure;
mod repeats;
#[expect(dead_code, reason = "the sweep samples messages of one style")]
#[path = "../wire/sample.rs"]
mod sample;
mod sizes;
mod slow;
mod spread;
mod sweep;
mod threads;
mod turns;
