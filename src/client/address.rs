//! Where a broker listens, as text: `host:port`, `host`, `[::1]:9092`.

use std::fmt;
use std::str::FromStr;

use crate::model::{show_address, split_address};

/// The port of Kafka's own examples.
const PORT_DEFAULT: u16 = 9092;

/// A host and a port; the host is looked up when a connection is made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BrokerAddress {
    /// Name or address, IPv6 without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl BrokerAddress {
    /// Read a list with commas between its parts, as in `bootstrap.servers`.
    ///
    /// # Errors
    /// Says which part is no address.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, String> {
        let list: Vec<Self> = text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        if list.is_empty() {
            return Err("no broker address; give host:port".into());
        }
        Ok(list)
    }
}

impl FromStr for BrokerAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = |why: &str| Err(format!("broker address {text:?}: {why}; give host:port"));
        let (host, port) = match split_address(text) {
            Ok(parts) => parts,
            Err(why) => return refuse(&why),
        };
        if host.is_empty() {
            return refuse("it has no host");
        }
        match port.unwrap_or(PORT_DEFAULT) {
            0 => refuse("port 0 is none"),
            port => Ok(Self { host: host.to_owned(), port }),
        }
    }
}

impl fmt::Display for BrokerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show_address(f, &self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        let show = |text: &str| text.parse::<BrokerAddress>().map(|a| a.to_string());
        for (text, shown) in [
            ("localhost", "localhost:9092"),
            ("10.0.0.1:1234", "10.0.0.1:1234"),
            ("[::1]:9", "[::1]:9"),
            ("[::1]", "[::1]:9092"),
            ("::1", "[::1]:9092"),
            ("PLAINTEXT://h:1", "h:1"),
        ] {
            assert_eq!(show(text).as_deref(), Ok(shown));
        }
        for bad in ["", ":9092", "h:0", "h:x", "h:70000", "[::1", "[::1]x", "SSL://h:1"] {
            assert!(show(bad).is_err(), "{bad:?}");
        }
        assert_eq!(BrokerAddress::parse_list("a:1, b:2,").unwrap().len(), 2);
        assert!(BrokerAddress::parse_list(" ,").is_err());
    }
}
