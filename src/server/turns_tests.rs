//! Requests that take long: others go first while they are decoded, handled and answered.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::admissions::Admissions;
use super::configs::{AskedAlteration, GROUP, alter};
use super::dispatch::{self, Began};
use super::fetch_session::{FetchSessions, SessionLimits};
use super::handlers::{create_topics, delete_topics};
use super::memory::FrameMemory;
use super::request::{Caller, Identity};
use crate::cluster::change::{Change, QuotaEntity};
use crate::cluster::image::Image;
use crate::model::Uuid;
use crate::protocol::messages::create_topics::{CreatableTopic, CreateTopicsRequest};
use crate::protocol::messages::delete_topics::DeleteTopicsRequest;
use crate::protocol::messages::describe_client_quotas::{
    ComponentData, DescribeClientQuotasRequest,
};
use crate::protocol::{PREFIX_LEN, encode_request};
use crate::runtime::sim::SimRuntime;
use crate::runtime::wait::{ITEMS_AT_ONCE, in_turns};
use crate::shard::control::DECISION;
use crate::shard::turns_tests::{in_world, start_shard};

/// One who asks the only shard of a broker with this metadata.
fn caller(image: Image) -> Rc<Caller<SimRuntime>> {
    let (shard, _) = in_world(|runtime| start_shard(runtime, image));
    let admissions = Arc::new(Admissions::new(1));
    let peer = "127.0.0.1:9".parse().unwrap();
    let on = admissions.place();
    let admission = admissions.admit("127.0.0.1".parse().unwrap(), on, &shard.config.limits);
    let limits = SessionLimits {
        sessions_max: 1,
        partitions_max: 1,
        session_partitions_max: 1,
        idle_max: Duration::ZERO,
    };
    let identity = Identity {
        cluster_id: "cluster".into(),
        directory_id: Uuid::ZERO,
        node_id: 1,
        host: "kafka.example".into(),
        port: 9092,
        rack: None,
    };
    Rc::new(Caller {
        sessions: Rc::new(RefCell::new(FetchSessions::new(limits, 0))),
        answer_memory: FrameMemory::new(1 << 20),
        identity: Arc::new(identity),
        hangups: Rc::default(),
        uncreated: Rc::default(),
        peer,
        admission: admission.unwrap(),
        client_id: RefCell::default(),
        software: RefCell::default(),
        closing: Cell::new(false),
        shard,
    })
}

/// An image with quotas of that many users with long names.
fn quotas(users: usize) -> Image {
    let mut image = Image::default();
    for user in 0..users {
        let entity = [("user".into(), Some(format!("{user:0>1000}")))].into();
        let (entity, key) = (QuotaEntity::new(entity), "producer_byte_rate".into());
        image.apply(&Change::ClientQuota { entity, key, value: Some(1.0) }).unwrap();
    }
    image
}

/// In how many turns it is answered which quotas the users of these names have; all, if none is
/// named.
fn turns(users: usize, names: &[&str]) -> usize {
    let caller = caller(quotas(users));
    let component = |name: &&str| ComponentData {
        entity_type: "user".into(),
        match_type: 0,
        match_text: Some((*name).into()),
    };
    let components = names.iter().map(component).collect();
    let request = DescribeClientQuotasRequest { components, ..Default::default() };
    let frame = encode_request(0, 1, None, &request).unwrap().concat();
    let (_, began) = in_turns(dispatch::begin(&caller, Bytes::from(frame).slice(PREFIX_LEN..)));
    let Began::Alone(answering) = began else { panic!("it is served before the next one") };
    let (turns, answer) = in_turns(answering);
    assert!(answer.unwrap().is_some());
    turns
}

#[test]
fn long_requests_and_answers_have_turns_of_their_own() {
    let name = "u".repeat(30_000);
    assert_eq!(turns(1, &[]), 1);
    assert_eq!(turns(1, &[&name]), 1);
    assert_eq!(turns(1, &[name.as_str(); 3]), 2, "a long request, refused with few words");
    assert_eq!(turns(100, &[]), 2, "a long answer");
}

#[test]
fn topics_are_described_only_where_the_answer_has_room_for_it() {
    let caller = caller(Image::default());
    let topic = |name: &str| CreatableTopic {
        name: name.into(),
        num_partitions: 1,
        replication_factor: 1,
        ..Default::default()
    };
    let created = |version| {
        let topics = vec![topic("a"), topic("b")];
        let request = CreateTopicsRequest { topics, validate_only: true, ..Default::default() };
        let response = in_turns(create_topics::handle(caller.clone(), version, request)).1;
        response.unwrap().topics.into_iter().map(|topic| topic.configs)
    };
    assert!(created(4).all(|configs| configs.unwrap().is_empty()));
    let described: Vec<_> = created(5).map(Option::unwrap).collect();
    let value = |topic: usize| {
        let config = described[topic].iter().find(|config| &*config.name == "cleanup.policy");
        config.unwrap().value.as_ref().unwrap().as_ptr()
    };
    assert_eq!(value(0), value(1), "topics with the same settings share their description");
}

#[test]
fn topics_that_are_not_there_are_looked_for_in_turns() {
    const NAMES: usize = 5 * ITEMS_AT_ONCE;
    let topic_names = (0..NAMES).map(|number| format!("t{number}").as_str().into()).collect();
    let request = DeleteTopicsRequest { topic_names, ..Default::default() };
    let (turns, response) = in_turns(delete_topics::handle(caller(Image::default()), 1, request));
    assert_eq!(response.unwrap().responses.len(), NAMES);
    assert!(turns >= 2 * NAMES / ITEMS_AT_ONCE, "{turns}");
}

#[test]
fn very_many_resources_are_altered_in_turns_and_answered_in_order() {
    const GROUPS: usize = 5 * ITEMS_AT_ONCE;
    let asked = (0..GROUPS).map(|number| AskedAlteration {
        kind: GROUP,
        name: format!("g{}", number % (GROUPS - 1)).into(),
        changes: Vec::new(),
        replaces_all: false,
    });
    let (turns, responses) = in_turns(alter(&caller(Image::default()), asked, true));
    let named_twice = [0, GROUPS - 1];
    for (number, response) in responses.unwrap().into_iter().enumerate() {
        assert_eq!(*response.resource_name, format!("g{}", number % (GROUPS - 1)));
        assert_eq!(response.error_code.is_ok(), !named_twice.contains(&number), "{number}");
    }
    // Each is decided, and before that looked at twice; then answered.
    assert!(turns > (2 + DECISION) * GROUPS / ITEMS_AT_ONCE, "{turns}");
}
