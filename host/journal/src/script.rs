//! The SQL of a commit.
//!
//! Owns the statements that write. Invariant: what a member writes depends on its one check, so a member whose check
//! fails changes nothing. A commit is one text, `BEGIN IMMEDIATE` to `COMMIT`. Where a member takes a group's lock or
//! has an entry for the store's chain it is two: the checks and what they need to know, and then the rest, for the
//! members whose check held.
//!
//! Nearly all appends bring nothing but a few events. They are one statement that checks and inserts, and leave the
//! run's row alone: a page less for each commit. Where such an append is alone in its commit, the statement is the
//! commit.

use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments, Encode, Row, Sqlite, Type};

use crate::attest::{ChainEnd, SignedHead};
use crate::envelope::FORMAT_NUMBER;
use crate::error::Error;
use crate::id::RunId;
use crate::writer::{Append, Change, Member, Place, Post, SealedEvent};

/// Events that one statement inserts; well below SQLite's limit of 32766 arguments.
const ROWS: usize = 200;
/// Texts of at most so many statements and events are kept prepared: there are few different ones.
const KEPT_STATEMENTS: usize = 8;
const KEPT_EVENTS: usize = 4;

const CREATE: &str = "INSERT INTO run (id, name, status, started_ms, ended_ms, epoch, head, head_hash, key_id, \
    wrapped_key, detached) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING";
/// A run stands where its owner left it: its last event has that hash, which covers the event's number.
const STANDS: &str = "WHERE id = ? AND epoch = ? AND coalesce((SELECT hash FROM event WHERE place BETWEEN \
    number << 32 AND (number << 32) + 4294967295 ORDER BY place DESC LIMIT 1), zeroblob(32)) = ?";
/// The row of the run says what it says after this member only if this member's check held.
const IS_WRITTEN: &str = "WHERE id = ? AND epoch = ? AND head = ? AND head_hash = ?";
/// A message that is there already is as good as posted.
const POST: &str = "INSERT INTO message (run, id, posted_ms, nonce, body) SELECT id, ?, ?, ?, ? FROM run \
    WHERE id = ? AND ended_ms IS NULL ON CONFLICT (run, id) DO UPDATE SET id = excluded.id";

/// Statements with their arguments, for one call of the database.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) sql: String,
    pub(crate) arguments: SqliteArguments,
    pub(crate) statements: usize,
    pub(crate) begins: bool,
    pub(crate) commits: bool,
    /// Its one statement is a transaction of its own.
    pub(crate) is_alone: bool,
    events: usize,
}

/// What a call answered: per statement how many rows it changed, and the rows that it gave.
#[derive(Default)]
pub(crate) struct Answers {
    pub(crate) changed: Vec<u64>,
    pub(crate) rows: Vec<(usize, SqliteRow)>,
}

/// Where a member's check is among the statements.
pub(crate) struct Check {
    place: usize,
    /// How many rows its statement changes where it holds.
    rows: u64,
    /// The statement that tells who holds a group that the member wants.
    busy: Option<usize>,
}

/// The checks of a commit, with what the rest of it needs to know.
pub(crate) struct Checks {
    pub(crate) script: Script,
    pub(crate) checks: Vec<Check>,
    chain_end: usize,
}

/// A whole commit in one call.
pub(crate) fn whole(members: &[Member]) -> Result<(Script, Vec<Check>), sqlx::Error> {
    if let [Member::Append(append)] = members
        && let Some(from) = plain(append)
        && !dies_inside()
    {
        let mut script = Script { begins: true, commits: true, is_alone: true, ..Script::default() };
        let check = script.append_plainly(append, from)?;
        return Ok((script, vec![check]));
    }
    let mut script = Script::beginning();
    let mut checks = Vec::with_capacity(members.len());
    for member in members {
        checks.push(script.check(member)?);
        if let Member::Append(append) = member {
            script.effects(append)?;
        }
    }
    script.commit();
    Ok((script, checks))
}

/// The checks of a commit alone.
pub(crate) fn checks(members: &[Member]) -> Result<Checks, sqlx::Error> {
    let mut script = Script::beginning();
    let chain_end = script.statement("SELECT number, hash FROM chain ORDER BY number DESC LIMIT 1");
    let checks = members.iter().map(|member| script.check(member)).collect::<Result<_, _>>()?;
    Ok(Checks { script, checks, chain_end })
}

/// The rest of a commit whose checks were made, for the members whose check held.
pub(crate) fn rest<'a>(
    members: impl Iterator<Item = &'a Member>,
    mut end: ChainEnd,
) -> Result<Script, sqlx::Error> {
    let mut script = Script::default();
    for member in members {
        let Member::Append(append) = member else { continue };
        script.effects(append)?;
        for lock in &append.queued.locks {
            script.acquire(&append.run, lock)?;
        }
        for unlinked in &append.chain {
            let (entry, signature) = unlinked.link(&append.run, append.to.head, &append.to.hash, &mut end);
            script.statement("INSERT INTO chain VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
            script.bind(entry.number)?.bind(entry.previous)?.bind(entry.mark.word().to_owned())?;
            script.bind(entry.run.to_string())?.bind(entry.label)?.bind(entry.seq)?.bind(entry.run_hash)?;
            script.bind(entry.time_ms)?.bind(end.hash.to_vec())?.bind(signature.to_vec())?;
        }
    }
    script.commit();
    Ok(script)
}

impl Checks {
    /// Where the store's chain ends, as the checks found it.
    pub(crate) fn chain_end(&self, answers: &Answers) -> Result<ChainEnd, sqlx::Error> {
        let Some(row) = answers.row(self.chain_end) else { return Ok(ChainEnd::EMPTY) };
        let hash: Vec<u8> = row.try_get(1)?;
        let hash =
            hash.try_into().map_err(|_| sqlx::Error::Decode("the hash of an entry has 32 bytes".into()))?;
        Ok(ChainEnd { number: row.try_get(0)?, hash })
    }
}

impl Check {
    /// What became of a member.
    pub(crate) fn verdict(&self, member: &Member, answers: &Answers) -> Result<(), Error> {
        if answers.changed.get(self.place) == Some(&self.rows) {
            return Ok(());
        }
        let append = match member {
            Member::Post(post) => return Err(Error::RunEnded { run: post.run.clone() }),
            Member::Append(append) => append,
        };
        if let Some(holder) = self.busy.and_then(|busy| answers.row(busy)) {
            return Err(Error::GroupBusy {
                group: holder.try_get(0)?,
                by: RunId::parse(holder.try_get(1)?)?,
            });
        }
        let run = append.run.clone();
        match append.change {
            Change::Create { .. } => Err(Error::RunExists { run }),
            Change::From(_) => Err(Error::Fenced { run }),
        }
    }
}

impl Answers {
    fn row(&self, statement: usize) -> Option<&SqliteRow> {
        self.rows.iter().find(|(place, _)| *place == statement).map(|(_, row)| row)
    }
}

impl Script {
    fn beginning() -> Self {
        let mut script = Self { begins: true, ..Self::default() };
        script.statement("BEGIN IMMEDIATE");
        script
    }

    fn commit(&mut self) {
        if dies_inside() {
            return;
        }
        self.statement("COMMIT");
        self.commits = true;
    }

    /// Whether it is worth keeping prepared.
    pub(crate) fn is_common(&self) -> bool {
        self.statements <= KEPT_STATEMENTS && self.events <= KEPT_EVENTS
    }

    fn statement(&mut self, sql: &str) -> usize {
        self.sql.push_str(sql);
        self.sql.push(';');
        self.statements += 1;
        self.statements - 1
    }

    fn bind<T: Encode<'static, Sqlite> + Type<Sqlite>>(
        &mut self,
        value: T,
    ) -> Result<&mut Self, sqlx::Error> {
        self.arguments.add(value).map_err(sqlx::Error::Encode)?;
        Ok(self)
    }

    fn bind_standing(&mut self, run: &RunId, place: &Place) -> Result<&mut Self, sqlx::Error> {
        self.bind(run.as_str().to_owned())?.bind(place.epoch)?.bind(place.hash.to_vec())
    }

    fn bind_place(&mut self, run: &RunId, place: &Place) -> Result<&mut Self, sqlx::Error> {
        self.bind(run.as_str().to_owned())?.bind(place.epoch)?.bind(place.head)?.bind(place.hash.to_vec())
    }

    fn check(&mut self, member: &Member) -> Result<Check, sqlx::Error> {
        let append = match member {
            Member::Post(post) => return self.post(post),
            Member::Append(append) => append,
        };
        if let Some(from) = plain(append) {
            return self.append_plainly(append, from);
        }
        let busy = if append.queued.locks.is_empty() { None } else { Some(self.holder(append)?) };
        let place = match &append.change {
            Change::Create { name, started_ms, key_id, wrapped_key, detached } => {
                let place = self.statement(CREATE);
                self.bind(append.run.as_str().to_owned())?.bind(name.clone())?;
                self.bind(append.queued.status.clone().unwrap_or_default())?.bind(*started_ms)?;
                self.bind(append.queued.ended_ms)?;
                self.bind(append.to.epoch)?.bind(append.to.head)?.bind(append.to.hash.to_vec())?;
                self.bind(key_id.clone())?.bind(wrapped_key.clone())?.bind(*detached)?;
                place
            }
            Change::From(from) => self.advance(append, from)?,
        };
        Ok(Check { place, rows: 1, busy })
    }

    /// Columns with an index are named only when they change: else each commit would write the index anew.
    fn advance(&mut self, append: &Append, from: &Place) -> Result<usize, sqlx::Error> {
        let queued = &append.queued;
        let status = if queued.status.is_some() { ", status = ?" } else { "" };
        let ended = if queued.ended_ms.is_some() { ", ended_ms = ?" } else { "" };
        let free = if queued.locks.is_empty() {
            String::new()
        } else {
            format!(" AND NOT EXISTS ({})", held_by_other(&queued.locks))
        };
        let place = self.statement(&format!(
            "UPDATE run SET epoch = ?, head = ?, head_hash = ?{status}{ended} {STANDS}{free}"
        ));
        self.bind(append.to.epoch)?.bind(append.to.head)?.bind(append.to.hash.to_vec())?;
        if let Some(status) = &queued.status {
            self.bind(status.clone())?;
        }
        if let Some(ended_ms) = queued.ended_ms {
            self.bind(ended_ms)?;
        }
        self.bind_standing(&append.run, from)?;
        if !queued.locks.is_empty() {
            self.bind_holder(append)?;
        }
        Ok(place)
    }

    fn holder(&mut self, append: &Append) -> Result<usize, sqlx::Error> {
        let place = self.statement(&held_by_other(&append.queued.locks));
        self.bind_holder(append)?;
        Ok(place)
    }

    fn bind_holder(&mut self, append: &Append) -> Result<(), sqlx::Error> {
        self.bind(append.run.as_str().to_owned())?;
        append.queued.locks.iter().try_for_each(|group| self.bind(group.clone()).map(drop))
    }

    fn post(&mut self, post: &Post) -> Result<Check, sqlx::Error> {
        let place = self.statement(POST);
        self.bind(post.id.clone())?
            .bind(post.posted_ms)?
            .bind(post.nonce.to_vec())?
            .bind(post.body.clone())?;
        self.bind(post.run.as_str().to_owned())?;
        Ok(Check { place, rows: 1, busy: None })
    }

    /// A member that is only events: its check and all that it writes.
    fn append_plainly(&mut self, append: &Append, from: &Place) -> Result<Check, sqlx::Error> {
        let place = self.events(&append.events, STANDS)?;
        self.bind_standing(&append.run, from)?;
        Ok(Check { place, rows: append.events.len() as u64, busy: None })
    }

    /// What a member writes beside what its check wrote, but for what only [`rest`] writes.
    fn effects(&mut self, append: &Append) -> Result<(), sqlx::Error> {
        if plain(append).is_some() {
            return Ok(());
        }
        for events in append.events.chunks(ROWS) {
            self.events(events, IS_WRITTEN)?;
            self.bind_place(&append.run, &append.to)?;
        }
        for head in &append.heads {
            self.head(append, head)?;
        }
        for (digest, body) in &append.queued.blobs {
            self.blob(append, digest, body)?;
        }
        for (digest, body) in &append.blobs {
            self.blob(append, digest, body)?;
        }
        for (digest, body) in &append.queued.components {
            self.statement(
                "INSERT INTO component (digest, body) VALUES (?, ?) ON CONFLICT (digest) DO NOTHING",
            );
            self.bind(digest.to_vec())?.bind(body.to_vec())?;
        }
        for id in &append.queued.consumed {
            self.statement(&format!(
                "UPDATE message SET body = NULL WHERE run = (SELECT id FROM run {IS_WRITTEN}) AND id = ?"
            ));
            self.bind_place(&append.run, &append.to)?.bind(id.clone())?;
        }
        for group in &append.queued.unlocks {
            self.statement(&format!(
                "UPDATE hold SET released = 1 WHERE run = (SELECT id FROM run {IS_WRITTEN}) AND name = ? \
                 AND released = 0"
            ));
            self.bind_place(&append.run, &append.to)?.bind(group.clone())?;
        }
        Ok(())
    }

    /// The arguments of the condition on the run's row are still to be bound.
    fn events(&mut self, events: &[SealedEvent], condition: &str) -> Result<usize, sqlx::Error> {
        const ROW: &str = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        let rows = vec![ROW; events.len()].join(", ");
        // The events first, so that the run is looked up for each of them and they stay in order.
        let place = self.statement(&format!(
            "INSERT INTO event (place, format, epoch, previous, kind, time_ms, step, item, attempt, plugin, action, \
             nonce, digest, body, hash) SELECT (number << 32) + column1, {FORMAT_NUMBER}, epoch, column2, column3, \
             column4, column5, column6, column7, column8, column9, column10, column11, column12, column13 \
             FROM (VALUES {rows}) CROSS JOIN run {condition}"
        ));
        self.events += events.len();
        for event in events {
            let binding = event.binding.as_ref();
            self.bind(event.seq)?
                .bind(event.previous.to_vec())?
                .bind(event.kind.clone())?
                .bind(event.time_ms)?;
            self.bind(binding.map(|binding| binding.step.clone()))?;
            self.bind(binding.and_then(|binding| binding.item.clone()))?;
            self.bind(binding.and_then(|binding| binding.attempt))?;
            self.bind(binding.and_then(|binding| binding.plugin_digest.clone()))?;
            self.bind(binding.and_then(|binding| binding.action.clone()))?;
            self.bind(event.nonce.to_vec())?.bind(event.digest.to_vec())?;
            self.bind(event.body.clone())?.bind(event.hash.to_vec())?;
        }
        Ok(place)
    }

    /// The same head may be signed twice: an end without events of its own is where its verdict was.
    fn head(&mut self, append: &Append, head: &SignedHead) -> Result<(), sqlx::Error> {
        self.statement(&format!(
            "INSERT INTO head (run, seq, epoch, hash, time_ms, signature) SELECT id, ?, epoch, ?, ?, ? FROM run \
             {IS_WRITTEN} ON CONFLICT (run, seq) DO NOTHING"
        ));
        self.bind(head.seq)?.bind(head.hash.to_vec())?.bind(head.time_ms)?;
        self.bind(head.signature.to_vec())?.bind_place(&append.run, &append.to)?;
        Ok(())
    }

    fn blob(&mut self, append: &Append, digest: &[u8; 32], body: &[u8]) -> Result<(), sqlx::Error> {
        self.statement(&format!("INSERT INTO blob (run, digest, body) SELECT ?, ?, ? FROM run {IS_WRITTEN}"));
        self.bind(append.run.as_str().to_owned())?.bind(digest.to_vec())?.bind(body.to_vec())?;
        self.bind_place(&append.run, &append.to)?;
        Ok(())
    }

    /// A holding of a group, unless the run holds it. That another run does not is what the member's check found; if
    /// one does since, by another member of this commit, the index `holder` refuses.
    fn acquire(&mut self, run: &RunId, group: &str) -> Result<(), sqlx::Error> {
        self.statement(
            "INSERT INTO hold (name, fence, run) SELECT column1, \
             coalesce((SELECT max(fence) FROM hold WHERE name = column1), 0) + 1, column2 FROM (VALUES (?, ?)) \
             WHERE NOT EXISTS (SELECT 1 FROM hold WHERE name = column1 AND run = column2 AND released = 0)",
        );
        self.bind(group.to_owned())?.bind(run.to_string())?;
        Ok(())
    }
}

/// Where the run stood, for an append that brings nothing but a few events.
fn plain(append: &Append) -> Option<&Place> {
    let Append { change, to, events, blobs, heads, chain, queued, .. } = append;
    let Change::From(from) = change else { return None };
    let alone = blobs.is_empty() && heads.is_empty() && chain.is_empty() && queued.is_empty();
    (alone && from.epoch == to.epoch && (1..=ROWS).contains(&events.len())).then_some(from)
}

/// Whether this process is to die in the middle of the commit, as only a suite has it.
fn dies_inside() -> bool {
    #[cfg(feature = "kill-points")]
    let dies = crate::kill_points::dies_inside();
    #[cfg(not(feature = "kill-points"))]
    let dies = false;
    dies
}

/// Its arguments: the run, the groups.
fn held_by_other(groups: &[String]) -> String {
    let names = vec!["?"; groups.len()].join(", ");
    format!("SELECT name, run FROM hold WHERE released = 0 AND run <> ? AND name IN ({names})")
}
