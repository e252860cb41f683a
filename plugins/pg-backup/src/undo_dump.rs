//! Taking archives away again: those that this step has written, and what it left half-done.
//!
//! A changed input may have written another file; each is looked at. Invariant: a file that this step did not write goes
//! only where a person decided so, and only as the plan found it.

use crate::dump::{exists, file_of, partial, receipts};
use crate::world::{World, path};
use windlass_sdk::fs::{self, Error, Path};
use windlass_sdk::{Attempt, Change, Failure, Plan, Value, digest, json};

/// One archive that attempts were to write.
struct Target {
    file: String,
    path: Path,
    /// The hashes under which this step finished it.
    own: Vec<String>,
    /// What is there, if anything is.
    found: Option<Found>,
    /// What attempts left half-done.
    partials: Vec<Path>,
    /// Missing before the first attempt.
    folders: Vec<Path>,
}

/// What bears an archive's name.
enum Found {
    /// A file with this hash.
    File(String),
    /// Something else, for a person.
    Other(String),
}

impl Target {
    fn conflict(&self) -> Option<String> {
        let found = match self.found.as_ref()? {
            Found::File(sha256) if self.own.contains(sha256) => return None,
            Found::File(sha256) => format!("sha256 {}", short_hash(sha256)),
            Found::Other(what) => what.clone(),
        };
        let own: Vec<String> = self
            .own
            .iter()
            .map(|sha256| format!("sha256 {} as this step wrote it, or ", short_hash(sha256)))
            .collect();
        Some(format!("{}: expected {}no file as before, found {found}", self.path, own.concat()))
    }

    fn is_restored(&self) -> bool {
        self.found.is_none() && self.partials.is_empty()
    }
}

/// Whether there is anything to take away.
pub(crate) fn plan(world: &impl World, done: &[Attempt]) -> Result<Plan, Failure> {
    let targets = targets(world, done)?;
    let emptied = emptied(world, &targets)?;
    if emptied.is_empty() && targets.iter().all(Target::is_restored) {
        return Ok(Plan::in_place().repeatable(true));
    }
    let (mut changes, mut archives) = (Vec::new(), Vec::new());
    for target in &targets {
        match &target.found {
            Some(Found::File(sha256)) => {
                changes.push(delete(&target.path).now(format!("sha256 {}", short_hash(sha256))));
                archives.push(json!({ "file": target.file, "sha256": sha256 }));
            }
            Some(Found::Other(what)) => archives.push(json!({ "file": target.file, "other": what })),
            None => {}
        }
        changes.extend(target.partials.iter().map(delete));
    }
    changes.extend(emptied.iter().map(|folder| Change::new(format!("folder {folder}"), "delete")));
    let conflicts: Vec<String> = targets.iter().filter_map(Target::conflict).collect();
    let plan = if conflicts.is_empty() {
        Plan::differs(changes)
    } else {
        Plan::conflict(conflicts.join("; ")).with_changes(changes)
    };
    Ok(plan.repeatable(true).with_memo(&json!({ "archives": archives })))
}

/// Take away what the plan found.
pub(crate) fn undo(world: &impl World, done: &[Attempt], plan: &Plan) -> Result<(), Failure> {
    if !plan.restores()? {
        return Ok(());
    }
    let memo = plan.memo_json();
    let targets = targets(world, done)?;
    let emptied = emptied(world, &targets)?;
    let planned = |target: &Target| {
        let archives = memo.get("archives").and_then(Value::as_array).into_iter().flatten();
        let mut archives =
            archives.filter(|archive| archive.get("file").and_then(Value::as_str) == Some(&target.file));
        archives.next().and_then(|archive| archive.get("sha256")?.as_str()).map(str::to_owned)
    };
    for target in &targets {
        match (&target.found, planned(target)) {
            (Some(Found::Other(what)), _) => {
                return Err(Failure::conflict(format!("{what}, and only files are removed")));
            }
            (Some(Found::File(now)), Some(then)) if *now != then => {
                let (then, now) = (short_hash(&then), short_hash(now));
                let name = target.path.to_string();
                return Err(Failure::changed_meanwhile(
                    &name,
                    &format!("sha256 {then}"),
                    &format!("sha256 {now}"),
                ));
            }
            (Some(Found::File(now)), None) => {
                let now = format!("sha256 {}", short_hash(now));
                return Err(Failure::changed_meanwhile(&target.path.to_string(), "no file", &now));
            }
            _ => {}
        }
    }
    for target in &targets {
        let archive = target.found.as_ref().map(|_| &target.path);
        for path in archive.into_iter().chain(&target.partials) {
            match world.folders().remove(path) {
                Ok(()) | Err(Error::NotFound(_)) => {}
                Err(other) => return Err(other.into()),
            }
        }
    }
    Ok(fs::remove_emptied(world.folders(), &emptied)?)
}

/// The folders that attempts made and that are empty once the rest is gone.
fn emptied(world: &impl World, targets: &[Target]) -> Result<Vec<Path>, Failure> {
    let archives = targets.iter().filter(|target| target.found.is_some()).map(|target| &target.path);
    let removed = archives.chain(targets.iter().flat_map(|target| &target.partials));
    Ok(fs::emptied(world.folders(), targets.iter().flat_map(|target| &target.folders), removed)?)
}

/// What these attempts were to write, in the order they first did.
fn targets(world: &impl World, done: &[Attempt]) -> Result<Vec<Target>, Failure> {
    let mut files: Vec<String> = done.iter().map(file_of).collect();
    let mut seen = Vec::new();
    files.retain(|file| {
        !seen.contains(file) && {
            seen.push(file.clone());
            true
        }
    });
    let target = |file: String| {
        let path = path(&file)?;
        let attempts: Vec<&Attempt> = done.iter().filter(|attempt| file_of(attempt) == file).collect();
        let mut partials = Vec::new();
        for attempt in &attempts {
            let partial = partial(&path, &attempt.key);
            if !partials.contains(&partial) && exists(world, &partial)? {
                partials.push(partial);
            }
        }
        let first = attempts.first().map(|attempt| attempt.plan.memo_json()).unwrap_or_default();
        let missing = first.get("folders").and_then(Value::as_array).into_iter().flatten();
        let folders = missing.filter_map(|inner| crate::world::path(inner.as_str()?).ok()).collect();
        Ok(Target { found: find(world, &path)?, own: receipts(&attempts), file, path, partials, folders })
    };
    files.into_iter().map(target).collect()
}

fn find(world: &impl World, path: &Path) -> Result<Option<Found>, Failure> {
    if !exists(world, path)? {
        return Ok(None);
    }
    match digest::sha256_of_file(world.folders(), path) {
        Ok((sha256, _)) => Ok(Some(Found::File(sha256))),
        Err(error @ Error::NotAFile(..)) => Ok(Some(Found::Other(error.to_string()))),
        Err(Error::NotFound(_)) => Ok(None),
        Err(other) => Err(other.into()),
    }
}

fn short_hash(sha256: &str) -> &str {
    sha256.get(..12).unwrap_or(sha256)
}

fn delete(path: &Path) -> Change {
    Change::new(format!("archive {path}"), "delete")
}

#[cfg(test)]
mod tests {
    use super::{plan, undo};
    use crate::bindings::exports::windlass::contracts::backup::Source;
    use crate::dump;
    use crate::dump::tests::{PARTIAL, source};
    use crate::world::tests::Fake;
    use windlass_sdk::fs::Folders;
    use windlass_sdk::{Attempt, Plan, Status, json};

    fn done(world: &Fake, source: &Source) -> Vec<Attempt> {
        let planned = dump::plan(world, source, &[]).unwrap();
        dump::apply(world, source, &planned).unwrap();
        let input = json!({ "file": source.file }).to_string();
        vec![Attempt { input, ..world.attempt(&planned) }]
    }

    #[test]
    fn the_archive_of_this_run_is_taken_away_with_what_was_left_half_done() {
        let world = Fake::default();
        assert_eq!(plan(&world, &[]).unwrap().status, Status::InPlace);
        let done = done(&world, &source());
        world.put(PARTIAL, b"half");
        world.put("a.dump.another.partial", b"half");
        let back = plan(&world, &done).unwrap();
        assert_eq!(back.status, Status::Differs);
        undo(&world, &done, &back).unwrap();
        assert!(!world.has("a.dump") && !world.has(PARTIAL) && world.has("a.dump.another.partial"));
        assert_eq!(plan(&world, &done).unwrap().status, Status::InPlace);
    }

    #[test]
    fn folders_that_were_made_go_with_it() {
        let world = Fake::default();
        let done = done(&world, &Source { file: "2026/11/a.dump".to_owned(), ..source() });
        undo(&world, &done, &plan(&world, &done).unwrap()).unwrap();
        assert!(world.memory.list("backups", "").unwrap().is_empty());
    }

    #[test]
    fn an_archive_of_someone_else_stays_until_a_person_decides() {
        let world = Fake::default();
        let done = done(&world, &source());
        let back = plan(&world, &done).unwrap();
        world.put("a.dump", b"another");
        let failure = undo(&world, &done, &back).unwrap_err();
        assert_eq!((failure.code.as_str(), failure.retryable), ("changed-meanwhile", true));
        let conflict = plan(&world, &done).unwrap();
        assert!(matches!(conflict.status, Status::Conflict(_)));
        assert_eq!(undo(&world, &done, &conflict).unwrap_err().code, "conflict");

        let ours = Plan { status: Status::Differs, ..conflict };
        world.put("a.dump", b"a third");
        assert_eq!(undo(&world, &done, &ours).unwrap_err().code, "changed-meanwhile");
        world.put("a.dump", b"another");
        undo(&world, &done, &ours).unwrap();
        assert!(!world.has("a.dump"));
    }
}
