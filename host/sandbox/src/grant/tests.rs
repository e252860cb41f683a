//! The grammar as its users meet it: lines that parse, how they show, and what is said of those that don't.

use ::http::HeaderMap;
use proptest::prelude::*;

use super::*;

fn shown(line: &str) -> String {
    line.parse::<Grant>().unwrap_or_else(|error| panic!("{line}: {error:?}")).to_string()
}

/// The line, a caret line under it, and what is said.
fn complaint(line: &str) -> String {
    let error = line.parse::<Grant>().unwrap_err();
    let before = line.get(..error.range.start).unwrap().chars().count();
    let under = line.get(error.range.clone()).unwrap().chars().count().max(1);
    let help = error.help.map(|help| format!("\n  help: {help}")).unwrap_or_default();
    format!("{line}\n{}{}\n  {}{help}", " ".repeat(before), "^".repeat(under), error.message)
}

#[test]
fn a_line_shows_as_its_canonical_self() {
    for same in [
        "http GET https://api.example.com/health/**",
        "http GET,POST https://*.example.com:8443/a/*/b",
        "http read POST http://10.0.0.1/search?q=*",
        "http write GET https://[::1]:8080/trigger",
        "http POST https://ec2.eu-west-1.amazonaws.com/?Action=Describe*&Version=*",
        "http POST https://db.example.com/ header:x-amz-target=DynamoDB_20120810.Get*",
        "http * https://api.example.com/projects/group%2Fname/**",
        "postgres db: read",
        "postgres db: write",
        "postgres main-db: ddl",
        "folder out: write",
        "folder in_1: read",
        "program dump --format=custom --file={path:out} {ident}",
        "read program check \"{match:a b}\" {int} {{x}}",
        "program reload",
    ] {
        assert_eq!(shown(same), same);
    }
}

#[test]
fn spelling_is_normalised() {
    assert_eq!(shown("  http  GET,GET   https://API.Example.com:443 "), "http GET https://api.example.com/");
    assert_eq!(shown("http GET http://x/?a%5B%5D=1+2"), "http GET http://x/?a[]=1%202");
    assert_eq!(shown("program x 'a b' \"\""), "program x \"a b\" \"\"");
}

#[test]
fn get_and_head_read_unless_the_line_says_otherwise() {
    let reads = |line: &str| line.parse::<Grant>().unwrap().reads_only();
    assert!(reads("http GET,HEAD https://x/"));
    assert!(!reads("http GET,POST https://x/"));
    assert!(!reads("http * https://x/"));
    assert!(reads("http read * https://x/"));
    assert!(!reads("http write GET https://x/"));
    assert!(reads("read program check"));
    assert!(!reads("program check"));
    assert!(!reads("postgres db: ddl"));
    assert!(reads("folder x: read"));
}

#[test]
fn a_wrong_line_is_pointed_at_and_the_help_is_right() {
    let lines = [
        "",
        "htp GET https://api.example.com/",
        "http",
        "http https://api.example.com/",
        "http get https://api.example.com/",
        "http GET,CONNECT https://api.example.com/",
        "http GET api.example.com/health",
        "http GET https://user:pw@api.example.com/",
        "http GET https://user:pw@api.example.com",
        "http GET https://api.*ample.com/",
        "http GET https://**/",
        "http GET https://10.1/",
        "http GET https://10.0.0.*/",
        "http GET https://api.example.com./",
        "http GET https://api.example.com:0/",
        "http GET https://api.example.com/**/x",
        "http GET https://api.example.com/heal*",
        "http GET https://api.example.com/a/../b",
        "http GET https://api.example.com/a b",
        "http GET https://api.example.com/#top",
        "http GET https://api.example.com/?*",
        "http GET https://api.example.com/?a=1&b",
        "http GET https://api.example.com/ header:x",
        "postgres db read",
        "postgres db: delete",
        "postgres DB: read",
        "folder out: read write",
        "folder out:",
        "program /usr/bin/pg_dump",
        "program dump --file={file:out}",
        "program dump 'unclosed",
        "read http POST https://api.example.com/",
        "kubernetes cluster: patch deployments/backend in production",
        "kubernetes cluster patch",
        "dns zone: update example.com",
        "redis cache: flush",
        "mail post: to *@example.com",
        "socket db.example.com",
        "secret api_token",
        "http GET https://{vars.host}/",
    ];
    let said: Vec<String> = lines.into_iter().map(complaint).collect();
    insta::assert_snapshot!(said.join("\n\n"));
}

#[test]
fn unknown_capabilities_are_told_from_slips() {
    let kind = |line: &str| line.parse::<Grant>().unwrap_err().kind;
    assert_eq!(kind("redis cache: read"), GrantErrorKind::Unavailable);
    assert_eq!(
        kind("kubernetes c: get,list,watch deployments,pods in production"),
        GrantErrorKind::Unavailable
    );
    assert_eq!(kind("kubernetes c: get pods:log"), GrantErrorKind::Unavailable);
    assert_eq!(kind("redis cache: flush"), GrantErrorKind::Syntax);
}

#[test]
fn placeholders_can_be_checked_before_they_have_values() {
    assert!(Grant::check("http GET https://{vars.green}/health/{config.name}/**").is_ok());
    assert!(Grant::check("program dump {vars.database} {ident}").is_ok());
    let error = Grant::check("http GET https://{vars.green}/heal*").unwrap_err();
    assert_eq!(error.range, 30..35);
}

#[test]
fn grants_answer_for_slots_and_origins() {
    let grants = Grants::parse([
        "postgres db: read",
        "postgres db: write",
        "folder out: write",
        "program dump {ident}",
        "http GET https://*.example.com/x",
    ])
    .unwrap();
    assert_eq!(grants.postgres("db"), Some(PostgresAccess::Write));
    assert_eq!(grants.postgres("other"), None);
    assert_eq!(grants.folder("out"), Some(Effect::Write));
    assert!(grants.names_slot("dump") && !grants.names_slot("api"));
    assert!(grants.reaches_origin("https://api.example.com"));
    assert!(!grants.reaches_origin("http://api.example.com"));
    assert!(!grants.reaches_origin("https://api.example.com:8443"));
}

fn covers(line: &str, method: &str, url: &str, headers: &[(&str, &str)]) -> bool {
    let Grant::Http(grant) = line.parse().unwrap() else { panic!("no http line") };
    let url = url::Url::parse(url).unwrap();
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(::http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    grant.covers(&HttpRequest {
        method,
        scheme: if url.scheme() == "http" { Scheme::Http } else { Scheme::Https },
        host: &Host::parse(url.host_str().unwrap()).unwrap(),
        port: url.port_or_known_default().unwrap(),
        path: url.path(),
        query: url.query(),
        headers: &map,
    })
}

#[test]
fn an_http_line_covers_what_it_names_and_nothing_else() {
    let line = "http GET https://api.example.com/health/*";
    assert!(covers(line, "GET", "https://api.example.com/health/db", &[]));
    assert!(covers(line, "GET", "https://api.example.com:443/health/db", &[]));
    for (method, url) in [
        ("HEAD", "https://api.example.com/health/db"),
        ("get", "https://api.example.com/health/db"),
        ("GET", "http://api.example.com/health/db"),
        ("GET", "http://api.example.com:443/health/db"),
        ("GET", "https://api.example.com:444/health/db"),
        ("GET", "https://example.com/health/db"),
        ("GET", "https://api.example.com/health/db/x"),
        ("GET", "https://api.example.com/health/db?"),
        ("GET", "https://api.example.com/health/db?x=1"),
    ] {
        assert!(!covers(line, method, url, &[]), "{method} {url}");
    }
}

#[test]
fn a_query_holds_only_the_keys_that_are_named() {
    let line = "http POST https://ec2.example.com/?Action=Describe*&Version=2016-11-15&f%26lter=*";
    let allowed = |query: &str| covers(line, "POST", &format!("https://ec2.example.com/{query}"), &[]);
    assert!(allowed(""));
    assert!(allowed("?Action=DescribeInstances"));
    assert!(allowed("?Version=2016-11-15&Action=DescribeInstances&Action=DescribeZones"));
    assert!(allowed("?A%63tion=Describe%49nstances&f%26lter=a%20b"));
    for bad in [
        "?",
        "?Action=RunInstances",
        "?Action=DescribeInstances&Action=RunInstances",
        "?Action=DescribeInstances&Other=1",
        "?Action=DescribeInstances;Action=RunInstances",
        "?action=DescribeInstances",
        "?Version=2016-11-151",
        "?Action",
    ] {
        assert!(!allowed(bad), "{bad}");
    }
}

#[test]
fn a_named_header_must_be_there_once() {
    let line = "http read POST https://db.example.com/ header:X-Amz-Target=Dynamo.Get*";
    let allowed = |headers: &[(&str, &str)]| covers(line, "POST", "https://db.example.com/", headers);
    assert!(allowed(&[("x-amz-target", "Dynamo.GetItem")]));
    assert!(!allowed(&[]));
    assert!(!allowed(&[("x-amz-target", "Dynamo.PutItem")]));
    assert!(!allowed(&[("x-amz-target", "Dynamo.GetItem"), ("x-amz-target", "Dynamo.PutItem")]));
}

fn http_lines() -> impl Strategy<Value = String> {
    let method = prop_oneof!["GET", "POST", "GET,HEAD", Just("*".to_owned())];
    let effect = prop_oneof![Just(""), Just("read "), Just("write ")];
    let host = prop_oneof![
        "[a-z]{1,5}(\\.[a-z]{1,5}){0,2}",
        "\\*\\.[a-z]{2,5}",
        Just("10.0.0.1".to_owned()),
        Just("[::1]".to_owned())
    ];
    let port = prop_oneof![Just(String::new()), (1..=u16::MAX).prop_map(|port| format!(":{port}"))];
    let path = "(/([a-z0-9%]{0,1}|\\*|a%2Fb|[a-z]{1,4})){0,4}(/\\*\\*)?";
    let query = "(\\?[a-z]{1,3}=[A-Za-z*%]{0,2}(&[a-z]{1,3}=[a-z*+]{0,3}){0,2})?";
    let header = "( header:x-[a-z]{1,4}=[A-Za-z.*]{0,6}){0,2}";
    (effect, method, host, port, path, query, header).prop_map(
        |(effect, method, host, port, path, query, header)| {
            format!("http {effect}{method} https://{host}{port}{path}{query}{header}")
        },
    )
}

proptest! {
    #[test]
    fn what_is_shown_parses_to_the_same(line in http_lines()) {
        if let Ok(grant) = line.parse::<Grant>() {
            let shown = grant.to_string();
            prop_assert_eq!(shown.parse::<Grant>().unwrap(), grant, "{}", shown);
        }
    }

    #[test]
    fn no_line_panics_and_ranges_fit(line in "\\PC*") {
        for line in [line.clone(), format!("http GET {line}"), format!("http GET https://x/{line}"), format!("program x {line}")] {
            if let Err(error) = line.parse::<Grant>() {
                prop_assert!(line.get(error.range.clone()).is_some(), "{:?}", error);
            }
            if let Err(error) = Grant::check(&line) {
                prop_assert!(line.get(error.range.clone()).is_some(), "{:?}", error);
            }
        }
    }
}
