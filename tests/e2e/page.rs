//! The metrics page of a broker, read.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

/// A port for a metrics page.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port()
}

/// The page now.
pub(crate) fn page(metrics: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", metrics)).expect("connecting to /metrics");
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").expect("asking");
    let mut page = String::new();
    stream.read_to_string(&mut page).expect("the page");
    page
}

/// Sum of a count over the shards.
pub(crate) fn counted(page: &str, name: &str, label: &str) -> u64 {
    values(page, name, label).map(|value| value.parse::<u64>().expect("a whole number")).sum()
}

/// Sum of a time over the shards, in seconds.
pub(crate) fn seconds(page: &str, name: &str, label: &str) -> f64 {
    values(page, name, label).map(|value| value.parse::<f64>().expect("a number")).sum()
}

fn values<'a>(page: &'a str, name: &str, label: &str) -> impl Iterator<Item = &'a str> {
    let lines = page.lines().filter(|line| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{') && rest.contains(label))
    });
    let values: Vec<&str> = lines.filter_map(|line| line.rsplit(' ').next()).collect();
    assert!(!values.is_empty(), "the page has no {name} with {label}:\n{page}");
    values.into_iter()
}
