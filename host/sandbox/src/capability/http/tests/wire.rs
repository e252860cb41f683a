//! What goes over the wire, and what comes back, with a server on loopback.

use super::server::{Reply, Server, ok};
use super::*;
use crate::LimitKind;

fn granted(mode: Mode, server: &Server, lines: &[&str], api: Api) -> Scene {
    let lines: Vec<String> = lines.iter().map(|line| line.replace("ORIGIN", &server.origin())).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    scene(mode, &lines).bind("api", api.connection())
}

fn reading(server: &Server) -> Scene {
    granted(Mode::Read, server, &["http GET ORIGIN/**"], Api::at(server.origin()))
}

#[tokio::test]
async fn a_read_goes_out_as_it_was_checked_and_is_booked() {
    let server = Server::start(vec![ok("x-kind: json\r\n", "{}")]).await;
    let line = "http GET ORIGIN/health/*?verbose=*";
    let scene = granted(Mode::Read, &server, &[line], Api::at(server.origin()));
    let mut guest = Guest::new(&scene);
    let url = server.url("/health/db%20x?verbose=hunter2");
    let answer = guest.send(request("GET", &url, &[("accept", "application/json")])).await.unwrap();
    assert_eq!((answer.status, answer.body.unwrap().as_str()), (200, "{}"));
    assert_eq!(answer.headers.get("x-kind").unwrap(), "json");
    insta::assert_snapshot!(server.only(), @r"
    GET /health/db%20x?verbose=hunter2 HTTP/1.1
    accept: application/json
    host: 127.0.0.1:PORT
    ");
    assert_eq!(guest.reads(), Reads { succeeded: 1, failed: 0, denied: 0 });
    assert!(!guest.call.sent());
    let audit = guest.audit();
    assert_eq!(audit.len(), 1);
    assert_eq!(audit[0].target, server.url("/health/db%20x?verbose=*"));
    assert_eq!(audit[0].operation, "GET");
    assert_eq!(audit[0].rule.as_deref(), Some(line.replace("ORIGIN", &server.origin()).as_str()));
    assert_eq!((audit[0].allowed, audit[0].bytes_in, audit[0].bytes_out), (true, 2, 0));
}

#[tokio::test]
async fn a_write_marks_the_call_as_sent_and_a_refused_connection_does_not() {
    let server = Server::start(vec![ok("", "done")]).await;
    let scene = granted(Mode::Write, &server, &["http POST ORIGIN/**"], Api::at(server.origin()));
    let mut guest = Guest::new(&scene);
    let body = with_body(
        "POST",
        &server.url("/items"),
        &[("content-length", "5"), ("idempotency-key", "k1")],
        "hello",
    );
    assert_eq!(guest.send(body).await.unwrap().status, 200);
    assert!(guest.call.sent());
    assert_eq!(guest.reads(), Reads::default());
    assert_eq!(guest.audit()[0].bytes_out, 5);
    insta::assert_snapshot!(server.only(), @r"
    POST /items HTTP/1.1
    content-length: 5
    idempotency-key: k1
    host: 127.0.0.1:PORT

    hello
    ");

    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let origin = format!("http://{free}");
    let scene = super::scene(Mode::Write, &[&format!("http POST {origin}/")])
        .bind("api", Api::at(&origin).connection());
    let mut guest = Guest::new(&scene);
    let refused = guest.send(request("POST", &origin, &[])).await;
    assert!(matches!(refused, Err(Error::ConnectionRefused)));
    assert!(!guest.call.sent());
    assert_eq!(guest.audit().len(), 1);
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_was_sent() {
    let server = Server::start(vec![Reply::Close]).await;
    let scene = granted(Mode::Write, &server, &["http POST ORIGIN/**"], Api::at(server.origin()));
    let mut guest = Guest::new(&scene);
    let lost = guest.send(with_body("POST", &server.url("/items"), &[], "hello")).await;
    assert!(matches!(lost, Err(Error::ConnectionTerminated)), "{:?}", lost.err());
    assert!(guest.call.sent());
}

#[tokio::test]
async fn a_redirect_is_handed_over_and_its_target_is_a_new_request() {
    let other = Server::start(vec![ok("", "secret")]).await;
    let location = format!("location: {}\r\n", other.url("/steal"));
    let server =
        Server::start(vec![Reply::Say(format!("HTTP/1.1 302 Found\r\n{location}content-length: 0\r\n\r\n"))])
            .await;
    let mut guest = Guest::new(&reading(&server));
    let answer = guest.get(&server.url("/")).await.unwrap();
    assert_eq!(answer.status, 302);
    let next = answer.headers.get("location").unwrap().to_str().unwrap().to_owned();
    assert!(matches!(guest.get(&next).await, Err(Error::HttpRequestDenied)));
    assert!(guest.denial().contains("no grant line covers it"));
    assert!(other.seen().is_empty());
}

#[tokio::test]
async fn the_credential_goes_only_where_its_paths_lead() {
    let server = Server::start(vec![ok("", ""), ok("", "")]).await;
    let api = Api::at(server.origin()).token().on("/api/**");
    let scene = granted(Mode::Read, &server, &["http GET ORIGIN/**"], api);
    let mut guest = Guest::new(&scene);
    guest.send(request("GET", &server.url("/api/items"), &[("accept-encoding", "gzip")])).await.unwrap();
    guest.get(&server.url("/public")).await.unwrap();
    let seen = server.seen();
    assert!(seen[0].contains(&format!("authorization: Bearer {TOKEN}\r\n")), "{}", seen[0]);
    assert!(seen[0].contains("accept-encoding: identity\r\n") && !seen[0].contains("gzip"));
    assert!(!seen[1].contains("authorization"), "{}", seen[1]);
    assert!(!format!("{:?}", guest.audit()).contains(TOKEN));
}

#[tokio::test]
async fn the_credential_does_not_go_to_another_origin() {
    let server = Server::start(vec![ok("", "")]).await;
    let other = Api::at("http://127.0.0.1:1").token();
    let scene = reading(&server).bind("other", other.connection());
    Guest::new(&scene).get(&server.url("/")).await.unwrap();
    assert!(!server.only().contains("authorization"));
}

#[tokio::test]
async fn every_kind_of_credential_is_attached_and_its_header_is_not_the_guests() {
    for (credential, header, expected) in [
        (
            Credential::Basic { user: "ann".to_owned(), password: Secret::new("pass-word-1".to_owned()) },
            "authorization",
            "authorization: Basic YW5uOnBhc3Mtd29yZC0x\r\n",
        ),
        (
            Credential::Header { name: "X-Api-Key".to_owned(), value: Secret::new(TOKEN.to_owned()) },
            "x-api-key",
            "x-api-key: tok-3f9a8c71-secret\r\n",
        ),
    ] {
        let server = Server::start(vec![ok("", "")]).await;
        let mut api = Api::at(server.origin());
        api.credential = Some(credential);
        let scene = granted(Mode::Read, &server, &["http GET ORIGIN/**"], api);
        let mut guest = Guest::new(&scene);
        let own = guest.send(request("GET", &server.url("/"), &[(header, "mine")])).await;
        assert!(matches!(own, Err(Error::HttpRequestDenied)));
        guest.get(&server.url("/")).await.unwrap();
        assert!(server.only().contains(expected));
    }
}

#[tokio::test]
async fn an_answer_that_holds_the_credential_is_stopped() {
    let encoded = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(format!("x:{TOKEN}"))
    };
    let (first, second) = TOKEN.split_at(9);
    for reply in [
        ok("", &format!("you sent {TOKEN}")),
        ok("", &format!("{{\"auth\":\"{encoded}\"}}")),
        ok(&format!("x-echo: Bearer {TOKEN}\r\n"), ""),
        Reply::Pieces(vec![
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned(),
            format!("9\r\n{first}\r\n"),
            format!("{:x}\r\n{second}\r\n0\r\n\r\n", second.len()),
        ]),
    ] {
        let server = Server::start(vec![reply]).await;
        let scene = granted(Mode::Read, &server, &["http GET ORIGIN/**"], Api::at(server.origin()).token());
        let mut guest = Guest::new(&scene);
        let error = match guest.get(&server.url("/echo")).await {
            Ok(answer) => answer.body.unwrap_err(),
            Err(error) => error,
        };
        assert!(
            matches!(&error, Error::InternalError(Some(text)) if text == "credential-echoed"),
            "{error:?}"
        );
        assert!(guest.denial().contains("credential-echoed: the request was sent"));
        assert_eq!(guest.audit().len(), 1);
    }
}

#[tokio::test]
async fn a_compressed_answer_to_a_credential_is_not_taken() {
    let server = Server::start(vec![ok("content-encoding: gzip\r\n", "zzz")]).await;
    let scene = granted(Mode::Read, &server, &["http GET ORIGIN/**"], Api::at(server.origin()).token());
    let answer = Guest::new(&scene).get(&server.url("/")).await;
    assert!(matches!(answer, Err(Error::HttpResponseContentCoding(_))));
}

#[tokio::test]
async fn cookies_do_not_reach_the_guest() {
    let server = Server::start(vec![ok("set-cookie: session=1\r\nset-cookie2: x\r\n", "")]).await;
    let answer = Guest::new(&reading(&server)).get(&server.url("/")).await.unwrap();
    assert!(answer.headers.get("set-cookie").is_none() && answer.headers.get("set-cookie2").is_none());
}

#[tokio::test]
async fn a_server_that_goes_away_is_told_from_one_that_hangs() {
    let cut = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf".to_owned();
    let replies = vec![Reply::Close, Reply::Say(cut), Reply::Hang, Reply::Say("nonsense\r\n\r\n".to_owned())];
    let server = Server::start(replies).await;
    let mut guest = Guest::new(&reading(&server));

    let closed = guest.get(&server.url("/1")).await;
    assert!(matches!(closed, Err(Error::ConnectionTerminated)), "{:?}", closed.err());
    assert_eq!(guest.reads().failed, 1);

    let half = guest.get(&server.url("/2")).await.unwrap();
    assert!(matches!(half.body, Err(Error::HttpResponseIncomplete)), "{:?}", half.body);
    assert_eq!(guest.reads(), Reads { succeeded: 1, failed: 2, denied: 0 });

    guest.options = Some(soon());
    let hung = guest.get(&server.url("/3")).await;
    assert!(matches!(hung, Err(Error::HttpResponseTimeout)), "{:?}", hung.err());

    let nonsense = guest.get(&server.url("/4")).await;
    assert!(matches!(nonsense, Err(Error::HttpProtocolError)), "{:?}", nonsense.err());
    assert_eq!(guest.audit().len(), 4);
}

#[tokio::test]
async fn a_body_that_stalls_is_given_up() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n".to_owned();
    let mut pieces = vec![head];
    pieces.extend((0..100).map(|_| "x".to_owned()));
    let server = Server::start(vec![Reply::Pieces(pieces)]).await;
    let limits = HttpLimits { total: Duration::from_millis(100), ..HttpLimits::default() };
    let mut guest = Guest::with(&reading(&server), Names::default(), limits);
    let slow = guest.get(&server.url("/")).await.unwrap();
    assert!(matches!(slow.body, Err(Error::HttpResponseTimeout)), "{:?}", slow.body);
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_a_limit() {
    let long = "x".repeat(2000);
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{long}");
    let server = Server::start(vec![ok("", &long), Reply::Say(endless)]).await;
    let limits = HttpLimits { body: 1000, ..HttpLimits::default() };
    let mut guest = Guest::with(&reading(&server), Names::default(), limits);
    let declared = guest.get(&server.url("/")).await;
    assert!(matches!(declared, Err(Error::HttpResponseBodySize(Some(2000)))));
    assert_eq!(guest.limit(), Some(LimitHit::new(LimitKind::HttpBody, 1000)));
    let counted = guest.get(&server.url("/")).await.unwrap();
    assert!(matches!(counted.body, Err(Error::HttpResponseBodySize(Some(1000)))));
    assert_eq!(guest.limit(), Some(LimitHit::new(LimitKind::HttpBody, 1000)));
}

#[tokio::test]
async fn headers_without_end_are_cut_off() {
    let endless = format!("HTTP/1.1 200 OK\r\nx-long: {}\r\n\r\n", "x".repeat(100_000));
    let server = Server::start(vec![Reply::Say(endless)]).await;
    let answer = Guest::new(&reading(&server)).get(&server.url("/")).await;
    assert!(matches!(answer, Err(Error::HttpResponseHeaderSectionSize(_))), "{:?}", answer.err());
}

#[tokio::test]
async fn trailers_and_endless_bodies_of_a_guest_do_not_go_out() {
    let server = Server::start(vec![Reply::Hang, Reply::Hang]).await;
    let scene = granted(Mode::Write, &server, &["http POST ORIGIN/**"], Api::at(server.origin()));
    let limits = HttpLimits { body: 1000, ..HttpLimits::default() };
    let mut guest = Guest::with(&scene, Names::default(), limits);
    let mut trailers = HeaderMap::new();
    trailers.insert("authorization", "Bearer x".parse().unwrap());
    let frames = vec![Frame::data(Bytes::from_static(b"a")), Frame::trailers(trailers)];
    let smuggled = guest.send(with_frames("POST", &server.url("/"), frames)).await;
    assert!(matches!(smuggled, Err(Error::HttpRequestTrailerSectionSize(_))), "{:?}", smuggled.err());
    let frames = (0..20).map(|_| Frame::data(Bytes::from(vec![b'a'; 100]))).collect();
    let endless = guest.send(with_frames("POST", &server.url("/"), frames)).await;
    assert!(matches!(endless, Err(Error::HttpRequestBodySize(Some(1000)))), "{:?}", endless.err());
}

#[tokio::test]
async fn an_upgrade_is_not_followed() {
    let switch =
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n".to_owned();
    let server = Server::start(vec![Reply::Say(switch)]).await;
    let answer = Guest::new(&reading(&server)).get(&server.url("/")).await;
    assert!(answer.is_err());
}

#[tokio::test]
async fn only_admitted_addresses_of_a_name_are_connected_to() {
    let server = Server::start(vec![ok("", "here")]).await;
    let origin = format!("http://mixed.example.com:{}", server.port);
    let names =
        Names(HashMap::from([("mixed.example.com", vec!["169.254.169.254", "10.0.0.1", "127.0.0.1"])]));
    let scene =
        scene(Mode::Read, &[&format!("http GET {origin}/")]).bind("api", Api::at(&origin).connection());
    let mut guest = Guest::with(&scene, names, HttpLimits::default());
    assert_eq!(guest.get(&origin).await.unwrap().body.unwrap(), "here");
    assert!(server.only().contains("host: mixed.example.com:PORT"));
}

#[tokio::test]
async fn an_unknown_name_is_a_failure_of_dns() {
    let mut guest = Guest::new(&scene(Mode::Read, &["http GET http://nowhere.example.com/"]));
    assert!(matches!(guest.get("http://nowhere.example.com/").await, Err(Error::DnsError { .. })));
    assert_eq!(guest.reads().failed, 1);
}

#[tokio::test]
async fn a_request_that_is_dropped_still_leaves_one_record() {
    let server = Server::start(vec![Reply::Hang, ok("", "unread")]).await;
    let mut guest = Guest::new(&reading(&server));
    let never = Pin::from(guest.hooks.send_request(
        request("GET", &server.url("/1"), &[]),
        None,
        Box::new(async { Ok(()) }),
    ));
    assert!(tokio::time::timeout(Duration::from_millis(50), never).await.is_err());
    let sent =
        guest.hooks.send_request(request("GET", &server.url("/2"), &[]), None, Box::new(async { Ok(()) }));
    let unread = Pin::from(sent).await.unwrap();
    drop(guest.hooks);
    assert_eq!(guest.call.take_audit().len(), 2);
    drop(unread);
    assert!(guest.call.take_audit().is_empty());
}
