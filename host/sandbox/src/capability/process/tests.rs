//! Real programs, and what they find of the host.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::host::run;
use super::identity::process_group_is_gone;
use crate::bindings::outcome::Failure;
use crate::bindings::process::{Command, Exit};
use crate::capability::testing::{Recorder, Scene, folder};
use crate::{Connection, EnvValue, Mode, Secret};

fn program(path: impl Into<PathBuf>) -> Connection {
    Connection::Program {
        path: path.into(),
        digest: None,
        postgres: None,
        environment: Vec::new(),
        directory: None,
    }
}

fn command(arguments: &[&str]) -> Command {
    Command {
        slot: "tool".to_owned(),
        arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
        stdin: None,
    }
}

/// A folder with an executable script in it.
fn script(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("script.sh");
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    (folder, path)
}

async fn run_script(text: &str) -> Result<Exit, Failure> {
    let (_folder, path) = script(text);
    let scene = Scene::new(Mode::Write, &["program tool"]).bind("tool", program(path));
    run(&scene.call(), command(&[])).await
}

fn out(exit: &Exit) -> String {
    String::from_utf8(exit.stdout.clone()).unwrap()
}

#[tokio::test]
async fn a_program_finds_nothing_of_the_host() {
    let scene = Scene::new(Mode::Write, &["program tool"]).bind("tool", program("/usr/bin/env"));
    let call = scene.call();
    let exit = run(&call, command(&[])).await.unwrap();
    let text = out(&exit);
    let mut names: Vec<_> = text.lines().filter_map(|line| line.split('=').next()).collect();
    names.sort_unstable();
    assert_eq!(names, ["HOME", "LANG", "PATH", "TMPDIR", "TZ"]);
    assert!(call.sent());

    let exit = run_script(
        "ls /proc/self/fd | tr '\\n' ' '; echo; pwd; stat -c %a \"$HOME\"; ls -A \"$HOME\"; ulimit -c; \
         grep NoNewPrivs /proc/self/status | tr '\\t' ' '; ps -o sid=,pgid=,pid= -p $$ | xargs; tty; umask; \
         touch \"$HOME/x\" && echo home",
    )
    .await
    .unwrap();
    let text = out(&exit);
    let lines: Vec<_> = text.lines().collect();
    // 3 is the folder that ls itself opened.
    assert_eq!(lines[0].trim(), "0 1 2 3");
    assert!(lines[1].contains("windlass-home-"), "{text}");
    assert!(!Path::new(lines[1]).exists(), "the home is gone");
    assert_eq!(lines[2..5], ["700", "0", "NoNewPrivs: 1"]);
    let ids: Vec<_> = lines[5].split(' ').collect();
    assert!(ids[0] == ids[1] && ids[1] == ids[2], "{text}");
    assert_eq!(lines[6..], ["not a tty", "0077", "home"]);
}

#[tokio::test]
async fn files_the_host_inherited_are_closed() {
    use std::process::{Command as Std, Stdio};
    // This shell opens descriptor 9 and leaves it open for what it starts, as a careless caller of the host would.
    let launcher = crate::capability::testing::launcher();
    let child = Std::new("/bin/sh")
        .arg("-c")
        .arg(format!(
            "exec 9</etc/hostname; exec {} 9 1000000000 1000000 64 / /bin/ls /proc/self/fd",
            launcher.display()
        ))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    use std::io::Write as _;
    child.stdin.as_ref().unwrap().write_all(&[b'g'; 33]).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "windlass: ready\n0\n1\n2\n3\n");
}

#[tokio::test]
async fn output_is_kept_logged_and_cut() {
    let scene = Scene::new(Mode::Write, &["program tool -c {match:.*}"]).bind("tool", program("/bin/sh"));
    let call = scene.call();
    let exit = run(&call, command(&["-c", "echo one; echo two >&2; printf three; exit 7"])).await.unwrap();
    assert_eq!((exit.code, exit.signal, exit.truncated), (Some(7), None, false));
    assert_eq!((out(&exit).as_str(), exit.stderr.as_slice()), ("one\nthree", b"two\n".as_slice()));
    let said = |(_, text, fields): crate::capability::testing::LogLine| {
        format!("{}: {text}", fields[1].1.as_str().unwrap())
    };
    let mut lines: Vec<_> =
        std::mem::take(&mut *scene.services.logs.lock().unwrap()).into_iter().map(said).collect();
    lines.sort();
    assert_eq!(lines, ["stderr: two", "stdout: one", "stdout: three"]);

    let exit = run(&call, command(&["-c", "head -c 3000000 /dev/zero; kill -9 $$"])).await.unwrap();
    assert_eq!(
        (exit.code, exit.signal, exit.truncated, exit.stdout.len()),
        (None, Some(9), true, 1024 * 1024)
    );
}

#[tokio::test]
async fn standard_input_is_passed_on_whole() {
    let scene = Scene::new(Mode::Write, &["program tool"]).bind("tool", program("/usr/bin/sha256sum"));
    let input = Command { stdin: Some(vec![b'g'; 3_000_000]), ..command(&[]) };
    let exit = run(&scene.call(), input).await.unwrap();
    let expected = <sha2::Sha256 as sha2::Digest>::digest(vec![b'g'; 3_000_000]);
    let expected: String = expected.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(out(&exit), format!("{expected}  -\n"));
    // A program that does not read its input is no error.
    let scene = Scene::new(Mode::Write, &["program tool"]).bind("tool", program("/bin/true"));
    let input = Command { stdin: Some(vec![0; 3_000_000]), ..command(&[]) };
    assert_eq!(run(&scene.call(), input).await.unwrap().code, Some(0));
}

#[tokio::test]
async fn a_timeout_ends_the_whole_group() {
    let (_folder, path) =
        script("sleep 300 & (trap '' TERM; sleep 301) & echo $! > \"$1\"; echo started; wait");
    let notes = tempfile::tempdir().unwrap();
    let scene = Scene::new(Mode::Write, &["program tool {path:out}", "folder out: write"])
        .bind("tool", program(path))
        .bind("out", folder(notes.path()))
        .within(Duration::from_secs(2));
    let started = Instant::now();
    let error = run(&scene.call(), command(&["/out/pid"])).await.unwrap_err();
    assert_eq!(error.code, "timeout", "{}", error.message);
    assert!(error.message.starts_with("program `the_tool` did not end within "), "{}", error.message);
    assert!(started.elapsed() < Duration::from_secs(4));
    let identity = scene.services.processes.lock().unwrap()[0].clone();
    wait_until_gone(&identity).await;
}

#[tokio::test]
async fn dropping_the_call_ends_the_whole_group() {
    let (_folder, path) = script("sleep 300 & echo started; wait");
    let scene = Scene::new(Mode::Write, &["program tool"]).bind("tool", program(path));
    let call = scene.call();
    let cut = tokio::time::timeout(Duration::from_millis(700), run(&call, command(&[]))).await;
    assert!(cut.is_err());
    let identity = scene.services.processes.lock().unwrap()[0].clone();
    wait_until_gone(&identity).await;
}

#[tokio::test]
async fn children_left_behind_end_with_the_program() {
    let started = Instant::now();
    let exit = run_script("sleep 300 & echo done").await.unwrap();
    assert_eq!(out(&exit), "done\n");
    assert!(started.elapsed() < Duration::from_secs(5));
}

async fn wait_until_gone(identity: &crate::ProcessIdentity) {
    for _ in 0..100 {
        if process_group_is_gone(identity) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the group {} still lives", identity.group);
}

#[tokio::test]
async fn nothing_starts_before_the_run_took_note() {
    let notes = tempfile::tempdir().unwrap();
    let (_folder, path) = script("touch \"$1\"");
    let mut scene = Scene::new(Mode::Write, &["program tool {path:out}", "folder out: write"])
        .bind("tool", program(path))
        .bind("out", folder(notes.path()));
    scene.services = Arc::new(Recorder { store_is_full: true, ..Recorder::default() });
    let call = scene.call();
    let error = run(&call, command(&["/out/ran"])).await.unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.message.as_str()),
        ("spawn-failed", "program `the_tool`: the disk is full")
    );
    assert!(!call.sent());
    assert!(!notes.path().join("ran").exists());
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let plain = tempfile::NamedTempFile::new().unwrap();
    let digest = |digest: &str| Connection::Program {
        path: "/bin/true".into(),
        digest: Some(digest.to_owned()),
        postgres: None,
        environment: Vec::new(),
        directory: None,
    };
    let cases = [
        (program("/no/such/program"), "not-found", "program `the_tool`: /no/such/program is not there"),
        (program("/usr/bin"), "not-found", "program `the_tool`: /usr/bin is no file"),
        (program("bin/true"), "spawn-failed", "program `the_tool`: bin/true is not an absolute path"),
        (program(plain.path()), "spawn-failed", "Permission denied"),
        (digest("00"), "spawn-failed", "/bin/true is not the pinned one; its SHA-256 is "),
    ];
    for (connection, code, message) in cases {
        let scene = Scene::new(Mode::Write, &["program tool"]).bind("tool", connection);
        let error = run(&scene.call(), command(&[])).await.unwrap_err();
        assert_eq!(error.code, code, "{}", error.message);
        assert!(error.message.contains(message), "{}", error.message);
    }
    let found = <sha2::Sha256 as sha2::Digest>::digest(fs::read("/bin/true").unwrap());
    let found: String = found.iter().map(|byte| format!("{byte:02x}")).collect();
    let scene = Scene::new(Mode::Write, &["program tool"]).bind("tool", digest(&found));
    assert_eq!(run(&scene.call(), command(&[])).await.unwrap().code, Some(0));
}

#[tokio::test]
async fn a_program_cannot_pretend_that_it_did_not_start() {
    let exit =
        run_script("echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaPermission denied >&2; exit 125").await.unwrap();
    assert_eq!(exit.code, Some(125));
}

#[tokio::test]
async fn processor_time_is_limited() {
    let (_folder, path) = script("ulimit -t");
    let scene = Scene::new(Mode::Write, &["program tool"]).bind("tool", program(path));
    // 20 s less the margin of 3, begun seconds included, on four processors.
    let exit = run(&scene.call(), command(&[])).await.unwrap();
    let limit: u64 = out(&exit).trim().parse().unwrap();
    assert!((64..=72).contains(&limit), "{limit}");
}

#[tokio::test]
async fn only_what_a_line_allows_runs() {
    let notes = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/etc", notes.path().join("link")).unwrap();
    let mut said = Vec::new();
    let mut denied = async |mode: Mode, lines: &[&str], arguments: &[&str]| {
        let scene =
            Scene::new(mode, lines).bind("tool", program("/bin/true")).bind("out", folder(notes.path()));
        let call = scene.call();
        let failure = run(&call, command(arguments)).await.unwrap_err();
        assert_eq!(failure.code, "denied");
        assert!(!call.sent());
        assert_eq!(call.reads().denied, 1);
        said.push(failure.message.replacen(
            "denied: plugin `database` in step `migrate` asked for program ",
            "",
            1,
        ));
    };
    denied(Mode::Write, &[], &["a b", "{x}", "/out/f", "--to=/out/f"]).await;
    denied(Mode::Write, &["program tool --version"], &["--help"]).await;
    denied(Mode::Write, &["program tool a", "program tool b"], &["c"]).await;
    denied(Mode::Read, &["program tool --version"], &["--version"]).await;
    denied(Mode::Read, &["program tool --version"], &["--help"]).await;
    denied(Mode::Write, &["program tool {path:out}"], &["/out/f"]).await;
    denied(Mode::Write, &["program tool {path:out}", "folder out: read"], &["/out/f"]).await;
    denied(Mode::Write, &["program tool {path:out}", "folder out: write"], &["/out/link/passwd"]).await;
    denied(Mode::Write, &["program tool {path:out}", "folder out: write"], &["/out/../etc/passwd"]).await;
    denied(Mode::Write, &["program tool {match:.*}"], &["-x"]).await;
    insta::assert_snapshot!(said.join("\n"), @r#"
    `tool a b {x} /out/f --to=/out/f`: no line grants it, or no program is bound to it; to allow it, grant `program tool "a b" {{x}} {path:out} --to={path:out}`
    `tool --help`: `program tool --version` does not fit: argument 1 does not fit `--version`; to allow it, grant `program tool --help`
    `tool c`: none of its 2 lines fits these arguments; to allow it, grant `program tool c`
    `tool --version`: this call may only read, and `program tool --version` does not say that running it changes nothing; to allow it, grant `read program tool --version`
    `tool --help`: `program tool --version` does not fit: argument 1 does not fit `--version`; to allow it, grant `read program tool --help`
    `tool /out/f`: it names a path in `/out`, and no line grants that folder, or none is bound; to allow it, grant `folder out: write`
    `tool /out/f`: it names a path in `/out`, which may only be read; to allow it, grant `folder out: write`
    `tool /out/link/passwd`: `/out/link/passwd` leads out of the folder by a symbolic link
    `tool /out/../etc/passwd`: `program tool {path:out}` does not fit: argument 1 has a path that is not plainly inside `/out`
    `tool -x`: `program tool {match:.*}` does not fit: argument 1 fills `{match:.*}` with a value that begins with `-`; to allow it, grant `program tool -x`
    "#);
}

#[tokio::test]
async fn paths_of_the_guest_become_real_ones() {
    let notes = tempfile::tempdir().unwrap();
    let scene = Scene::new(Mode::Read, &["read program tool {path:out} --at={path:out}", "folder out: read"])
        .bind("tool", program("/bin/echo"))
        .bind("out", folder(notes.path()));
    let call = scene.call();
    let exit = run(&call, command(&["/out/a/b.txt", "--at=/out/c"])).await.unwrap();
    let root = notes.path().canonicalize().unwrap();
    assert_eq!(out(&exit), format!("{0}/a/b.txt --at={0}/c\n", root.display()));
    assert!(!call.sent());
    assert_eq!(call.reads().succeeded, 1);
}

#[tokio::test]
async fn secrets_of_the_environment_stay_out_of_output_logs_and_audit() {
    let mut connection = program("/usr/bin/env");
    if let Connection::Program { environment, .. } = &mut connection {
        environment.push(("API_TOKEN".to_owned(), EnvValue::Secret(Secret::new("tok-123456".to_owned()))));
        environment.push(("PLAIN".to_owned(), EnvValue::Plain("shown".to_owned())));
    }
    let scene = Scene::new(Mode::Write, &["program tool"]).bind("tool", connection);
    let call = scene.call();
    let text = out(&run(&call, command(&[])).await.unwrap());
    assert!(text.contains("API_TOKEN=***\n") && text.contains("PLAIN=shown\n"), "{text}");
    let everything = format!("{:?}{:?}", scene.services.logs.lock().unwrap(), call.take_audit());
    assert!(!everything.contains("tok-123456"));
    assert!(everything.contains("the_tool (/usr/bin/env)"), "{everything}");
}

#[tokio::test]
async fn a_program_dies_with_its_host() {
    use std::process::{Command as Std, Stdio};
    let launcher = crate::capability::testing::launcher();
    // The shell stands for the host, and is killed as the host may be. What it runs beside itself has no standard input
    // unless it is handed over.
    let script = format!(
        "exec 3<&0; {} 9 1000000000 1000000 64 / /bin/sleep 300 <&3 & echo $!; wait",
        launcher.display()
    );
    let mut host = Std::new("/bin/sh")
        .args(["-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    use std::io::{BufRead as _, BufReader, Write as _};
    // The two speak at the same time.
    let said = BufReader::new(host.stdout.take().unwrap()).lines().take(2);
    let (ready, pid): (Vec<_>, Vec<_>) = said.map(Result::unwrap).partition(|line| line == "windlass: ready");
    assert_eq!(ready.len(), 1);
    let pid: u32 = pid[0].parse().unwrap();
    let identity = super::identity::of_leader(pid).unwrap();
    host.stdin.as_ref().unwrap().write_all(&[b'g'; 33]).unwrap();
    while fs::read_to_string(format!("/proc/{pid}/comm")).unwrap().trim() != "sleep" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!process_group_is_gone(&identity));
    host.kill().unwrap();
    host.wait().unwrap();
    wait_until_gone(&identity).await;
}

#[tokio::test]
async fn a_launcher_without_a_host_starts_nothing() {
    use std::process::{Command as Std, Stdio};
    let output = Std::new(crate::capability::testing::launcher())
        .args(["9", "1000000000", "1000000", "64", "/", "/bin/echo", "started"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "windlass: ready\n");
}
