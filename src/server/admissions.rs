//! How many connections there are: in all and by address, to limit them, and by shard, to spread
//! them.

use std::cell::Cell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::Limits;
use crate::model::ShardId;

/// Connections of the whole broker. Looked at when one begins, carries its first records or ends,
/// never in between.
#[derive(Debug)]
pub struct Admissions(Mutex<Counts>);

#[derive(Debug)]
struct Counts {
    by_address: HashMap<IpAddr, usize>,
    by_shard: Vec<Load>,
    /// The shard that is asked first, so that equals take turns.
    first: usize,
}

/// The connections of one shard. A client opens one or two that only ask where the records are,
/// often leaves them open, and then one that carries records: taking turns, or counting them all
/// alike, gives one of two shards all the work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Load {
    carrying: usize,
    open: usize,
}

impl Admissions {
    /// Of a broker with so many shards.
    pub fn new(shards: usize) -> Self {
        let by_shard = vec![Load::default(); shards];
        Self(Mutex::new(Counts { by_address: HashMap::new(), by_shard, first: 0 }))
    }

    /// The shard for a new connection: the one with the fewest that carry records, then the fewest
    /// open. It is counted there until [`admit`](Self::admit) refuses it or it ends.
    pub fn place(&self) -> ShardId {
        let mut counts = self.counts();
        let shards = counts.by_shard.len();
        let order = (0..shards).map(|turn| (counts.first + turn) % shards);
        let least = order.min_by_key(|&shard| counts.by_shard[shard]).unwrap_or(0);
        counts.by_shard[least].open += 1;
        counts.first = (least + 1) % shards;
        least as ShardId
    }

    /// Admit one from `ip` that was [placed](Self::place) on `shard`, unless a limit is reached.
    pub fn admit(
        self: &Arc<Self>,
        ip: IpAddr,
        shard: ShardId,
        limits: &Limits,
    ) -> Option<Admission> {
        let mut counts = self.counts();
        let is_full = counts.by_address.values().sum::<usize>() >= limits.connections_max;
        let from_there = counts.by_address.get(&ip).copied().unwrap_or(0);
        if is_full || from_there >= limits.connections_per_ip_max {
            counts.by_shard[usize::from(shard)].open -= 1;
            return None;
        }
        counts.by_address.insert(ip, from_there + 1);
        Some(Admission { all: self.clone(), ip, shard, carries_records: Cell::new(false) })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Counting cannot fail half way: what a panicking thread left is sound.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a connection while it lives.
#[derive(Debug)]
pub struct Admission {
    all: Arc<Admissions>,
    ip: IpAddr,
    shard: ShardId,
    carries_records: Cell<bool>,
}

impl Admission {
    /// It carries records: it produces or fetches.
    pub fn carries_records(&self) {
        if !self.carries_records.replace(true) {
            self.all.counts().by_shard[usize::from(self.shard)].carrying += 1;
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut counts = self.all.counts();
        let load = &mut counts.by_shard[usize::from(self.shard)];
        load.open -= 1;
        load.carrying -= usize::from(self.carries_records.get());
        if let Some(count) = counts.by_address.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                counts.by_address.remove(&self.ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn limits() -> Limits {
        Config::from_pairs(&[]).unwrap().limits
    }

    #[test]
    fn connections_are_limited_in_all_and_by_address() {
        let mut limits = limits();
        (limits.connections_max, limits.connections_per_ip_max) = (3, 2);
        let all = Arc::new(Admissions::new(1));
        let admit = |ip| all.admit(ip, all.place(), &limits);
        let there = IpAddr::from([127, 0, 0, 2]);
        let first = admit(HERE).unwrap();
        let _second = admit(HERE).unwrap();
        assert!(admit(HERE).is_none(), "two by address");
        let _third = admit(there).unwrap();
        assert!(admit(there).is_none(), "three in all");
        drop(first);
        assert!(admit(there).is_some());
        assert_eq!(all.counts().by_shard[0].open, 2, "who is refused is not counted");
    }

    /// Clients that start one after the other, each with a connection that asks and one that
    /// carries records; `stays`: the first one is left open.
    fn carrying_of_clients(stays: bool) -> Vec<usize> {
        let all = Arc::new(Admissions::new(2));
        let open = || all.admit(HERE, all.place(), &limits()).unwrap();
        let mut kept = Vec::new();
        for _ in 0..8 {
            let asks = open();
            let carries = open();
            if stays {
                kept.push(asks);
            } else {
                drop(asks);
            }
            carries.carries_records();
            carries.carries_records();
            kept.push(carries);
        }
        let carrying = all.counts().by_shard.iter().map(|load| load.carrying).collect();
        drop(kept);
        assert_eq!(all.counts().by_shard, [Load::default(); 2], "the end of each is counted");
        carrying
    }

    #[test]
    fn connections_that_carry_records_are_spread_evenly() {
        assert_eq!(carrying_of_clients(false), [4, 4]);
        assert_eq!(carrying_of_clients(true), [4, 4]);
    }

    #[test]
    fn many_that_come_at_once_take_turns() {
        let all = Admissions::new(3);
        let places: Vec<ShardId> = (0..7).map(|_| all.place()).collect();
        assert_eq!(places, [0, 1, 2, 0, 1, 2, 0]);
    }
}
