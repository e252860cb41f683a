use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use zeroize::Zeroizing;

use super::*;

/// A folder with a key that the real `ssh-keygen` made.
struct Keys(TempDir);

impl Keys {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn make(&self, name: &str, kind: &str, phrase: &str) -> PathBuf {
        let path = self.0.path().join(name);
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", kind, "-N", phrase, "-C", name, "-f"])
            .arg(&path)
            .status()
            .unwrap();
        assert!(made.success());
        path
    }

    fn public(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.path().join(format!("{name}.pub"))).unwrap().trim().to_owned()
    }

    /// A signers file in which each of these has the role `owner`.
    fn signers(&self, names: &[&str]) -> Signers {
        let entry = |name: &&str| {
            format!("[[signer]]\nname = \"{name}\"\nkey = \"{}\"\nroles = [\"owner\"]\n", self.public(name))
        };
        let text: String = names.iter().map(entry).collect();
        Signers::parse(Path::new("signers.toml"), &text).unwrap()
    }
}

fn no_phrase() -> std::io::Result<Zeroizing<String>> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// What is signed here; the engine makes the real ones.
const TEXT: &str = "windlass approval 1\nstep \"go-live\"\n";

fn believed(signers: &Signers, signature: &str) -> bool {
    signer_of(signers, TEXT, signature, Some("owner")).is_ok()
}

#[test]
fn each_kind_of_key_signs_what_ssh_keygen_verifies() {
    let keys = Keys::new();
    for kind in ["ed25519", "ecdsa"] {
        let path = keys.make(kind, kind, "");
        let signature = SigningKey::open(&path, None, no_phrase).unwrap().sign(TEXT).unwrap();
        let signers = keys.signers(&[kind]);
        assert_eq!(signer_of(&signers, TEXT, &signature, Some("owner")).unwrap().name, kind);

        let file = |name: &str, text: &str| {
            let path = keys.0.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let allowed = file("allowed", &format!("{kind} {}\n", keys.public(kind)));
        let proof = file("proof", &signature);
        let message = std::fs::File::open(file("message", TEXT)).unwrap();
        let outcome = Command::new("ssh-keygen")
            .args(["-Y", "verify", "-I", kind, "-n", NAMESPACE, "-f"])
            .arg(allowed)
            .arg("-s")
            .arg(proof)
            .stdin(message)
            .output()
            .unwrap();
        assert!(outcome.status.success(), "{}", String::from_utf8_lossy(&outcome.stderr));
    }
}

#[test]
fn what_ssh_keygen_signs_is_believed() {
    let keys = Keys::new();
    let key = keys.make("ana", "ed25519", "");
    let message = keys.0.path().join("message");
    std::fs::write(&message, TEXT).unwrap();
    let signed = Command::new("ssh-keygen")
        .args(["-q", "-Y", "sign", "-n", NAMESPACE, "-f"])
        .args([&key, &message])
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(signed.success());
    let signature = std::fs::read_to_string(keys.0.path().join("message.sig")).unwrap();
    assert!(believed(&keys.signers(&["ana"]), &signature));
}

#[test]
fn a_locked_key_opens_with_its_passphrase_only() {
    let keys = Keys::new();
    let path = keys.make("ana", "ed25519", "let me in");
    let phrase = |text: &str| Ok(Zeroizing::new(text.to_owned()));
    let signature = SigningKey::open(&path, None, || phrase("let me in")).unwrap().sign(TEXT).unwrap();
    assert!(believed(&keys.signers(&["ana"]), &signature));
    let wrong = SigningKey::open(&path, None, || phrase("let me out")).unwrap_err();
    assert!(wrong.to_string().ends_with("the passphrase is wrong"), "{wrong}");
}

/// An agent with a socket of its own; ended with the test.
struct RunningAgent(Child, PathBuf);

impl RunningAgent {
    fn start(folder: &Path) -> Self {
        let socket = folder.join("agent");
        let child =
            Command::new("ssh-agent").arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).spawn().unwrap();
        let agent = Self(child, socket);
        while !agent.1.exists() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        agent
    }
}

impl Drop for RunningAgent {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_key_in_the_agent_signs() {
    let keys = Keys::new();
    let home = keys.0.path().join(".ssh");
    std::fs::create_dir(&home).unwrap();
    let path = keys.make(".ssh/id_ed25519", "ed25519", "");
    let signers = Signers::parse(
        Path::new("signers.toml"),
        &format!(
            "[[signer]]\nname = \"ana\"\nkey = \"{}\"\nroles = [\"owner\"]",
            keys.public(".ssh/id_ed25519")
        ),
    )
    .unwrap();
    let agent = RunningAgent::start(keys.0.path());
    let at_hand = || keys_at_hand(&signers, Some(&agent.1), Some(keys.0.path()));
    let taken = || at_hand().remove(0).take(no_phrase).unwrap();
    assert!(matches!(taken(), SigningKey::File(_)), "{:?}", at_hand());
    let added = Command::new("ssh-add").arg("-q").arg(&path).env("SSH_AUTH_SOCK", &agent.1).status().unwrap();
    assert!(added.success());
    assert_eq!(at_hand().len(), 1, "{:?}", at_hand());
    let named = SigningKey::open(&path.with_extension("pub"), Some(&agent.1), no_phrase).unwrap();
    for key in [taken(), named] {
        assert!(matches!(key, SigningKey::Agent { .. }), "{key:?}");
        assert!(believed(&signers, &key.sign(TEXT).unwrap()));
    }

    let stranger = keys.make("stranger", "ed25519", "").with_extension("pub");
    let refused =
        SigningKey::open(&stranger, Some(&agent.1), no_phrase).unwrap().sign("anything").unwrap_err();
    assert!(matches!(refused, ApprovalError::Agent { .. }), "{refused}");
}

#[test]
fn a_signature_counts_for_one_text_one_role_and_one_purpose() {
    let keys = Keys::new();
    let ana = SigningKey::open(&keys.make("ana", "ed25519", ""), None, no_phrase).unwrap();
    let mallory = SigningKey::open(&keys.make("mallory", "ed25519", ""), None, no_phrase).unwrap();
    let signers = keys.signers(&["ana"]);
    let refused = |text: &str, signature: &str, role: &str| {
        signer_of(&signers, text, signature, Some(role)).unwrap_err().to_string()
    };
    let signature = ana.sign(TEXT).unwrap();
    assert!(signer_of(&signers, TEXT, &signature, None).is_ok());
    assert!(refused(&TEXT.replace("live", "wild"), &signature, "owner").contains("does not hold"));
    assert!(refused(TEXT, &mallory.sign(TEXT).unwrap(), "owner").contains("is not in the signers file"));
    assert!(refused(TEXT, &signature, "admin").contains("has not the role `admin`, but `owner`"));
    assert!(refused(TEXT, "nothing", "owner").contains("can't be read"));
    let SigningKey::File(key) = &ana else { panic!("a file") };
    let elsewhere = key.sign("git", HashAlg::Sha512, TEXT.as_bytes()).unwrap();
    let elsewhere = elsewhere.to_pem(ssh_key::LineEnding::LF).unwrap();
    assert!(refused(TEXT, &elsewhere, "owner").contains("does not hold"));
}

#[test]
fn the_signers_of_the_system_win_over_those_of_the_user() {
    let keys = Keys::new();
    keys.make("ana", "ed25519", "");
    let write = |name: &str, text: &str| {
        let path = keys.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        path
    };
    let entry =
        format!("[[signer]]\nname = \"ana\"\nkey = \"{}\"\nroles = [\"owner\"]\n", keys.public("ana"));
    let (system, own) = (keys.0.path().join("system.toml"), write("own.toml", &entry));
    assert_eq!(Signers::load(&system, &own).unwrap().with_role("owner").collect::<Vec<_>>(), ["ana"]);
    write("system.toml", "");
    assert_eq!(Signers::load(&system, &own).unwrap(), Signers::default());

    std::fs::set_permissions(&system, Permissions::from_mode(0o664)).unwrap();
    let error = Signers::load(&system, &own).unwrap_err();
    assert!(matches!(error, ApprovalError::Unsafe { .. }), "{error}");
    let nowhere = keys.0.path().join("nowhere");
    assert!(matches!(Signers::load(&nowhere, &nowhere), Err(ApprovalError::NoSigners { .. })));
}

#[test]
fn a_signers_file_that_is_wrong_says_what_is() {
    let keys = Keys::new();
    keys.make("ana", "ed25519", "");
    keys.make("old", "rsa", "");
    let entry =
        |name: &str, key: &str| format!("[[signer]]\nname = \"{name}\"\nkey = \"{key}\"\nroles = []\n");
    let ana = keys.public("ana");
    let wrong = |text: String| {
        Signers::parse(Path::new("signers.toml"), &text).unwrap_err().to_string().replace(&ana, "KEY")
    };
    insta::assert_snapshot!(
        [
            wrong(entry("ana", "ssh-ed25519 nothing")),
            wrong(entry("old", &keys.public("old"))),
            wrong(entry(" ", &ana)),
            wrong(entry("ana", &ana) + &entry("twin", &ana)),
            wrong("[[signers]]\n".to_owned()),
        ]
        .join("\n")
    );
}
