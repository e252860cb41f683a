//! What `cargo xtask bench` holds the product against, measured in the same run on the same machine.
//!
//! `nothing`: an empty process. `commit FILE`: open a SQLite file and commit once. `commits FILE N BYTES`: N durable
//! commits of one row, microseconds of the median on standard output. `toml FILE N`: parse a TOML file N times,
//! microseconds of the median. `group FILE RUNS COMMITS ROWS BYTES`: so many runs at once, each with so many durable commits
//! one after another, of rows of that size, by one writer that commits for all who wait; microseconds in all. `events FILE`:
//! how many events a store has, and the bytes of their payloads.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, Row as _, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

/// Members of one commit, at most: as many as the journal takes.
const MEMBERS: usize = 128;

type Error = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["nothing"] => Ok(()),
        ["commit", file] => run(commit(Path::new(file))),
        ["commits", file, count, bytes] => run(commits(Path::new(file), count, bytes)),
        ["toml", file, count] => parse(Path::new(file), count),
        ["group", file, runs, commits, rows, bytes] => {
            run(group(Path::new(file), runs, commits, rows, bytes))
        }
        ["events", file] => run(events(Path::new(file))),
        _ => Err("usage: bench-floor nothing | commit FILE | commits FILE N BYTES | toml FILE N \
                  | group FILE RUNS COMMITS ROWS BYTES | events FILE"
            .into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(std::io::stderr(), "bench-floor: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(work: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

async fn open(file: &Path) -> Result<SqliteConnection, Error> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let mut connection = SqliteConnection::connect_with(&options).await?;
    let table = "CREATE TABLE IF NOT EXISTS event (run TEXT, seq INTEGER, body BLOB, PRIMARY KEY (run, seq))";
    connection.execute(table).await?;
    Ok(connection)
}

async fn insert(connection: &mut SqliteConnection, seq: i64, body: &[u8]) -> Result<(), Error> {
    let insert = "INSERT OR REPLACE INTO event VALUES ('run', ?1, ?2)";
    sqlx::query(insert).bind(seq).bind(body).execute(connection).await?;
    Ok(())
}

async fn commit(file: &Path) -> Result<(), Error> {
    let mut connection = open(file).await?;
    insert(&mut connection, 1, &[b'x'; 200]).await
}

async fn commits(file: &Path, count: &str, bytes: &str) -> Result<(), Error> {
    let mut connection = open(file).await?;
    let body = vec![b'x'; bytes.parse()?];
    let mut times = Vec::new();
    for seq in 0..count.parse()? {
        let began = Instant::now();
        insert(&mut connection, seq, &body).await?;
        times.push(began.elapsed().as_secs_f64() * 1e6);
    }
    print_median(times)
}

/// A run's commit, and who waits for it.
type Waiting = (i64, oneshot::Sender<()>);

async fn group(file: &Path, runs: &str, commits: &str, rows: &str, bytes: &str) -> Result<(), Error> {
    let connection = open(file).await?;
    let (runs, commits): (i64, i64) = (runs.parse()?, commits.parse()?);
    let (rows, body) = (rows.parse()?, vec![b'x'; bytes.parse()?]);
    let (sender, receiver) = mpsc::channel(MEMBERS);
    let began = Instant::now();
    let writer = tokio::spawn(commit_for_all(connection, receiver, rows, body));
    for run in 0..runs {
        let sender = sender.clone();
        tokio::spawn(async move {
            for commit in 0..commits {
                let (answer, done) = oneshot::channel();
                if sender.send((run * commits + commit, answer)).await.is_err() || done.await.is_err() {
                    return;
                }
            }
        });
    }
    drop(sender);
    writer.await??;
    writeln!(std::io::stdout(), "{:.1}", began.elapsed().as_secs_f64() * 1e6)?;
    Ok(())
}

async fn commit_for_all(
    mut connection: SqliteConnection,
    mut receiver: mpsc::Receiver<Waiting>,
    rows: i64,
    body: Vec<u8>,
) -> Result<(), String> {
    let mut members = Vec::new();
    while receiver.recv_many(&mut members, MEMBERS).await > 0 {
        let count = usize::try_from(rows).unwrap_or(1) * members.len();
        let insert = format!("INSERT INTO event VALUES {}", vec!["('run', ?, ?)"; count].join(", "));
        let mut query = sqlx::query(AssertSqlSafe(insert));
        for (commit, _) in &members {
            for row in 0..rows {
                query = query.bind(commit * rows + row).bind(&body[..]);
            }
        }
        query.execute(&mut connection).await.map_err(|error| error.to_string())?;
        for (_, answer) in members.drain(..) {
            // Who waits is there: nothing ends the tasks.
            let _gone = answer.send(());
        }
    }
    Ok(())
}

async fn events(file: &Path) -> Result<(), Error> {
    let options = SqliteConnectOptions::new().filename(file).read_only(true);
    let mut connection = SqliteConnection::connect_with(&options).await?;
    let sql = "SELECT count(*), coalesce(sum(length(body)), 0) FROM event";
    let row = connection.fetch_one(sql).await?;
    writeln!(std::io::stdout(), "{} {}", row.try_get::<i64, _>(0)?, row.try_get::<i64, _>(1)?)?;
    Ok(())
}

fn parse(file: &Path, count: &str) -> Result<(), Error> {
    let text = std::fs::read_to_string(file)?;
    let mut times = Vec::new();
    for _ in 0..count.parse()? {
        let began = Instant::now();
        std::hint::black_box(toml::de::DeTable::parse(&text)?);
        times.push(began.elapsed().as_secs_f64() * 1e6);
    }
    print_median(times)
}

fn print_median(mut times: Vec<f64>) -> Result<(), Error> {
    times.sort_by(f64::total_cmp);
    let median = times.get(times.len() / 2).ok_or("nothing was measured")?;
    writeln!(std::io::stdout(), "{median:.1}")?;
    Ok(())
}
