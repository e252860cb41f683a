//! `demo-service [--port PORT] [--log FILE]`: the audit service for the demo and for tests, on 127.0.0.1.
//!
//! The bearer token comes from the environment variable `DEMO_TOKEN`, since arguments can be read by anyone.
//! Prints `listening on http://127.0.0.1:PORT` and answers until it is stopped.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use windlass_tests::service::{Options, Server};

const USAGE: &str = "usage: DEMO_TOKEN=… demo-service [--port PORT] [--log FILE]";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let started = match options() {
        Ok(options) => start(options).await,
        Err(problem) => Err(format!("{problem}\n{USAGE}").into()),
    };
    match started {
        Ok(server) => match server.run().await {},
        Err(error) => {
            drop(writeln!(std::io::stderr(), "demo-service: {error}"));
            ExitCode::from(2)
        }
    }
}

async fn start(options: Options) -> Result<Server, Box<dyn std::error::Error>> {
    let server = Server::bind(options).await?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "listening on {}", server.origin())?;
    stdout.flush()?;
    Ok(server)
}

fn options() -> Result<Options, String> {
    let token = std::env::var("DEMO_TOKEN").map_err(|_| "DEMO_TOKEN is not set".to_owned())?;
    let mut options = Options { port: 0, log: None, token };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("`{argument}` needs a value"))?;
        match argument.as_str() {
            "--port" => options.port = value.parse().map_err(|_| format!("`{value}` is no port"))?,
            "--log" => options.log = Some(PathBuf::from(value)),
            _ => return Err(format!("unknown option `{argument}`")),
        }
    }
    Ok(options)
}
