//! Writes the files of a batch under temporary names, with several threads for a large
//! batch: reading, hashing and writing a file keeps a processor busy.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::notebook::Notebook;
use crate::volume::defaults::atomic;
use crate::volume::defaults::atomic::{BUFFER, Fault};
use crate::volume::defaults::installed_cells::{MAX_NOTEBOOK, is_notebook};
use crate::volume::defaults::manifest::Content;
use crate::volume::defaults::news::Kind;
use crate::volume::defaults::plan::Decision;
use crate::volume::defaults::source::Offer;
use crate::volume::defaults::survey::Row;
use crate::volume::threads::threads;
use crate::volume::tree;
use crate::volume::tree::{FileStat, Tree};

/// From this many files or bytes on, it pays off to start threads.
const PARALLEL_FILES: usize = 64;
const PARALLEL_BYTES: u64 = 4 << 20;

/// Maximum time until a stop is noticed while threads work.
pub(super) const STOP_POLL: Duration = Duration::from_millis(20);

/// A default to be written.
#[derive(Clone)]
pub(super) struct Job<'a> {
    pub row: &'a Row,
    pub decision: Decision,
    /// Target path: the default's own path, or the name beside it.
    pub target: Vec<u8>,
    /// The kind of news that it is once it is in place.
    pub news: Option<Kind>,
}

/// A complete temporary file or link that is not yet renamed into place.
pub(super) struct Staged<'a> {
    pub job: Job<'a>,
    pub temp: CString,
    pub content: Content,
    /// Stat of the temporary file; `None` for a link.
    pub file_stat: Option<FileStat>,
}

impl Staged<'_> {
    /// Reports whether the file goes beside the default's name.
    pub fn is_beside(&self) -> bool {
        self.job.decision == Decision::Beside
    }
}

/// A complete temporary file or link.
pub(super) struct TempFile {
    /// Its name in the target's directory.
    pub name: CString,
    pub content: Content,
    /// `None` for a link.
    pub file_stat: Option<FileStat>,
    /// The cells and metadata of a notebook that count.
    pub notebook: Option<Notebook>,
}

pub(super) type Written = Result<TempFile, Fault>;

/// Writes jobs, with both directory trees open.
pub(super) struct Writer<'a> {
    pub source: Tree,
    pub volume: Tree,
    pub offers: &'a BTreeMap<Vec<u8>, Offer>,
    /// Mode bits of a file.
    pub mode: u32,
    buffer: Vec<u8>,
    /// Bytes of notebooks that all writers have parsed.
    parsed: Arc<AtomicU64>,
}

/// The most bytes of notebooks that a start parses, which takes less than half a second.
const MAX_PARSED: u64 = 256 << 20;

impl<'a> Writer<'a> {
    pub fn new(
        source: Tree,
        volume: Tree,
        offers: &'a BTreeMap<Vec<u8>, Offer>,
        mode: u32,
    ) -> Self {
        Self {
            source,
            volume,
            offers,
            mode,
            buffer: Vec::new(),
            parsed: Arc::default(),
        }
    }

    /// Reports whether a notebook of this size may be parsed for its cells.
    pub fn may_parse(&self, size: u64) -> bool {
        takes(&self.parsed, size)
    }

    /// Returns a writer for another thread.
    fn another(&self) -> Result<Self, Errno> {
        let (source, volume) = (self.source.reopen()?, self.volume.reopen()?);
        Ok(Self {
            parsed: self.parsed.clone(),
            ..Self::new(source, volume, self.offers, self.mode)
        })
    }

    fn write(&mut self, job: &Job<'_>, stop: &dyn Fn() -> bool) -> Written {
        let path = &job.row.path;
        let (dir, _) = self
            .volume
            .parent(&job.target, true)
            .map_err(Fault::Volume)?;
        match self.offers.get(path) {
            Some(Offer::Link(text, content)) => {
                let name = atomic::stage_link(dir, text).map_err(Fault::Volume)?;
                Ok(TempFile {
                    name,
                    content: *content,
                    file_stat: None,
                    notebook: None,
                })
            }
            Some(Offer::File(_)) => {
                let (from, name) = self.source.parent(path, false).map_err(Fault::Source)?;
                let (file, stat) = atomic::open_file(from, &name).map_err(Fault::Source)?;
                let mode = match stat.mode & 0o111 {
                    0 => self.mode,
                    _ => tree::with_x(self.mode),
                };
                self.buffer.resize(BUFFER, 0);
                let parses = is_notebook(path)
                    && job.decision != Decision::Beside
                    && takes(&self.parsed, stat.size);
                let mut file = Tee::new(file, parses);
                let staged = atomic::stage_file(dir, &mut file, mode, &mut self.buffer, stop);
                let (name, content, stat) = staged?;
                Ok(TempFile {
                    name,
                    content,
                    file_stat: Some(stat),
                    notebook: file.read.and_then(|bytes| Notebook::parse(&bytes).ok()),
                })
            }
            _ => Err(Fault::Source(Errno::INVAL)),
        }
    }
}

/// Adds a notebook of this size to those that are `parsed`. Reports whether it may be.
fn takes(parsed: &AtomicU64, size: u64) -> bool {
    size <= MAX_NOTEBOOK && parsed.fetch_add(size, Ordering::Relaxed) + size <= MAX_PARSED
}

/// A file that is read, and its bytes so far if it is a notebook.
struct Tee {
    file: File,
    read: Option<Vec<u8>>,
}

impl Tee {
    fn new(file: File, keeps: bool) -> Self {
        let read = keeps.then(Vec::new);
        Self { file, read }
    }
}

impl Read for Tee {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let size = self.file.read(buffer)?;
        if let Some(read) = &mut self.read {
            read.extend_from_slice(&buffer[..size]);
        }
        Ok(size)
    }
}

/// Why not all jobs were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Halt {
    /// The volume is full.
    Full,
    /// The caller's `stop` returned true.
    Stopped,
}

/// Called with the number and the result of each job; an error ends the writing.
pub(super) type Each<'a> = &'a mut dyn FnMut(usize, Written) -> Result<(), Halt>;

/// Writes every job and calls `each` with its result, also for jobs that threads finish after
/// an error of `each`.
///
/// # Errors
/// The first error of `each`, or `stop`.
pub(super) fn write_all(
    jobs: &[Job<'_>],
    writer: &mut Writer<'_>,
    stop: &dyn Fn() -> bool,
    each: Each<'_>,
) -> Result<(), Halt> {
    let mut done = vec![false; jobs.len()];
    if !is_small_batch(jobs, writer.offers) {
        let mut each = |number, written: Written| {
            done[number] = !is_retryable(&written);
            each(number, written)
        };
        match write_parallel(jobs, parallel_writers(writer), stop, &mut each) {
            // One thread alone may find space where several at once did not.
            Some(Err(Halt::Full)) | None => {}
            Some(done) => return done,
        }
    }
    for (number, job) in jobs.iter().enumerate().filter(|(number, _)| !done[*number]) {
        each(number, writer.write(job, stop))?;
    }
    Ok(())
}

/// Reports whether a job may be written later: there was no space, or it was stopped.
fn is_retryable(written: &Written) -> bool {
    use Fault::{Stopped, Volume};
    matches!(written, Err(Stopped | Volume(Errno::NOSPC | Errno::DQUOT)))
}

fn parallel_writers<'a>(writer: &Writer<'a>) -> Vec<Writer<'a>> {
    let writers = (0..threads()).map_while(|_| writer.another().ok());
    writers.collect()
}

fn is_small_batch(jobs: &[Job<'_>], offers: &BTreeMap<Vec<u8>, Offer>) -> bool {
    let size = |job: &Job<'_>| offers.get(&job.row.path).map_or(0, Offer::size);
    jobs.len() < PARALLEL_FILES && jobs.iter().map(size).sum::<u64>() < PARALLEL_BYTES
}

/// Writes with one thread per writer. `None`: no thread could be started.
fn write_parallel(
    jobs: &[Job<'_>],
    writers: Vec<Writer<'_>>,
    stop: &dyn Fn() -> bool,
    each: Each<'_>,
) -> Option<Result<(), Halt>> {
    let (next, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let is_over = || over.load(Ordering::Relaxed);
    thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        let mut no_thread = true;
        for mut writer in writers {
            let (next, sender) = (&next, sender.clone());
            let work = move || {
                while !is_over() {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(number) else { break };
                    let written = writer.write(job, &is_over);
                    if sender.send((number, written)).is_err() {
                        break;
                    }
                }
            };
            let started = thread::Builder::new().spawn_scoped(scope, work);
            no_thread &= started.is_err();
        }
        if no_thread {
            return None;
        }
        drop(sender);
        let mut done = Ok(());
        let mut asked = Instant::now();
        loop {
            let went = match receiver.recv_timeout(STOP_POLL) {
                Ok((number, written)) => each(number, written),
                Err(RecvTimeoutError::Timeout) => Ok(()),
                Err(RecvTimeoutError::Disconnected) => return Some(done),
            };
            done = done.and(went);
            if asked.elapsed() >= STOP_POLL {
                asked = Instant::now();
                done = done.and(if stop() { Err(Halt::Stopped) } else { Ok(()) });
            }
            if done.is_err() {
                over.store(true, Ordering::Relaxed);
            }
        }
    })
}
