//! As much of HTTP/1.1 as a metrics page needs, as plain functions over bytes.
//!
//! The caller owns the socket: it reads until [`parse_head`] stops asking for more, writes the
//! [`response`] and closes. One request per connection, GET and HEAD only, no body, a bounded head.

/// Largest request head that is read; a scraper's is a few hundred bytes.
pub const HEAD_BYTES_MAX: usize = 8 * 1024;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// `/metrics`
    Metrics,
    /// `/healthz`
    Health,
}

/// What the bytes read so far amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// Not complete: read on.
    Incomplete,
    /// A page; `body` is false for HEAD.
    Page {
        /// The page.
        page: Page,
        /// Whether the answer carries its body.
        body: bool,
    },
    /// Answer with this status and close.
    Refuse(u16),
}

/// Look at the bytes read so far. Never asks for more than [`HEAD_BYTES_MAX`].
pub fn parse_head(bytes: &[u8]) -> Head {
    let window = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
    let Some(end) = window.windows(4).position(|four| four == b"\r\n\r\n") else {
        return if bytes.len() >= HEAD_BYTES_MAX { Head::Refuse(431) } else { Head::Incomplete };
    };
    let Some(Ok(line)) = window[..end].split(|byte| *byte == b'\r').next().map(str::from_utf8)
    else {
        return Head::Refuse(400);
    };
    let mut words = line.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Head::Refuse(400);
    };
    if !matches!(version, "HTTP/1.1" | "HTTP/1.0") || !target.starts_with('/') {
        return Head::Refuse(400);
    }
    let body = match method {
        "GET" => true,
        "HEAD" => false,
        _ => return Head::Refuse(405),
    };
    let path = target.split('?').next().unwrap_or(target);
    match path {
        "/metrics" => Head::Page { page: Page::Metrics, body },
        "/healthz" | "/livez" | "/readyz" => Head::Page { page: Page::Health, body },
        _ => Head::Refuse(404),
    }
}

/// An answer with `text` as its body; `body` false sends the head alone (HEAD).
pub fn response(status: u16, text: &str, body: bool) -> Vec<u8> {
    let reason = match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "Error",
    };
    let allow = if status == 405 { "Allow: GET, HEAD\r\n" } else { "" };
    let mut bytes = format!(
        "HTTP/1.1 {status} {reason}\r\n\
         Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
         Content-Length: {}\r\n{allow}Connection: close\r\n\r\n",
        text.len()
    )
    .into_bytes();
    if body {
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_found() {
        let page = |text: &str| parse_head(text.as_bytes());
        let metrics = Head::Page { page: Page::Metrics, body: true };
        assert_eq!(page("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"), metrics);
        assert_eq!(page("GET /metrics?a=b HTTP/1.0\r\n\r\nrest"), metrics);
        let health = Head::Page { page: Page::Health, body: false };
        assert_eq!(page("HEAD /healthz HTTP/1.1\r\n\r\n"), health);
        assert_eq!(page("GET / HTTP/1.1\r\n\r\n"), Head::Refuse(404));
        assert_eq!(page("POST /metrics HTTP/1.1\r\n\r\n"), Head::Refuse(405));
    }

    #[test]
    fn strangers_get_an_answer_and_no_more() {
        let refused = [
            &b"GET\r\n\r\n"[..],
            b"GET /metrics HTTP/2\r\n\r\n",
            b"GET  /metrics HTTP/1.1\r\n\r\n",
            b"GET http://x/metrics HTTP/1.1\r\n\r\n",
            b"\xff\xfe / HTTP/1.1\r\n\r\n",
            b"\r\n\r\n",
            b"GET /metrics HTTP/1.1 x\r\n\r\n",
        ];
        for bytes in refused {
            assert_eq!(parse_head(bytes), Head::Refuse(400), "{bytes:?}");
        }
        assert_eq!(parse_head(&[b'a'; HEAD_BYTES_MAX]), Head::Refuse(431));
        assert_eq!(parse_head(&[b'a'; HEAD_BYTES_MAX - 1]), Head::Incomplete);
        let mut late = vec![b'a'; HEAD_BYTES_MAX];
        late.extend_from_slice(b"\r\n\r\n");
        assert_eq!(parse_head(&late), Head::Refuse(431));
    }

    #[test]
    fn every_prefix_is_incomplete_and_every_byte_may_change() {
        let whole = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
        for end in 0..whole.len() {
            assert_eq!(parse_head(&whole[..end]), Head::Incomplete, "{end}");
        }
        for place in 0..whole.len() {
            for byte in [0, b' ', b'\r', b'\n', 0x80, 0xff] {
                let mut bytes = whole.to_vec();
                bytes[place] = byte;
                let _ = parse_head(&bytes);
            }
        }
    }

    #[test]
    fn answers_carry_their_length() {
        let text = String::from_utf8(response(200, "ok\n", true)).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        assert!(text.contains("Content-Length: 3\r\n") && text.ends_with("\r\n\r\nok\n"), "{text}");
        assert!(response(200, "ok\n", false).ends_with(b"\r\n\r\n"));
    }
}
