//! Kafka's messages as schemas, API keys, error codes, headers and frames.
//!
//! From bytes to structs and back; never reaches storage. A request travels so: [`frame_len`]
//! finds its end, [`RequestHeader`] its API and version, [`RequestBody`] or
//! [`Message::decode`](crate::wire::Message::decode) its content; [`encode_response`] makes the
//! reply. Which versions are served is said once, in [`ApiKey`]'s registry.

mod api_key;
pub mod consumer_protocol;
mod error_code;
mod frame;
pub mod group_record;
mod header;
pub mod messages;
pub mod metadata_record;

pub use api_key::{ApiKey, Request, RequestBody, ResponseBody};
pub use error_code::ErrorCode;
pub use frame::{
    FrameError, PIECE_LEN_MIN, PREFIX_LEN, REQUEST_LEN_MIN, RESPONSE_LEN_MIN, decode_response,
    encode_request, encode_response, frame_len,
};
pub use header::{RequestHeader, ResponseHeader};
