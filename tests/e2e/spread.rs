//! Connections that carry records are spread evenly over the shards, as real clients open them.

use crate::page::{counted, free_port, page};
use crate::support::{Broker, Connection, Options, wire};

const TOPIC: &str = "spread";
const CLIENTS: usize = 8;

/// Eight producers, one after the other; each asks on a connection of its own where the records
/// go, and leaves it open (Java) or closes it (librdkafka, kafka-python) before it sends any.
/// Taking turns would give every second connection, and with two shards all the records, to one.
#[test]
fn producers_that_ask_first_are_spread_over_the_shards() {
    for stays in [false, true] {
        let metrics = free_port();
        let address = format!("127.0.0.1:{metrics}");
        let options = Options::with_arguments(&["--shards", "2", "--metrics", &address]);
        let broker = Broker::start_with("spread", options);
        let open = || Connection::open(broker.port()).expect("connecting");
        open().create_topic(TOPIC, 1, &[]).expect("CreateTopics");
        let mut kept = Vec::new();
        for _ in 0..CLIENTS {
            let mut asks = open();
            asks.api_versions().expect("ApiVersions");
            let mut carries = open();
            carries.api_versions().expect("ApiVersions");
            if stays {
                kept.push(asks);
            } else {
                asks.finish_writing().expect("closing");
                asks.read_frame().expect_err("nothing but the broker's end");
            }
            let (error, _) = carries.produce(TOPIC, 0, 1, wire::batch(&[b"x"])).expect("Produce");
            assert_eq!(error, 0);
            kept.push(carries);
        }
        let page = page(metrics);
        for shard in 0..2 {
            let label = format!("shard=\"{shard}\",api=\"Produce\"");
            let served = counted(&page, "thalweg_requests_total", &label);
            // One apart: a connection that was closed may still be counted for a moment.
            let half = CLIENTS as u64 / 2;
            assert!(served.abs_diff(half) <= 1, "shard {shard} served {served}, stays: {stays}");
        }
    }
}
