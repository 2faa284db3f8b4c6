//! One connection: frames in, answers out in the order of their requests.
//!
//! Two halves share it. The receiving one decodes a frame and begins its request; the sending one
//! awaits the answers in order and sends what is ready with one call. Requests whose order is
//! fixed once they have begun (Produce) overlap; every other request is finished before the next
//! frame is looked at, and others have a turn in between. The number and the bytes of requests that
//! are under way are limited, and the bytes of answers that are not sent: at a limit the socket is
//! not read, and TCP holds the client back.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::os::fd::RawFd;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, FusedFuture, select};
use futures_util::{FutureExt, pending};

use crate::metrics::Value;
use crate::runtime::Runtime;
use crate::runtime::wait::step_aside;

use super::dispatch::{self, Began};
use super::frames::{FrameEnd, FrameReader};
use super::memory::Lease;
use super::request::{Answer, Answering, Caller, Hangup};
use super::signal::Signal;
use super::socket::{self, Sender};

/// Answers sent with one call at most.
const ANSWERS_PER_SEND_MAX: usize = 64;
/// How long a request that waits goes on after its client has finished sending.
const HANGUP_GRACE: Duration = Duration::from_secs(1);

/// A request under way and the memory its frame holds.
struct Pending {
    answering: Answering,
    lease: Option<Lease>,
    /// Of the answer, once it is ready.
    answer_lease: Option<Lease>,
    frame_bytes: usize,
    /// Of the answer, once it is ready; only those that are finished before the next frame is
    /// looked at count: a Produce's is small.
    answer_bytes: usize,
}

/// What the two halves share.
struct Pipeline {
    pending: RefCell<VecDeque<Pending>>,
    bytes: Cell<usize>,
    /// Bytes of answers that are ready and not sent.
    unsent: Cell<usize>,
    /// The receiving half has finished: end when all answers are sent.
    is_ended: Cell<bool>,
    /// The sending half has finished: nobody will send.
    is_broken: Cell<bool>,
    drained: Signal,
}

/// Limits of one connection.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Requests under way.
    pub requests_max: usize,
    /// Bytes of their frames, and of answers that are not sent.
    pub bytes_max: usize,
}

/// Serve frames until the connection ends; completes when both halves have. `closing` is called
/// while the descriptor is still open.
pub async fn serve<R: Runtime>(
    caller: Rc<Caller<R>>,
    mut frames: FrameReader,
    sender: Sender,
    fd: RawFd,
    limits: ConnectionLimits,
    closing: impl FnOnce(),
) {
    let pipeline = Rc::new(Pipeline {
        pending: RefCell::default(),
        bytes: Cell::new(0),
        unsent: Cell::new(0),
        is_ended: Cell::new(false),
        is_broken: Cell::new(false),
        drained: Signal::default(),
    });
    let receive = async {
        receive(&caller, &mut frames, &pipeline, limits).await;
        pipeline.is_ended.set(true);
    };
    let send = async {
        send(&caller, sender, &pipeline).await;
        pipeline.is_broken.set(true);
        pipeline.drained.set();
        // Wakes the receiving half if it waits for bytes.
        socket::shut_down(fd);
    };
    one_after_the_other(receive, send).await;
    // What was never answered.
    caller.shard.metrics.sub(Value::FrameBytes, pipeline.bytes.get() as u64);
    // Before the descriptor is closed and its number may be another connection's.
    closing();
}

/// Begin requests as their frames arrive.
async fn receive<R: Runtime>(
    caller: &Rc<Caller<R>>,
    frames: &mut FrameReader,
    pipeline: &Pipeline,
    limits: ConnectionLimits,
) {
    loop {
        while pipeline.pending.borrow().len() >= limits.requests_max
            || pipeline.bytes.get() >= limits.bytes_max
            || pipeline.unsent.get() >= limits.bytes_max
        {
            if pipeline.is_broken.get() {
                return;
            }
            pipeline.drained.wait().await;
        }
        if pipeline.is_broken.get() || caller.closing.get() {
            return;
        }
        let frame = match frames.next().await {
            Ok(frame) => frame,
            Err(end) => {
                report_end(caller, &end);
                return;
            }
        };
        let frame_bytes = frame.bytes.len();
        let (mut answer_bytes, mut answer_lease) = (0, None);
        let mut ready = |mut answer: Result<Option<Answer>, Hangup>| {
            if let Ok(Some(answer)) = &mut answer {
                answer_bytes = answer.bytes();
                answer_lease = answer.lease.take();
            }
            let is_last = answer.is_err();
            (Box::pin(std::future::ready(answer)) as Answering, is_last)
        };
        let (answering, is_last) = match dispatch::begin(caller, frame.bytes).await {
            Began::Ordered(answering) => (answering, false),
            Began::Alone(answering) => ready(answering.await),
            Began::Waiting(answering) => match answer_or_end(caller, frames, answering).await {
                Some(answer) => ready(answer),
                None => return,
            },
            Began::Refused(why) => {
                caller.shard.metrics.add(Value::FramesRefused, 1);
                ready(Err(why))
            }
        };
        let was_alone = answer_bytes > 0;
        pipeline.bytes.set(pipeline.bytes.get() + frame_bytes);
        pipeline.unsent.set(pipeline.unsent.get() + answer_bytes);
        caller.shard.metrics.add(Value::FrameBytes, frame_bytes as u64);
        pipeline.pending.borrow_mut().push_back(Pending {
            answering,
            lease: Some(frame.lease),
            answer_lease,
            frame_bytes,
            answer_bytes,
        });
        if is_last {
            return;
        }
        if was_alone && frames.has_more() {
            // Such a request may be a long way for the shard, and the next one is there already.
            step_aside().await;
        }
    }
}

/// The answer to a request that may wait for long; none when the client hangs up meanwhile, or the
/// broker ends the connection.
///
/// A client that only has finished sending may still read: it has [`HANGUP_GRACE`] to be answered.
async fn answer_or_end<R: Runtime>(
    caller: &Rc<Caller<R>>,
    frames: &FrameReader,
    answering: Answering,
) -> Option<Result<Option<Answer>, Hangup>> {
    let ended = async {
        frames.receiver().hung_up().await;
        let grace = caller.shard.runtime.sleep(HANGUP_GRACE);
        select(pin!(frames.receiver().dead()), pin!(grace)).await;
    };
    match select(answering, pin!(ended)).await {
        Either::Left((answer, _)) => Some(answer),
        Either::Right(_) => None,
    }
}

/// Poll `second` behind `first` whenever either can go on, until both have completed.
async fn one_after_the_other(first: impl Future<Output = ()>, second: impl Future<Output = ()>) {
    let (mut first, mut second) = (pin!(first.fuse()), pin!(second.fuse()));
    poll_fn(|cx| {
        let _ = first.as_mut().poll(cx);
        let _ = second.as_mut().poll(cx);
        if first.is_terminated() && second.is_terminated() {
            return Poll::Ready(());
        }
        Poll::Pending
    })
    .await;
}

/// Send answers in order until the receiving half has ended and none is left.
async fn send<R: Runtime>(caller: &Rc<Caller<R>>, mut sender: Sender, pipeline: &Pipeline) {
    let mut pieces: Vec<Bytes> = Vec::new();
    let mut leases = Vec::new();
    loop {
        let Some(mut first) = pipeline.pending.borrow_mut().pop_front() else {
            if pipeline.is_ended.get() {
                return;
            }
            // Nobody has to wake it: the receiving half is always polled first.
            pending!();
            continue;
        };
        let mut outcome = (&mut first.answering).await;
        let mut done = first;
        let mut answers = 0;
        let mut unsent = 0;
        let mut hangup = None;
        loop {
            answers += 1;
            unsent += done.answer_bytes;
            pipeline.bytes.set(pipeline.bytes.get() - done.frame_bytes);
            caller.shard.metrics.sub(Value::FrameBytes, done.frame_bytes as u64);
            leases.extend(done.lease.take().into_iter().chain(done.answer_lease.take()));
            match outcome {
                Ok(Some(answer)) => pieces.extend(answer.pieces),
                Ok(None) => {}
                Err(why) => {
                    hangup = Some(why);
                    break;
                }
            }
            if answers == ANSWERS_PER_SEND_MAX {
                break;
            }
            // What else is ready goes along.
            let Some(mut next) = pipeline.pending.borrow_mut().pop_front() else { break };
            match (&mut next.answering).now_or_never() {
                Some(ready) => {
                    outcome = ready;
                    done = next;
                }
                None => {
                    pipeline.pending.borrow_mut().push_front(next);
                    break;
                }
            }
        }
        let is_in_the_way = || {
            let pending = pipeline.pending.borrow();
            let pending = pending.iter().flat_map(|p| p.lease.iter().chain(&p.answer_lease));
            leases.iter().chain(pending).any(Lease::is_in_the_way)
        };
        let sent = sender.send(&mut pieces, is_in_the_way).await;
        pieces.clear();
        leases.clear();
        pipeline.unsent.set(pipeline.unsent.get() - unsent);
        pipeline.drained.set();
        if let Some(Hangup(why)) = hangup {
            log_hangup(caller, &why);
            return;
        }
        if let Err(error) = sent {
            if error.kind() == std::io::ErrorKind::TimedOut {
                caller.shard.metrics.add(Value::ConnectionsSlowClosed, 1);
                log_hangup(caller, &error.to_string());
            }
            return;
        }
    }
}

fn report_end<R: Runtime>(caller: &Rc<Caller<R>>, end: &FrameEnd) {
    match end {
        FrameEnd::Closed | FrameEnd::CutShort => {}
        FrameEnd::Idle => {
            caller.shard.metrics.add(Value::ConnectionsIdleClosed, 1);
            log_hangup(caller, "nothing came for connections.max.idle.ms");
        }
        FrameEnd::TooSlow(why) => {
            caller.shard.metrics.add(Value::ConnectionsSlowClosed, 1);
            log_hangup(caller, why);
        }
        FrameEnd::BadLength(why) => {
            caller.shard.metrics.add(Value::FramesRefused, 1);
            log_hangup(caller, why);
        }
        FrameEnd::Io(error) => {
            tracing::debug!(peer = %caller.peer, %error, "the connection failed");
        }
    }
}

/// One line for a connection that we close; at most a few a second for the whole shard, so that a
/// flood of bad clients does not become a flood of lines.
fn log_hangup<R: Runtime>(caller: &Rc<Caller<R>>, why: &str) {
    let Some(unsaid) = caller.hangups.may_log(caller.shard.runtime.now()) else { return };
    tracing::warn!(
        peer = %caller.peer,
        // What a stranger says of itself is quoted: it may hold line ends and control characters.
        client_id = ?caller.client_id.borrow(),
        software = ?caller.software.borrow(),
        unsaid,
        "closed a connection: {why}"
    );
}
