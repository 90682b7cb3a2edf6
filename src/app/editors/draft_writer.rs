//! The thread that puts drafts on the disk: a draft may be as large as 64 MiB and changes while a person types, and the window
//! does not wait for a disk.
//!
//! What is ordered of a node in one go becomes one deed, so that never more than two drafts of a node wait. What is ordered
//! later is done later, and [`DraftWriter::finish`] waits until a reader finds what was ordered before.

use crate::project::NodeId;
use std::collections::{BTreeMap, VecDeque};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a reader waits before it looks whether the thread still lives.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Where the drafts of a node lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DraftFiles {
    /// What is kept.
    pub kept: PathBuf,
    /// What was thrown away last.
    pub aside: PathBuf,
}

/// What is to be done with them.
#[derive(Debug)]
pub(super) enum Order {
    /// This is kept.
    Write(Box<[u8]>),
    /// What is kept goes aside.
    SetAside,
    /// Neither is needed any more.
    Delete,
}

/// What the disk did not do.
#[derive(Debug)]
pub(super) struct Fault {
    /// What it was.
    pub failed: Failed,
    /// Where.
    pub file: PathBuf,
    /// Why not.
    pub error: std::io::Error,
}

/// What can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// Keeping a draft.
    Write,
    /// Setting one aside.
    SetAside,
    /// Taking one away.
    Delete,
}

/// Puts drafts on the disk, in the order of what was ordered. The thread begins with the first order; dropping this waits until
/// all is done.
#[derive(Debug, Default)]
pub(super) struct DraftWriter {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Desk {
    orders: Mutex<Orders>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Orders {
    wanted: BTreeMap<NodeId, Wanted>,
    /// The same nodes, in the order in which they came.
    turns: VecDeque<NodeId>,
    /// The node whose files are written now.
    at_work: Option<NodeId>,
    faults: Vec<Fault>,
    is_over: bool,
}

/// What the files of a node shall be: first the one aside, then the one that is kept.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    files: DraftFiles,
    aside: Aside,
    kept: Kept,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Aside {
    #[default]
    AsItIs,
    /// What lies in the other file by then.
    FromKept,
    /// This, which was to be kept and never lay there.
    This(Box<[u8]>),
    Gone,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Kept {
    #[default]
    AsItIs,
    This(Box<[u8]>),
    Gone,
}

impl Wanted {
    fn new(files: DraftFiles) -> Self {
        Self {
            files,
            aside: Aside::default(),
            kept: Kept::default(),
        }
    }

    fn take_in(&mut self, order: Order) {
        match order {
            Order::Write(bytes) => self.kept = Kept::This(bytes),
            Order::SetAside => match std::mem::take(&mut self.kept) {
                Kept::This(bytes) => {
                    self.aside = Aside::This(bytes);
                    self.kept = Kept::Gone;
                }
                Kept::Gone => self.kept = Kept::Gone,
                // Set aside a moment ago, and nothing was kept since.
                Kept::AsItIs if self.aside != Aside::AsItIs => {}
                Kept::AsItIs => self.aside = Aside::FromKept,
            },
            Order::Delete => {
                self.aside = Aside::Gone;
                self.kept = Kept::Gone;
            }
        }
    }

    fn carry_out(self) -> Vec<Fault> {
        let DraftFiles { kept, aside } = self.files;
        let aside_failed = if self.aside == Aside::Gone {
            Failed::Delete
        } else {
            Failed::SetAside
        };
        let set_aside = match self.aside {
            Aside::AsItIs => Ok(()),
            Aside::FromKept => unless_missing(std::fs::rename(&kept, &aside)),
            Aside::This(bytes) => write_whole(&aside, &bytes),
            Aside::Gone => unless_missing(std::fs::remove_file(&aside)),
        };
        let is_set_aside = set_aside.is_ok();
        let (kept_failed, done) = match self.kept {
            Kept::AsItIs => (Failed::Write, Ok(())),
            Kept::This(bytes) => (Failed::Write, write_whole(&kept, &bytes)),
            // What could not be set aside stays where it is.
            Kept::Gone if !is_set_aside => (Failed::Delete, Ok(())),
            Kept::Gone => (Failed::Delete, unless_missing(std::fs::remove_file(&kept))),
        };
        let fault = |failed: Failed, file: PathBuf, done: std::io::Result<()>| {
            done.err().map(|error| Fault {
                failed,
                file,
                error,
            })
        };
        fault(aside_failed, aside, set_aside)
            .into_iter()
            .chain(fault(kept_failed, kept, done))
            .collect()
    }
}

/// Somebody emptied the folder: there is nothing to take away.
fn unless_missing(done: std::io::Result<()>) -> std::io::Result<()> {
    match done {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut orders = self.lock();
        loop {
            let next = orders.turns.pop_front();
            let Some((node_id, wanted)) =
                next.and_then(|node_id| Some((node_id, orders.wanted.remove(&node_id)?)))
            else {
                if orders.is_over {
                    return;
                }
                orders = self
                    .changed
                    .wait(orders)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            orders.at_work = Some(node_id);
            drop(orders);
            let faults = wanted.carry_out();
            orders = self.lock();
            orders.at_work = None;
            orders.faults.extend(faults);
            self.changed.notify_all();
        }
    }
}

impl DraftWriter {
    /// Takes an order. It is carried out here when there is no thread to be had.
    pub(super) fn order(&mut self, node_id: NodeId, files: DraftFiles, order: Order) {
        if self.thread.is_none() {
            let desk = Arc::clone(&self.desk);
            self.thread = std::thread::Builder::new()
                .name("drafts".to_owned())
                .spawn(move || desk.work())
                .ok();
        }
        let mut orders = self.desk.lock();
        if self.thread.is_none() {
            let mut wanted = Wanted::new(files);
            wanted.take_in(order);
            orders.faults.extend(wanted.carry_out());
            return;
        }
        if !orders.wanted.contains_key(&node_id) {
            orders.turns.push_back(node_id);
        }
        let wanted = orders.wanted.entry(node_id);
        wanted.or_insert_with(|| Wanted::new(files)).take_in(order);
        self.desk.changed.notify_all();
    }

    /// Waits until everything that was ordered is done.
    pub(super) fn finish(&self) {
        let lives = |thread: &JoinHandle<()>| !thread.is_finished();
        let mut orders = self.desk.lock();
        while self.thread.as_ref().is_some_and(lives)
            && (!orders.wanted.is_empty() || orders.at_work.is_some())
        {
            // Looks again now and then: a thread that has ended tells nobody.
            let waited = self.desk.changed.wait_timeout(orders, LOOK_AGAIN);
            orders = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What the disk did not do since this was asked last.
    pub(super) fn take_faults(&self) -> Vec<Fault> {
        std::mem::take(&mut self.desk.lock().faults)
    }
}

impl Drop for DraftWriter {
    fn drop(&mut self) {
        self.desk.lock().is_over = true;
        self.desk.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // It ended by a panic: what was ordered is lost, and nobody is left to tell.
            let _ = thread.join();
        }
    }
}

/// Writes a file beside its place and renames it there. When this comes back, no loss of power takes it away.
pub(super) fn write_whole(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
    temporary.write_all(bytes)?;
    temporary.as_file().sync_all()?;
    temporary.persist(file).map_err(|error| error.error)?;
    #[cfg(unix)]
    if let Err(error) = std::fs::File::open(folder).and_then(|folder| folder.sync_all()) {
        // Some file systems refuse this; the file itself is on the disk already.
        tracing::debug!(%error, "a folder was not flushed");
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn files(folder: &Path) -> DraftFiles {
        DraftFiles {
            kept: folder.join("n.json"),
            aside: folder.join("n.aside.json"),
        }
    }

    fn bytes(text: &str) -> Box<[u8]> {
        text.as_bytes().into()
    }

    fn read(file: &Path) -> Option<String> {
        std::fs::read_to_string(file).ok()
    }

    /// Every order by itself, and all in one go: the disk has the same.
    #[test]
    fn orders_that_wait_come_to_the_same_as_one_after_the_other() {
        let all = |code: usize| -> Vec<Order> {
            let mut rest = code;
            let mut orders = Vec::new();
            for at in 0..4 {
                orders.push(match rest % 3 {
                    0 => Order::Write(bytes(&format!("{at}"))),
                    1 => Order::SetAside,
                    _ => Order::Delete,
                });
                rest /= 3;
            }
            orders
        };
        for code in 0..81 {
            let disks = [false, true].map(|at_once| {
                let folder = tempfile::tempdir().unwrap();
                let files = files(folder.path());
                write_whole(&files.kept, b"before").unwrap();
                write_whole(&files.aside, b"long ago").unwrap();
                let mut together = Wanted::new(files.clone());
                for order in all(code) {
                    if at_once {
                        together.take_in(order);
                    } else {
                        let mut one = Wanted::new(files.clone());
                        one.take_in(order);
                        assert!(one.carry_out().is_empty());
                    }
                }
                assert!(together.carry_out().is_empty());
                (read(&files.kept), read(&files.aside))
            });
            assert_eq!(disks[0], disks[1], "{:?}", all(code));
        }
    }

    #[test]
    fn what_was_ordered_is_there_when_it_is_read_and_when_the_writer_goes() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(folder.path());
        let node_id = NodeId::new_now();
        let mut writer = DraftWriter::default();
        for number in 0..200 {
            let text = bytes(&format!("{number}"));
            writer.order(node_id, files.clone(), Order::Write(text));
        }
        writer.finish();
        assert_eq!(read(&files.kept).as_deref(), Some("199"));
        writer.order(node_id, files.clone(), Order::SetAside);
        writer.order(node_id, files.clone(), Order::Write(bytes("next")));
        drop(writer);
        assert_eq!(read(&files.kept).as_deref(), Some("next"));
        assert_eq!(read(&files.aside).as_deref(), Some("199"));
    }

    #[test]
    fn what_the_disk_refuses_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let in_the_way = folder.path().join("file");
        std::fs::write(&in_the_way, "").unwrap();
        let mut writer = DraftWriter::default();
        let node_id = NodeId::new_now();
        writer.order(node_id, files(&in_the_way), Order::Write(bytes("{}")));
        writer.finish();
        let faults = writer.take_faults();
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert_eq!(faults[0].failed, Failed::Write);
        assert!(writer.take_faults().is_empty());
    }
}
