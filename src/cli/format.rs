//! How `consume` prints a record: a format with `%` fields, or JSON.
//!
//! The fields are those of kcat and rpk where these agree.

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::model::{LeaderEpoch, Offset, PartitionIndex, TimestampMs};
use crate::record::Headers;

/// A record as it is printed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown<'a> {
    /// Empty where records come from a file: topic and partition are then left out of JSON.
    pub topic: &'a str,
    pub partition: PartitionIndex,
    pub offset: Offset,
    pub timestamp: TimestampMs,
    pub leader_epoch: LeaderEpoch,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: Headers<'a>,
}

/// Help for the language.
pub(super) const FORMAT_HELP: &str = "\
Format fields:
  %k key    %v value    %t topic    %p partition    %o offset    %T timestamp in ms
  %K, %V    length of key and value, -1 for null
  %h        headers as key=value with commas between them    %H their number
  %e        leader epoch                                     %% a percent sign
  %k{hex}, %v{hex}, %k{base64}, %v{base64}   binary keys and values
  \\n, \\t, \\r, \\0, \\\\, \\xNN                  characters; a line end is not added";

/// How bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Plain,
    Hex,
    Base64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    Key(Coding),
    Value(Coding),
    KeyBytes,
    ValueBytes,
    Topic,
    Partition,
    Offset,
    Timestamp,
    LeaderEpoch,
    Headers,
    HeaderCount,
}

/// A format that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Format(Vec<Piece>);

impl std::str::FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut plain = Vec::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            rest = &rest[c.len_utf8()..];
            match c {
                '%' => match field(&mut rest)? {
                    None => plain.push(b'%'),
                    Some(piece) => {
                        if !plain.is_empty() {
                            pieces.push(Piece::Text(std::mem::take(&mut plain)));
                        }
                        pieces.push(piece);
                    }
                },
                '\\' => plain.push(escape(&mut rest)?),
                c => plain.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self(pieces))
    }
}

/// The field behind a `%`; `None` for a percent sign itself.
fn field(rest: &mut &str) -> Result<Option<Piece>, String> {
    let Some(letter) = rest.chars().next() else {
        return Err("the format ends with a single '%'; write %% for a percent sign".into());
    };
    *rest = &rest[letter.len_utf8()..];
    let piece = match letter {
        '%' => return Ok(None),
        'k' => Piece::Key(coding(rest)?),
        'v' => Piece::Value(coding(rest)?),
        'K' => Piece::KeyBytes,
        'V' => Piece::ValueBytes,
        't' => Piece::Topic,
        'p' => Piece::Partition,
        'o' => Piece::Offset,
        'T' => Piece::Timestamp,
        'e' => Piece::LeaderEpoch,
        'h' => Piece::Headers,
        'H' => Piece::HeaderCount,
        other => {
            return Err(format!(
                "unknown format field %{other}; there are %k %v %K %V %t %p %o %T %e %h %H %%"
            ));
        }
    };
    Ok(Some(piece))
}

fn coding(rest: &mut &str) -> Result<Coding, String> {
    let Some(behind) = rest.strip_prefix('{') else { return Ok(Coding::Plain) };
    let (name, behind) = behind
        .split_once('}')
        .ok_or("the format has a '{' without '}' behind a field; write \\x7b for a brace")?;
    *rest = behind;
    match name {
        "hex" => Ok(Coding::Hex),
        "base64" => Ok(Coding::Base64),
        other => Err(format!("unknown coding {{{other}}}; there are {{hex}} and {{base64}}")),
    }
}

/// The character behind a backslash.
fn escape(rest: &mut &str) -> Result<u8, String> {
    let Some(c) = rest.chars().next() else {
        return Err("the format ends with a single backslash; write \\\\ for one".into());
    };
    *rest = &rest[c.len_utf8()..];
    Ok(match c {
        'n' => b'\n',
        't' => b'\t',
        'r' => b'\r',
        '0' => 0,
        '\\' => b'\\',
        'x' => {
            let digits = rest.get(..2).ok_or("\\x needs two hexadecimal digits")?;
            let byte = u8::from_str_radix(digits, 16)
                .map_err(|_| format!("\\x{digits}: not two hexadecimal digits"))?;
            *rest = &rest[2..];
            byte
        }
        other => {
            return Err(format!("unknown escape \\{other}; there are \\n \\t \\r \\0 \\\\ \\xNN"));
        }
    })
}

impl Format {
    /// Print one record; null prints as nothing.
    pub(super) fn print(&self, out: &mut impl Write, record: &Shown<'_>) -> io::Result<()> {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.write_all(text)?,
                Piece::Key(coding) => print_bytes(out, record.key, *coding)?,
                Piece::Value(coding) => print_bytes(out, record.value, *coding)?,
                Piece::KeyBytes => print_len(out, record.key)?,
                Piece::ValueBytes => print_len(out, record.value)?,
                Piece::Topic => write!(out, "{}", record.topic)?,
                Piece::Partition => write!(out, "{}", record.partition)?,
                Piece::Offset => write!(out, "{}", record.offset)?,
                Piece::Timestamp => write!(out, "{}", record.timestamp)?,
                Piece::LeaderEpoch => write!(out, "{}", record.leader_epoch)?,
                Piece::HeaderCount => write!(out, "{}", record.headers.len())?,
                Piece::Headers => print_headers(out, record.headers)?,
            }
        }
        Ok(())
    }
}

fn print_bytes(out: &mut impl Write, bytes: Option<&[u8]>, coding: Coding) -> io::Result<()> {
    let bytes = bytes.unwrap_or_default();
    match coding {
        Coding::Plain => out.write_all(bytes),
        Coding::Hex => bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}")),
        Coding::Base64 => out.write_all(base64(bytes).as_bytes()),
    }
}

fn print_len(out: &mut impl Write, bytes: Option<&[u8]>) -> io::Result<()> {
    match bytes {
        Some(bytes) => write!(out, "{}", bytes.len()),
        None => write!(out, "-1"),
    }
}

fn print_headers(out: &mut impl Write, headers: Headers<'_>) -> io::Result<()> {
    for (i, (key, value)) in headers.enumerate() {
        if i > 0 {
            out.write_all(b",")?;
        }
        out.write_all(key)?;
        out.write_all(b"=")?;
        out.write_all(value.unwrap_or_default())?;
    }
    Ok(())
}

/// Print one record as a line of JSON. Bytes that are no UTF-8 become `{"base64": "..."}`.
pub(super) fn print_json_line(out: &mut impl Write, record: &Shown<'_>) -> io::Result<()> {
    let header = |(key, value): (&[u8], Option<&[u8]>)| {
        let (key, value) = (text(Some(key)), text(value));
        json!({"key": key, "value": value})
    };
    let mut line = json!({
        "offset": record.offset,
        "timestamp": record.timestamp,
        "key": text(record.key),
        "value": text(record.value),
        "headers": record.headers.map(header).collect::<Vec<_>>(),
    });
    if !record.topic.is_empty() {
        line["topic"] = Value::from(record.topic);
        line["partition"] = Value::from(record.partition);
    }
    serde_json::to_writer(&mut *out, &line)?;
    out.write_all(b"\n")
}

fn text(bytes: Option<&[u8]>) -> Value {
    match bytes {
        None => Value::Null,
        Some(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Value::from(text),
            Err(_) => json!({"base64": base64(bytes)}),
        },
    }
}

/// RFC 4648, standard alphabet, padded.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut group = [0u8; 3];
        group[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        for i in 0..4 {
            if i <= chunk.len() {
                let digit = (bits >> (18 - 6 * i)) & 0x3f;
                text.push(char::from(ALPHABET[digit as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{BatchBuilder, BatchView};

    fn show(format: &str, print: impl Fn(&mut Vec<u8>, &Shown<'_>, &str)) -> String {
        let mut builder = BatchBuilder::default();
        let headers: [(&[u8], Option<&[u8]>); 2] = [(b"a", Some(b"1")), (b"b", None)];
        builder.append(1000, Some(b"k\xff"), None, &headers).unwrap();
        let batch = builder.finish().unwrap();
        let record = BatchView::first(batch).unwrap().records().next().unwrap().unwrap();
        let shown = Shown {
            topic: "t",
            partition: 3,
            offset: 42,
            timestamp: 1000,
            leader_epoch: 7,
            key: record.key,
            value: record.value,
            headers: record.headers,
        };
        let mut out = Vec::new();
        print(&mut out, &shown, format);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn every_field_prints() {
        let with_format = |out: &mut Vec<u8>, shown: &Shown<'_>, format: &str| {
            format.parse::<Format>().unwrap().print(out, shown).unwrap();
        };
        let shown =
            show("%t-%p@%o %T e%e %K:%k{hex}:%k{base64} %V[%v] %H(%h) %%\\x41\\n", with_format);
        assert_eq!(shown, "t-3@42 1000 e7 2:6bff:a/8= -1[] 2(a=1,b=) %A\n");
    }

    #[test]
    fn json_keeps_null_binary_and_header_order() {
        let line = show("", |out, shown, _| print_json_line(out, shown).unwrap());
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["key"], json!({"base64": "a/8="}));
        assert_eq!(value["value"], Value::Null);
        let headers = json!([{"key": "a", "value": "1"}, {"key": "b", "value": null}]);
        assert_eq!(value["headers"], headers);
        assert_eq!((&value["offset"], &value["timestamp"]), (&json!(42), &json!(1000)));
    }

    #[test]
    fn wrong_formats_say_what_is_wrong() {
        for (format, expected) in [
            ("%", "%%"),
            ("%q", "%q"),
            ("\\", "backslash"),
            ("\\q", "\\q"),
            ("\\x4", "two hexadecimal"),
            ("\\xgg", "two hexadecimal"),
            ("%v{hex", "without '}'"),
            ("%v{rot13}", "rot13"),
        ] {
            let error = format.parse::<Format>().unwrap_err();
            assert!(error.contains(expected), "{format}: {error}");
        }
    }

    #[test]
    fn base64_is_rfc_4648s() {
        let vectors =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")];
        for (plain, coded) in vectors {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}
