//! Random runbooks, written as TOML and checked like any other, so that a finding can be read.

use std::fmt::Write as _;
use std::sync::Arc;

use windlass_runbook::model::Runbook;
use windlass_runbook::{SourceFile, check, parse};

use crate::catalogue::OnePlugin;
use crate::random::Random;

/// How a step came to be, as far as the steps after it need to know.
struct Made {
    /// Its output is there whenever a step that needs it runs.
    sure: bool,
    writes: bool,
    cell: String,
    /// Another step writes into its cell.
    followed: bool,
    approves: bool,
}

struct Writer<'r> {
    random: &'r mut Random,
    text: String,
    steps: Vec<Made>,
    stages: bool,
    timed: bool,
    /// Of the last `at`, minutes after T.
    at: i64,
}

/// The TOML of a runbook.
pub(crate) fn written(random: &mut Random) -> String {
    let stages = random.chance(35);
    let timed = random.chance(12);
    let mut writer = Writer { random, text: String::new(), steps: Vec::new(), stages, timed, at: 0 };
    writer.header();
    writer.body();
    writer.extras();
    writer.text
}

/// The runbook of a text.
///
/// # Errors
/// Everything that `check` has against it.
pub(crate) fn checked(text: &str) -> Result<Arc<Runbook>, String> {
    let (document, diagnostics) = parse(SourceFile::new("simulated.toml", text), None);
    let told = |diagnostics: &windlass_runbook::Diagnostics| {
        let lines: Vec<String> = diagnostics
            .iter()
            .map(|found| format!("{}: {} (line {:?})", found.code, found.message, found.line()))
            .collect();
        lines.join("\n")
    };
    let document = document.ok_or_else(|| told(&diagnostics))?;
    let (runbook, more) = check(&document, &OnePlugin::new());
    runbook.map(Arc::new).ok_or_else(|| format!("{}\n{}", told(&diagnostics), told(&more)))
}

impl Writer<'_> {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn header(&mut self) {
        self.line("[runbook]\nname = \"simulated\"");
        if self.random.chance(20) {
            let word = self.random.pick(&["pause", "rollback", "continue"]);
            self.line(&format!("on_failure = \"{word}\""));
        }
        if self.random.chance(15) {
            self.line("rollback_within = \"10s\"");
        }
        if self.timed {
            let word = self.random.pick(&["shift", "compress", "abort"]);
            self.line(&format!("late = \"{word}\""));
        }
        if self.random.chance(20) {
            self.line("[concurrency]\ngroup = \"shared\"");
            if self.random.chance(15) {
                self.line("when_busy = \"reject\"");
            }
        }
        self.line("[plugins.fake]\nsource = \"builtin:fake\"");
    }

    fn body(&mut self) {
        if !self.stages {
            for _ in 0..1 + self.random.index(7) {
                self.step();
            }
            return;
        }
        for stage in 0..1 + self.random.index(3) {
            self.line(&format!("[[stage]]\nname = \"stage {stage}\""));
            if self.random.chance(50) {
                self.line("parallel = true");
            }
            if self.timed && self.random.chance(40) {
                self.at += self.random.span(0, 30);
                let at = self.at;
                self.line(&format!("at = \"T+{at}m\""));
            }
            if self.random.chance(8) {
                self.line("commit = true");
            }
            for _ in 0..1 + self.random.index(3) {
                self.step();
            }
        }
    }

    fn step(&mut self) {
        let number = self.steps.len();
        let header = if self.stages { "[[stage.step]]" } else { "[[step]]" };
        self.line(header);
        self.line(&format!("id = \"s{number}\""));
        let needs = self.needs(number);
        if self.random.chance(9) && self.steps.iter().filter(|step| step.approves).count() < 2 {
            return self.approval(number);
        }
        if self.random.chance(8) {
            let seconds = self.random.span(1, 40);
            self.line(&format!("wait = \"{seconds}s\""));
            return self.steps.push(Made {
                sure: false,
                writes: false,
                cell: String::new(),
                followed: false,
                approves: false,
            });
        }
        if self.random.chance(22) { self.reading(number) } else { self.effect(number, &needs) }
    }

    /// Steps of a list without stages name what they need now and then; the others follow the one before.
    fn needs(&mut self, number: usize) -> Vec<usize> {
        if self.stages || number == 0 || !self.random.chance(55) {
            return number.checked_sub(1).filter(|_| !self.stages).into_iter().collect();
        }
        let mut needs: Vec<usize> = (0..self.random.index(3)).map(|_| self.random.index(number)).collect();
        needs.sort_unstable();
        needs.dedup();
        let names: Vec<String> = needs.iter().map(|need| format!("\"s{need}\"")).collect();
        self.line(&format!("needs = [{}]", names.join(", ")));
        needs
    }

    fn approval(&mut self, number: usize) {
        let mut approve = "roles = [\"ops\"], text = \"go on?\"".to_owned();
        if self.random.chance(30) {
            approve = "roles = [\"ops\", \"security\"], text = \"go on?\"".to_owned();
        }
        if self.random.chance(35) {
            let _ = write!(approve, ", expires = \"{}s\"", self.random.span(20, 200));
            if self.random.chance(50) {
                approve.push_str(", on_expiry = \"fail\"");
            }
        }
        if self.random.chance(20) {
            approve.push_str(", allow_starter = true");
        }
        self.line(&format!("approve = {{ {approve} }}"));
        self.failure_word(number);
        self.steps.push(Made {
            sure: false,
            writes: false,
            cell: String::new(),
            followed: false,
            approves: true,
        });
    }

    fn failure_word(&mut self, _number: usize) -> bool {
        if !self.random.chance(30) {
            return false;
        }
        let word = self.random.pick(&["pause", "rollback", "continue"]);
        self.line(&format!("on_failure = \"{word}\""));
        word == "continue"
    }

    fn reading(&mut self, number: usize) {
        let gauge = self.random.index(3);
        self.line(&format!("do = \"fake.look\"\nwith = {{ name = \"g{gauge}\" }}"));
        let gate = self.random.chance(50);
        if gate {
            let hold = self.random.pick(&[0, 4, 15]);
            self.line(&format!("until = \"result.n < 50.0\"\nevery = \"2s\"\nhold = \"{hold}s\""));
            if self.random.chance(60) {
                self.line("timeout = \"3m\"");
            }
        }
        self.retry();
        self.failure_word(number);
        self.steps.push(Made {
            sure: false,
            writes: false,
            cell: String::new(),
            followed: false,
            approves: false,
        });
    }

    fn retry(&mut self) {
        if self.random.chance(60) {
            let attempts = self.random.span(2, 4);
            self.line(&format!("retry = {{ attempts = {attempts}, backoff = \"1s..8s\" }}"));
        }
    }

    fn effect(&mut self, number: usize, needs: &[usize]) {
        let action = match self.random.below(10) {
            0 => "post",
            1 | 2 => "launch",
            _ => "put",
        };
        let posts = action == "post";
        let many = self.random.chance(15);
        // Another step's cell: what it left is what this one finds, and what undoing this one has to put back.
        let shared = needs.iter().find(|&&need| {
            let step = &self.steps[need];
            step.writes && step.sure && !step.followed
        });
        let shared = shared.copied().filter(|_| !posts && !many && self.random.chance(35));
        if let Some(need) = shared {
            self.steps[need].followed = true;
        }
        let shared = shared.map(|need| self.steps[need].cell.clone());
        let reads = needs.iter().copied().find(|&need| self.steps[need].sure);
        let value = match reads.filter(|_| self.random.chance(40)) {
            Some(need) => format!("v{number} ${{steps.s{need}.output.value}}"),
            None => format!("v{number}"),
        };
        let cell = shared.unwrap_or_else(|| format!("c{number}"));
        self.line(&format!("do = \"fake.{action}\""));
        if many {
            self.line(&format!("with = {{ cell = \"{cell} ${{item}}\", value = \"{value}\" }}"));
            self.line("for_each = [\"a\", \"b\", \"c\"]");
            let (parallel, failures) = (self.random.span(1, 3), self.random.span(0, 1));
            self.line(&format!("max_parallel = {parallel}\nmax_failures = {failures}"));
        } else {
            self.line(&format!("with = {{ cell = \"{cell}\", value = \"{value}\" }}"));
        }
        self.retry();
        if self.random.chance(25) {
            self.line("timeout = \"2m\"");
        }
        let when = self.random.chance(8);
        if when {
            let truth = self.random.pick(&["true", "false"]);
            self.line(&format!("when = \"run.id == 'sim' && {truth}\""));
        }
        if self.random.chance(7) {
            self.line("expect = \"result.value == 'never'\"");
        }
        let accepts = posts && self.random.chance(50);
        if accepts {
            self.line("on_unknown = \"accept\"");
        }
        let goes_on = self.failure_word(number);
        let undo = self.random.below(20);
        if !posts && !many && undo == 0 {
            self.line("undo = false");
        } else if !posts && !many && undo == 1 {
            self.line(&format!(
                "undo = {{ do = \"fake.put\", with = {{ cell = \"{cell}\", value = \"back {number}\" }} }}"
            ));
        }
        if self.random.chance(5) {
            self.line("commit = true");
        }
        let sure = !goes_on && !when && !many && !accepts && self.is_sure(needs);
        self.steps.push(Made { sure, writes: true, cell, followed: false, approves: false });
    }

    /// A step's output is sure where those of all that it reads are; it reads only what it needs.
    fn is_sure(&self, needs: &[usize]) -> bool {
        !self.text.contains("on_failure = \"continue\"")
            && needs.iter().all(|&need| self.steps[need].sure || !self.steps[need].writes)
    }

    fn extras(&mut self) {
        for number in 0..self.random.index(3) {
            if !self.random.chance(45) {
                continue;
            }
            self.guard(number);
        }
        for number in 0..self.random.index(3) {
            self.line(&format!("[[rollback.step]]\nid = \"r{number}\"\ndo = \"fake.put\""));
            self.line(&format!("with = {{ cell = \"r{number}\", value = \"told: ${{run.reason}}\" }}"));
            if self.random.chance(40) {
                self.line("order = \"before\"");
            }
        }
        for number in 0..self.random.index(3) {
            self.line(&format!("[[finally.step]]\nid = \"f{number}\"\ndo = \"fake.put\""));
            let text = self.random.pick(&["done", "${run.report}"]);
            self.line(&format!("with = {{ cell = \"f{number}\", value = \"{text}\" }}"));
            self.retry();
        }
    }

    fn guard(&mut self, number: usize) {
        self.line(&format!("[[guard]]\nid = \"g{number}\"\ndo = \"fake.look\""));
        let gauge = self.random.index(3);
        let every = self.random.span(1, 4);
        self.line(&format!("with = {{ name = \"g{gauge}\" }}\nevery = \"{every}s\""));
        let both = self.random.below(3);
        if both != 0 {
            self.line("rollback_when = \"result.n > 90.0\"");
        }
        if both != 1 {
            self.line("hold_when = \"result.n > 70.0\"");
        }
        if self.random.chance(25) {
            self.line("fresh_when = \"result.fresh\"");
        }
        let word = self.random.pick(&["hold", "rollback", "ignore"]);
        self.line(&format!("no_data = \"{word}\""));
        if self.random.chance(40) {
            let seconds = self.random.span(1, 12);
            self.line(&format!("for = \"{seconds}s\""));
        }
        if self.random.chance(30) {
            let seconds = self.random.span(0, 5);
            self.line(&format!("grace = \"{seconds}s\""));
        }
        if self.random.chance(20) {
            self.line("interrupt = \"never\"");
        }
        if self.random.chance(20) {
            self.line("past_commit = true");
        }
    }
}
