//! `windlass test`: stories about runbooks, played without plugins, connections, a store or time.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use windlass_tests::{Windlass, Workspace, checkout};

const WEEK: &str = include_str!("week.toml");
const STORIES: &str = include_str!("week.test.toml");

/// The shipped stories go as they are written, from the shipped folder, in a home that stays empty.
#[test]
fn the_shipped_stories_go_as_written() {
    let windlass = Windlass::new();
    let folder = checkout().join("runbooks").display().to_string();
    let told = windlass.run(["test", folder.as_str(), "--output", "json"]).expect(0).json();
    assert_eq!(told["ok"], true);
    let files = told["files"].as_array().unwrap();
    assert_eq!(files.len(), 2, "{told}");
    for file in files {
        assert!(file["coverage"]["never_ran"].as_array().unwrap().is_empty(), "{file}");
    }
    assert!(!windlass.state().exists(), "a story leaves nothing behind");
}

#[test]
fn a_week_takes_seconds() {
    let workspace = Workspace::new().file("week.toml", WEEK).file("week.test.toml", STORIES);
    let stories = workspace.path("week.test.toml").display().to_string();
    let windlass = Windlass::new();
    let began = Instant::now();
    let told = windlass.run(["test", stories.as_str(), "--output", "json"]).expect(0).json();
    let took = began.elapsed();
    let cases = told["files"][0]["cases"].as_array().unwrap();
    assert_eq!(cases[0]["outcome"], "succeeded");
    assert!(cases[0]["took_ms"].as_u64().unwrap() > 7 * 86_400_000, "{}", cases[0]);
    assert!(took < Duration::from_secs(5), "four stories took {took:?}");
    let again = windlass.run(["test", stories.as_str(), "--output", "json"]).expect(0).json();
    assert_eq!(told, again, "a story is the same each time");
}

#[test]
fn what_is_not_as_expected_is_shown_where_it_is_expected() {
    let broken = STORIES.replace("verdict = \"held\"", "verdict = \"succeeded\"");
    let workspace = Workspace::new().file("week.toml", WEEK).file("week.test.toml", &broken);
    let stories = workspace.path("week.test.toml").display().to_string();
    let ended = Windlass::new().run(["test", stories.as_str(), "--only", "nobody"]);
    let ended = ended.expect(1);
    assert!(ended.stdout.contains("FAILED  nobody signs"), "{}", ended.stdout);
    for part in ["the run is held", "verdict = \"succeeded\"", "approval_expired sign_off"] {
        assert!(ended.stderr.contains(part), "{part} is not in {}", ended.stderr);
    }
}

#[test]
fn a_mistake_in_a_story_is_found_before_it_is_played() {
    let mistakes = [
        ("[case.guard.error_rate]", "[case.guard.eror_rate]", "no guard `eror_rate`"),
        ("step = \"sign_off\"", "step = \"sing_off\"", "no step `sing_off`"),
        ("do = \"approve\"", "do = \"aprove\"", "`aprove` is no thing to do"),
        ("\"approval_expired sign_off\"", "\"approval_expires\"", "there is no event `approval_expires`"),
        ("within = \"8d\"", "within = \"a while\"", "is no duration"),
        ("error_rate = 0.2 } } }]", "error_rate = 0.2 }, status_code = \"x\" } }]", "does not return this"),
        ("verdict = \"held\"", "verdikt = \"held\"", "verdikt"),
    ];
    for (right, wrong, told) in mistakes {
        assert!(STORIES.contains(right), "{right}");
        let workspace = Workspace::new()
            .file("week.toml", WEEK)
            .file("week.test.toml", &STORIES.replacen(right, wrong, 1));
        let stories = workspace.path("week.test.toml").display().to_string();
        let ended = Windlass::new().run(["test", stories.as_str()]).expect(2);
        assert!(ended.stderr.contains(told), "{told} is not in {}", ended.stderr);
    }
}
