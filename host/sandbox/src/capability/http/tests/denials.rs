//! What is said of requests that may not be sent. None of these reaches a network.

use super::*;
use crate::capability::http::headers::BODY_ON_GET;

async fn said(scene: &Scene, request: Request<WasiBody>) -> String {
    let mut guest = Guest::new(scene);
    let result = guest.send(request).await;
    assert!(matches!(result, Err(Error::HttpRequestDenied)), "{:?}", result.err());
    assert_eq!(guest.reads().denied, 1);
    let audit = guest.audit();
    assert_eq!(audit.len(), 1);
    assert!(!audit[0].allowed);
    guest.denial()
}

#[tokio::test]
async fn a_denial_names_plugin_step_target_and_the_line_to_add() {
    let health = ["http GET https://api.example.com/health/*"];
    let mut lines = Vec::new();
    for (mode, grants, request) in [
        (Mode::Read, &[][..], request("GET", "https://api.example.com/health/db", &[])),
        (
            Mode::Read,
            &health[..],
            request("GET", "https://api.example.com/health/db?token=hunter2&v=1&v=2", &[]),
        ),
        (Mode::Read, &health[..], request("GET", "http://api.example.com:8080/health/db", &[])),
        (
            Mode::Read,
            &["http POST https://api.example.com/**"][..],
            request("POST", "https://api.example.com/search", &[]),
        ),
        (Mode::Read, &health[..], request("POST", "https://api.example.com/search", &[])),
        (Mode::Write, &health[..], request("DELETE", "https://api.example.com/items/1", &[])),
        (
            Mode::Write,
            &[][..],
            request(
                "POST",
                "https://dynamodb.example.com/",
                &[("x-amz-target", "DynamoDB_20120810.PutItem")],
            ),
        ),
        (Mode::Read, &health[..], request("GET", "https://api.example.com/health/a%2fb", &[])),
        (Mode::Read, &health[..], request("GET", "https://api.example.com/other/*", &[])),
        (Mode::Read, &health[..], request("GET", "https://api.example.com/health/x/../db", &[])),
        (Mode::Read, &health[..], request("GET", "https://user:hunter2@api.example.com/health/db", &[])),
        (Mode::Read, &["http GET http://127.0.0.1/"][..], request("GET", "http://2130706433/", &[])),
        (
            Mode::Write,
            &["http * https://api.example.com/"][..],
            request("TRACE", "https://api.example.com/", &[]),
        ),
        (
            Mode::Read,
            &health[..],
            request("GET", "https://api.example.com/health/db", &[("authorization", "Bearer hunter2")]),
        ),
        (
            Mode::Read,
            &health[..],
            request("GET", "https://api.example.com/health/db", &[("x-http-method-override", "DELETE")]),
        ),
        (
            Mode::Read,
            &health[..],
            request("GET", "https://api.example.com/health/db", &[("connection", "upgrade")]),
        ),
        (
            Mode::Read,
            &health[..],
            request("GET", "https://api.example.com/health/db", &[("content-length", "5")]),
        ),
    ] {
        let scene = scene(mode, grants);
        lines.push(said(&scene, request).await);
    }
    let text = lines.join("\n");
    assert!(!text.contains("hunter2"));
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn the_line_that_is_named_lets_the_request_through() {
    for (mode, method, url) in [
        (Mode::Read, "GET", "https://api.example.com/health/db?a=1&b%5B%5D=%2A"),
        (Mode::Read, "POST", "https://api.example.com/search?q=x+y"),
        (Mode::Write, "PUT", "http://10.0.0.1:8080/a//b%2Fc"),
    ] {
        let mut guest = Guest::new(&scene(mode, &[]));
        assert!(guest.send(request(method, url, &[])).await.is_err());
        let line = guest.call.take_denial().unwrap().allow.unwrap();
        let mut guest = Guest::new(&scene(mode, &[&line]));
        assert!(guest.send(request(method, url, &[])).await.is_err());
        // What stands in the way now is the network.
        assert!(!guest.denial().contains("no grant line"), "{line}");
    }
}

#[tokio::test]
async fn while_configured_a_plugin_has_no_rights() {
    let mut guest = Guest::new(&scene(Mode::Write, &["http * https://api.example.com/**"]));
    guest.call.set_configuring(true);
    assert!(guest.get("https://api.example.com/").await.is_err());
    assert!(guest.denial().ends_with("while a plugin is configured it has no rights at all"));
}

#[tokio::test]
async fn a_body_on_get_is_denied_when_it_shows() {
    let mut guest = Guest::new(&scene(Mode::Read, &["http GET https://api.example.com/"]));
    let result = guest.send(with_body("GET", "https://api.example.com/", &[], "delete everything")).await;
    assert!(matches!(result, Err(Error::HttpRequestDenied)));
    assert!(guest.denial().ends_with(BODY_ON_GET));
    assert_eq!(guest.audit().len(), 1);
}

#[tokio::test]
async fn addresses_that_are_not_public_need_the_connection_to_say_so() {
    let names = || {
        Names(HashMap::from([
            ("db.example.com", vec!["10.0.0.5"]),
            ("rebind.example.com", vec!["::ffff:127.0.0.1"]),
            ("cloud.example.com", vec!["169.254.169.254", "fd00:ec2::254"]),
        ]))
    };
    let mut lines = Vec::new();
    for (url, opened) in [
        ("http://db.example.com/", None),
        ("http://db.example.com/", Some("10.1.0.0/16")),
        ("http://rebind.example.com/", None),
        ("http://cloud.example.com/", Some("0.0.0.0/0")),
        ("http://127.0.0.1:9/", None),
        ("http://[::1]:9/", None),
    ] {
        let mut scene = scene(
            Mode::Read,
            &["http GET http://*.example.com/", "http GET http://127.0.0.1:9/", "http GET http://[::1]:9/"],
        );
        if let Some(network) = opened {
            let mut api = Api::at(url);
            api.addresses = vec![network.to_owned()];
            scene = scene.bind("api", api.connection());
        }
        let mut guest = Guest::with(&scene, names(), HttpLimits::default());
        let result = guest.get(url).await;
        assert!(matches!(result, Err(Error::DestinationIpProhibited)), "{:?}", result.err());
        assert_eq!(guest.audit().len(), 1);
        assert_eq!(guest.reads(), Reads { succeeded: 0, failed: 0, denied: 1 });
        lines.push(guest.denial());
    }
    insta::assert_snapshot!(lines.join("\n"));
}

#[tokio::test]
async fn a_connection_that_can_not_be_used_is_named_without_its_secret() {
    let mut lines = Vec::new();
    for (origin, path, network, token) in [
        ("https://user:hunter2@api.example.com", "/**", "10.0.0.0/8", "hunter2-hunter2"),
        ("https://api.example.com/v1", "/**", "10.0.0.0/8", "hunter2-hunter2"),
        ("https://api.example.com", "/v*", "10.0.0.0/8", "hunter2-hunter2"),
        ("https://api.example.com", "/**", "10.0.0.1/8", "hunter2-hunter2"),
        ("https://api.example.com", "/**", "10.0.0.0/8", "hunter2\n"),
    ] {
        let connection = Connection::Http {
            origin: origin.to_owned(),
            paths: vec![path.to_owned()],
            credential: Some(Credential::Bearer(Secret::new(token.to_owned()))),
            addresses: vec![network.to_owned()],
            ca: None,
        };
        let scene = scene(Mode::Read, &["http GET https://api.example.com/"]).bind("api", connection);
        lines.push(said(&scene, request("GET", "https://api.example.com/", &[])).await);
    }
    let text = lines.join("\n");
    assert!(!text.contains("hunter2"));
    insta::assert_snapshot!(text);
}
