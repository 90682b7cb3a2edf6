//! The door through which the pages of a server with authentication or a certificate of its own are opened.

use super::backends_on_the_command_line::behind_tls;
use axum::Router;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse as _;
use axum::routing::{any, get, post};
use comfyui_orchestrator::fleet::{Auth, BackendConfig, Door, Secret, TlsPolicy};
use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

/// A variable that every test process has; what it holds is the secret of this server.
const VARIABLE: &str = "PATH";

/// A server that lets nobody in without its key.
async fn guarded() -> SocketAddr {
    let key = std::env::var(VARIABLE).unwrap();
    let guard = move |headers: &HeaderMap| {
        headers
            .get("x-key")
            .is_some_and(|given| given.as_bytes() == key.as_bytes())
    };
    let (guards_page, guards_socket) = (guard.clone(), guard);
    let router = Router::new()
        .route(
            "/",
            get(move |headers: HeaderMap| async move {
                if !guards_page(&headers) {
                    return StatusCode::UNAUTHORIZED.into_response();
                }
                ([("x-own", "1")], "the page").into_response()
            }),
        )
        .route(
            "/echo",
            post(move |headers: HeaderMap, body: String| async move {
                let text = |name: &str| {
                    let value = headers.get(name);
                    value
                        .map_or("", |value| value.to_str().unwrap_or("?"))
                        .to_owned()
                };
                format!(
                    "{}|{}|{}|{body}",
                    text("origin"),
                    text("cookie"),
                    text("host")
                )
            }),
        )
        .route(
            "/login",
            get(|headers: HeaderMap| async move {
                let host = headers.get("host").unwrap().to_str().unwrap().to_owned();
                (
                    StatusCode::FOUND,
                    [
                        (
                            "set-cookie",
                            "session=7; Secure; Domain=studio.example; Path=/".to_owned(),
                        ),
                        ("location", format!("http://{host}/after?x=1")),
                    ],
                )
            }),
        )
        .route(
            "/ws",
            any(
                move |headers: HeaderMap, upgrade: WebSocketUpgrade| async move {
                    if !guards_socket(&headers) {
                        return StatusCode::UNAUTHORIZED.into_response();
                    }
                    upgrade.on_upgrade(|mut socket| async move {
                        while let Some(Ok(message)) = socket.recv().await {
                            let answer = match message {
                                Message::Text(text) => {
                                    Message::Text(format!("heard {text}").into())
                                }
                                Message::Binary(bytes) => Message::Binary(bytes),
                                _ => continue,
                            };
                            if socket.send(answer).await.is_err() {
                                break;
                            }
                        }
                    })
                },
            ),
        );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

fn config(url: &str) -> BackendConfig {
    BackendConfig::new("studio", url.parse().unwrap())
}

fn web_view() -> reqwest::Client {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .tls_danger_accept_invalid_certs(true)
        .build()
        .unwrap()
}

/// The first request of the window: gives the cookie and the address without the secret.
async fn enter(door: &Door) -> (String, String) {
    let welcome = web_view().get(door.url().clone()).send().await.unwrap();
    assert_eq!(welcome.status(), StatusCode::SEE_OTHER);
    assert_eq!(welcome.headers()[LOCATION], "/");
    let cookie = welcome.headers()[SET_COOKIE].to_str().unwrap().to_owned();
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"),
        "{cookie}"
    );
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let base = format!("http://127.0.0.1:{}", door.url().port().unwrap());
    (cookie, base)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guarded_page_comes_through_with_its_sockets_and_for_one_window_alone() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = guarded().await;
    let mut guarded = config(&format!("http://{server}"));
    assert!(!Door::is_needed(&guarded));
    let key = |variable: &str| Auth::Header {
        name: "x-key".to_owned(),
        value: Secret::Env(variable.to_owned()),
    };
    guarded.auth = key("NO_SUCH_VARIABLE_HERE");
    assert!(Door::is_needed(&guarded));
    // A missing secret is told before anything opens.
    let refused = Door::open(&guarded, "s3cret").await.unwrap_err();
    assert!(
        refused.to_string().contains("NO_SUCH_VARIABLE_HERE"),
        "{refused}"
    );
    guarded.auth = key(VARIABLE);
    let door = Door::open(&guarded, "s3cret").await.unwrap();
    let (cookie, base) = enter(&door).await;
    let view = web_view();

    // Nobody else comes in: without the cookie, with another one, or with a guess.
    for stranger in ["", "door=s3cret", "other=1"] {
        let mut request = view.get(format!("{base}/"));
        if !stranger.is_empty() {
            request = request.header(COOKIE, stranger);
        }
        assert_eq!(
            request.send().await.unwrap().status(),
            StatusCode::FORBIDDEN
        );
    }
    let guess = view
        .get(format!("{base}/?door=guess"))
        .send()
        .await
        .unwrap();
    assert_eq!(guess.status(), StatusCode::FORBIDDEN);

    // The page needs no key, and one that it makes up does not count.
    let page = view
        .get(format!("{base}/"))
        .header(COOKIE, &cookie)
        .header("x-key", "made up")
        .send()
        .await
        .unwrap();
    assert_eq!(page.status(), StatusCode::OK);
    assert_eq!(page.headers()["x-own"], "1");
    assert_eq!(page.text().await.unwrap(), "the page");

    // Sockets too, in both directions.
    let mut request = format!("{}/ws?clientId=1", base.replace("http", "ws"))
        .into_client_request()
        .unwrap();
    assert!(
        tokio_tungstenite::connect_async(request.clone())
            .await
            .is_err()
    );
    request
        .headers_mut()
        .insert(COOKIE, cookie.parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    socket.send("hello".into()).await.unwrap();
    let heard = socket.next().await.unwrap().unwrap();
    assert_eq!(heard.to_text().unwrap(), "heard hello");
    let picture = vec![7_u8; 300_000];
    socket.send(picture.clone().into()).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap().into_data(), picture);

    // The server sees its own address, and no cookie of ours.
    let echoed = view
        .post(format!("{base}/echo"))
        .header(COOKIE, format!("theme=dark; {cookie}"))
        .header("origin", &base)
        .body("words")
        .send()
        .await
        .unwrap();
    assert_eq!(echoed.status(), StatusCode::OK);
    assert_eq!(
        echoed.text().await.unwrap(),
        format!("http://{server}|theme=dark|{server}|words")
    );

    // A login of the server itself works: its cookie holds here, its address leads here.
    let login = view
        .get(format!("{base}/login"))
        .header(COOKIE, &cookie)
        .send()
        .await
        .unwrap();
    assert_eq!(login.headers()[SET_COOKIE], "session=7; Path=/");
    assert_eq!(login.headers()[LOCATION], "/after?x=1");

    drop(door);
    for _ in 0..100 {
        if view.get(format!("{base}/")).send().await.is_err() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the door is closed with the window");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_a_person_vouches_for_is_enough_below_a_base_path_too() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/api/x", get(|| async { "below" }));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let port = behind_tls(&plain, "127.0.0.1");
    let mut vouched = config(&format!("https://127.0.0.1:{port}/comfy"));
    for (tls, status) in [
        (TlsPolicy::AcceptAny, StatusCode::OK),
        (TlsPolicy::Verify, StatusCode::BAD_GATEWAY),
    ] {
        vouched.tls = tls;
        assert_eq!(Door::is_needed(&vouched), tls == TlsPolicy::AcceptAny);
        let door = Door::open(&vouched, "s3cret").await.unwrap();
        let (cookie, base) = enter(&door).await;
        let asked = web_view()
            .get(format!("{base}/api/x"))
            .header(COOKIE, &cookie)
            .send();
        assert_eq!(asked.await.unwrap().status(), status);
        // Nothing outside the base path is reached, however it is written.
        for outside in ["/../api/x", "/%2e%2e/api/x", "/a/../../api/x"] {
            let host = base.trim_start_matches("http://");
            let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
            let request = format!(
                "GET {outside} HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 502"), "{outside}: {answer}");
        }
    }
}
