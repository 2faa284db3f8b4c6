//! Both assignors, on random groups.

use proptest::prelude::*;

use super::*;
use crate::coordinator::consumer::partitions::each;

fn topic(number: u8) -> Uuid {
    Uuid([number; 16])
}

fn spec(counts: &[i32], members: &[(u8, Vec<u8>)], is_shared: bool) -> Spec {
    let all: BTreeSet<Uuid> = (0..counts.len()).map(|at| topic(at as u8)).collect();
    let members = members.iter().enumerate().map(|(at, (instance, topics))| {
        let some = topics.iter().map(|number| topic(number % counts.len() as u8)).collect();
        let reader = Reader {
            instance_id: (*instance < 50).then(|| format!("i{instance}-{at}").into()),
            topics: Rc::new(if is_shared { all.clone() } else { some }),
            target: Partitions::new(),
        };
        (StrBytes::from(format!("m{at}")), reader)
    });
    let partition_counts =
        counts.iter().enumerate().map(|(at, count)| (topic(at as u8), *count)).collect();
    Spec { members: members.collect(), partition_counts }
}

/// Every partition that somebody reads has one owner, who reads it.
fn check(spec: &Spec, assignment: &Assignment) {
    let mut given = BTreeSet::new();
    for (id, partitions) in assignment {
        for (topic, index) in each(partitions) {
            assert!(spec.members[id].topics.contains(&topic), "{id} does not read it");
            assert!(given.insert((topic, index)), "{topic} {index} was given twice");
        }
    }
    let read: BTreeSet<Uuid> =
        spec.members.values().flat_map(|member| member.topics.iter().copied()).collect();
    let wanted: usize = read.iter().map(|topic| spec.count(topic) as usize).sum();
    assert_eq!(given.len(), wanted, "a partition is left over");
}

fn loads(assignment: &Assignment) -> Vec<usize> {
    assignment.values().map(|partitions| each(partitions).count()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn everything_is_given_once_evenly_and_stays(
        counts in prop::collection::vec(1..12i32, 1..6),
        members in prop::collection::vec(
            (any::<u8>(), prop::collection::vec(any::<u8>(), 1..4)), 1..9),
        is_shared in any::<bool>(),
        leaver in any::<prop::sample::Index>(),
    ) {
        for name in ["uniform", "range"] {
            let mut spec = spec(&counts, &members, is_shared);
            let first = assign(name, &spec);
            check(&spec, &first);
            if is_shared && name == "uniform" {
                let loads = loads(&first);
                prop_assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1);
            }
            for (id, target) in &first {
                spec.members.get_mut(id).unwrap().target = target.clone();
            }
            prop_assert_eq!(&assign(name, &spec), &first, "nothing changed");
            if members.len() == 1 {
                continue;
            }
            // One leaves: of uniform, nobody else loses anything but to balance.
            let id = spec.members.keys().nth(leaver.index(members.len())).unwrap().clone();
            spec.members.remove(&id);
            let second = assign(name, &spec);
            check(&spec, &second);
            if is_shared && name == "uniform" {
                for (id, partitions) in &second {
                    let before: BTreeSet<_> = each(&first[id]).collect();
                    let after: BTreeSet<_> = each(partitions).collect();
                    prop_assert!(before.is_subset(&after), "{id} lost something");
                }
            }
        }
    }

    #[test]
    fn mixed_readers_cannot_be_made_more_alike_by_one_move(
        counts in prop::collection::vec(1..12i32, 1..6),
        members in prop::collection::vec(
            (any::<u8>(), prop::collection::vec(any::<u8>(), 1..4)), 2..9),
    ) {
        let spec = spec(&counts, &members, false);
        let assignment = assign("uniform", &spec);
        let load: BTreeMap<_, _> =
            assignment.iter().map(|(id, partitions)| (id, each(partitions).count())).collect();
        for (id, partitions) in &assignment {
            for topic in partitions.keys() {
                for (other, reader) in &spec.members {
                    if reader.topics.contains(topic) {
                        prop_assert!(load[id] < load[other] + 2, "{id} could give to {other}");
                    }
                }
            }
        }
    }
}

#[test]
fn range_gives_the_same_numbers_of_every_topic() {
    let spec = spec(&[5, 5], &[(255, vec![0, 1]), (255, vec![0, 1]), (7, vec![0, 1])], true);
    let assignment = assign("range", &spec);
    let given: Vec<(&str, Vec<i32>, Vec<i32>)> = assignment
        .iter()
        .map(|(id, given)| {
            let of = |number| given[&topic(number)].iter().copied().collect();
            (id.as_str(), of(0), of(1))
        })
        .collect();
    // The static member comes first.
    let wanted =
        [("m0", vec![2, 3], vec![2, 3]), ("m1", vec![4], vec![4]), ("m2", vec![0, 1], vec![0, 1])];
    assert_eq!(given, wanted);
}
