//! An Apache Kafka as a child process, from the artefacts of a release: formatted, then started
//! as one node that is broker and controller, with Kafka's own defaults but for what one node
//! needs.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;

use super::{Broker, Says};
use crate::payload::Filler;

/// Sixteen bytes in base64, as Kafka writes ids.
const CLUSTER_ID: &str = "bG9hZGdlbi1hYi1rYWZrYQ";
/// As Kafka's own start script has it.
const HEAP: &str = "-Xms1g -Xmx1g";
const JVM: [&str; 6] = [
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-Djava.awt.headless=true",
];

/// The folder of the jars of a Kafka: `folder/libs` of an unpacked release, `folder/lib`, or
/// `folder` itself.
///
/// # Errors
/// When there is no broker among them.
pub fn jars(folder: &Path) -> Result<PathBuf, String> {
    let has_broker = |dir: &PathBuf| {
        let names = fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.file_name());
        let mut names = names.map(|name| name.to_string_lossy().into_owned());
        names.any(|name| name.starts_with("kafka_") && name.ends_with(".jar"))
    };
    let places = [folder.join("libs"), folder.join("lib"), folder.to_owned()];
    places.into_iter().find(has_broker).ok_or(format!(
        "kafka:{}: there is no kafka_*.jar in it, nor in libs or lib below it; give the folder \
         of an unpacked release",
        folder.display()
    ))
}

/// Start the Kafka whose jars are in `jars`, with its data in `dir/data` and its log in
/// `dir/broker.log`; `more` are settings, `KEY=VALUE`. `JAVA_HOME` and `KAFKA_HEAP_OPTS` count.
///
/// # Errors
/// When it does not come up; the end of its log is in the message.
pub fn start(
    jars: &Path,
    more: &[String],
    dir: &Path,
    stop: &AtomicBool,
) -> Result<Broker, String> {
    let [port, controller] = free_ports()?;
    let properties = dir.join("server.properties");
    fs::write(&properties, settings(port, controller, dir, more))
        .map_err(|error| format!("cannot write {}: {error}", properties.display()))?;
    format(jars, dir, &properties)?;
    let heap = std::env::var("KAFKA_HEAP_OPTS").unwrap_or(HEAP.into());
    let mut command = java(jars, &heap);
    command.args(JVM).arg("kafka.Kafka").arg(&properties);
    let mut broker = Broker::spawn(command, dir, Says::Nothing)?;
    broker.await_answer(SocketAddr::from(([127, 0, 0, 1], port)), stop)?;
    Ok(broker)
}

fn java(jars: &Path, heap: &str) -> Command {
    let home = std::env::var_os("JAVA_HOME").map(|home| PathBuf::from(home).join("bin/java"));
    let mut command = Command::new(home.filter(|java| java.is_file()).unwrap_or("java".into()));
    command.args(heap.split_whitespace()).arg("-cp").arg(jars.join("*"));
    command
}

fn format(jars: &Path, dir: &Path, properties: &Path) -> Result<(), String> {
    let log = dir.join("format.log");
    let output =
        File::create(&log).map_err(|error| format!("cannot write {}: {error}", log.display()))?;
    let errors = output.try_clone().map_err(|error| error.to_string())?;
    let mut command = java(jars, "-Xmx256m");
    command.args(["kafka.tools.StorageTool", "format", "--cluster-id", CLUSTER_ID, "--config"]);
    command.arg(properties).stdin(Stdio::null()).stdout(output).stderr(errors);
    let status = command.status();
    let status = status.map_err(|error| format!("cannot start java: {error}; set JAVA_HOME"))?;
    if status.success() {
        return Ok(());
    }
    let said = fs::read_to_string(&log).unwrap_or_default();
    Err(format!("Kafka's storage could not be formatted ({status}):\n{said}"))
}

fn settings(port: u16, controller: u16, dir: &Path, more: &[String]) -> String {
    let data = dir.join("data");
    let data = data.display();
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
         controller.listener.names=CONTROLLER\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n\
         log.dirs={data}\n\
         offsets.topic.replication.factor=1\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         share.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\n\
         group.initial.rebalance.delay.ms=0\n\
         {}\n",
        more.join("\n")
    )
}

/// Ports for a broker and a controller that nobody listens on, below the range from which the
/// kernel gives its own: a connection must not take one before Kafka does.
fn free_ports() -> Result<[u16; 2], String> {
    const PORTS: std::ops::Range<u16> = 10_000..30_000;
    const TRIES: usize = 200;
    let mut seed = [0u8; 8];
    getrandom::fill(&mut seed).map_err(|e| format!("no random number from the kernel: {e}"))?;
    let mut random = Filler::new(u64::from_ne_bytes(seed));
    let mut draw = || PORTS.start + (random.next_u64() % PORTS.len() as u64) as u16;
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let free: Vec<u16> = (0..TRIES).map(|_| draw()).filter(is_free).take(2).collect();
    match free.as_slice() {
        [port, controller] if port != controller => Ok([*port, *controller]),
        _ => Err(format!("no two free ports found between {} and {}", PORTS.start, PORTS.end)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_settings_come_last_so_that_they_win() {
        let more = vec!["log.flush.interval.messages=1".to_owned()];
        let text = settings(10_001, 10_002, Path::new("/place"), &more);
        assert!(text.contains("log.dirs=/place/data\n") && text.contains(":10001,CONTROLLER://"));
        assert!(text.ends_with("log.flush.interval.messages=1\n"), "{text}");
        let [port, controller] = free_ports().unwrap();
        assert!(port != controller && port >= 10_000 && controller < 30_000);
    }
}
