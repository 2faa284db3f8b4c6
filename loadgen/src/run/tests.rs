//! Whole runs against the sink in this process: good ones are clean, and each mistake that the
//! sink can make on purpose is noticed and named.

use super::*;
use crate::batch::{Headers, Keys};
use crate::pace::Arrivals;
use crate::plan::{Compression, Consume};
use crate::sink::{Fault, Sink, Store};
use crate::warnings::Warning;

fn keeping(fault: Option<Fault>) -> Sink {
    Sink::start("127.0.0.1:0", Store::Keep { bytes_max: 512 << 20, fault }).unwrap()
}

fn plan(sink: &Sink) -> Plan {
    Plan {
        bootstrap_server: sink.address.to_string(),
        topic: "t".into(),
        partitions: 3,
        load: Load::Rate(20_000.0),
        acks: 1,
        record_bytes: 100.into(),
        records_per_batch: 10,
        producers: 2,
        in_flight: 4,
        consumers: 2,
        duration_s: 0.5,
        warmup_s: 0.1,
        drain_s: 10.0,
        ..Plan::default()
    }
}

fn go(plan: Plan) -> RunResult {
    let result = run(plan, &Arc::default()).unwrap();
    assert_eq!(result.failure, None);
    result
}

#[test]
fn an_open_loop_offers_exactly_its_schedule_and_all_of_it_is_verified() {
    let sink = keeping(None);
    let result = go(plan(&sink));
    // 0.6 s at 20,000/s over two lanes; each lane's phase may cost it one record.
    assert!(result.verdict.sent.abs_diff(12_000) <= 2, "{:?}", result.verdict);
    assert!(result.verdict.is_clean() && result.verdict.checked, "{:?}", result.verdict);
    assert_eq!(result.verdict.read, result.verdict.sent);
    assert_eq!(result.verdict.acknowledged, result.verdict.sent);
    let latency = result.produce_latency.unwrap();
    assert!(latency.records.abs_diff(10_000) <= 4, "the window only: {latency:?}");
    assert_eq!(result.end_to_end_latency.unwrap().records, latency.records);
    let seconds: u64 = result.seconds.iter().map(|s| s.produced_records).sum();
    assert_eq!(seconds, result.verdict.acknowledged);
    let seconds: u64 = result.seconds.iter().map(|s| s.consumed_records).sum();
    assert_eq!(seconds, result.verdict.read);
}

#[test]
fn ramps_bursts_and_random_arrivals_offer_what_they_say_and_verify() {
    let sink = keeping(None);
    let ramp = Stage { from: 10_000.0, to: 30_000.0, seconds: 0.5 };
    let result = go(Plan { load: Load::Stages(vec![ramp]), ..plan(&sink) });
    // 0.1 s at 10,000/s, then 20,000/s on average.
    assert!(result.verdict.sent.abs_diff(11_000) <= 4, "{:?}", result.verdict);
    assert!(result.verdict.is_clean() && result.stages.len() == 1, "{:?}", result.verdict);
    for arrivals in [Arrivals::Bursts(50_000_000), Arrivals::Poisson] {
        let result = go(Plan { arrivals, linger_ns: 1_000_000, ..plan(&sink) });
        let verdict = &result.verdict;
        assert!(verdict.is_clean() && verdict.read == verdict.sent, "{arrivals:?}: {verdict:?}");
        // 12,000 expected; a Poisson count deviates by some 110.
        assert!(verdict.sent.abs_diff(12_000) < 600, "{arrivals:?}: {verdict:?}");
        assert_eq!(result.send_delay.unwrap().records, result.produce_latency.unwrap().records);
        assert!(result.fetch_latency.unwrap().records > 0);
    }
}

#[test]
fn each_step_of_a_load_has_its_own_figures() {
    let sink = keeping(None);
    let stages = vec![Stage::steady(1000.0, 1.0), Stage::steady(5000.0, 1.0)];
    let load = Load::Stages(stages);
    let result = go(Plan { load, duration_s: 2.0, warmup_s: 0.0, ..plan(&sink) });
    let rates: Vec<f64> = result.stages.iter().map(|stage| stage.produced_per_s).collect();
    assert!(rates[1] > rates[0] * 2.0 && rates[0] > 0.0, "{rates:?}");
    let records = |stage: usize| result.stages[stage].produce_latency.as_ref().unwrap().records;
    // Answers that come after the last whole second belong to no stage.
    let (both, all) = (records(0) + records(1), result.produce_latency.unwrap().records);
    assert!(both <= all && both * 10 > all * 9, "{both} of {all}");
}

#[test]
fn records_of_many_sizes_with_keys_and_headers_are_all_verified() {
    let sink = keeping(None);
    let keys = Keys { bytes: 8, space: 100_000, zipf: 0.99 };
    let base = Plan {
        record_bytes: "40:5,400:3,4000:1".parse().unwrap(),
        headers: Some(Headers { count: 3, bytes: 20 }),
        keys: Some(keys),
        duration_s: 0.3,
        ..plan(&sink)
    };
    let result = go(base.clone());
    assert!(result.verdict.is_clean() && result.verdict.sent > 5_000, "{:?}", result.verdict);
    assert_eq!(result.verdict.read, result.verdict.sent);
    // Small and large batches of an idempotent producer that has to send again.
    let sink = keeping(Some(Fault::HangUp));
    let server = sink.address.to_string();
    let again = Plan { bootstrap_server: server, idempotent: true, acks: -1, ..base };
    let verdict = go(again).verdict;
    assert_eq!((verdict.lost, verdict.oddities.corrupt_records), (0, 0), "{verdict:?}");
    assert_eq!(verdict.acknowledged, verdict.sent);
}

#[test]
fn partitions_of_frequent_keys_get_more() {
    let weights =
        crate::batch::partition_weights(Some(Keys { bytes: 8, space: 1000, zipf: 1.0 }), 4);
    // H(1000) is 7.485; partition 0 has keys 0, 4, 8...: 1 + 1/5 + 1/9 ...
    let exact: f64 = (0..250).map(|k| 1.0 / f64::from(4 * k + 1)).sum();
    assert!((weights[0] / exact - 1.0).abs() < 0.01, "{weights:?}");
    assert!(weights.windows(2).all(|pair| pair[0] > pair[1]), "{weights:?}");
    assert!(crate::batch::partition_weights(Some(Keys::default()), 4).is_empty());
}

#[test]
fn every_subscription_reads_everything_and_each_one_is_judged() {
    let sink = keeping(None);
    let result = go(Plan { subscriptions: 3, duration_s: 0.3, ..plan(&sink) });
    let verdict = &result.verdict;
    assert!(verdict.is_clean() && verdict.sent > 5_000, "{verdict:?}");
    assert_eq!(verdict.read, verdict.sent * 3);
    let sink = keeping(Some(Fault::Drop));
    let one = go(Plan { duration_s: 0.3, ..plan(&sink) }).verdict.lost;
    let sink = keeping(Some(Fault::Drop));
    let all = go(Plan { subscriptions: 3, duration_s: 0.3, ..plan(&sink) }).verdict.lost;
    assert!(one > 0 && all > one, "{one} lost for one, {all} for three");
}

#[test]
fn consumers_that_begin_late_catch_up_and_say_so() {
    let sink = keeping(None);
    let result = go(Plan { consumer_delay_s: 0.3, ..plan(&sink) });
    let verdict = &result.verdict;
    assert!(verdict.is_clean() && verdict.read == verdict.sent, "{verdict:?}");
    assert!(result.caught_up_s.is_some());
    // What waited for the consumers is as old as it is.
    assert!(result.end_to_end_latency.unwrap().max_ns > 150_000_000);
}

#[test]
fn every_mistake_of_a_broker_is_noticed_and_named() {
    let trouble = |fault| {
        let sink = keeping(Some(fault));
        go(plan(&sink)).verdict
    };
    let verdict = trouble(Fault::Drop);
    assert!(verdict.lost > 0 && verdict.duplicated == 0, "{verdict:?}");
    let verdict = trouble(Fault::Duplicate);
    assert!(verdict.duplicated > 0 && verdict.lost == 0, "{verdict:?}");
    let verdict = trouble(Fault::Reorder);
    assert!(verdict.reordered > 0 && verdict.duplicated == 0, "{verdict:?}");
    let verdict = trouble(Fault::Corrupt);
    assert!(verdict.oddities.corrupt_batches > 0, "{verdict:?}");
    let verdict = trouble(Fault::Misdirect);
    assert!(verdict.oddities.misdirected > 0, "{verdict:?}");
}

#[test]
fn what_was_deleted_before_it_was_read_is_lost_and_the_rest_is_read() {
    for (consume, consumer_delay_s) in [(Consume::After, 0.0), (Consume::During, 0.4)] {
        let sink = keeping(Some(Fault::Trim));
        let result = go(Plan { consume, consumer_delay_s, ..plan(&sink) });
        let verdict = &result.verdict;
        assert!(verdict.lost > 0 && verdict.read > 0, "{verdict:?}");
        assert_eq!(verdict.read + verdict.lost, verdict.acknowledged, "{verdict:?}");
        assert_eq!((verdict.oddities.skipped, verdict.duplicated), (verdict.lost, 0));
        assert!(!verdict.incomplete, "{verdict:?}");
        let told = Warning::DeletedUnread { offsets: verdict.lost };
        assert!(result.warnings.contains(&told), "{:?}", result.warnings);
        assert_eq!(result.exit_code(), 4);
    }
}

#[test]
fn a_closed_loop_reads_its_backlog_afterwards() {
    let sink = keeping(None);
    let plan = Plan {
        load: Load::Max,
        consume: Consume::After,
        duration_s: 1.0,
        warmup_s: 0.0,
        record_bytes: 1000.into(),
        ..plan(&sink)
    };
    let result = go(plan);
    assert!(result.verdict.is_clean() && result.verdict.sent > 1000, "{:?}", result.verdict);
    let backlog = result.backlog.unwrap();
    assert_eq!(backlog.read.records, result.verdict.read);
    let read_at: Vec<u64> =
        result.seconds.iter().filter(|s| s.consumed_records > 0).map(|s| s.second).collect();
    assert!(read_at.iter().all(|second| *second >= 1), "afterwards is not beside: {read_at:?}");
    assert!(backlog.read.bytes_per_s > 0.0);
    assert!(result.produce_latency.is_none(), "no schedule, no latency from intended times");
    assert!(result.warnings.contains(&Warning::ClosedLoop));
}

#[test]
fn codecs_keys_idempotence_and_a_second_run_on_the_same_topic() {
    let sink = keeping(None);
    for compression in [Compression::Lz4, Compression::Zstd, Compression::Snappy, Compression::Gzip]
    {
        let plan = Plan {
            compression,
            idempotent: true,
            acks: -1,
            keys: Some(Keys { bytes: 8, space: 1000, zipf: 0.0 }),
            random_share: 0.3,
            duration_s: 0.2,
            linger_ns: 2_000_000,
            ..plan(&sink)
        };
        let result = go(plan);
        let verdict = &result.verdict;
        assert!(verdict.is_clean() && verdict.sent > 5_000, "{compression:?}: {verdict:?}");
        assert_eq!((verdict.read, verdict.oddities.foreign), (verdict.sent, 0));
    }
}

#[test]
fn a_full_broker_is_heard_and_its_refusals_are_not_losses() {
    let store = Store::Keep { bytes_max: 200_000, fault: None };
    let sink = Sink::start("127.0.0.1:0", store).unwrap();
    let result = go(Plan { duration_s: 0.2, ..plan(&sink) });
    let verdict = &result.verdict;
    // The error leaves open what was stored, so these are unanswered rather than refused.
    assert!(verdict.unknown > 0 && verdict.lost == 0 && verdict.acknowledged > 0, "{verdict:?}");
    assert!(result.errors.contains_key("KAFKA_STORAGE_ERROR (56)"), "{:?}", result.errors);
    let refused =
        |w: &Warning| matches!(w, Warning::Refused { records, .. } if *records == verdict.unknown);
    assert!(result.warnings.iter().any(refused), "{:?} {verdict:?}", result.warnings);
    assert_eq!(result.exit_code(), 3, "a broker that does less is no faster: {verdict:?}");
}

#[test]
fn a_broker_that_takes_nothing_has_not_been_measured() {
    for consume in [Consume::During, Consume::Never] {
        let store = Store::Keep { bytes_max: 10, fault: None };
        let sink = Sink::start("127.0.0.1:0", store).unwrap();
        let plan = Plan { consume, duration_s: 0.2, ..plan(&sink) };
        let result = run(plan, &Arc::default()).unwrap();
        let why = result.failure.as_deref().unwrap_or_default();
        assert!(why.contains("not one of") && why.contains("KAFKA_STORAGE_ERROR (56)"), "{why:?}");
        assert_eq!((result.verdict.acknowledged, result.exit_code()), (0, 1));
        let slow = |w: &Warning| matches!(w, Warning::NotSustained { .. });
        assert!(!result.warnings.iter().any(slow), "{:?}", result.warnings);
    }
}

#[test]
fn a_rate_is_not_sustained_when_records_stay_unsent_and_not_when_answers_take_their_time() {
    let unsent = |in_flight: u32, records_per_batch: u32, linger_ns: u64| {
        let store = Store::Keep { bytes_max: 512 << 20, fault: None };
        let delay = Some("fixed:50ms".parse().unwrap());
        let sink = Sink::start_with("127.0.0.1:0", store, delay, || ()).unwrap();
        let plan = Plan { load: Load::Rate(1000.0), producers: 1, in_flight, ..plan(&sink) };
        let plan = Plan { linger_ns, records_per_batch, warmup_s: 0.0, ..plan };
        let result = go(Plan { duration_s: 1.0, consume: Consume::Never, ..plan });
        // What was sent last is answered behind the end of the load.
        assert!(result.produced.records < 980, "{:?}", result.produced);
        result.warnings.iter().find_map(|w| match w {
            Warning::NotSustained { backlog, .. } => Some(*backlog),
            _ => None,
        })
    };
    assert_eq!(unsent(1000, 1000, 0), None, "each record is sent when it is due");
    assert_eq!(unsent(1000, 1000, 350_000_000), None, "the last batch leaves with its last record");
    let backlog = unsent(10, 1, 0).expect("200 records/s of 1,000");
    assert!((700..=800).contains(&backlog), "{backlog}");
}

#[test]
fn what_the_time_did_not_suffice_to_read_is_not_lost() {
    let sink = keeping(None);
    let load = Load::Rate(200_000.0);
    let result = go(Plan { load, consume: Consume::After, drain_s: 0.0, ..plan(&sink) });
    let verdict = &result.verdict;
    assert!(verdict.incomplete && verdict.unread > 0 && verdict.lost == 0, "{verdict:?}");
    assert_eq!(verdict.read + verdict.unread, verdict.acknowledged, "{verdict:?}");
    assert_eq!(result.exit_code(), 3, "nobody knows of them: {:?}", result.warnings);
    // What the broker was asked for and did not give is lost, however short the time: here the
    // last batch of all, behind which nothing comes that would tell of a gap.
    let sink = keeping(Some(Fault::Drop));
    let few =
        Plan { linger_ns: 0, load: Load::Rate(500.0), producers: 1, partitions: 1, ..plan(&sink) };
    let few = Plan { records_per_batch: 1, duration_s: 0.1, warmup_s: 0.0, ..few };
    let result = go(Plan { drain_s: 1.5, ..few });
    let verdict = &result.verdict;
    assert_eq!((verdict.sent, verdict.lost, verdict.unread), (50, 1, 0), "{verdict:?}");
}

#[test]
fn acks_zero_promises_nothing_and_never_is_never() {
    let sink = keeping(None);
    let result = go(Plan { acks: 0, duration_s: 0.2, ..plan(&sink) });
    assert_eq!((result.verdict.acknowledged, result.verdict.lost), (0, 0));
    assert_eq!(result.verdict.read, result.verdict.sent);
    let result = go(Plan { consume: Consume::Never, duration_s: 0.1, ..plan(&sink) });
    assert!(!result.verdict.checked && result.warnings.contains(&Warning::NotVerified));
}

/// Run `plan` against `sink`, which is gone for good once it has taken some of the records.
fn orphaned(plan: Plan, sink: Sink) -> RunResult {
    let (topic, partitions) = (plan.topic.clone(), plan.partitions);
    let running = thread::spawn(move || run(plan, &Arc::default()).unwrap());
    let mut admin = Admin::connect(&sink.address.to_string()).unwrap();
    let mut has_some = || {
        let ends = admin.end_offsets(&topic, partitions);
        ends.is_ok_and(|ends| ends.iter().sum::<i64>() > 1500)
    };
    while !has_some() {}
    drop(sink);
    running.join().unwrap()
}

#[test]
fn a_broker_that_is_gone_for_good_is_a_failure_however_short_the_drain() {
    for consume in [Consume::During, Consume::After, Consume::Never] {
        for load in [Load::Rate(20_000.0), Load::Max] {
            let sink = keeping(None);
            let plan = Plan { consume, load, drain_s: 0.3, ..plan(&sink) };
            let result = orphaned(plan, sink);
            let verdict = &result.verdict;
            let why = result.failure.as_deref().unwrap_or_default();
            assert!(why.contains("is the broker still running?"), "{why:?} {verdict:?}");
            assert!(verdict.acknowledged > 0 && verdict.lost == 0, "{verdict:?}");
            if consume == Consume::After {
                assert_eq!(verdict.unread, verdict.acknowledged, "nobody could read any");
            }
            assert_eq!(result.exit_code(), 1);
        }
    }
}

#[test]
fn what_was_lost_before_a_failure_outranks_it() {
    let sink = keeping(Some(Fault::Drop));
    let result = orphaned(Plan { drain_s: 0.3, ..plan(&sink) }, sink);
    assert!(result.failure.is_some() && result.verdict.lost > 0, "{:?}", result.verdict);
    assert_eq!(result.exit_code(), 4);
}

#[test]
fn a_broken_connection_is_survived_and_costs_no_verdict() {
    let sink = keeping(Some(Fault::HangUp));
    let result = go(plan(&sink));
    let verdict = &result.verdict;
    assert!(result.disconnects > 0 && verdict.unknown > 0, "{verdict:?}");
    assert_eq!((verdict.lost, verdict.duplicated), (0, 0), "{verdict:?}");
    assert!(verdict.acknowledged + verdict.unknown == verdict.sent, "{verdict:?}");
    assert!(result.warnings.iter().any(|w| matches!(w, Warning::Disconnects { .. })));
    // An idempotent producer sends again what was not answered, under the same sequences. The
    // sink does not remember producers, so the resent records are there twice and none is lost.
    let sink = keeping(Some(Fault::HangUp));
    let result = go(Plan { idempotent: true, acks: -1, ..plan(&sink) });
    let verdict = &result.verdict;
    assert!(result.disconnects > 0 && verdict.duplicated > 0, "{verdict:?}");
    assert_eq!((verdict.lost, verdict.unknown), (0, 0), "{verdict:?}");
    assert_eq!(verdict.acknowledged, verdict.sent);
}

#[test]
fn what_nobody_answered_counts_with_its_age_and_a_broker_that_hangs_has_failed() {
    for drain_s in [0.4, 1.2] {
        let store = Store::Keep { bytes_max: 512 << 20, fault: None };
        // Answers for 0.3 s, and then for a minute none.
        let delay = Some("stall:59.7s,60s".parse().unwrap());
        let sink = Sink::start_with("127.0.0.1:0", store, delay, || ()).unwrap();
        let plan = Plan { load: Load::Rate(1000.0), producers: 1, drain_s, ..plan(&sink) };
        let plan = Plan { duration_s: 1.0, warmup_s: 0.0, records_per_batch: 1, ..plan };
        let result = run(plan, &Arc::default()).unwrap();
        let overdue = result.warnings.iter().find_map(|warning| match warning {
            Warning::Overdue { records } => Some(*records),
            _ => None,
        });
        let acknowledged = result.verdict.acknowledged;
        assert!((200..500).contains(&acknowledged), "{:?}", result.verdict);
        assert_eq!(overdue, Some(1000 - acknowledged), "{:?}", result.warnings);
        let produce = result.produce_latency.as_ref().unwrap();
        assert_eq!(produce.records, 1000, "each that was due");
        assert!(produce.p50.known_ns() > Some((drain_s * 1e9) as u64), "{produce:?}");
        let end_to_end = result.end_to_end_latency.as_ref().unwrap();
        assert_eq!(end_to_end.records, 1000, "whoever was not even sent is late there, too");
        let why = result.failure.as_deref().unwrap_or_default();
        assert_eq!(why.contains("does the broker hang?"), drain_s > 1.0, "{why:?}");
        assert_eq!(result.exit_code(), if drain_s > 1.0 { 1 } else { 0 });
    }
}

#[test]
fn a_run_that_fails_tells_the_seconds_that_it_had() {
    let sink = keeping(None);
    let begin = clock::monotonic_ns();
    let result = orphaned(Plan { duration_s: 30.0, ..plan(&sink) }, sink);
    let took_s = (clock::monotonic_ns() - begin) as f64 / 1e9;
    assert!(result.failure.is_some() && result.measured_s < took_s, "{}", result.measured_s);
    assert!(result.threads.iter().all(|thread| thread.cpu_share > 0.0), "{:?}", result.threads);
    assert!(!result.warnings.iter().any(|w| matches!(w, Warning::Stopped { .. })));
}

#[test]
fn a_broker_that_was_away_is_no_pacing_error() {
    const AWAY_NS: u64 = 700_000_000;
    let sink = keeping(None);
    let address = sink.address.to_string();
    let plan = Plan { load: Load::Rate(500.0), records_per_batch: 1, ..plan(&sink) };
    let plan = Plan { duration_s: 2.0, drain_s: 1.0, consume: Consume::Never, ..plan };
    let running = thread::spawn(move || run(plan, &Arc::default()).unwrap());
    let mut admin = Admin::connect(&address).unwrap();
    while !admin.end_offsets("t", 3).is_ok_and(|ends| ends.iter().sum::<i64>() > 20) {}
    drop(sink);
    let until = clock::monotonic_ns() + AWAY_NS;
    while clock::monotonic_ns() < until {
        thread::yield_now();
    }
    let _sink = Sink::start(&address, Store::Keep { bytes_max: 1 << 20, fault: None }).unwrap();
    let result = running.join().unwrap();
    assert!(result.disconnects > 0 && result.failure.is_none(), "{:?}", result.failure);
    let lag = result.schedule_lag.unwrap();
    assert!(lag.max_ns < AWAY_NS / 2, "{lag:?}");
}
