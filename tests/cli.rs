//! The `thalweg` command as people and scripts see it: output, exit codes, errors. No broker.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use thalweg::record::{BatchBuilder, Codec};

fn thalweg(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_thalweg")).args(arguments).output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Bytes of the first batch below: its header, a record of 15 bytes and one of 7.
const FIRST_BYTES: usize = 61 + 15 + 7;

/// A segment with a gap in its offsets (as compaction leaves) and a compressed batch.
fn segment(dir: &Path) -> (PathBuf, Vec<u8>) {
    let mut bytes = Vec::new();
    let mut plain = BatchBuilder::new(Codec::None);
    plain.append(1000, Some(b"k"), Some(b"one"), &[(b"h", Some(b"x"))]).unwrap();
    plain.append(1005, None, None, &[]).unwrap();
    plain.set_place(100, 3);
    bytes.extend_from_slice(plain.finish().unwrap());
    let mut packed = BatchBuilder::new(Codec::Zstd);
    packed.append(2000, None, Some(&[0xff, 0x00]), &[]).unwrap();
    packed.set_place(110, 3);
    packed.set_producer(7, 1, 40);
    bytes.extend_from_slice(packed.finish().unwrap());
    let path = dir.join("00000000000000000100.log");
    fs::write(&path, &bytes).unwrap();
    (path, bytes)
}

#[test]
fn usage_errors_have_exit_code_2() {
    for arguments in [
        &["frobnicate"][..],
        &["topic", "create"],
        &["topic", "create", "t", "--config", "novalue"],
        &["topic", "create", "t", "-p", "0"],
        &["topic", "alter", "t"],
        &["config", "get"],
        &["config", "set", "--topic", "t"],
        &["config", "set", "--entity-type", "brokers", "--entity-name", "x", "a=b"],
        &["consume", "t", "-f", "%q"],
        &["consume", "t", "-o", "soon"],
        &["produce", "t", "-z", "brotli"],
        &["produce", "t", "--tombstone"],
        &["consume", "t", "-b", "host:port"],
        &["segment", "verify"],
        &["group", "describe"],
        &["group", "delete"],
        &["group", "reset-offsets", "g", "--topic", "t"],
        &["group", "reset-offsets", "g", "--to-earliest"],
        &["group", "reset-offsets", "g", "--topic", "t:x", "--to-earliest"],
        &["group", "reset-offsets", "g", "--topic", "t", "--to-earliest", "--to-latest"],
        &["group", "reset-offsets", "g", "--topic", "t", "--by-duration", "15m"],
    ] {
        let output = thalweg(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).starts_with("error: "), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn an_unreachable_broker_is_one_clear_line_and_exit_code_1() {
    // A port that was free a moment ago.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    for arguments in [&["topic", "list"][..], &["consume", "t"], &["produce", "t", "--value", "v"]]
    {
        let output = thalweg(&[arguments, &["-b", &address]].concat());
        assert_eq!(output.status.code(), Some(1));
        let expected = format!(
            "error: cannot connect to {address}: connection refused; is a broker running there, \
             on this port?\n"
        );
        assert_eq!(text(&output.stderr), expected);
    }
}

#[test]
fn every_command_has_help_with_an_example() {
    for arguments in [
        &["topic", "create"][..],
        &["topic", "list"],
        &["topic", "describe"],
        &["topic", "alter"],
        &["topic", "delete"],
        &["config", "get"],
        &["config", "set"],
        &["produce"],
        &["consume"],
        &["segment", "dump"],
        &["segment", "verify"],
    ] {
        let output = thalweg(&[arguments, &["--help"]].concat());
        assert_eq!(output.status.code(), Some(0));
        let help = text(&output.stdout);
        let example = format!("  thalweg {}", arguments.join(" "));
        let line =
            help.lines().any(|line| line.contains(example.trim_start()) && line.contains(' '));
        assert!(help.contains("Example") && line, "{arguments:?}: {help}");
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{arguments:?}");
    }
}

#[test]
fn a_good_segment_is_dumped_and_verified() {
    let dir = tempfile::tempdir().unwrap();
    let (path, bytes) = segment(dir.path());
    let path = path.to_str().unwrap();
    let verified = thalweg(&["segment", "verify", path]);
    assert_eq!(verified.status.code(), Some(0));
    let expected = format!("{path}: ok: 2 batches, 3 records, offsets 100 to 110\n");
    assert_eq!(text(&verified.stdout), expected);

    let dumped = thalweg(&["segment", "dump", "--print-records", path]);
    assert_eq!(dumped.status.code(), Some(0));
    let dump = text(&dumped.stdout);
    let lines: Vec<&str> = dump.lines().collect();
    assert_eq!(lines.len(), 6, "{dump}");
    let first = "position 0 bytes 83 offsets 100..101 records 2 epoch 3 codec none CreateTime \
                 1000..1005 crc ";
    assert!(lines[1].starts_with(first) && lines[1].ends_with(" ok"), "{dump}");
    let record: serde_json::Value = serde_json::from_str(lines[2]).unwrap();
    let expected = serde_json::json!({
        "offset": 100, "timestamp": 1000, "key": "k", "value": "one",
        "headers": [{"key": "h", "value": "x"}],
    });
    assert_eq!(record, expected);
    assert!(lines[3].contains(r#""key":null,"offset":101,"#), "{dump}");
    assert!(lines[4].starts_with("position 83 ") && lines[4].contains(" codec zstd "), "{dump}");
    assert!(lines[4].contains(" producer 7 epoch 1 sequence 40 crc "), "{dump}");
    assert!(lines[5].contains(r#""value":{"base64":"/wA="}"#), "{dump}");

    // Zeroes behind the batches: allocated, not yet written.
    let padded = dir.path().join("padded.log");
    fs::write(&padded, [&bytes[..], &[0; 5000]].concat()).unwrap();
    let output = thalweg(&["segment", "verify", padded.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0));
    let told = format!("5000 zero bytes follow byte {}", bytes.len());
    assert!(text(&output.stdout).contains(&told));
}

#[test]
fn a_damaged_segment_is_named_with_place_and_exit_code_1() {
    let dir = tempfile::tempdir().unwrap();
    let (_, bytes) = segment(dir.path());
    let check = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        let output = thalweg(&["segment", "verify", path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert!(output.stderr.is_empty());
        text(&output.stdout)
    };
    // A flipped bit in the second batch leaves the first one good.
    let mut flipped = bytes.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let told = check("flipped.log", &flipped);
    assert!(told.contains("at byte 83: the checksum is"), "{told}");
    assert!(told.contains("FAULTY: 2 batches"), "{told}");
    // Cut off inside the second batch.
    let told = check("cut.log", &bytes[..bytes.len() - 1]);
    assert!(told.contains("at byte 83: a batch of") && told.contains("1 batch,"), "{told}");
    // The same batches once more: offsets go back.
    let told = check("twice.log", &[&bytes[..], &bytes[..FIRST_BYTES]].concat());
    assert!(told.contains("base offset 100 where at least 111 is due"), "{told}");
    // A file named for a later offset.
    let told = check("00000000000000000105.log", &bytes);
    assert!(told.contains("at byte 0: base offset 100 where at least 105 is due"), "{told}");
    // Not a segment at all.
    let told = check("text.log", b"The quick brown fox jumps over the lazy dog, twice a day.");
    assert!(told.contains("at byte 0: ") && told.contains("0 batches"), "{told}");
    // Sound batch, unsound record: the checksum fits, the record count does not.
    let mut lying = bytes[..FIRST_BYTES].to_vec();
    lying[57..61].copy_from_slice(&1i32.to_be_bytes());
    let crc = crc32c::crc32c(&lying[21..]);
    lying[17..21].copy_from_slice(&crc.to_be_bytes());
    let told = check("lying.log", &lying);
    assert!(told.contains("record 1 would begin in bytes behind the counted records"), "{told}");
}

/// A broker writes whole blocks; the end of the last batch stays in its journal for a while.
#[test]
fn a_last_batch_whose_end_is_not_written_is_no_fault() {
    const BLOCK: usize = 4096;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("00000000000000000000.log");
    let verify = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let output = thalweg(&["segment", "verify", path.to_str().unwrap()]);
        (output.status.code(), text(&output.stdout))
    };
    let mut builder = BatchBuilder::new(Codec::None);
    builder.append(0, None, Some(&[b'x'; 5000]), &[]).unwrap();
    builder.set_place(0, 0);
    let first = builder.finish().unwrap().to_vec();
    builder.clear();
    builder.append(0, None, Some(&[b'y'; 30_000]), &[]).unwrap();
    builder.set_place(1, 0);
    let whole = [&first[..], builder.finish().unwrap()].concat();
    let written = whole.len() / BLOCK * BLOCK;
    let file = |bytes: &[u8], written: usize| {
        let mut file = bytes[..written].to_vec();
        file.resize(16 * BLOCK, 0);
        file
    };
    let unfinished = |told: &str, at: usize| {
        told.contains(&format!("which begins at byte {at}, is not in this file yet: a broker runs"))
    };
    assert_eq!(verify(&file(&whole, whole.len())).0, Some(0));
    // Most of the batch, its first block alone, and not even the whole of its header.
    for written in [written, 2 * BLOCK] {
        let (code, told) = verify(&file(&whole, written));
        assert_eq!(code, Some(0), "{told}");
        assert!(told.contains("ok: 1 batch,") && unfinished(&told, first.len()), "{told}");
    }
    for at in [12, 20, 30] {
        let before = BLOCK - at;
        let mut longer = BatchBuilder::new(Codec::None);
        longer.append(0, None, Some(&vec![b'x'; before - 70]), &[]).unwrap();
        longer.set_place(0, 0);
        let longer = longer.finish().unwrap().to_vec();
        assert_eq!(longer.len(), before);
        let both = [&longer[..], &whole[first.len()..]].concat();
        let (code, told) = verify(&file(&both, BLOCK));
        assert_eq!(code, Some(0), "{at} bytes of the header: {told}");
        assert!(unfinished(&told, longer.len()), "{told}");
        // None of the header, but something behind it.
        let mut hole = file(&longer, longer.len());
        hole[2 * BLOCK] = 1;
        assert_eq!(verify(&hole).0, Some(1), "a hole of {at} bytes before a block");
    }
    // Damage is damage: in the middle of the last batch, or with something behind the hole.
    for (at, with) in [(first.len() + 1000, 1), (whole.len() - 10, 1), (15 * BLOCK, 1)] {
        let mut damaged = file(&whole, if at < written { whole.len() } else { written });
        damaged[at] ^= with;
        let (code, told) = verify(&damaged);
        assert_eq!(code, Some(1), "{at}: {told}");
        assert!(told.contains("FAULTY"), "{told}");
    }
    // A sealed file has no room behind its last batch.
    let mut sealed = file(&whole, written);
    sealed.truncate(whole.len());
    assert_eq!(verify(&sealed).0, Some(1));
}

/// What looks like damage at the end of a segment that is written to may be what the file held
/// when it was another one's.
#[test]
fn only_a_segment_with_later_ones_is_faulty_for_certain() {
    let dir = tempfile::tempdir().unwrap();
    let (path, bytes) = segment(dir.path());
    fs::write(&path, [&bytes[..], &bytes[..FIRST_BYTES]].concat()).unwrap();
    let verify = || {
        let output = thalweg(&["segment", "verify", path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1));
        text(&output.stdout)
    };
    let doubt = format!("an earlier use of the file from byte {} on", bytes.len());
    assert!(verify().contains(&doubt), "{}", verify());
    for beside in ["00000000000000000099.log", "notes.log", "00000000000000000111.index"] {
        fs::write(dir.path().join(beside), b"").unwrap();
        assert!(verify().contains(&doubt), "{beside}");
    }
    fs::write(dir.path().join("00000000000000000111.log"), b"").unwrap();
    assert!(!verify().contains("earlier use"), "{}", verify());
}

#[test]
fn what_is_no_segment_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["00000000000000000000.index", "00000000000000000000.timeindex"] {
        let path = dir.path().join(name);
        fs::write(&path, [0; 8]).unwrap();
        for command in ["verify", "dump"] {
            let output = thalweg(&["segment", command, path.to_str().unwrap()]);
            assert_eq!(output.status.code(), Some(1), "{name}");
            let told = text(&output.stdout);
            assert!(told.contains("this is no segment") && told.contains(".log"), "{told}");
            assert!(!told.contains("ok") && !told.contains("FAULTY"), "{told}");
        }
    }
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("many.log");
    let mut bytes = Vec::new();
    let mut builder = BatchBuilder::new(Codec::None);
    for i in 0..20_000 {
        builder.clear();
        builder.append(i, None, Some(b"v"), &[]).unwrap();
        builder.set_place(i, 0);
        bytes.extend_from_slice(builder.finish().unwrap());
    }
    fs::write(&path, &bytes).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_thalweg"))
        .args(["segment", "dump", path.to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // More than a pipe holds is still to come when its reader goes.
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stderr), "");
}
