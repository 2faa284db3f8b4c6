//! Consumer groups against a real broker: members have their partitions from it, commit, leave and
//! come back, and every record is read once. `LOADGEN_TEST_SERVER` names another broker's address.

mod support;

use serde_json::Value;
use support::{Server, loadgen};

fn groups_of(result: &Value) -> &[Value] {
    result["groups"].as_array().expect("groups")
}

fn run(address: &str, more: &[&str]) -> Value {
    let flags = ["run", "-b", address, "--groups", "--json", "-", "--progress", "0"];
    let load = ["--rate", "1000", "--warmup", "0.5", "--linger", "5", "--partitions", "6"];
    let ended = loadgen(&[&flags[..], &load, more].concat());
    let why = String::from_utf8_lossy(&ended.stderr).into_owned();
    let result = serde_json::from_slice(&ended.stdout);
    result.unwrap_or_else(|error| panic!("{error}: {why}"))
}

fn assert_each_record_is_read_once_per_group(result: &Value, groups: u64) {
    assert_eq!(result["failure"], Value::Null);
    let verdict = &result["verdict"];
    for name in ["lost", "duplicated", "reordered", "unread", "offset_gaps"] {
        assert_eq!(verdict[name], 0, "{name}: {verdict}");
    }
    let acknowledged = verdict["acknowledged"].as_u64().unwrap();
    assert_eq!(verdict["read"].as_u64().unwrap(), groups * acknowledged, "{verdict}");
    assert_eq!(groups_of(result).len() as u64, groups);
}

#[test]
fn members_read_what_the_broker_gives_them_while_others_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let here = std::env::var("LOADGEN_TEST_SERVER").ok();
    let server = here.is_none().then(|| Server::thalweg(dir.path()));
    let address = here.or_else(|| server.as_ref().map(|s| s.address.clone())).unwrap();
    let topic = |name: &str| format!("{name}-{}", std::process::id());

    let calm = ["--consumers", "3", "--subscriptions", "2", "--commit-every", "200"];
    let result =
        run(&address, &[&calm[..], &["--duration", "3", "--topic", &topic("calm")]].concat());
    assert_each_record_is_read_once_per_group(&result, 2);
    for group in groups_of(&result) {
        assert_eq!((&group["members"], &group["rebalances"]), (&3.into(), &0.into()), "{group}");
        assert_eq!(
            (&group["lag_at_end"], &group["redelivered"]),
            (&0.into(), &0.into()),
            "{group}"
        );
        let commits = group["commit_latency"]["completions"].as_u64().unwrap();
        assert!(commits > 6, "three members, each several times: {group}");
        assert!(group["lag"].as_array().unwrap().len() >= 2, "{group}");
    }

    // Every 1.5 s a member leaves; it takes up to a heartbeat until the others hear of it.
    let churn = ["--consumers", "3", "--commit-every", "200", "--churn", "1.5"];
    let result =
        run(&address, &[&churn[..], &["--duration", "9", "--topic", &topic("churn")]].concat());
    assert_each_record_is_read_once_per_group(&result, 1);
    let group = &groups_of(&result)[0];
    assert!(group["rebalances"].as_u64() > Some(0), "{group}");
    assert!(group["rebalance_latency"]["completions"].as_u64() > Some(0), "{group}");
    assert_eq!(group["lag_at_end"], 0, "{group}");
}
