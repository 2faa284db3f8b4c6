//! Subscriptions by expression: which topics an expression stands for.
//!
//! The syntax is RE2's, as in Kafka (RE2/J): time and memory are bounded, and the whole name must
//! match. Always true: an expression that somebody subscribes to has been resolved.
//!
//! An expression that is made to be slow takes milliseconds for one name, and there are many names:
//! [`Matching`] is the work of resolving, piece by piece, for a caller that has others to let go
//! first. What it finds is learnt before the request that needs it. Only where the rules run
//! without such a caller is an expression resolved within a step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use regex::{Regex, RegexBuilder};

use crate::cluster::image::{Image, Topic};
use crate::protocol::ErrorCode;
use crate::protocol::group_record::{
    ConsumerGroupRegularExpressionKey, ConsumerGroupRegularExpressionValue, GroupRecord,
};
use crate::wire::StrBytes;

use super::{ConsumerGroup, ConsumerMember, Refusal, Resolved, memory_of_expression};
use crate::coordinator::desk::Desk;

/// Longest expression.
const EXPRESSION_BYTES_MAX: usize = 4096;
/// Most expressions of one group.
const EXPRESSIONS_MAX: usize = 64;
/// Memory of a compiled expression; the time that a name takes grows with it.
const COMPILED_BYTES_MAX: usize = 128 << 10;
/// Bytes of names that are matched at once: two of the longest names.
const NAME_BYTES_AT_ONCE: usize = 512;
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

/// The topics that expressions stand for, as of one version of the metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matched {
    version: u64,
    topics: BTreeMap<StrBytes, BTreeSet<StrBytes>>,
}

impl Matched {
    /// What an expression stands for, if it was looked at.
    pub(super) fn topics(&self, expression: &StrBytes) -> Option<&BTreeSet<StrBytes>> {
        self.topics.get(expression)
    }
}

/// Resolving expressions, piece by piece.
pub struct Matching {
    names: Vec<Arc<Topic>>,
    left: Vec<StrBytes>,
    /// The compiled form of the last one of `left`, and the first name that it has not seen.
    begun: Option<(Regex, usize)>,
    matched: Matched,
}

impl Matching {
    /// Resolve `expressions` among the topics of `image`.
    pub fn new(image: &Image, expressions: Vec<StrBytes>) -> Self {
        let matched = Matched { version: image.version(), topics: BTreeMap::new() };
        let names = image.topics().cloned().collect();
        Self { names, left: expressions, begun: None, matched }
    }

    /// Go on for a while; what was found once all is done.
    pub fn go_on(&mut self) -> Option<Matched> {
        let Some(expression) = self.left.last() else {
            return Some(std::mem::take(&mut self.matched));
        };
        let found = self.matched.topics.entry(expression.clone()).or_default();
        let Some((regex, next)) = &mut self.begun else {
            match compile(expression) {
                Ok(regex) => self.begun = Some((regex, 0)),
                // None are found for one that is not valid here.
                Err(_) => drop(self.left.pop()),
            }
            return None;
        };
        let mut bytes = 0;
        while let Some(topic) = self.names.get(*next) {
            if bytes >= NAME_BYTES_AT_ONCE {
                return None;
            }
            let name = topic.name.as_str();
            if regex.is_match(name) {
                found.insert(name.into());
            }
            bytes += name.len();
            *next += 1;
        }
        self.begun = None;
        self.left.pop();
        None
    }
}

impl ConsumerGroup {
    /// What is to be resolved before a member is let say something: the expression that it brings,
    /// and all that the group has, if it is time to look at them again. It then counts as done.
    pub fn expressions_to_match(
        &mut self,
        desk: &Desk,
        image: &Image,
        brought: Option<StrBytes>,
    ) -> Vec<StrBytes> {
        let mut wanted: BTreeSet<StrBytes> = brought.into_iter().collect();
        wanted.retain(|expression| !self.regexes.contains_key(expression));
        if self.must_look_at_regexes(desk, image) {
            self.resolved_at = Some((image.version(), desk.now));
            wanted.extend(self.members.values().filter_map(|member| member.regex().cloned()));
        }
        wanted.into_iter().collect()
    }

    /// Take over what the expressions of the members stand for now.
    pub fn learn(&mut self, desk: &mut Desk, image: &Image, matched: &Matched) {
        let mut has_changed = false;
        for (regex, topics) in &matched.topics {
            if self.members.values().any(|member| member.regex() == Some(regex)) {
                has_changed |= self.resolve(desk, regex, topics, matched.version);
            }
        }
        if has_changed {
            self.bump(desk, image, Some("an expression stands for other topics"));
        }
    }

    /// `regex` stands for `topics`; whether that is new.
    fn resolve(
        &mut self,
        desk: &mut Desk,
        regex: &StrBytes,
        topics: &BTreeSet<StrBytes>,
        version: u64,
    ) -> bool {
        if self.regexes.get(regex).is_some_and(|known| known.topics == *topics) {
            return false;
        }
        // A new one was admitted; one that stands for more topics than before waits for room.
        if let Some(known) = self.regexes.get(regex) {
            let has = memory_of_expression(regex, &known.topics);
            let growth = memory_of_expression(regex, topics).saturating_sub(has);
            if !desk.memory.admits_of_member(growth) {
                return false;
            }
        }
        let version = i64::try_from(version).unwrap_or(i64::MAX);
        let resolved = Resolved { topics: topics.clone(), version, timestamp: desk.now };
        let record = self.regex_record(regex, Some(&resolved));
        self.commit(desk, record);
        true
    }

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
            let matched = desk.matched.topics.remove(&regex);
            let (topics, version) = match matched {
                Some(topics) => (topics, desk.matched.version),
                None => (matching(image, &regex), image.version()),
            };
            has_changed |= self.resolve(desk, &regex, &topics, version);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::change::Change;
    use crate::model::{TopicName, Uuid};

    #[test]
    fn expressions_are_resolved_a_few_names_at_a_time() {
        let mut image = Image::default();
        let names: Vec<_> = (0..200).map(|n| format!("{}-{n}", "long".repeat(60))).collect();
        for name in &names {
            let name = TopicName::new(name).unwrap();
            image.apply(&Change::Topic { id: Uuid::random(), name }).unwrap();
        }
        let wanted = ["(", ".*-1.*", ".*"].map(StrBytes::from);
        let mut matching = Matching::new(&image, wanted.to_vec());
        let mut turns = 1;
        let matched = loop {
            match matching.go_on() {
                Some(matched) => break matched,
                None => turns += 1,
            }
        };
        let least = 2 * names.iter().map(String::len).sum::<usize>() / (2 * NAME_BYTES_AT_ONCE);
        assert!(turns >= least, "{turns} turns for {} names", names.len());
        for expression in wanted {
            assert_eq!(matched.topics[&expression], super::matching(&image, &expression));
        }
        assert_eq!(matched.version, image.version());
    }
}
