//! `flush.ms`: a flush is asked for when a log with that setting has written something and nobody
//! has flushed it for so long. While nothing waits no timer is set: an idle shard sleeps.

use std::rc::Rc;
use std::time::Duration;

use super::LogConfig;
use super::core::Core;
use crate::runtime::Runtime;

impl<R: Runtime> Core<R> {
    /// A log with this configuration has something that is written and not flushed.
    pub(crate) fn flush_in_time(&self, config: &LogConfig) {
        if config.flush_ms == i64::MAX {
            return;
        }
        let limit = Duration::from_millis(u64::try_from(config.flush_ms).unwrap_or(0));
        self.flush_due.expect(self.runtime.now().saturating_add(limit));
    }

    /// The task behind `flush.ms`, until the store closes or goes offline.
    pub(crate) async fn run_flush_timer(self: Rc<Self>) {
        let due = &self.flush_due;
        while !self.is_stopping() {
            let (now, next) = (self.runtime.now(), due.get());
            if next.is_some_and(|next| next <= now) {
                due.clear();
                self.journal.want_flush(self.journal.last_queued());
                continue;
            }
            due.change(next, next.map(|next| self.runtime.sleep(next - now))).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::disk::sim::DiskImage;
    use crate::model::TopicPartition;
    use crate::runtime::sim::{SimRuntime, SimWorld};
    use crate::storage::pool_tests::open;
    use crate::storage::tests::{ID, Marks, append, batch, log_config};
    use crate::storage::{Log, Store};

    const OTHER: TopicPartition = TopicPartition { partition: 1, ..ID };

    const fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    /// Have `test` done in a simulated world, with an empty store.
    fn simulate<F: Future<Output = ()> + 'static>(
        test: impl FnOnce(SimRuntime, Rc<Store<SimRuntime>>) -> F + 'static,
    ) {
        let world = SimWorld::new(1, DiskImage::with_dir(Path::new("/data")));
        let runtime = world.runtime();
        let done = world.run(async move {
            let store = open(&runtime, 0).await;
            test(runtime, store).await;
        });
        assert_eq!(done, Some(()), "the world ended before the test");
    }

    async fn log_with(
        store: &Store<SimRuntime>,
        id: TopicPartition,
        flush_ms: i64,
    ) -> (Rc<Log<SimRuntime>>, Rc<Marks>) {
        let config = LogConfig { flush_ms, ..log_config(1 << 20) };
        let log = store.create_log(id, config).await.unwrap();
        let marks = Rc::new(Marks::default());
        log.set_observer(marks.clone());
        (log, marks)
    }

    async fn write(log: &Rc<Log<SimRuntime>>, marks: &Marks) {
        append(log, batch(1000, 1, 1, 1), false).await;
        marks.written(log.end_offset()).await;
    }

    #[test]
    fn what_is_written_is_flushed_in_time_again_and_again() {
        simulate(|runtime, store| async move {
            let (log, marks) = log_with(&store, ID, 50).await;
            for offset in 1..4 {
                write(&log, &marks).await;
                let written = runtime.now();
                marks.flushed(offset).await;
                let took = runtime.now() - written;
                assert!((ms(50)..ms(60)).contains(&took), "{offset} after {took:?}");
            }
        });
    }

    #[test]
    fn the_log_that_waits_least_decides_and_one_that_waits_for_ever_gets_no_flush() {
        simulate(|runtime, store| async move {
            let (for_ever, marks) = log_with(&store, OTHER, i64::MAX).await;
            write(&for_ever, &marks).await;
            runtime.sleep(Duration::from_secs(2)).await;
            assert_eq!(for_ever.flushed_offset(), 0);
            let (long, marks_of_long) = log_with(&store, ID, 1_000).await;
            write(&long, &marks_of_long).await;
            let written = runtime.now();
            let third = TopicPartition { partition: 2, ..ID };
            let (short, marks_of_short) = log_with(&store, third, 20).await;
            // Creating it was flushed, and the rest with that.
            write(&long, &marks_of_long).await;
            write(&short, &marks_of_short).await;
            marks_of_short.flushed(1).await;
            assert!(runtime.now() - written < ms(40), "{:?}", runtime.now() - written);
            assert_eq!((long.flushed_offset(), for_ever.flushed_offset()), (2, 1));
        });
    }

    #[test]
    fn a_setting_that_comes_later_counts_for_what_waits_already() {
        simulate(|runtime, store| async move {
            let (log, marks) = log_with(&store, ID, i64::MAX).await;
            write(&log, &marks).await;
            let begun = runtime.now();
            log.set_config(LogConfig { flush_ms: 30, ..log_config(1 << 20) });
            marks.flushed(1).await;
            assert!(runtime.now() - begun < ms(40), "{:?}", runtime.now() - begun);
        });
    }
}
