//! Finding out whether a store is still what was written, as an auditor does: without its key.
//!
//! Owns the comparison of runs, signatures and the store's chain. What each of them shows: a run's own chain shows that
//! events were changed by someone who did not compute the hashes anew; the signed heads show that they were; the
//! store's chain shows that a run was dropped, swapped or cut back to before its end; an anchor shows that the store's
//! chain itself was cut back. Invariant: a run is *anchored* only if every event is vouched for by a signature of a
//! key that something outside of the store names.

use std::collections::BTreeMap;

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Executor, Row};

use crate::anchor::{Anchor, Version};
use crate::attest::{self, ChainEnd, Entry, Head, Mark, SIGNED_EVERY};
use crate::engine_key::{EngineKey, EnginePublic};
use crate::error::Error;
use crate::id::RunId;
use crate::read::Record;
use crate::report::{Broken, Fault, Gap, Outcome, RunReport, VerifyReport, Voucher};
use crate::schema;
use crate::store::Store;
use crate::walk::Snapshot;

/// The store's chain as far as it holds.
struct Chain {
    entries: Vec<Entry>,
    end: ChainEnd,
    broken: Option<Broken>,
}

/// What the row of a run says beside what its events need.
struct Claims {
    record: Record,
    status: String,
    ended_ms: Option<i64>,
}

/// An entry of the store's chain as its row has it.
struct EntryRow {
    entry: Entry,
    hash: Vec<u8>,
    signature: Vec<u8>,
}

/// A signed head as its row has it.
struct HeadRow {
    seq: i64,
    epoch: i64,
    hash: Vec<u8>,
    time_ms: i64,
    signature: Vec<u8>,
}

impl Store {
    /// Checks one run or all of them, the store's chain, and the signatures, all of one moment. It needs no key; with
    /// the store's key it also opens every payload, by which it checks the columns beside it. An anchor that was taken
    /// [earlier](Self::anchor) shows also what was cut off the chain's end.
    ///
    /// # Errors
    /// [`Error::UnknownRun`] when the store neither has the run nor knows that it ever had it; [`Error::UnsafeKey`] and
    /// [`Error::DamagedKey`] for the engine's key file; [`Error::Database`]. What is found is in the report.
    pub async fn verify(&self, run: Option<&RunId>, anchor: Option<&Anchor>) -> Result<VerifyReport, Error> {
        let mut connection = self.moment().await?;
        let file = EngineKey::find(self.key_dir(), self.id())?.map(|key| key.public());
        let vouched_by = match (&file, anchor) {
            (Some(_), _) => Some(Voucher::KeyFile),
            (None, Some(_)) => Some(Voucher::Anchor),
            (None, None) => None,
        };
        let mut chain = Chain::read(&mut connection, self).await?;
        let chain_holds = chain.broken.is_none();
        if let Some(broken) = self.contradiction(file.as_ref(), anchor, &chain) {
            chain.broken = Some(broken);
        }
        let mut claims = claims(&mut connection).await?;
        let known = chain.runs();
        if let Some(run) = run {
            claims.retain(|id, _| id == run);
            if claims.is_empty() && !known.contains_key(run) {
                return Err(self.unknown(run.as_str()).await?);
            }
        }
        let mut runs = Vec::new();
        for id in known.keys().filter(|id| run.is_none_or(|run| *id == run) && !claims.contains_key(id)) {
            runs.push(RunReport::of_broken(id, Broken::new(0, Fault::Dropped)));
        }
        for (id, claims) in &claims {
            let judge = Judge {
                store: self,
                run: id,
                claims,
                entries: known.get(id).map_or(&[], Vec::as_slice),
                known: &known,
                vouched: vouched_by.is_some(),
                chain_holds,
            };
            runs.push(judge.report(&mut connection).await?);
        }
        Ok(VerifyReport {
            store: self.id().to_owned(),
            engine: self.engine().id.clone(),
            vouched_by,
            entries: chain.end.number.unsigned_abs(),
            chain: chain.broken,
            runs,
        })
    }

    /// Where the store's chain stands now, to be kept elsewhere.
    ///
    /// # Errors
    /// [`Error::BrokenChain`] when the chain does not hold; [`Error::Database`].
    pub async fn anchor(&self) -> Result<Anchor, Error> {
        let chain = Chain::read(&mut self.moment().await?, self).await?;
        if let Some(broken) = chain.broken {
            return Err(Error::BrokenChain { entry: broken.at, what: broken.fault.to_string() });
        }
        Ok(Anchor {
            version: Version,
            store: self.id().to_owned(),
            engine: self.engine().id.clone(),
            public_key: self.engine().bytes(),
            entries: chain.end.number.unsigned_abs(),
            hash: chain.end.hash,
        })
    }

    /// A connection that sees the store as it is now until it is closed.
    async fn moment(&self) -> Result<SqliteConnection, Error> {
        let mut connection = schema::connect_to_read(self.path()).await?;
        connection.execute("BEGIN").await?;
        Ok(connection)
    }

    /// What is known from outside of the store and is not so in it.
    fn contradiction(
        &self,
        file: Option<&EnginePublic>,
        anchor: Option<&Anchor>,
        chain: &Chain,
    ) -> Option<Broken> {
        if file.is_some_and(|file| file != self.engine()) {
            return Some(Broken::new(0, Fault::OtherEngine));
        }
        let anchor = anchor?;
        if anchor.store != self.id() {
            return Some(Broken::new(0, Fault::OtherStore));
        }
        if anchor.public_key != self.engine().bytes() {
            return Some(Broken::new(0, Fault::OtherEngine));
        }
        let number = i64::try_from(anchor.entries).unwrap_or(i64::MAX);
        match chain.hash_at(number, self.id()) {
            Some(hash) if hash == anchor.hash => None,
            Some(_) => Some(Broken::new(number, Fault::Rewritten)),
            // What stands behind a break can't be compared.
            None if chain.broken.is_some() => None,
            None => Some(Broken::new(chain.end.number + 1, Fault::Cut { known: anchor.entries })),
        }
    }
}

impl Chain {
    async fn read(connection: &mut SqliteConnection, store: &Store) -> Result<Self, Error> {
        let sql = "SELECT number, previous, mark, run, label, seq, run_hash, time_ms, hash, signature FROM chain \
                   ORDER BY number";
        let mut chain = Self { entries: Vec::new(), end: ChainEnd::EMPTY, broken: None };
        for row in connection.fetch_all(sql).await? {
            match chain.next(&row, store) {
                Ok(entry) => {
                    chain.end = ChainEnd { number: entry.number, hash: entry.hash(store.id()) };
                    chain.entries.push(entry);
                }
                Err(fault) => {
                    chain.broken = Some(Broken::new(chain.end.number + 1, fault));
                    break;
                }
            }
        }
        Ok(chain)
    }

    /// The entry of a row, if it is the one that comes next.
    fn next(&self, row: &SqliteRow, store: &Store) -> Result<Entry, Fault> {
        let changed = |what: &str| Fault::Changed { what: what.to_owned() };
        let found = entry(row).map_err(|_| changed("it can't be read"))?;
        let EntryRow { entry, hash, signature } =
            found.ok_or_else(|| changed("its mark or run is not what was written"))?;
        if entry.number != self.end.number + 1 {
            return Err(changed("it is missing"));
        }
        if entry.previous != self.end.hash {
            return Err(changed("it does not name the hash of the entry before"));
        }
        let computed = entry.hash(store.id());
        if computed.as_slice() != hash {
            return Err(changed("it is not what was written"));
        }
        if !attest::entry_holds(store.engine(), &computed, &signature) {
            return Err(Fault::BadSignature);
        }
        Ok(entry)
    }

    fn hash_at(&self, number: i64, store: &str) -> Option<[u8; 32]> {
        match usize::try_from(number).ok()? {
            0 => Some(ChainEnd::EMPTY.hash),
            number => Some(self.entries.get(number - 1)?.hash(store)),
        }
    }

    fn runs(&self) -> BTreeMap<RunId, Vec<&Entry>> {
        let mut runs = BTreeMap::<_, Vec<_>>::new();
        for entry in &self.entries {
            runs.entry(entry.run.clone()).or_default().push(entry);
        }
        runs
    }
}

/// What is compared for one run.
struct Judge<'a> {
    store: &'a Store,
    run: &'a RunId,
    claims: &'a Claims,
    /// Those of the store's chain that are about the run.
    entries: &'a [&'a Entry],
    /// All runs that the store's chain knows.
    known: &'a BTreeMap<RunId, Vec<&'a Entry>>,
    vouched: bool,
    /// Whether the store's chain could be followed to its end.
    chain_holds: bool,
}

impl Judge<'_> {
    async fn report(&self, connection: &mut SqliteConnection) -> Result<RunReport, Error> {
        let snapshot = match Snapshot::read(connection, self.run).await {
            Ok(Some(snapshot)) => snapshot,
            Ok(None) => return Ok(RunReport::of_broken(self.run, Broken::new(0, Fault::Dropped))),
            Err(Error::Broken { seq, what, .. }) => {
                let broken = Broken { at: seq, fault: Fault::Changed { what } };
                return Ok(RunReport::of_broken(self.run, broken));
            }
            Err(error) => return Err(error),
        };
        let heads = heads(connection, self.run).await?;
        let mut report = RunReport {
            run: self.run.clone(),
            outcome: Outcome::Anchored,
            events: snapshot.events.len() as u64,
            erased: snapshot
                .events
                .iter()
                .filter(|raw| raw.erased)
                .map(|raw| raw.seq.unsigned_abs())
                .collect(),
            signed: heads.last().map_or(0, |head| head.seq.unsigned_abs()),
            opened: false,
        };
        let judged = self
            .walk(&snapshot)
            .and_then(|()| self.heads(&snapshot, &heads))
            .and_then(|()| self.entries(&snapshot))
            .and_then(|()| self.due(&snapshot, &heads))
            .and_then(|()| self.payloads(&snapshot));
        match judged {
            Ok(opened) => {
                report.opened = opened;
                let gaps = self.gaps(&report);
                if !gaps.is_empty() {
                    report.outcome = Outcome::Unanchored(gaps);
                }
            }
            Err(broken) => report.outcome = Outcome::Broken(broken),
        }
        Ok(report)
    }

    fn walk(&self, snapshot: &Snapshot) -> Result<(), Broken> {
        snapshot.walk(self.store.id(), self.run).map_err(|broken| {
            let first = snapshot.events.first().filter(|_| broken.at == 1);
            let other = first.and_then(|first| {
                self.known.keys().find(|other| *other != self.run && first.is_of(self.store.id(), other))
            });
            match other {
                Some(other) => Broken::new(1, Fault::Swapped { with: other.clone() }),
                None => broken,
            }
        })
    }

    /// Each signature holds, and the event is the one that was signed.
    fn heads(&self, snapshot: &Snapshot, heads: &[HeadRow]) -> Result<(), Broken> {
        let known = heads.last().map_or(0, |head| head.seq);
        for head in heads {
            let signed = Head {
                store: self.store.id(),
                run: self.run,
                seq: head.seq,
                epoch: head.epoch,
                hash: &head.hash,
                time_ms: head.time_ms,
            };
            if !self.store.engine().verify(&signed.message(), &head.signature) {
                return Err(Broken::new(head.seq, Fault::BadSignature));
            }
            known_hash(snapshot, head.seq, &head.hash, known)?;
        }
        Ok(())
    }

    /// The store's chain and the run agree on how it started and whether and how it ended. What stands behind a break of
    /// the chain says nothing about the run.
    fn entries(&self, snapshot: &Snapshot) -> Result<(), Broken> {
        let known = self.entries.iter().map(|entry| entry.seq).max().unwrap_or_default();
        for entry in self.entries {
            known_hash(snapshot, entry.seq, &entry.run_hash, known)?;
        }
        let Some((start, ends)) = self.entries.split_first().filter(|(start, _)| start.mark == Mark::Start)
        else {
            return if self.chain_holds { Err(Broken::new(0, Fault::Stray)) } else { Ok(()) };
        };
        let Claims { record, status, ended_ms } = self.claims;
        if start.label != record.name || start.time_ms != record.started_ms {
            return Err(Broken::changed(0, "the run's name or start is not what was written"));
        }
        match (ends.last(), ended_ms) {
            (None, None) => Ok(()),
            (Some(end), Some(ended)) if end.time_ms == *ended && end.label == *status => Ok(()),
            (Some(_), Some(_)) => Err(Broken::changed(0, "the run's status or end is not what was written")),
            (Some(_), None) => Err(Broken::changed(0, "the run has ended, but its row says otherwise")),
            (None, Some(_)) if !self.chain_holds => Ok(()),
            (None, Some(_)) => Err(Broken::changed(
                0,
                "the run's row says that it has ended, but the store's chain does not",
            )),
        }
    }

    /// No signature is missing.
    fn due(&self, snapshot: &Snapshot, heads: &[HeadRow]) -> Result<(), Broken> {
        let events =
            snapshot.events.iter().filter(|raw| attest::is_signed(&raw.kind) || raw.seq % SIGNED_EVERY == 0);
        let mut due: Vec<_> =
            events.map(|raw| raw.seq).chain(self.entries.iter().map(|entry| entry.seq)).collect();
        due.sort_unstable();
        let missing = due.into_iter().find(|seq| heads.binary_search_by_key(seq, |head| head.seq).is_err());
        missing.map_or(Ok(()), |seq| Err(Broken::new(seq, Fault::NoSignature)))
    }

    /// The payloads open, if the key is there; answers whether it was.
    fn payloads(&self, snapshot: &Snapshot) -> Result<bool, Broken> {
        let key = match self.store.run_key(&self.claims.record) {
            Ok(key) => key,
            Err(Error::WrongKey { .. }) => {
                return Err(Broken::changed(0, "the run's name, start or key is not what was written"));
            }
            // Without a usable key there is nothing to open with.
            Err(_) => return Ok(false),
        };
        for raw in snapshot.events.iter().filter(|raw| !raw.erased) {
            raw.open(self.store.id(), self.run, &key)?;
        }
        Ok(true)
    }

    fn gaps(&self, report: &RunReport) -> Vec<Gap> {
        let unknown = (!self.vouched).then_some(Gap::UnknownEngine);
        let chain = (!self.chain_holds).then_some(Gap::BrokenChain);
        let unsigned = (report.signed < report.events).then(|| Gap::Unsigned { from: report.signed + 1 });
        unknown.into_iter().chain(chain).chain(unsigned).collect()
    }
}

impl RunReport {
    /// Of a run that can't be looked at any further.
    fn of_broken(run: &RunId, broken: Broken) -> Self {
        let outcome = Outcome::Broken(broken);
        Self { run: run.clone(), outcome, events: 0, erased: Vec::new(), signed: 0, opened: false }
    }
}

/// The run has an event of that number and hash, as something signed says that knows events up to `known`.
fn known_hash(snapshot: &Snapshot, seq: i64, hash: &[u8], known: i64) -> Result<(), Broken> {
    match snapshot.hash_at(seq) {
        Some(there) if there == hash => Ok(()),
        Some(_) => Err(Broken::new(seq, Fault::Rewritten)),
        None => Err(Broken::new(snapshot.last() + 1, Fault::Cut { known: known.unsigned_abs() })),
    }
}

async fn claims(connection: &mut SqliteConnection) -> Result<BTreeMap<RunId, Claims>, Error> {
    let sql = "SELECT id, name, started_ms, key_id, wrapped_key, status, ended_ms FROM run";
    let rows = connection.fetch_all(sql).await?;
    rows.iter()
        .map(|row| {
            let id = RunId::parse(row.try_get(0)?)?;
            let record = Record {
                run: id.clone(),
                name: row.try_get(1)?,
                started_ms: row.try_get(2)?,
                key_id: row.try_get(3)?,
                wrapped_key: row.try_get(4)?,
            };
            Ok((id, Claims { record, status: row.try_get(5)?, ended_ms: row.try_get(6)? }))
        })
        .collect()
}

async fn heads(connection: &mut SqliteConnection, run: &RunId) -> Result<Vec<HeadRow>, Error> {
    let sql = "SELECT seq, epoch, hash, time_ms, signature FROM head WHERE run = ? ORDER BY seq";
    let rows = connection.fetch_all(sqlx::query(sql).bind(run.to_string())).await?;
    rows.iter()
        .map(|row| {
            Ok(HeadRow {
                seq: row.try_get(0)?,
                epoch: row.try_get(1)?,
                hash: row.try_get(2)?,
                time_ms: row.try_get(3)?,
                signature: row.try_get(4)?,
            })
        })
        .collect()
}

/// None if it has a mark or a run that can't be.
fn entry(row: &SqliteRow) -> Result<Option<EntryRow>, sqlx::Error> {
    let (mark, run) = (Mark::from_word(row.try_get(2)?), RunId::parse(row.try_get(3)?));
    let (Some(mark), Ok(run)) = (mark, run) else { return Ok(None) };
    let entry = Entry {
        number: row.try_get(0)?,
        previous: row.try_get(1)?,
        mark,
        run,
        label: row.try_get(4)?,
        seq: row.try_get(5)?,
        run_hash: row.try_get(6)?,
        time_ms: row.try_get(7)?,
    };
    Ok(Some(EntryRow { entry, hash: row.try_get(8)?, signature: row.try_get(9)? }))
}
