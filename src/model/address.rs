//! A host and a port as text: `host:port`, `host`, `[::1]:9092`, each also behind `PLAINTEXT://`.
//! What may be missing is decided by whoever asks.

use std::fmt;

/// Read an address: its host without brackets, and its port if it names one. More than one colon
/// outside brackets is an IPv6 address without a port.
///
/// # Errors
/// Says what is wrong in words that follow the text.
pub fn split_address(text: &str) -> Result<(&str, Option<u16>), String> {
    // A listener of Kafka's configuration is often pasted where an address belongs.
    let rest = match text.split_once("://") {
        None => text,
        Some(("PLAINTEXT", rest)) => rest,
        Some((other, _)) => return Err(format!("the protocol {other} is not there; PLAINTEXT is")),
    };
    let (host, port) = match rest.strip_prefix('[') {
        Some(inner) => match inner.split_once(']') {
            Some((host, "")) => (host, None),
            Some((host, port)) => match port.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None => return Err("something other than :port follows the bracket".into()),
            },
            None => return Err("the bracket is not closed".into()),
        },
        None if rest.matches(':').count() > 1 => (rest, None),
        None => match rest.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        },
    };
    if host.len() > 253 || host.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("the host is no name or address".into());
    }
    let port = match port {
        None => None,
        Some(port) => {
            let wrong = |_| format!("{port:?} is no port (0 to 65535)");
            Some(port.parse().map_err(wrong)?)
        }
    };
    Ok((host, port))
}

/// Write a host and a port, an IPv6 address in brackets.
///
/// # Errors
/// Those of the formatter.
pub fn show_address(f: &mut fmt::Formatter<'_>, host: &str, port: u16) -> fmt::Result {
    if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
}
