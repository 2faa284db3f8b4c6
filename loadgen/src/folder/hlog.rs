//! Histograms of every second and series in the HdrHistogram log format 1.3, values in
//! nanoseconds, one tag per series. Written while the run goes on, so that a long run needs no
//! memory for its past; read again for reports and comparisons.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::interval_log::{
    IntervalLogIterator, IntervalLogWriterBuilder, LogEntry, Tag,
};
use hdrhistogram::serialization::{Deserializer, V2DeflateSerializer};

use crate::collect::Watcher;
use crate::histogram::{Latency, SERIES, Series};
use crate::print;

/// A log that grows as the run goes on.
pub struct HlogWriter {
    file: BufWriter<File>,
    serializer: V2DeflateSerializer,
    failed: bool,
}

impl HlogWriter {
    /// Begin the log of a run that starts at `start`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn create(path: &Path, start: SystemTime) -> io::Result<Self> {
        let mut file = BufWriter::new(File::create(path)?);
        let mut serializer = V2DeflateSerializer::new();
        let mut builder = IntervalLogWriterBuilder::new();
        builder.add_comment("[Histogram log format version 1.3]");
        builder.add_comment("values: nanoseconds, timestamps: seconds since the start of the run");
        builder.with_start_time(start).with_base_time(start);
        builder.begin_log_with(&mut file, &mut serializer)?;
        writeln!(
            file,
            "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\
             \"Interval_Compressed_Histogram\""
        )?;
        Ok(Self { file, serializer, failed: false })
    }

    fn write(&mut self, second: u64, series: Series, latency: &Latency) -> io::Result<()> {
        // Once per line, since it borrows; without comments it writes nothing of its own.
        let builder = IntervalLogWriterBuilder::new();
        let mut log = builder.begin_log_with(&mut self.file, &mut self.serializer)?;
        let (start, length) = (Duration::from_secs(second), Duration::from_secs(1));
        log.write_histogram(latency.counts(), start, length, Tag::new(series.name()))
            .map_err(|error| io::Error::other(format!("{error:?}")))
    }
}

impl Watcher for HlogWriter {
    fn part(&mut self, second: u64, series: &[Latency; SERIES]) {
        for (kind, latency) in Series::ALL.into_iter().zip(series) {
            if latency.is_empty() || self.failed {
                continue;
            }
            if let Err(error) = self.write(second, kind, latency) {
                // A full disk must not end a measurement; the report will say what is missing.
                let what = "loadgen: the histogram log ends at second";
                print::aside(format_args!("{what} {second}: {error}"));
                self.failed = true;
            }
        }
    }
}

impl Drop for HlogWriter {
    fn drop(&mut self) {
        if let Err(error) = self.file.flush() {
            let what = "loadgen: the end of the histogram log is missing";
            print::aside(format_args!("{what}: {error}"));
        }
    }
}

/// One second of one series.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Second since the start of the run.
    pub second: u64,
    /// Which series.
    pub series: Series,
    /// Its counts. How many answers brought them is not in the log.
    pub latency: Latency,
}

/// Most bytes of a log that are read.
const LOG_BYTES_MAX: u64 = 4 << 30;

/// Read a log that [`HlogWriter`] wrote, calling `each` with its entries. Other tags are skipped.
///
/// # Errors
/// When the file cannot be read or a line is not one.
pub fn read(path: &Path, mut each: impl FnMut(Entry)) -> Result<(), String> {
    let failed = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let size = std::fs::metadata(path).map_err(|e| failed(&e))?.len();
    if size > LOG_BYTES_MAX {
        return Err(failed(&format!("{size} bytes are more than {LOG_BYTES_MAX}")));
    }
    let bytes = std::fs::read(path).map_err(|e| failed(&e))?;
    // The legend line that Java's tools expect is none for this crate's reader.
    let lines = bytes.split_inclusive(|byte| *byte == b'\n').filter(|l| !l.starts_with(b"\""));
    let text: Vec<u8> = lines.flatten().copied().collect();
    let mut deserializer = Deserializer::new();
    for entry in IntervalLogIterator::new(&text) {
        let entry = entry.map_err(|error| failed(&format!("no histogram log: {error:?}")))?;
        let LogEntry::Interval(interval) = entry else { continue };
        let name = interval.tag().map_or("", |tag| tag.as_str());
        let Some(series) = Series::ALL.into_iter().find(|s| s.name() == name) else { continue };
        let encoded = base64(interval.encoded_histogram()).map_err(|e| failed(&e))?;
        let counts = deserializer
            .deserialize(&mut encoded.as_slice())
            .map_err(|error| failed(&format!("a histogram cannot be read: {error:?}")))?;
        let second = interval.start_timestamp().as_secs();
        let latency = Latency::from_counts(&counts)
            .map_err(|error| failed(&format!("second {second}: {error}")))?;
        each(Entry { second, series, latency });
    }
    Ok(())
}

/// Decode standard base64 with padding.
fn base64(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0u32, 0);
    for byte in text.bytes().take_while(|byte| *byte != b'=') {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return Err(format!("byte {byte:#x} is no base64")),
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_again_late_parts_included() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("latency.hlog");
        let mut log = HlogWriter::create(&path, SystemTime::now()).unwrap();
        let mut series: [Latency; SERIES] = Default::default();
        for ns in 1..=1000u64 {
            series[Series::Produce as usize].record(ns * 10_000, 2);
        }
        series[Series::Fetch as usize].record(77_000, 1);
        log.part(0, &series);
        log.part(3, &series);
        log.part(0, &series);
        drop(log);
        let mut seen = Vec::new();
        let mut sum = Latency::default();
        read(&path, |entry| {
            seen.push((entry.second, entry.series));
            if entry.series == Series::Produce {
                sum.add(&entry.latency);
            }
        })
        .unwrap();
        let both = |second| [(second, Series::Produce), (second, Series::Fetch)];
        assert_eq!(seen, [both(0), both(3), both(0)].concat());
        assert_eq!(sum.records(), 6000);
        let median = sum.value_at(0.5);
        assert!(median.abs_diff(5_000_000) < 10_000, "{median}");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("#[Histogram log format version 1.3]"), "{text}");
        assert!(text.contains("Tag=produce,") && text.contains("#[StartTime: "), "{text}");
    }

    #[test]
    fn nonsense_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        for text in ["Tag=produce,1,2,3,!!!!\n", "Tag=produce,1,2,3,AAAA\n", "what\n"] {
            std::fs::write(&path, text).unwrap();
            assert!(read(&path, |_| ()).is_err(), "{text:?}");
        }
        assert_eq!(base64("aGVsbG8=").unwrap(), b"hello");
    }
}
