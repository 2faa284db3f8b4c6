//! Requests that foreign clients sent, recorded with `tests/support/record-frames`: each is read
//! whole, and written again gives the same bytes.

use bytes::Bytes;
use thalweg::protocol::{RequestBody, RequestHeader};
use thalweg::wire::{Reader, Writer};

const RECORDED: &str = include_str!("../fixtures/wire/foreign-clients.txt");

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks_exact(2);
    digits.map(|two| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

#[test]
fn what_foreign_clients_sent_is_read_and_written_alike() {
    let mut clients = std::collections::BTreeSet::new();
    for line in RECORDED.lines() {
        let mut words = line.split(' ');
        let mut word = || words.next().expect("client, key, version, frame");
        let (client, key, version, frame) = (word(), word(), word(), unhex(word()));
        clients.insert(client);
        let what = format!("{client}: API {key} version {version}");
        let mut reader = Reader::new(Bytes::from(frame.clone()));
        let header = RequestHeader::decode(&mut reader).expect(&what);
        assert_eq!(key.parse(), Ok(header.api_key as i16), "{what}");
        assert_eq!(version.parse(), Ok(header.api_version), "{what}");
        let body = RequestBody::decode(header.api_key, &mut reader, header.api_version);
        let body = body.unwrap_or_else(|error| panic!("{what}: {error}"));
        let mut writer = Writer::new();
        header.encode(&mut writer).expect(&what);
        body.encode(&mut writer, header.api_version).expect(&what);
        assert_eq!(writer.into_pieces().concat(), frame, "{what}");
    }
    assert_eq!(clients.len(), 5, "recordings of {clients:?}");
}
