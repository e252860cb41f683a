//! What is loaded, and what is refused with which words.

use windlass_runbook::wit::ActionKind;
use windlass_sandbox::{ImportGroup, inspect};

use crate::guest::{CHECK, JOBS, check, component};

/// Why a world with this interface and these imports is refused, or its actions and the ignored exports.
fn world(functions: &str, imports: &str) -> String {
    let wit = format!(
        "package acme:test@0.1.0;
         interface other {{ go: func(); }}
         interface jobs {{
             use windlass:plugin/outcome@0.1.0.{{failure, plan, attempt}};
             record input {{ count: u32 }}
             record other-input {{ count: u32 }}
             record output {{ text: string }}
             record own-plan {{ memo: string }}
             {functions}
         }}
         world plugin {{ {imports} export jobs; }}"
    );
    let bytes = dummy(&wit);
    match inspect(&bytes) {
        Ok(found) => {
            let actions: Vec<String> = found
                .signature
                .interfaces
                .iter()
                .flat_map(|interface| &interface.actions)
                .map(|action| format!("{} ({:?})", action.name, action.kind))
                .collect();
            format!("actions: {}; ignored: {}", actions.join(", "), found.ignored_exports.join(", "))
        }
        Err(error) => format!("{error}\n  help: {}", error.help.as_deref().unwrap_or_default()),
    }
}

/// A component of this world whose functions all trap.
fn dummy(wit: &str) -> Vec<u8> {
    use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
    let mut resolve = wit_parser::Resolve::default();
    let wits = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
    resolve.push_path(wits.join("plugin")).unwrap();
    let package = resolve.push_str("guest.wit", wit).unwrap();
    let world = resolve.select_world(&[package], None).unwrap();
    let mangling = wit_parser::ManglingAndAbi::Standard32;
    let mut module = wit_component::dummy_module(&resolve, world, mangling);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().validate(true).encode().unwrap()
}

const PAIR: &str = "plan-send: func(input: input, before: list<attempt>) -> result<plan, failure>;
                    apply-send: func(input: input, plan: plan) -> result<output, failure>;";
const UNDO: &str = "plan-undo-send: func(input: input, done: list<attempt>) -> result<plan, failure>;
                    undo-send: func(input: input, done: list<attempt>, plan: plan) -> result<_, failure>;";

#[test]
fn the_shapes_of_actions() {
    let cases = [
        ("a reading action", "look: func(input: input) -> result<output, failure>;".to_owned()),
        ("a pair", PAIR.to_owned()),
        ("a full set", format!("{UNDO}{PAIR}")),
        (
            "other functions",
            "tick: func(); add: func(a: u32, b: u32) -> u32; look: func(what: input) -> result<output, failure>;"
                .to_owned(),
        ),
        ("half a pair", PAIR.lines().next().unwrap().to_owned()),
        ("undo alone", UNDO.to_owned()),
        ("half an undo", format!("{PAIR}{}", UNDO.lines().next().unwrap())),
        ("a reserved name for something else", "plan-b: func(input: input) -> result<output, failure>;".to_owned()),
        ("a prefix after a prefix", "apply-undo-send: func(input: input, plan: plan) -> result<output, failure>;".to_owned()),
        ("a parameter with another name", PAIR.replace("before:", "earlier:")),
        ("a plan of its own", PAIR.replace("plan: plan", "plan: own-plan")),
        ("another input", PAIR.replace("apply-send: func(input: input", "apply-send: func(input: other-input")),
        ("no failure", "apply-x: func(input: input, plan: plan) -> result<output, string>;".to_owned()),
        ("a name twice", format!("{PAIR} send: func(input: input) -> result<output, failure>;")),
    ];
    let said = cases.map(|(name, functions)| format!("{name}:\n  {}", world(&functions, "")));
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn an_import_that_the_host_does_not_have_is_refused() {
    let look = "look: func(input: input) -> result<output, failure>;";
    insta::assert_snapshot!(format!(
        "{}\n{}",
        world(look, "import other;"),
        world(look, "import go: func();")
    ));
}

#[test]
fn types_come_with_their_aliases() {
    let wit = "
        package acme:test@0.1.0;
        interface names { use windlass:plugin/values@0.1.0.{duration}; type pause = duration; }
        interface jobs {
            use windlass:plugin/outcome@0.1.0.{failure};
            use windlass:plugin/values@0.1.0.{json, duration, byte-size, timestamp, secret-name};
            use names.{pause};
            variant when { now, at(timestamp), after(duration) }
            enum speed { slow, very-fast }
            flags options { dry-run, force }
            record input {
                body: json, wait: option<duration>, again: pause, size: byte-size, key: secret-name,
                extra: list<tuple<string, json>>, pairs: list<tuple<u8, string>>, raw: list<u8>,
                %when: when, speed: speed, options: options, ratio: f64, letter: char, both: tuple<s8, u64>,
            }
            look: func(input: input) -> result<_, failure>;
        }
        world plugin {
            export configure: func(config: config) -> result<_, failure>;
            use windlass:plugin/outcome@0.1.0.{failure};
            record config { base-url: string }
            export jobs;
        }";
    let found = inspect(&dummy(wit)).unwrap();
    insta::assert_json_snapshot!((&found.signature.interfaces, &found.signature.config));
}

#[test]
fn imports_are_grouped() {
    let found = inspect(&check("(unreachable)")).unwrap();
    let groups: Vec<_> =
        found.imports.iter().map(|import| (import.interface.as_str(), import.group)).collect();
    assert_eq!(
        groups,
        [
            ("windlass:plugin/values@0.1.0", ImportGroup::TypesOnly),
            ("windlass:plugin/outcome@0.1.0", ImportGroup::TypesOnly),
            ("windlass:plugin/step@0.1.0", ImportGroup::AlwaysGiven),
        ]
    );
    assert_eq!(found.signature.interfaces[0].id, JOBS);
    assert_eq!(found.signature.interfaces[0].actions[0].kind, ActionKind::Reading);
}

#[test]
fn a_component_that_is_cut_off_anywhere_is_refused() {
    let whole = component(
        CHECK,
        "(module (memory (export \"memory\") 1)
        (func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32) (i32.const 0))
        (func (export \"acme:test/jobs@0.1.0#check\") (param i32) (result i32) (i32.const 0)))",
    );
    assert!(inspect(&whole).is_ok());
    for length in (0..whole.len()).step_by(7) {
        // Cut between two sections it is a smaller component, which offers less and is no failure.
        if let Ok(found) = inspect(&whole[..length]) {
            assert!(found.signature.interfaces.is_empty() || length > whole.len() / 2, "{length}");
        }
    }
    let error = inspect(&whole[..whole.len() / 2]).unwrap_err();
    assert_eq!(error.help.as_deref(), Some("the file looks cut off: fetch or build it again"), "{error}");
}

/// The component with one more custom section.
fn with_section(mut component: Vec<u8>, name: &str, content: &str) -> Vec<u8> {
    let leb = |mut value: usize| {
        let mut bytes = Vec::new();
        while value > 0x7f {
            bytes.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    };
    let mut section = leb(name.len());
    section.extend_from_slice(name.as_bytes());
    section.extend_from_slice(content.as_bytes());
    component.push(0);
    component.extend(leb(section.len()));
    component.extend(section);
    component
}

#[test]
fn a_plugin_says_what_it_is_in_a_section_of_its_own() {
    let section = serde_json::json!({
        "version": "1.2.3",
        "description": "Checks \u{1b}[31mthings\u{1b}[0m.",
        "slots": [{ "name": "api", "kind": "http", "docs": "Where to ask." }],
        "docs": { JOBS: {
            "docs": "Jobs.",
            "functions": { "check": "Check once." },
            "types": { "input": { "docs": "What to check.", "fields": { "count": "How often." } } },
        } },
        "unknown": true,
    });
    let bytes = with_section(check("(unreachable)"), "windlass:metadata", &section.to_string());
    let found = inspect(&bytes).unwrap();
    assert_eq!(found.version.as_deref(), Some("1.2.3"));
    assert_eq!(found.description.as_deref(), Some("Checks things."));
    assert_eq!(found.signature.slots[0].name, "api");
    let action = &found.signature.interfaces[0].actions[0];
    assert_eq!(action.docs.as_deref(), Some("Check once."));
    assert_eq!(action.input.fields[0].docs.as_deref(), Some("How often."));
    assert!(found.notes.is_empty());
}

#[test]
fn a_broken_section_is_left_out_with_a_note() {
    let whole = check("(unreachable)");
    let broken = inspect(&with_section(whole.clone(), "windlass:metadata", "{ \"version\": 7 }")).unwrap();
    let long = inspect(&with_section(whole, "windlass:metadata", &" ".repeat(300_000))).unwrap();
    insta::assert_snapshot!(format!("{}\n{}", broken.notes.join("\n"), long.notes.join("\n")));
    assert!(broken.version.is_none());
}

#[test]
fn no_damage_makes_the_reader_panic() {
    let whole = check("(unreachable)");
    // A fixed walk through all bytes: each is replaced by a few others.
    for index in 8..whole.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut damaged = whole.clone();
            damaged[index] ^= change;
            let _either_way = inspect(&damaged);
        }
    }
}
