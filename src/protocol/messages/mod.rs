//! One file per API, request and response together, as schemas.
//!
//! Fields have Kafka's names in snake case and Kafka's versions; they follow the message schemas
//! of Apache Kafka 4.4 (`clients/src/main/resources/common/message`).

pub mod api_versions;
pub mod create_topics;
pub mod delete_topics;
pub mod fetch;
pub mod find_coordinator;
pub mod init_producer_id;
pub mod list_offsets;
pub mod metadata;
pub mod offset_for_leader_epoch;
pub mod produce;
