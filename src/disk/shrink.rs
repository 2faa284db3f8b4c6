//! Giving the blocks of removed files back little by little.
//!
//! A file system that tells its device of free blocks at once (`discard`, a usual mount option
//! of cloud images) frees a large file with one long command, and nothing else is read, written
//! or flushed meanwhile: 4 GB kept a device for 0.7 s. So a removed file is shortened in steps,
//! and between them the device is the others'.

use std::fs::File;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

/// Bytes given back at a time: a few tenths of a millisecond of that device. Four times as much
/// doubled the 90th percentile of others' writes, sixteen times as much was felt by their flushes.
const STEP_BYTES: u64 = 1 << 20;
/// A rest is so many times as long as the step before it: most of the device's time is the others'.
const REST_FACTOR: u32 = 9;
/// Files that may wait; the space of more comes back at once.
const FILES_MAX: usize = 256;

/// A thread that shortens files.
#[derive(Clone, Debug)]
pub(super) struct Shrinker {
    files: SyncSender<File>,
}

impl Shrinker {
    /// One with nothing to do; it ends when the last clone is dropped.
    ///
    /// # Errors
    /// When there can be no thread.
    pub(super) fn start() -> io::Result<Self> {
        let (files, waiting) = sync_channel(FILES_MAX);
        std::thread::Builder::new().name("shrink".into()).spawn(move || work(&waiting))?;
        Ok(Self { files })
    }

    /// Take a file that has no name any more. May wait for the device: call it where one may.
    pub(super) fn give_back(&self, file: File) {
        if let Err(TrySendError::Full(file) | TrySendError::Disconnected(file)) =
            self.files.try_send(file)
        {
            // What fails here, closing the file does.
            let _ = file.set_len(0);
        }
    }
}

fn work(waiting: &Receiver<File>) {
    for file in waiting {
        // As above.
        let _ = shorten(&file, STEP_BYTES, std::thread::sleep);
    }
}

/// Shorten `file` to nothing, at most `step` bytes at a time, and `rest` after each step.
fn shorten(file: &File, step: u64, mut rest: impl FnMut(Duration)) -> io::Result<()> {
    let mut left = file.metadata()?.len();
    while left > 0 {
        left = left.saturating_sub(step);
        let began = Instant::now();
        file.set_len(left)?;
        rest(began.elapsed() * REST_FACTOR);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_file_goes_step_by_step() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("large");
        std::fs::write(&path, vec![1; 10_000]).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        let mut lens = Vec::new();
        shorten(&file, 4096, |_| lens.push(file.metadata().unwrap().len())).unwrap();
        assert_eq!(lens, [5904, 1808, 0]);
    }

    #[test]
    fn what_was_given_back_is_free_while_others_have_it_open() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        std::fs::write(&path, vec![1; 1 << 20]).unwrap();
        let (ours, other) = (File::options().write(true).open(&path), File::open(&path));
        let other = other.unwrap();
        path.close().unwrap();
        let shrinker = Shrinker::start().unwrap();
        shrinker.give_back(ours.unwrap());
        let began = Instant::now();
        while other.metadata().unwrap().blocks() > 0 && began.elapsed().as_secs() < 30 {
            std::thread::yield_now();
        }
        assert_eq!(other.metadata().unwrap().blocks(), 0);
    }

    #[test]
    fn a_file_that_finds_no_room_gives_its_space_back_at_once() {
        let file = || {
            let file = tempfile::tempfile().unwrap();
            file.set_len(10_000).unwrap();
            let kept = file.try_clone().unwrap();
            (file, move || kept.metadata().unwrap().len())
        };
        let (files, waiting) = sync_channel(1);
        let shrinker = Shrinker { files };
        let [(first, len_of_first), (second, len_of_second), (third, len_of_third)] =
            std::array::from_fn(|_| file());
        shrinker.give_back(first);
        shrinker.give_back(second);
        assert_eq!((len_of_first(), len_of_second()), (10_000, 0));
        // Nor when nobody will come.
        drop(waiting);
        shrinker.give_back(third);
        assert_eq!(len_of_third(), 0);
    }
}
