//! The threads of a broker, as the kernel tells of them (proc(5)).

use std::fs;

use crate::support::Broker;

/// The text of `status` of each thread that there is.
pub(crate) fn statuses(broker: &Broker) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", broker.pid())).expect("the broker's threads");
    let status = |task: fs::DirEntry| fs::read_to_string(task.path().join("status"));
    // A thread may end meanwhile.
    tasks.filter_map(|task| status(task.expect("a thread")).ok()).collect()
}

/// The value of one field of it.
pub(crate) fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let value = |line: &'a str| line.strip_prefix(name)?.strip_prefix(':');
    status.lines().find_map(value).expect("a field that every thread has").trim()
}
