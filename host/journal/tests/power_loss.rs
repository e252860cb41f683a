//! A power cut loses nothing that was acknowledged.
//!
//! A store is written through a VFS that takes down every write and sync. Then the power fails at a thousand places: of
//! what was written since the last sync of its file, each sector of 512 bytes is there or not, by chance. The store that
//! is left must open, be sound, and have everything that its users were told is stored.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;
#[path = "support/vfs.rs"]
mod vfs;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use support::{event, new_run, options_in};
use vfs::{Kind, Op, Watch, told};
use windlass_journal::{Error, NewMessage, Outcome, RunId, Store};

const CUTS: usize = 1000;
const SECTOR: usize = 512;
const RUNS: usize = 4;
/// Not after a multiple of 11, so that every message is taken.
const APPENDS: u64 = 43;

/// What somebody was told.
#[derive(Clone)]
enum Fact {
    /// The run has so many events.
    Stored {
        run: RunId,
        head: u64,
    },
    Posted {
        run: RunId,
        id: String,
    },
    Locked {
        run: RunId,
    },
}

type Facts = Arc<Mutex<Vec<Fact>>>;

/// Takes down that somebody was told a fact, at this moment.
fn know(facts: &Facts, fact: Fact) {
    let mut facts = facts.lock().unwrap();
    facts.push(fact);
    told(facts.len() - 1);
}

fn payload(seq: u64) -> Vec<u8> {
    let size = match seq % 6 {
        0 => 20_000,
        3 => 5000,
        _ => 200,
    };
    vec![seq as u8; size]
}

/// Twice the life of a process: runs that start, go on side by side, take messages and locks, and end.
async fn work(folder: &Path, facts: &Facts) {
    for _ in 0..2 {
        let store = Arc::new(Store::open(options_in(folder)).await.unwrap());
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..RUNS {
            let (store, facts) = (Arc::clone(&store), Arc::clone(facts));
            tasks.spawn(async move {
                let id = RunId::random().unwrap();
                let mut run =
                    store.create_run(new_run(&id), vec![event("run_created", payload(1))]).await.unwrap();
                know(&facts, Fact::Stored { run: id.clone(), head: 1 });
                for seq in 2..APPENDS {
                    match seq % 11 {
                        0 => {
                            let message = NewMessage { id: format!("m{seq}"), payload: payload(seq) };
                            store.post(&id, message).await.unwrap();
                            know(&facts, Fact::Posted { run: id.clone(), id: format!("m{seq}") });
                        }
                        1 => run.consume(&format!("m{}", seq - 1)),
                        2 if seq == 2 => run.queue_lock(id.as_str()).unwrap(),
                        _ => {}
                    }
                    run.append(vec![event("note", payload(seq))]).await.unwrap();
                    know(&facts, Fact::Stored { run: id.clone(), head: seq });
                    if seq == 2 {
                        know(&facts, Fact::Locked { run: id.clone() });
                    }
                }
                // One goes on.
                if number > 0 {
                    run.set_status("succeeded", Some(1_790_000_000_009));
                    run.append(vec![event("run_ended", payload(APPENDS))]).await.unwrap();
                    know(&facts, Fact::Stored { run: id, head: APPENDS });
                }
            });
        }
        tasks.join_all().await;
        store.close().await;
    }
}

/// One write or another change of a file that a power cut may undo.
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Truncate(usize),
    Delete,
}

/// A file as the disk has it, and what it may have besides.
#[derive(Default)]
struct Image {
    durable: Vec<u8>,
    pending: Vec<Change>,
}

/// A xorshift generator: the same cuts every time.
struct Chance(u64);

impl Chance {
    fn coin(&mut self) -> bool {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 40 & 1 == 1
    }
}

fn apply(content: &mut Vec<u8>, change: &Change, mut kept: impl FnMut() -> bool) {
    match change {
        Change::Truncate(size) if kept() => content.resize(*size, 0),
        Change::Delete if kept() => content.clear(),
        Change::Write { offset, bytes } => {
            let mut at = *offset;
            let end = offset + bytes.len();
            while at < end {
                let next = ((at / SECTOR + 1) * SECTOR).min(end);
                if kept() {
                    if content.len() < next {
                        content.resize(next, 0);
                    }
                    content[at..next].copy_from_slice(&bytes[at - offset..next - offset]);
                }
                at = next;
            }
        }
        Change::Truncate(_) | Change::Delete => {}
    }
}

#[derive(Default)]
struct Disk {
    files: BTreeMap<Kind, Image>,
    /// How many facts were told.
    told: Vec<usize>,
}

impl Disk {
    fn follow(&mut self, op: &Op) {
        let (file, change) = match op {
            Op::Told(fact) => return self.told.push(*fact),
            Op::Sync { file, folder } => {
                let image = self.files.entry(*file).or_default();
                for change in std::mem::take(&mut image.pending) {
                    apply(&mut image.durable, &change, || true);
                }
                if *folder {
                    self.sync_folder();
                }
                return;
            }
            Op::Write { file, offset, bytes } => {
                (file, Change::Write { offset: *offset, bytes: bytes.clone() })
            }
            Op::Truncate { file, size } => (file, Change::Truncate(*size)),
            Op::Delete { file, .. } => (file, Change::Delete),
        };
        self.files.entry(*file).or_default().pending.push(change);
        if matches!(op, Op::Delete { folder: true, .. }) {
            self.sync_folder();
        }
    }

    /// What was deleted stays so.
    fn sync_folder(&mut self) {
        for image in self.files.values_mut() {
            if let Some(last) = image.pending.iter().rposition(|change| matches!(change, Change::Delete)) {
                image.durable.clear();
                image.pending.drain(..=last);
            }
        }
    }

    /// What is left when the power fails now.
    fn cut(&self, chance: &mut Chance, folder: &Path) {
        let options = options_in(folder);
        fs::create_dir_all(&options.state_dir).unwrap();
        for (kind, image) in &self.files {
            let mut content = image.durable.clone();
            image.pending.iter().for_each(|change| apply(&mut content, change, || chance.coin()));
            if !content.is_empty() {
                fs::write(format!("{}{}", options.path.display(), kind.suffix()), content).unwrap();
            }
        }
    }
}

/// What is wrong with what a cut left, if anything is.
async fn loss(folder: &Path, told: &[Fact], thorough: bool) -> Result<(), String> {
    let store = Store::open(options_in(folder)).await.map_err(|error| format!("does not open: {error}"))?;
    let (mut heads, mut stored) = (BTreeMap::new(), BTreeMap::new());
    for fact in told {
        if let Fact::Stored { run, head } = fact {
            heads.insert(run, *head);
        }
    }
    for (run, head) in heads {
        let events = store.read_run(run).await.map_err(|error| format!("{error}, told of {head} events"))?;
        // What was being written may be there, without having been acknowledged.
        if (events.len() as u64) < head || events.len() as u64 > head + 1 {
            return Err(format!("{run} has {} events, told of {head}", events.len()));
        }
        for event in &events {
            assert_eq!(event.payload, payload(event.seq));
        }
        stored.insert(run, events.len() as u64);
    }
    for fact in told {
        match fact {
            Fact::Stored { .. } => {}
            Fact::Posted { run, id } => {
                let number: u64 = id[1..].parse().unwrap();
                let taken = stored[run] > number;
                let waiting = store.inbox(run).await.unwrap();
                if taken == waiting.iter().any(|message| message.id == *id) {
                    return Err(format!("message {id} of {run} is lost or came back"));
                }
            }
            Fact::Locked { run } => {
                let holder = store.group(run.as_str()).await.unwrap();
                if holder.is_none_or(|holder| holder.run != *run) {
                    return Err(format!("{run} lost its lock"));
                }
            }
        }
    }
    let mut raw = SqliteConnectOptions::new().filename(options_in(folder).path).connect().await.unwrap();
    let sound: String = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut raw).await.unwrap();
    if sound != "ok" {
        return Err(format!("integrity_check: {sound}"));
    }
    if thorough {
        let report = store.verify(None, None).await.map_err(|error: Error| error.to_string())?;
        let broken = report.runs.iter().find(|run| matches!(run.outcome, Outcome::Broken(_)));
        if broken.is_some() || report.chain.is_some() {
            return Err(format!("verify: {report:?}"));
        }
    }
    Ok(())
}

/// Cuts the power at a thousand places of one recording; answers what was lost at which of them, and how often the
/// database itself had been written by then.
async fn cut_everywhere(synchronous_off: bool, enough: usize) -> Vec<String> {
    let watch = Watch::new();
    let recorded = tempfile::tempdir().unwrap();
    watch.take_down(recorded.path(), synchronous_off);
    let facts = Facts::default();
    work(recorded.path(), &facts).await;
    let facts = facts.lock().unwrap().clone();
    let (ops, _) = watch.end();
    let count = |wanted: fn(&Op) -> bool| ops.iter().filter(|op| wanted(op)).count();
    assert!(ops.len() > 2 * CUTS, "only {} calls", ops.len());
    assert!(count(|op| matches!(op, Op::Write { file: Kind::Database, .. })) > 50, "no checkpoint was made");
    assert_eq!(count(|op| matches!(op, Op::Sync { .. })) == 0, synchronous_off);

    let (mut disk, mut followed, mut losses) = (Disk::default(), 0, Vec::new());
    for cut in 0..CUTS {
        let until = (cut + 1) * ops.len() / CUTS;
        ops[followed..until].iter().for_each(|op| disk.follow(op));
        followed = until;
        let left = tempfile::tempdir().unwrap();
        disk.cut(&mut Chance(0x9e37_79b9_7f4a_7c15 ^ (cut as u64 + 1)), left.path());
        copy_keys(recorded.path(), left.path());
        let told: Vec<_> = disk.told.iter().map(|fact| facts[*fact].clone()).collect();
        if let Err(lost) = loss(left.path(), &told, cut % 10 == 0).await {
            losses.push(format!("cut {cut} after {until} calls: {lost}"));
            if losses.len() == enough {
                break;
            }
        }
    }
    losses
}

fn copy_keys(from: &Path, to: &Path) {
    let (from, to) = (options_in(from).key_dir, options_in(to).key_dir);
    fs::create_dir_all(&to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let path = file.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
    fs::set_permissions(to, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_a_power_cut() {
    let losses = cut_everywhere(false, 5).await;
    assert!(losses.is_empty(), "{}", losses.join("\n"));
}

/// If this one passes for the wrong reason, so does the other: a store that never syncs must lose something.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_syncs_the_same_cuts_lose_what_was_acknowledged() {
    let losses = cut_everywhere(true, 20).await;
    assert_eq!(losses.len(), 20, "{}", losses.join("\n"));
    assert!(losses.iter().any(|lost| lost.contains("told of")), "{}", losses.join("\n"));
}
