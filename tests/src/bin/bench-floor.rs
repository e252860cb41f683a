//! What `cargo xtask bench` holds the product against, measured in the same run on the same machine.
//!
//! `nothing`: an empty process. `commit FILE`: open a SQLite file and commit once. `commits FILE N BYTES`: N durable
//! commits of one row, microseconds of the median on standard output. `toml FILE N`: parse a TOML file N times,
//! microseconds of the median.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Connection as _, Executor as _, SqliteConnection};

type Error = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["nothing"] => Ok(()),
        ["commit", file] => run(commit(Path::new(file))),
        ["commits", file, count, bytes] => run(commits(Path::new(file), count, bytes)),
        ["toml", file, count] => parse(Path::new(file), count),
        _ => Err("usage: bench-floor nothing | commit FILE | commits FILE N BYTES | toml FILE N".into()),
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
