//! Batches made to deceive (lengths, counts, varints, bombs), cut and mutated at every byte.

use super::batch::write_crc;
use super::varint::write_varlong;
use super::*;
use crate::model::TimestampType;

pub(super) const NOW: i64 = 1_700_000_000_000;

pub(super) fn rules() -> ProduceRules {
    ProduceRules {
        max_message_bytes: 1 << 20,
        timestamp_type: TimestampType::CreateTime,
        now_ms: NOW,
        before_max_ms: i64::MAX,
        after_max_ms: 3_600_000,
        require_keys: false,
    }
}

/// Three records: keys, a null value, headers.
fn sample(codec: Codec) -> Vec<u8> {
    let mut builder = BatchBuilder::new(codec);
    builder.append(NOW, Some(b"k1"), Some(b"value one"), &[]).unwrap();
    builder
        .append(NOW + 7, Some(b"k2"), None, &[(b"a", Some(b"1")), (b"a", Some(b"2")), (b"n", None)])
        .unwrap();
    builder.append(NOW - 3, Some(b""), Some(&[9; 300]), &[]).unwrap();
    builder.finish().unwrap().to_vec()
}

/// One uncompressed batch around these records bytes, header consistent with `count`.
fn around(records: &[u8], count: i32) -> Vec<u8> {
    let mut builder = BatchBuilder::default();
    builder.append(NOW, None, None, &[]).unwrap();
    let mut batch = builder.finish().unwrap()[..BATCH_HEADER_BYTES].to_vec();
    batch.extend_from_slice(records);
    let length = (batch.len() - LENGTH_PREFIX_BYTES) as i32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[23..27].copy_from_slice(&(count.wrapping_sub(1)).to_be_bytes());
    batch[57..61].copy_from_slice(&count.to_be_bytes());
    write_crc(&mut batch);
    batch
}

/// The sample with some header bytes replaced and a checksum that fits again.
fn with(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut batch = sample(Codec::None);
    batch[at..at + bytes.len()].copy_from_slice(bytes);
    write_crc(&mut batch);
    batch
}

fn refusal(bytes: &[u8]) -> BatchErrorKind {
    validate_produced(bytes, &rules()).expect_err("must be refused").kind
}

#[test]
fn a_good_batch_passes_and_is_summed_up() {
    for codec in Codec::ALL {
        let summary = validate_produced(&sample(codec), &rules()).unwrap();
        assert_eq!(
            summary,
            BatchSummary {
                records: 3,
                last_offset_delta: 2,
                base_timestamp: NOW,
                max_timestamp: NOW + 7,
                header_lies: false,
                producer_id: -1,
                producer_epoch: -1,
                base_sequence: -1,
                codec,
                is_transactional: false,
            }
        );
        // The header is corrected where the records are read: without a codec, or for a rule.
        let mut lying = sample(codec);
        set_max_timestamp(&mut lying, NOW + 9);
        let found = |rules: &ProduceRules| {
            let found = validate_produced(&lying, rules).unwrap();
            (found.max_timestamp, found.header_lies)
        };
        let keyed = ProduceRules { require_keys: true, ..rules() };
        assert_eq!(found(&keyed), (NOW + 7, true));
        let believed = if codec == Codec::None { (NOW + 7, true) } else { (NOW + 9, false) };
        assert_eq!(found(&rules()), believed);
    }
}

#[test]
fn the_header_cannot_lie() {
    use BatchErrorKind::*;
    let epoch_and_sequence = |id: i64, epoch: i16, sequence: i32| {
        [&id.to_be_bytes()[..], &epoch.to_be_bytes(), &sequence.to_be_bytes()].concat()
    };
    let cases: [(&str, Vec<u8>, BatchErrorKind); 25] = [
        ("nothing", vec![], InvalidRecord),
        ("length negative", with(8, &(-1i32).to_be_bytes()), CorruptMessage),
        ("length of half a header", with(8, &48i32.to_be_bytes()), CorruptMessage),
        ("length beyond the bytes", with(8, &i32::MAX.to_be_bytes()), CorruptMessage),
        ("magic 0", with(16, &[0]), InvalidRecord),
        ("magic 1", with(16, &[1]), InvalidRecord),
        ("magic 3", with(16, &[3]), CorruptMessage),
        ("codec 5", with(21, &5i16.to_be_bytes()), UnsupportedCompressionType),
        ("codec 7", with(21, &7i16.to_be_bytes()), UnsupportedCompressionType),
        ("LogAppendTime", with(21, &8i16.to_be_bytes()), InvalidTimestamp),
        ("transactional, no producer", with(21, &0x10i16.to_be_bytes()), InvalidRequest),
        ("control", with(21, &0x20i16.to_be_bytes()), InvalidRecord),
        ("delete horizon", with(21, &0x40i16.to_be_bytes()), InvalidRecord),
        ("reserved bit", with(21, &0x80i16.to_be_bytes()), InvalidRecord),
        ("sign bit", with(21, &i16::MIN.to_be_bytes()), InvalidRecord),
        ("base offset", with(0, &5i64.to_be_bytes()), InvalidRecord),
        ("last delta", with(23, &3i32.to_be_bytes()), InvalidRecord),
        ("last delta largest", with(23, &i32::MAX.to_be_bytes()), InvalidRecord),
        ("count 0", around(&[], 0), InvalidRecord),
        ("count negative", around(&[0; 7], -3), InvalidRecord),
        ("count huge", around(&[12, 0, 0, 0, 1, 1, 0], i32::MAX), InvalidRecord),
        ("largest time too late", with(35, &(NOW + 3_600_001).to_be_bytes()), InvalidTimestamp),
        ("producer -2", with(43, &epoch_and_sequence(-2, 0, 0)), InvalidRecord),
        ("no epoch", with(43, &epoch_and_sequence(7, -1, 0)), InvalidRecord),
        ("no sequence", with(43, &epoch_and_sequence(7, 0, -1)), InvalidRecord),
    ];
    for (name, bytes, kind) in cases {
        assert_eq!(refusal(&bytes), kind, "{name}");
    }
    let good = validate_produced(&with(43, &epoch_and_sequence(7, 2, 11)), &rules()).unwrap();
    assert_eq!((good.producer_id, good.producer_epoch, good.base_sequence), (7, 2, 11));
}

#[test]
fn one_batch_means_one_batch() {
    let two = [sample(Codec::None), sample(Codec::None)].concat();
    assert_eq!(refusal(&two), BatchErrorKind::InvalidRecord);
    let trailing = [&sample(Codec::None)[..], &[0]].concat();
    assert_eq!(refusal(&trailing), BatchErrorKind::InvalidRecord);
    let small = ProduceRules { max_message_bytes: sample(Codec::None).len() - 1, ..rules() };
    let error = validate_produced(&sample(Codec::None), &small).unwrap_err();
    assert_eq!(error.kind, BatchErrorKind::MessageTooLarge);
    let exact = ProduceRules { max_message_bytes: sample(Codec::None).len(), ..rules() };
    assert!(validate_produced(&sample(Codec::None), &exact).is_ok());
}

/// Hostile records bytes for a batch that says it holds two records.
fn hostile_records() -> Vec<(&'static str, Vec<u8>)> {
    // length 6: attributes, timestamp delta, offset delta, key null, value null, no headers.
    let good = [12, 0, 0, 0, 1, 1, 0];
    let second = [12, 0, 0, 2, 1, 1, 0];
    let pair = |tail: &[u8]| [&good[..], tail].concat();
    let varint = |n: i64| {
        let mut out = Vec::new();
        write_varlong(&mut out, n);
        out
    };
    let mut many_headers = vec![0, 0, 2, 1, 1];
    many_headers.extend(varint(30_000_000));
    let mut body = varint(many_headers.len() as i64);
    body.extend(&many_headers);
    vec![
        ("only one", good.to_vec()),
        ("three", pair(&[&second[..], &[12, 0, 0, 4, 1, 1, 0]].concat())),
        ("a byte behind", pair(&[&second[..], &[0]].concat())),
        ("same offset", pair(&good)),
        ("a hole in the offsets", pair(&[12, 0, 0, 4, 1, 1, 0])),
        ("negative length", pair(&[1])),
        ("length 5", pair(&[10, 0, 0, 2, 1, 1])),
        ("length beyond the end", pair(&[14, 0, 0, 2, 1, 1, 0])),
        ("length over-long", pair(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x01])),
        ("length overflows", pair(&[0xff, 0xff, 0xff, 0xff, 0x7f, 0, 0, 2, 1, 1, 0])),
        ("shorter than its length", pair(&[16, 0, 0, 2, 1, 1, 0, 0, 0])),
        ("key length -2", pair(&[12, 0, 0, 2, 3, 1, 0])),
        ("key beyond the record", pair(&[12, 0, 0, 2, 8, 1, 0])),
        ("value length -2", pair(&[12, 0, 0, 2, 1, 3, 0])),
        ("value beyond the record", pair(&[12, 0, 0, 2, 1, 8, 0])),
        ("headers negative", pair(&[12, 0, 0, 2, 1, 1, 1])),
        ("30 million headers", pair(&body)),
        ("header key null", pair(&[16, 0, 0, 2, 1, 1, 2, 1, 1])),
        ("header cut off", pair(&[14, 0, 0, 2, 1, 1, 2, 0])),
        (
            "timestamp delta over-long",
            pair(&[30, 0, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 0, 2, 1, 1, 0]),
        ),
    ]
}

#[test]
fn records_cannot_lie_compressed_or_not() {
    let keyless = rules();
    // A finite bound on the past makes the validator open compressed batches.
    let opened = ProduceRules { before_max_ms: 1 << 40, ..rules() };
    for (name, records) in hostile_records() {
        let plain = around(&records, 2);
        let error = validate_produced(&plain, &keyless).expect_err(name);
        assert_eq!(error.kind, BatchErrorKind::InvalidRecord, "{name}: {error}");
        for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let mut packed = Vec::new();
            compress(codec, None, &records, &mut packed).unwrap();
            let mut batch = around(&packed, 2);
            batch[22] |= codec.id();
            write_crc(&mut batch);
            let streamed = validate_produced(&batch, &opened).expect_err(name);
            // The texts may differ: a stream does not know where it will end.
            assert_eq!(
                (streamed.kind, streamed.record_index),
                (error.kind, error.record_index),
                "{name} in {codec}: {streamed}"
            );
        }
    }
}

/// Else one small batch takes two thousand million offsets, of which no record is ever found.
#[test]
fn a_closed_batch_cannot_claim_more_records_than_it_can_hold() {
    for codec in Codec::ALL {
        let mut lying = sample(codec);
        lying[23..27].copy_from_slice(&(i32::MAX - 1).to_be_bytes());
        lying[57..61].copy_from_slice(&i32::MAX.to_be_bytes());
        write_crc(&mut lying);
        let refused = validate_produced(&lying, &rules()).unwrap_err();
        assert_eq!(refused.kind, BatchErrorKind::InvalidRecord, "{codec}: {refused}");
    }
}

#[test]
fn timestamps_are_held_to_the_bounds() {
    let at = |times: &[i64]| {
        let mut builder = BatchBuilder::default();
        for time in times {
            builder.append(*time, None, None, &[]).unwrap();
        }
        builder.finish().unwrap().to_vec()
    };
    let strict = ProduceRules { before_max_ms: 1000, after_max_ms: 500, ..rules() };
    let ok = validate_produced(&at(&[NOW - 1000, NOW + 500, -1]), &strict).unwrap();
    assert_eq!((ok.max_timestamp, ok.header_lies), (NOW + 500, false));
    let early = validate_produced(&at(&[NOW, NOW - 1001]), &strict).unwrap_err();
    assert_eq!((early.kind, early.record_index), (BatchErrorKind::InvalidTimestamp, Some(1)));
    // Too late, and the header hides it.
    let mut late = at(&[NOW, NOW + 501]);
    late[35..43].copy_from_slice(&NOW.to_be_bytes());
    write_crc(&mut late);
    let late = validate_produced(&late, &strict).unwrap_err();
    assert_eq!((late.kind, late.record_index), (BatchErrorKind::InvalidTimestamp, Some(1)));
    // The broker's own time makes all of that irrelevant.
    let append_time = ProduceRules { timestamp_type: TimestampType::LogAppendTime, ..strict };
    let ok = validate_produced(&at(&[5, NOW * 2]), &append_time).unwrap();
    assert_eq!((ok.max_timestamp, ok.header_lies), (NOW, false));
    // No timestamps at all.
    let none = validate_produced(&at(&[-1, -1]), &rules()).unwrap();
    assert_eq!((none.max_timestamp, none.header_lies), (-1, false));
    // Base timestamp plus delta beyond 64 bits.
    let mut over = at(&[NOW, NOW + 1]);
    over[27..35].copy_from_slice(&i64::MAX.to_be_bytes());
    write_crc(&mut over);
    let free = ProduceRules { after_max_ms: i64::MAX, ..rules() };
    assert_eq!(validate_produced(&over, &free).unwrap_err().record_index, Some(1));
}

#[test]
fn a_missing_key_is_found_in_every_codec() {
    let keyed = ProduceRules { require_keys: true, ..rules() };
    for codec in Codec::ALL {
        let mut builder = BatchBuilder::new(codec);
        builder.append(NOW, Some(b"k"), Some(b"v"), &[]).unwrap();
        builder.append(NOW, None, Some(b"v"), &[]).unwrap();
        let error = validate_produced(builder.finish().unwrap(), &keyed).unwrap_err();
        assert_eq!((error.kind, error.record_index), (BatchErrorKind::InvalidRecord, Some(1)));
    }
}

#[test]
fn a_bomb_is_refused_when_it_has_to_be_opened() {
    let keyed = ProduceRules { require_keys: true, ..rules() };
    for codec in [Codec::Gzip, Codec::Lz4, Codec::Zstd] {
        let mut builder = BatchBuilder::new(codec);
        builder.append_with(NOW, Some(b"k"), 256 << 20, |_| {}).unwrap();
        let bomb = builder.finish().unwrap();
        let max = ProduceRules { max_message_bytes: bomb.len(), ..keyed.clone() };
        let result = validate_produced(bomb, &max);
        let allowed = decompressed_bytes_max(bomb.len() - BATCH_HEADER_BYTES, bomb.len());
        // lz4 cannot shrink zeros by more than 255: 256 MiB of them is then within 64 + 2 times.
        assert!(allowed < 256 << 20, "{codec}");
        let error = result.expect_err("more than the ceiling");
        assert!(error.message.contains("decompresses to more"), "{codec}: {error}");
    }
}

#[test]
fn cut_at_every_byte_it_is_never_whole() {
    for codec in Codec::ALL {
        let whole = sample(codec);
        for cut in 0..whole.len() {
            assert!(validate_produced(&whole[..cut], &rules()).is_err(), "{codec} {cut}");
            let mut batches = Batches::new(&whole[..cut]);
            assert!(batches.next().is_none());
            assert_eq!((batches.consumed(), batches.fault().is_some()), (0, cut > 0));
        }
        // The cut is only seen in the last batch; those before it are given.
        let two = [whole.clone(), whole.clone()].concat();
        for cut in whole.len()..two.len() {
            let mut batches = Batches::new(&two[..cut]);
            assert_eq!(batches.by_ref().count(), 1);
            assert_eq!(batches.consumed(), whole.len());
        }
        assert_eq!(Batches::new(&two).count(), 2);
    }
}

#[test]
fn every_flipped_bit_behind_the_checksum_field_is_found() {
    let whole = sample(Codec::None);
    for bit in 17 * 8..whole.len() * 8 {
        let mut bad = whole.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(refusal(&bad), BatchErrorKind::CorruptMessage, "bit {bit}");
        assert!(!BatchView::first(&bad).unwrap().crc_matches());
    }
}

#[test]
fn mutated_batches_with_a_fitting_checksum_never_panic() {
    let opened = ProduceRules { before_max_ms: 1 << 40, require_keys: true, ..rules() };
    // xorshift64*, so that a failure names its seed.
    for seed in 1..=4000u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut random = || {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize
        };
        let mut batch = sample(Codec::ALL[random() % 5]);
        for _ in 0..=random() % 4 {
            let at = 21 + random() % (batch.len() - 21);
            batch[at] = random() as u8;
        }
        write_crc(&mut batch);
        let _ = validate_produced(&batch, &opened);
        let Ok(view) = BatchView::first(&batch) else { continue };
        if let Some(codec) = view.attributes().codec()
            && let Ok(plain) = decompress(codec, view.records_bytes(), 1 << 20)
        {
            assert!(plain.len() <= 1 << 20, "seed {seed}");
            for record in Records::new(&plain, view.record_count()).flatten() {
                let headers = record.headers.len();
                assert_eq!(record.headers.count(), headers, "seed {seed}");
            }
        }
    }
}

#[test]
fn stamping_leaves_the_checksum_true() {
    let mut batch = sample(Codec::None);
    patch(&mut batch, 1234, 9);
    let view = BatchView::first(&batch).unwrap();
    assert!(view.crc_matches());
    assert_eq!((view.base_offset(), view.last_offset(), view.leader_epoch()), (1234, 1236, 9));
    set_log_append_time(&mut batch, NOW + 99);
    let view = BatchView::first(&batch).unwrap();
    assert!(view.crc_matches());
    assert_eq!(view.max_timestamp(), NOW + 99);
    assert_eq!(view.attributes().timestamp_type(), TimestampType::LogAppendTime);
}

#[test]
fn markers_are_kafkas_bytes() {
    let marker = control_batch(ControlKind::Commit, 77, 3, 5, NOW);
    let view = BatchView::first(&marker).unwrap();
    assert!(view.crc_matches() && view.attributes().is_control());
    assert!(view.attributes().is_transactional());
    let record = view.records().next().unwrap().unwrap();
    assert_eq!(record.key, Some(&[0, 0, 0, 1][..]));
    assert_eq!(record.value, Some(&[0, 0, 0, 0, 0, 5][..]));
    assert_eq!(refusal(&marker), BatchErrorKind::InvalidRecord);
}
