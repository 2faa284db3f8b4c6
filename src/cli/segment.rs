//! `thalweg segment`: look into log segment files and check them, without a broker.
//!
//! Reads Kafka's own segments as well as ours: both are record batches one after the other. One
//! batch is held at a time. A file that a broker has open may end in zeroes (room that is
//! allocated, not yet written), within its last batch, too, whose end is then in the broker's
//! journal; that is told and is no fault. Room that was used before holds old bytes instead, which
//! nothing in the file tells from damage: of a file that may be written to, that is told too.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::Failure;
use super::broker::stdout;
use super::format::{Shown, print_json_line};
use super::topic::plural;
use crate::disk::block_floor;
use crate::model::TimestampType;
use crate::record::{BATCH_HEADER_BYTES, BatchFault, BatchView, Codec, Records, decompress};

/// Most bytes that one batch may decompress to.
const DECOMPRESSED_BYTES_MAX: usize = 512 << 20;

/// Look into log segment files, or check them
#[derive(Debug, Args)]
pub(super) struct SegmentArguments {
    #[command(subcommand)]
    command: SegmentCommand,
}

#[derive(Debug, Subcommand)]
enum SegmentCommand {
    Dump(DumpArguments),
    Verify(VerifyArguments),
}

/// Print the batches of segment files
///
/// Goes on to the end of what can be read; exit code 1 when something does not check. What a
/// broker that runs, or was killed, has in its journal only is left out; a last batch of which the
/// beginning is there is told.
///
/// Example: thalweg segment dump --print-records 00000000000000000000.log
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
struct DumpArguments {
    /// Segment files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Print the records too, each as a line of JSON
    #[arg(long)]
    print_records: bool,
}

/// Check segment files: lengths, checksums, order of offsets, every record
///
/// Prints one line for each file, for each fault, and for space not yet written. Exit code 1 when
/// there is a fault.
///
/// In a file that a broker has open, or had when it was killed, the end of the last batch may not
/// be there yet: the broker's journal has it, and the next start writes it. That is no fault. Where
/// the file was used before, its old bytes are there instead, and look like one: of the newest
/// segment of a log, believe a fault only when the broker was stopped.
///
/// Example: thalweg segment verify thalweg-data/logs/*/*/*.log
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
struct VerifyArguments {
    /// Segment files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub(super) fn run(arguments: &SegmentArguments) -> Result<(), Failure> {
    let mut out = stdout();
    let mut faults = 0;
    match &arguments.command {
        SegmentCommand::Dump(arguments) => {
            for path in &arguments.files {
                if is_other(&mut out, path)? {
                    faults += 1;
                    continue;
                }
                writeln!(out, "{}", path.display())?;
                let found = read_segment(path, &mut |place, batch| {
                    print_batch(&mut out, place, batch)?;
                    if arguments.print_records { print_records(&mut out, batch) } else { Ok(()) }
                })?;
                faults += print_faults(&mut out, path, &found)?;
                print_tail(&mut out, &found)?;
            }
        }
        SegmentCommand::Verify(arguments) => {
            for path in &arguments.files {
                if is_other(&mut out, path)? {
                    faults += 1;
                    continue;
                }
                let found = read_segment(path, &mut |_, _| Ok(()))?;
                faults += print_faults(&mut out, path, &found)?;
                let noun = if found.batches == 1 { "batch" } else { "batches" };
                let batches = format!("{} {noun}", found.batches);
                let records = plural(found.records, "record");
                let range = found
                    .offsets
                    .map_or(String::new(), |(first, last)| format!(", offsets {first} to {last}"));
                let state = if found.faults.is_empty() { "ok" } else { "FAULTY" };
                writeln!(out, "{}: {state}: {batches}, {records}{range}", path.display())?;
                print_tail(&mut out, &found)?;
            }
        }
    }
    out.flush()?;
    if faults > 0 { Err(Failure::Reported) } else { Ok(()) }
}

/// What a segment holds.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    batches: usize,
    records: usize,
    /// First and last offset.
    offsets: Option<(i64, i64)>,
    /// Byte position and what is wrong there.
    faults: Vec<(u64, String)>,
    /// Zero bytes at the end.
    zeroes: u64,
    /// Where whole batches end.
    end: u64,
    /// Whether a batch begins there whose end is not written yet.
    is_unfinished: bool,
}

/// Most faults that are remembered of one file.
const FAULTS_MAX: usize = 100;

/// Ends of names in a data directory that are no segments.
const OTHER_FILES: [&str; 4] = ["index", "timeindex", "txnindex", "snapshot"];

/// Say that a file is no segment, if its name says so.
fn is_other(out: &mut impl Write, path: &Path) -> Result<bool, Failure> {
    let end = path.extension().and_then(|end| end.to_str()).unwrap_or_default();
    let is_other = OTHER_FILES.contains(&end);
    if is_other {
        let shown = path.display();
        writeln!(out, "{shown}: this is no segment but a .{end} file; give the .log beside it")?;
    }
    Ok(is_other)
}

type SeeBatch<'a> = &'a mut dyn FnMut(u64, &BatchView<'_>) -> Result<(), Failure>;

/// Read a segment batch by batch. A faulty batch whose length can be believed is stepped over;
/// after one that cannot, reading ends.
fn read_segment(path: &Path, see: SeeBatch<'_>) -> Result<Found, Failure> {
    let failed =
        |error: std::io::Error| Failure::Error(format!("cannot read {}: {error}", path.display()));
    let file = File::open(path).map_err(failed)?;
    let file_bytes = file.metadata().map_err(failed)?.len();
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut found = Found::default();
    let mut next_offset = named_offset(path).unwrap_or(i64::MIN);
    let mut bytes = Vec::new();
    while found.end < file_bytes && found.faults.len() < FAULTS_MAX {
        let left = file_bytes - found.end;
        bytes.clear();
        read_some(&mut reader, &mut bytes, left.min(BATCH_HEADER_BYTES as u64)).map_err(failed)?;
        let seen = found.end + bytes.len() as u64;
        if is_zero(&bytes) && rest_is_zero(&mut reader, seen).map_err(failed)? {
            found.zeroes = left;
            break;
        }
        let whole = match BatchView::first(&bytes) {
            Ok(_) => bytes.len(),
            Err(BatchFault::Truncated { needed, .. }) if needed as u64 <= left => needed,
            Err(fault) => {
                found.is_unfinished =
                    ends_unwritten(&mut reader, found.end, &bytes).map_err(failed)?;
                let text = match fault {
                    BatchFault::Truncated { needed, .. } => {
                        format!("a batch of {needed} bytes is cut off after {left}")
                    }
                    fault => format!("{fault}; nothing behind it can be found"),
                };
                found.faults.extend((!found.is_unfinished).then_some((found.end, text)));
                break;
            }
        };
        let more = (whole - bytes.len()) as u64;
        read_some(&mut reader, &mut bytes, more).map_err(failed)?;
        let batch = BatchView::first(&bytes);
        if batch.as_ref().is_ok_and(|batch| !batch.crc_matches())
            && ends_unwritten(&mut reader, found.end, &bytes).map_err(failed)?
        {
            found.is_unfinished = true;
            break;
        }
        match batch {
            Ok(batch) => {
                let faults = faults_of(&batch, next_offset);
                if faults.is_empty() {
                    // A faulty header must not make those behind it look wrong.
                    next_offset = batch.last_offset().saturating_add(1);
                }
                found.faults.extend(faults.into_iter().map(|text| (found.end, text)));
                see(found.end, &batch)?;
                let first = found.offsets.map_or(batch.base_offset(), |(first, _)| first);
                found.offsets = Some((first, batch.last_offset()));
                found.batches += 1;
                found.records += usize::try_from(batch.record_count()).unwrap_or(0);
            }
            Err(fault) => {
                found.faults.push((found.end, fault.to_string()));
                break;
            }
        }
        found.end += whole as u64;
    }
    Ok(found)
}

/// The base offset in a segment's name, where it is named as Kafka names it.
fn named_offset(path: &Path) -> Option<i64> {
    let stem = path.file_stem()?.to_str()?;
    if path.extension()? == "log" && stem.len() == 20 { stem.parse().ok() } else { None }
}

/// Whether the directory holds no later segment: only the newest one of a log is written to.
fn is_newest(path: &Path) -> bool {
    let Some(offset) = named_offset(path) else { return true };
    let directory = path.parent().filter(|path| !path.as_os_str().is_empty());
    let beside = std::fs::read_dir(directory.unwrap_or(Path::new("."))).into_iter().flatten();
    let mut offsets = beside.flatten().filter_map(|entry| named_offset(&entry.path()));
    !offsets.any(|other| other > offset)
}

/// Append up to `len` bytes; memory grows with what is there.
fn read_some(reader: &mut impl Read, bytes: &mut Vec<u8>, len: u64) -> std::io::Result<()> {
    reader.take(len).read_to_end(bytes).map(drop)
}

/// Whether the last block of what was read of a batch is not written yet, nor anything behind it:
/// a broker writes whole blocks, and keeps the one that is not full in its journal.
fn ends_unwritten(reader: &mut BufReader<File>, start: u64, read: &[u8]) -> std::io::Result<bool> {
    let end = start + read.len() as u64;
    let written = block_floor(end.saturating_sub(1)).saturating_sub(start) as usize;
    if written == 0 || !is_zero(&read[written..]) {
        return Ok(false);
    }
    // With nothing behind it the file was sealed, and everything in it was written.
    Ok(!reader.fill_buf()?.is_empty() && rest_is_zero(reader, end)?)
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// Whether there are only zeroes from `position` on, where the reader stands and stays.
fn rest_is_zero(reader: &mut BufReader<File>, position: u64) -> std::io::Result<bool> {
    let is_rest_zero = loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            break true;
        }
        if !is_zero(bytes) {
            break false;
        }
        let len = bytes.len();
        reader.consume(len);
    };
    reader.seek(SeekFrom::Start(position))?;
    Ok(is_rest_zero)
}

/// What is wrong with one batch, its records included.
fn faults_of(batch: &BatchView<'_>, next_offset: i64) -> Vec<String> {
    let mut faults = Vec::new();
    if batch.base_offset() < next_offset {
        faults.push(format!(
            "base offset {} where at least {next_offset} is due",
            batch.base_offset()
        ));
    }
    if !batch.crc_matches() {
        // What the records say is then not worth telling.
        faults.push(format!(
            "the checksum is {:#010x}, the header says {:#010x}",
            batch.crc_computed(),
            batch.header().crc.get()
        ));
        return faults;
    }
    let count = batch.record_count();
    if batch.last_offset_delta() < 0 || i64::from(count) > i64::from(batch.last_offset_delta()) + 1
    {
        let delta = batch.last_offset_delta();
        faults.push(format!("{count} records do not fit a last offset delta of {delta}"));
    }
    if let Err(text) = each_record(batch, &mut |_| Ok(())) {
        faults.push(text);
    }
    faults
}

/// Give every record to `see`; offsets must grow (not by one: compaction leaves gaps).
fn each_record(
    batch: &BatchView<'_>,
    see: &mut dyn FnMut(&Shown<'_>) -> Result<(), String>,
) -> Result<(), String> {
    let attributes = batch.attributes();
    let codec =
        attributes.codec().ok_or_else(|| format!("codec {} is unknown", attributes.codec_id()))?;
    let plain = match codec {
        Codec::None => batch.records_bytes().into(),
        codec => decompress(codec, batch.records_bytes(), DECOMPRESSED_BYTES_MAX)
            .map_err(|error| error.to_string())?,
    };
    let mut least = 0;
    for (i, record) in Records::new(&plain, batch.record_count()).enumerate() {
        let record = record.map_err(|fault| fault.to_string())?;
        let delta = record.offset_delta;
        if delta < least || delta > batch.last_offset_delta() {
            return Err(format!("record {i} has offset delta {delta}, at least {least} is due"));
        }
        least = delta.saturating_add(1);
        let overflow = || format!("record {i} has an offset or timestamp beyond 64 bits");
        let timestamp = match attributes.timestamp_type() {
            TimestampType::LogAppendTime => batch.max_timestamp(),
            // With a delete horizon the base timestamp is another; Kafka sets it so that the
            // deltas still lead to the true times.
            TimestampType::CreateTime => {
                record.timestamp(batch.base_timestamp()).ok_or_else(overflow)?
            }
        };
        see(&Shown {
            topic: "",
            partition: -1,
            offset: record.offset(batch.base_offset()).ok_or_else(overflow)?,
            timestamp,
            leader_epoch: batch.leader_epoch(),
            key: record.key,
            value: record.value,
            headers: record.headers,
        })?;
    }
    Ok(())
}

fn print_batch(out: &mut impl Write, position: u64, batch: &BatchView<'_>) -> Result<(), Failure> {
    let attributes = batch.attributes();
    let codec = attributes.codec().map_or("unknown", Codec::name);
    let time = match attributes.timestamp_type() {
        TimestampType::CreateTime => "CreateTime",
        TimestampType::LogAppendTime => "LogAppendTime",
    };
    write!(
        out,
        "position {position} bytes {} offsets {}..{} records {} epoch {} codec {codec} {time} \
         {}..{}",
        batch.len(),
        batch.base_offset(),
        batch.last_offset(),
        batch.record_count(),
        batch.leader_epoch(),
        batch.base_timestamp(),
        batch.max_timestamp(),
    )?;
    if batch.producer_id() != -1 {
        write!(
            out,
            " producer {} epoch {} sequence {}",
            batch.producer_id(),
            batch.producer_epoch(),
            batch.base_sequence()
        )?;
    }
    for (is_set, word) in [
        (attributes.is_transactional(), " transactional"),
        (attributes.is_control(), " control"),
        (attributes.has_delete_horizon(), " delete-horizon"),
    ] {
        if is_set {
            write!(out, "{word}")?;
        }
    }
    let crc = if batch.crc_matches() { "ok" } else { "WRONG" };
    writeln!(out, " crc {:#010x} {crc}", batch.header().crc.get())?;
    Ok(())
}

fn print_records(out: &mut impl Write, batch: &BatchView<'_>) -> Result<(), Failure> {
    let mut unwritten = None;
    // What is wrong with the records is told as the batch's fault.
    let _ = each_record(batch, &mut |shown| {
        print_json_line(out, shown).map_err(|error| {
            unwritten = Some(error);
            String::new()
        })
    });
    unwritten.map_or(Ok(()), |error| Err(error.into()))
}

fn print_faults(out: &mut impl Write, path: &Path, found: &Found) -> Result<usize, Failure> {
    for (position, text) in &found.faults {
        writeln!(out, "{}: at byte {position}: {text}", path.display())?;
    }
    if found.faults.len() >= FAULTS_MAX {
        writeln!(out, "{}: more faults than {FAULTS_MAX}; stopped", path.display())?;
    }
    if let Some((position, _)) = found.faults.first()
        && is_newest(path)
    {
        writeln!(
            out,
            "{}: a broker that runs, or was killed, may have bytes of an earlier use of the file \
             from byte {position} on, which are no fault. To know, stop the broker (start it once \
             after a kill) and look again",
            path.display()
        )?;
    }
    Ok(found.faults.len())
}

fn print_tail(out: &mut impl Write, found: &Found) -> Result<(), Failure> {
    if found.is_unfinished {
        writeln!(
            out,
            "the end of the last batch, which begins at byte {}, is not in this file yet: a broker \
             runs, or was killed and has not started again; its journal has it",
            found.end
        )?;
    }
    if found.zeroes > 0 {
        let (zeroes, end) = (found.zeroes, found.end);
        writeln!(out, "{zeroes} zero bytes follow byte {end}: allocated, not yet written")?;
    }
    Ok(())
}
