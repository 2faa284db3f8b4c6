//! Words that belong to some rooms only, and words that belong nowhere.

use super::source::Source;

/// A word, where code may use it, and what to use elsewhere. A place that ends with '/' is a
/// folder.
struct Room {
    word: &'static str,
    places: &'static [&'static str],
    instead: &'static str,
}

const ROOMS: &[Room] = &[
    Room {
        word: "glommio",
        places: &[
            "src/disk/dma.rs",
            "src/runtime/glommio.rs",
            "src/runtime/tasks.rs",
            "src/server/readiness.rs",
            "src/server/serving.rs",
            "src/server/start.rs",
            // Declares the module of that name.
            "src/runtime/mod.rs",
            // Runs the store on the real disk.
            "src/storage/tests.rs",
            "tests/",
            "benches/",
        ],
        instead: "go through the Disk and Runtime seams, so that it also runs simulated",
    },
    Room {
        word: "ErrorCode",
        places: &[
            "src/protocol/",
            // Its answers are the protocol's: which error a member gets is the rule itself.
            "src/coordinator/",
            "src/server/",
            "src/client/",
            "src/cli/",
            "loadgen/",
            "tests/",
        ],
        instead: "return an error type of your own; src/server turns it into Kafka's code",
    },
    Room {
        word: "Instant::now",
        places: CLOCKS,
        instead: "take the time from the Runtime, or as an argument",
    },
    Room {
        word: "SystemTime::now",
        places: CLOCKS,
        instead: "take the time from the Runtime, or as an argument",
    },
    Room {
        word: "thread::sleep",
        places: &[
            "src/client/",
            "src/cli/",
            // The listener waits for its port before any shard runs.
            "src/server/listener.rs",
            // A thread of its own.
            "src/disk/shrink.rs",
            "loadgen/",
            // Clients that are refused try again, and nothing tells of the broker's return.
            "tests/e2e/kill.rs",
            "tests/e2e/pressure.rs",
            // The load of a benchmark comes from threads of its own.
            "benches/",
        ],
        instead: "a shard that sleeps stands still: use Runtime::sleep; a test awaits an event",
    },
];

/// Words of the tests in other languages, which none of them needs: (ending of the file, word).
const SLEEPS: &[(&str, &str)] = &[
    ("py", "time.sleep"),
    ("py", "asyncio.sleep"),
    ("java", "Thread.sleep"),
    ("go", "time.Sleep"),
    ("mjs", "timers/promises"),
];

/// Files that may read a clock: the runtime, and programs that are their own clock.
const CLOCKS: &[&str] = &[
    "src/runtime/core.rs",
    // How long a step of its own thread takes.
    "src/disk/shrink.rs",
    "src/runtime/glommio.rs",
    "src/runtime/tasks.rs",
    // How long a frame takes to arrive, and an answer to leave, on a real socket.
    "src/server/transfer.rs",
    "src/server/readiness.rs",
    // How soon a signal comes again.
    "src/server/process.rs",
    "src/client/",
    "src/cli/",
    "loadgen/",
    "tests/",
    "benches/",
];

/// Findings about words outside their rooms.
pub fn words_stay_in_their_rooms(file: &Source) -> Vec<String> {
    if !file.is_rust() {
        return Vec::new();
    }
    let code = file.code();
    let mut findings = Vec::new();
    for room in ROOMS {
        if room.places.iter().any(|place| is_in(&file.path, place)) {
            continue;
        }
        for (number, line) in code.lines().enumerate() {
            if has_word(line, room.word) {
                findings.push(file.at(number, format!("{} here: {}", room.word, room.instead)));
            }
        }
    }
    findings
}

/// Findings about foreign clients that sleep.
pub fn no_foreign_test_sleeps(file: &Source) -> Vec<String> {
    let mut findings = Vec::new();
    for (ending, word) in SLEEPS {
        let is_theirs = file.path.rsplit_once('.').is_some_and(|(_, its)| its == *ending);
        for (number, line) in file.text.lines().enumerate().filter(|_| is_theirs) {
            if has_word(line, word) {
                let instead = "await an event, with a limit; or ask again in a bounded loop";
                findings.push(file.at(number, format!("{word} here: {instead}")));
            }
        }
    }
    findings
}

fn is_in(path: &str, place: &str) -> bool {
    if place.ends_with('/') { path.starts_with(place) } else { path == place }
}

/// Whether `word` stands in `line` between characters that belong to no word.
fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + word.len()..]);
        !is_part(before.chars().next_back()) && !is_part(after.chars().next())
    })
}

/// Markers of unfinished work. Spelled in halves, so that this file passes.
const MARKERS: &[&str] =
    &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];

/// Findings about unfinished work and conflict markers.
pub fn nothing_is_left_over(file: &Source) -> Vec<String> {
    let mut findings = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        for marker in MARKERS {
            if has_word(line, marker) {
                findings
                    .push(file.at(number, format!("{marker}: finish it, or say in docs/ why not")));
            }
        }
        if line.starts_with("<<<<<<<") || line.starts_with(">>>>>>>") {
            findings.push(file.at(number, "a merge is not finished"));
        }
        if line.ends_with([' ', '\t']) && !file.path.ends_with(".md") {
            findings.push(file.at(number, "white space at the end: run cargo fmt"));
        }
    }
    findings
}

/// Beginnings of paths of one machine. In halves, see above.
const WORKPLACES: &[&str] = &[concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/ho", "me/")];

/// Hosts that builds fetch from; which one is the machine's affair.
const HOSTS: &[&str] = &[
    concat!("crates", ".io"),
    concat!("pypi", ".org"),
    concat!("python", "hosted"),
    concat!("repo1", ".maven"),
    concat!("repo", ".maven"),
    concat!("npmjs", ".org"),
    concat!("proxy.go", "lang"),
];

/// Findings about paths and hosts that hold on one machine only.
pub fn no_workplace_is_named(file: &Source) -> Vec<String> {
    let mut findings = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        for place in WORKPLACES {
            let is_path = line.match_indices(place).any(|(at, _)| {
                !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-}/".contains(c))
            });
            if is_path {
                findings.push(
                    file.at(
                        number,
                        format!("{place} is a path of one machine: use a relative one"),
                    ),
                );
            }
        }
        for host in HOSTS {
            if line.contains(host) {
                findings.push(file.at(
                    number,
                    format!("{host} is the machine's choice: leave it to its settings"),
                ));
            }
        }
    }
    findings
}

#[test]
fn a_word_outside_its_room_is_found() {
    let found = |path: &str, text: &str| words_stay_in_their_rooms(&Source::of(path, text)).len();
    assert_eq!(found("src/storage/a.rs", "use glommio::io::DmaFile;"), 1);
    assert_eq!(found("src/storage/a.rs", "// glommio does this\nlet a = \"glommio\";"), 0);
    assert_eq!(found("src/disk/dma.rs", "use glommio::io::DmaFile;"), 0);
    assert_eq!(found("src/partition/a.rs", "ErrorCode::None"), 1);
    assert_eq!(found("src/partition/a.rs", "MyErrorCode::None"), 0);
    assert_eq!(found("src/storage/a.rs", "let t = Instant::now();"), 1);
    assert_eq!(found("src/shard/a.rs", "let t = std::time::SystemTime::now();"), 1);
    assert_eq!(found("src/client/a.rs", "let t = Instant::now();"), 0);
    assert_eq!(found("src/shard/a.rs", "std::thread::sleep(d)"), 1);
    assert_eq!(found("tests/e2e/a.rs", "std::thread::sleep(d)"), 1);
    assert_eq!(found("benches/a.rs", "std::thread::sleep(d)"), 0);
}

#[test]
fn a_foreign_test_that_sleeps_is_found() {
    let found = |path: &str, text: &str| no_foreign_test_sleeps(&Source::of(path, text)).len();
    assert_eq!(found("tests/clients/a.py", "    time.sleep(1)"), 1);
    assert_eq!(found("tests/clients/a.py", "    event.wait(1)"), 0);
    assert_eq!(found("tests/clients/a.java", "    Thread.sleep(1);"), 1);
    assert_eq!(found("tests/clients/a.py", "    await asyncio.sleep(1)"), 1);
    assert_eq!(found("tests/clients/a.go", "\ttime.Sleep(time.Second)"), 1);
    assert_eq!(found("tests/clients/a.mjs", "from 'node:timers/promises'"), 1);
    assert_eq!(found("docs/a.md", "not time.sleep"), 0);
}

#[test]
fn leftovers_are_found() {
    let found = |text: &str| nothing_is_left_over(&Source::of("a.rs", text)).len();
    assert_eq!(found(&format!("// {}: later", MARKERS[0])), 1);
    assert_eq!(found(&format!("{}s", MARKERS[0])), 0);
    assert_eq!(found("<<<<<<< HEAD\n"), 1);
    assert_eq!(found("let a = 1; \n"), 1);
    assert_eq!(found("let a = 1;\n"), 0);
}

#[test]
fn workplaces_are_found() {
    let found = |text: &str| no_workplace_is_named(&Source::of("a.md", text)).len();
    assert_eq!(found(&format!("see {}somebody/x", WORKPLACES[2])), 1);
    assert_eq!(found(&format!("net{}x", &WORKPLACES[1][..5])), 0);
    assert_eq!(found(&format!("https://{}/x", HOSTS[0])), 1);
}
