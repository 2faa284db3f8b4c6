//! The consumer groups of a run: seats for their readers, threads for their members, and waiting
//! until everybody has partitions.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::admin::{Admin, TopicMap};
use crate::consume::ReaderSpec;
use crate::consume::group::{Group, GroupResult, Seat};
use crate::consume::member::{Member, Table};
use crate::plan::Plan;
use crate::recorder::Window;

/// How long groups may take until all members have partitions.
const JOIN_LIMIT: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(20);

/// The groups of a run and their members.
#[derive(Debug)]
pub struct Groups {
    groups: Vec<Arc<Group>>,
    members: Vec<Member>,
    threads: Vec<JoinHandle<()>>,
    table: Arc<Table>,
    per_group: u32,
}

impl Groups {
    /// Lay the table; nobody has joined yet. None unless `plan` wants groups.
    pub fn new(plan: &Plan, run: u32, map: &TopicMap, starts: &[i64]) -> Option<Self> {
        let wanted = plan.groups?;
        let table = Arc::new(Table {
            servers: plan.bootstrap_server.clone(),
            topic: plan.topic.clone(),
            commit_every: Duration::from_millis(wanted.commit_every_ms.into()),
            churn: Duration::from_secs_f64(wanted.churn_s),
            start_ns: AtomicU64::new(0),
            is_ending: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        });
        let leaders = Arc::new(map.leaders.clone());
        let mut distinct: Vec<SocketAddr> = map.leaders.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let name = |number| format!("loadgen-{}-{run:08x}-{number}", plan.topic);
        let groups: Vec<_> = (0..plan.subscriptions)
            .map(|number| Arc::new(Group::new(name(number), starts)))
            .collect();
        let members = groups.iter().flat_map(|group| {
            let (leaders, table, distinct) = (&leaders, &table, &distinct);
            (0..plan.consumers as usize).map(move |number| Member {
                group: group.clone(),
                number: (number, plan.consumers as usize),
                seats: distinct.iter().map(|at| (*at, Seat::new(group.clone()))).collect(),
                leaders: leaders.clone(),
                table: table.clone(),
            })
        });
        let members = members.collect();
        Some(Self { groups, members, threads: Vec::new(), table, per_group: plan.consumers })
    }

    /// One reader per member and leader.
    pub fn readers(&self) -> Vec<ReaderSpec> {
        let number = |group: &Arc<Group>| self.groups.iter().position(|g| Arc::ptr_eq(g, group));
        let readers = self.members.iter().flat_map(|member| {
            let subscription = number(&member.group).unwrap_or(0) as u32;
            member.seats.iter().map(move |(address, seat)| ReaderSpec {
                subscription,
                address: *address,
                partitions: Vec::new(),
                seat: Some(seat.clone()),
            })
        });
        readers.collect()
    }

    /// Let everybody join. Readers must be running: they take the seats.
    ///
    /// # Errors
    /// When a thread cannot be had.
    pub fn join(&mut self) -> Result<(), String> {
        for member in &self.members {
            let member = member.clone();
            let thread = thread::Builder::new().name("member".into());
            let thread = thread.spawn(move || member.run());
            self.threads
                .push(thread.map_err(|error| format!("cannot start a member's thread: {error}"))?);
        }
        Ok(())
    }

    /// Wait until every member has heard what it has, and all partitions are in hands.
    ///
    /// # Errors
    /// When that does not happen in time, or a member gave up.
    pub fn await_all(&self, partitions: u32, stop: &AtomicBool) -> Result<(), String> {
        let begin = Instant::now();
        for group in &self.groups {
            loop {
                let notes = group.notes();
                if let Some(why) = &notes.fatal {
                    return Err(why.clone());
                }
                let held: usize = notes.held.values().sum();
                let members = notes.held.len();
                drop(notes);
                let is_whole = held == partitions as usize && members == self.per_group as usize;
                if is_whole || stop.load(Ordering::Relaxed) {
                    break;
                }
                if begin.elapsed() > JOIN_LIMIT {
                    return Err(format!(
                        "group {}: {members} of {} members hold {held} of {partitions} partitions \
                         after {} s; look into the broker's log",
                        group.id,
                        self.per_group,
                        JOIN_LIMIT.as_secs()
                    ));
                }
                thread::sleep(TICK);
            }
        }
        Ok(())
    }

    /// The load begins: from now on rebalances count, and members may leave.
    pub fn begin(&self, window: Window) {
        self.table.start_ns.store(window.start_ns, Ordering::Relaxed);
    }

    /// The load has ended: nobody leaves any more.
    pub fn settle(&self) {
        self.table.is_ending.store(true, Ordering::Relaxed);
    }

    /// Everything is read: commit, leave, and tell what came of each group.
    pub fn finish(&mut self, admin: &mut Admin) -> Vec<GroupResult> {
        self.dismiss();
        for group in &self.groups {
            admin.delete_group(&group.id);
        }
        self.groups.iter().map(|group| group.result(self.per_group)).collect()
    }

    /// What was seen of partitions that nobody held at the end, by subscription.
    pub fn left_behind(&self) -> Vec<((u32, u32), Vec<crate::verify::Seen>)> {
        let of = |(number, group): (u32, &Arc<Group>)| {
            group
                .leave_behind()
                .into_iter()
                .map(move |(partition, seen)| ((number, partition), seen))
        };
        (0..).zip(&self.groups).flat_map(of).collect()
    }

    /// Why a member gave up, if one did.
    pub fn fatal(&self) -> Option<String> {
        self.groups.iter().find_map(|group| group.notes().fatal.clone())
    }

    fn dismiss(&mut self) {
        self.table.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        self.dismiss();
    }
}
