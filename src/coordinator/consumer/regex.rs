//! Subscriptions by expression: which topics an expression stands for.
//!
//! The syntax is RE2's, as in Kafka (RE2/J): time and memory are bounded, and the whole name must
//! match. Always true: an expression that somebody subscribes to has been resolved.

use std::collections::BTreeSet;

use regex::{Regex, RegexBuilder};

use crate::cluster::image::Image;
use crate::protocol::ErrorCode;
use crate::protocol::group_record::{
    ConsumerGroupRegularExpressionKey, ConsumerGroupRegularExpressionValue, GroupRecord,
};
use crate::wire::StrBytes;

use super::{ConsumerGroup, ConsumerMember, Refusal, Resolved};
use crate::coordinator::desk::Desk;

/// Longest expression.
const EXPRESSION_BYTES_MAX: usize = 4096;
/// Most expressions of one group.
const EXPRESSIONS_MAX: usize = 64;
/// Memory of a compiled expression; the time that a name takes grows with it.
const COMPILED_BYTES_MAX: usize = 128 << 10;
/// How soon after the last look changed metadata is looked at again.
const LOOK_INTERVAL_MS: i64 = 10_000;

/// Compile an expression so that it must match a whole name.
///
/// # Errors
/// `INVALID_REGULAR_EXPRESSION`, with the reason.
pub(super) fn compile(expression: &str) -> Result<Regex, Refusal> {
    let refuse = |why: String| {
        let message =
            format!("SubscribedTopicRegex `{expression}` is not a valid regular expression: {why}");
        Err(Refusal::new(ErrorCode::INVALID_REGULAR_EXPRESSION, message))
    };
    if expression.len() > EXPRESSION_BYTES_MAX {
        let why = format!("it is longer than {EXPRESSION_BYTES_MAX} bytes.");
        let code = ErrorCode::INVALID_REGULAR_EXPRESSION;
        return Err(Refusal::new(code, format!("SubscribedTopicRegex is not valid: {why}")));
    }
    // Alone first: a bracket that is missing must not be found in what is put around it.
    let built = build(expression).and_then(|_| build(&format!("^(?:{expression})$")));
    built.or_else(|error| refuse(error.to_string()))
}

fn build(expression: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(expression)
        .size_limit(COMPILED_BYTES_MAX)
        .dfa_size_limit(COMPILED_BYTES_MAX)
        .build()
}

impl ConsumerGroup {
    pub(super) fn regex_record(
        &self,
        regex: &StrBytes,
        resolved: Option<&Resolved>,
    ) -> GroupRecord {
        let key = ConsumerGroupRegularExpressionKey {
            group_id: self.id.clone(),
            regular_expression: regex.clone(),
        };
        let value = resolved.map(|resolved| ConsumerGroupRegularExpressionValue {
            topics: resolved.topics.iter().cloned().collect(),
            version: resolved.version,
            timestamp: resolved.timestamp,
        });
        GroupRecord::ConsumerGroupRegularExpression(key, value)
    }

    /// Whether one more expression fits, if that of `member` is new: the topics of each are kept.
    ///
    /// # Errors
    /// `GROUP_MAX_SIZE_REACHED`
    pub(super) fn check_expression(&self, member: &ConsumerMember) -> Result<(), Refusal> {
        let Some(own) = member.regex().filter(|own| !self.regexes.contains_key(*own)) else {
            return Ok(());
        };
        let others = self.members.values().filter(|other| other.id != member.id);
        let mut used: BTreeSet<&StrBytes> = others.filter_map(ConsumerMember::regex).collect();
        used.insert(own);
        if used.len() <= EXPRESSIONS_MAX {
            return Ok(());
        }
        let message =
            format!("The members of the group have {EXPRESSIONS_MAX} expressions, the most.");
        Err(Refusal::new(ErrorCode::GROUP_MAX_SIZE_REACHED, message))
    }

    /// Forget expressions that nobody subscribes to, resolve new ones, and all of them when it is
    /// time. Whether the topics of any have changed.
    pub(super) fn update_regexes(&mut self, desk: &mut Desk, image: &Image) -> bool {
        let used: BTreeSet<StrBytes> =
            self.members.values().filter_map(|member| member.regex().cloned()).collect();
        self.forget_regexes(desk, &used);
        if used.is_empty() {
            return false;
        }
        let is_time = self.must_look_again(desk, image);
        if is_time {
            self.resolved_at = Some((image.version(), desk.now));
        }
        let mut has_changed = false;
        for regex in used {
            let known = self.regexes.get(&regex);
            if known.is_some() && !is_time {
                continue;
            }
            let topics = matching(image, &regex);
            if known.is_some_and(|known| known.topics == topics) {
                continue;
            }
            let version = i64::try_from(image.version()).unwrap_or(i64::MAX);
            let resolved = Resolved { topics, version, timestamp: desk.now };
            let record = self.regex_record(&regex, Some(&resolved));
            self.commit(desk, record);
            has_changed = true;
        }
        has_changed
    }

    /// Forget expressions that are not in `used`.
    pub(super) fn forget_regexes(&mut self, desk: &mut Desk, used: &BTreeSet<StrBytes>) {
        let unused: Vec<StrBytes> =
            self.regexes.keys().filter(|regex| !used.contains(*regex)).cloned().collect();
        for regex in unused {
            let record = self.regex_record(&regex, None);
            self.commit(desk, record);
        }
    }

    /// Whether there are expressions, and it is time to look at them again.
    pub(super) fn must_look_at_regexes(&self, desk: &Desk, image: &Image) -> bool {
        !self.regexes.is_empty() && self.must_look_again(desk, image)
    }

    fn must_look_again(&self, desk: &Desk, image: &Image) -> bool {
        let Some((version, at)) = self.resolved_at else { return true };
        let age_ms = desk.now.saturating_sub(at);
        image.version() != version && age_ms >= LOOK_INTERVAL_MS
            || age_ms >= desk.settings.regex_refresh_ms
    }
}

/// Names of the topics that match; none for an expression that is not valid here.
fn matching(image: &Image, expression: &str) -> BTreeSet<StrBytes> {
    let Ok(regex) = compile(expression) else { return BTreeSet::new() };
    let names = image.topics().map(|topic| topic.name.as_str());
    names.filter(|name| regex.is_match(name)).map(StrBytes::from).collect()
}
