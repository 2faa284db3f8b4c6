//! Workload files of the OpenMessaging Benchmark: flat YAML, one `key: value` a line. Only what
//! such files hold is read; anything nested is refused by its line.
//!
//! Keys and their meaning: `Workload.java` of openmessaging/benchmark.

use super::workload::Workload;

/// Read such a file into flags of `loadgen run`.
///
/// # Errors
/// Says which line or value cannot be had here, and why.
pub fn workload(text: &str) -> Result<Workload, String> {
    let mut read = Workload { title: String::new(), about: String::new(), flags: Vec::new() };
    let mut set = |flag: &str, value: String| read.flags.push((flag.to_owned(), Some(value)));
    // Defaults of that benchmark, where they differ from ours.
    let (mut duration, mut warmup, mut backlog_gb) = (None, 1.0, 0.0);
    let (mut random_share, mut is_random) = (0.0, false);
    let mut rate = None;
    for (key, value, line) in lines(text)? {
        let bad = |why: &str| format!("line {line}: {key}: {value}: {why}");
        let number = || value.parse::<f64>().map_err(|_| bad("no number"));
        match key.as_str() {
            "name" => read.title.clone_from(&value),
            "topics" if number()? > 1.0 => {
                return Err(bad("loadgen runs one topic; use more partitions instead"));
            }
            "topics" => {}
            "partitionsPerTopic" => set("partitions", value.clone()),
            "keyDistributor" if value == "NO_KEY" => {}
            "keyDistributor" if value == "KEY_ROUND_ROBIN" || value == "RANDOM_NANO" => {
                set("key-size", "7".into());
                // Its round robin walks over 10,000 keys.
                set("key-space", "10000".into());
            }
            "messageSize" => set("record-size", format!("{}", number()?.max(36.0))),
            "useRandomizedPayloads" => is_random = value == "true",
            "randomBytesRatio" => random_share = number()?,
            // A pool only makes its payloads cheaper to make.
            "randomizedPayloadPoolSize" => {}
            "payloadFile" => set("payload-file", value.clone()),
            "subscriptionsPerTopic" => set("subscriptions", value.clone()),
            "producersPerTopic" => set("producers", value.clone()),
            "consumerPerSubscription" => set("consumers", value.clone()),
            "producerRate" => rate = Some(number()?),
            "consumerBacklogSizeGB" => backlog_gb = number()?,
            // Draining here always goes to the end.
            "backlogDrainRatio" => {}
            "testDurationMinutes" => duration = Some(number()?),
            "warmupDurationMinutes" => warmup = number()?,
            _ => return Err(bad("not a key of an OpenMessaging Benchmark workload")),
        }
    }
    // One letter throughout unless random bytes are asked for.
    set("random-share", format!("{}", if is_random { random_share } else { 0.0 }));
    let rate = rate.ok_or("producerRate is missing")?;
    if rate > 0.0 {
        set("rate", format!("{rate}"));
        // Its producers batch for a millisecond.
        set("linger", "1".into());
    }
    let minutes = duration.ok_or("testDurationMinutes is missing")?;
    set("duration", format!("{}", minutes * 60.0));
    set("warmup", format!("{}", warmup * 60.0));
    if backlog_gb > 0.0 {
        set("consume", "after".into());
        set("drain", "3600".into());
    }
    if rate == 0.0 {
        read.flags.push(("max".into(), None));
    }
    read.about = "from an OpenMessaging Benchmark workload".into();
    Ok(read)
}

/// Keys, values and line numbers.
fn lines(text: &str) -> Result<Vec<(String, String, usize)>, String> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = match line.split_once(" #") {
            Some((before, _)) => before,
            None => line,
        };
        let is_nothing = line.trim().is_empty() || line.starts_with('#') || line.trim() == "---";
        if is_nothing {
            continue;
        }
        let number = index + 1;
        if line.starts_with([' ', '\t', '-']) {
            return Err(format!("line {number}: nested YAML is not read: {line:?}"));
        }
        let (key, value) =
            line.split_once(':').ok_or(format!("line {number}: no `key: value`: {line:?}"))?;
        let value = value.trim().trim_matches(['"', '\'']);
        found.push((key.trim().to_owned(), value.to_owned(), number));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# licence\nname: 1 topic / 16 partitions / 1kb\n\ntopics: 1\n\
        partitionsPerTopic: 16\nmessageSize: 1024\npayloadFile: \"payload/payload-1Kb.data\"\n\
        subscriptionsPerTopic: 2\nconsumerPerSubscription: 3\nproducersPerTopic: 4\n\
        producerRate: 50000  # per second\nconsumerBacklogSizeGB: 0\ntestDurationMinutes: 15\n";

    #[test]
    fn a_workload_of_that_benchmark_becomes_flags() {
        let read = workload(FILE).unwrap();
        assert_eq!(read.title, "1 topic / 16 partitions / 1kb");
        let value = |flag: &str| {
            let found = read.flags.iter().find(|(name, _)| name == flag);
            found.and_then(|(_, value)| value.clone()).unwrap_or_else(|| panic!("{flag}"))
        };
        for (flag, wanted) in [
            ("partitions", "16"),
            ("record-size", "1024"),
            ("payload-file", "payload/payload-1Kb.data"),
            ("subscriptions", "2"),
            ("consumers", "3"),
            ("producers", "4"),
            ("rate", "50000"),
            ("duration", "900"),
            ("warmup", "60"),
            ("random-share", "0"),
        ] {
            assert_eq!(value(flag), wanted, "{flag}");
        }
    }

    #[test]
    fn rate_zero_is_as_fast_as_it_goes_and_what_cannot_be_had_is_said() {
        let fast = FILE.replace("50000", "0").replace("SizeGB: 0", "SizeGB: 5");
        let read = workload(&fast).unwrap();
        assert!(read.flags.contains(&("max".into(), None)));
        assert!(read.flags.contains(&("consume".into(), Some("after".into()))));
        for (from, to, word) in [
            ("topics: 1", "topics: 7", "one topic"),
            ("topics: 1", "topix: 1", "line 4"),
            ("producerRate: 50000", "producerRate: many", "no number"),
            ("topics: 1", "list:\n  - a", "nested"),
            ("producerRate: 50000  # per second\n", "", "producerRate"),
        ] {
            let why = workload(&FILE.replace(from, to)).unwrap_err();
            assert!(why.contains(word), "{why}");
        }
    }
}
