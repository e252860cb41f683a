//! The first runbook that anybody runs.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use windlass_tests::{Service, Windlass, Workspace};

#[test]
fn the_quickstart_succeeds_and_leaves_its_record() {
    let service = Service::start();
    let workspace = Workspace::with_runbooks();
    workspace.change(
        "runbooks/environments/quickstart.toml",
        &[("127.0.0.1:4780\"", &format!("{}\"", service.host()))],
    );
    let windlass = Windlass::new().with("AUDIT_TOKEN", service.token());
    let path = |name: &str| workspace.path(name).display().to_string();
    let windlass_with = |command: &str| {
        let (runbook, environment) =
            (path("runbooks/quickstart.toml"), path("runbooks/environments/quickstart.toml"));
        windlass.run([command, &runbook, "--env", &environment])
    };
    drop(windlass_with("check").expect(0));
    drop(windlass_with("plan").expect(10));
    assert!(service.effects().is_empty(), "{:#?}", service.effects());

    drop(windlass_with("run").expect(0));
    let run = windlass.only_run();
    let record = windlass.show(&run);
    assert_eq!(record.status(), "succeeded");
    assert_eq!(workspace.read("runbooks/records/quickstart/running.txt"), "audit 1.0.0\n");
    let report = workspace.read(&format!("runbooks/records/quickstart/{run}.md"));
    assert!(report.contains("| result | succeeded"), "{report}");
    // A session and an event.
    assert_eq!(service.effects().len(), 2);

    drop(windlass_with("run").expect(0));
    let second = windlass.runs().into_iter().find(|id| *id != run).unwrap();
    assert_eq!(windlass.show(&second).result("note"), "unchanged");
}
