//! A page that is friendly: shown, changed, saved and closed; behind a door, behind a login, loaded anew, or not there at all.

use super::in_a_window::{
    Display, FRIENDLY, PATIENCE, order, serve, serve_counting, serve_routes, start, wait,
};
use crate::needed;
use comfyui_orchestrator::editor::message::{
    CloseMode, DraftFate, EditorGraph, FromWindow, SaveAnswer, SaveTarget, ToWindow,
};
use comfyui_orchestrator::editor::process::EditorEvent;
use serde_json::value::RawValue;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_is_shown_changed_saved_and_the_window_closes() {
    let Some(display) = Display::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let address = serve(vec![("/", FRIENDLY.to_owned())]).await;
    let window = start(&display, folder.path(), order(address, folder.path(), None));
    let loaded = wait(&window, PATIENCE, |event| match event {
        EditorEvent::Said(FromWindow::Loaded) => Some(Ok(())),
        EditorEvent::Died(reason) => Some(Err(reason.clone())),
        _ => None,
    })
    .await;
    assert_eq!(loaded, Some(Ok(())), "the page shows the workflow");
    let draft = wait(&window, PATIENCE, |event| match event {
        EditorEvent::Said(FromWindow::Changed { draft: Some(draft) }) => {
            Some(draft.get().to_owned())
        }
        _ => None,
    })
    .await
    .expect("a change is noticed");
    assert!(
        draft.contains("\"id\":1") && draft.contains("\"id\":7"),
        "{draft}"
    );
    let (target, number, prompt) = wait(&window, PATIENCE, |event| match event {
        EditorEvent::Said(FromWindow::Save(saved)) => {
            Some((saved.target, saved.number, saved.prompt.get().to_owned()))
        }
        _ => None,
    })
    .await
    .expect("Ctrl+S saves");
    assert_eq!(target, SaveTarget::Node);
    assert!(prompt.contains("class_type"), "{prompt}");
    window
        .send(ToWindow::SaveAnswer {
            number,
            answer: SaveAnswer::Kept,
        })
        .unwrap();
    let unchanged = wait(&window, PATIENCE, |event| {
        matches!(
            event,
            EditorEvent::Said(FromWindow::Changed { draft: None })
        )
        .then_some(())
    })
    .await;
    assert!(unchanged.is_some(), "what was kept is no change any more");
    window.send(ToWindow::Close(CloseMode::Ask)).unwrap();
    let fate = wait(&window, PATIENCE, |event| match event {
        EditorEvent::Said(FromWindow::Closed { draft }) => Some(*draft),
        _ => None,
    })
    .await;
    assert_eq!(fate, Some(DraftFate::Discard));
    let ended = wait(&window, PATIENCE, |event| {
        matches!(event, EditorEvent::Ended).then_some(())
    })
    .await;
    assert!(ended.is_some(), "the process ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_a_server_that_asks_who_we_are_is_shown_through_a_door() {
    use comfyui_orchestrator::fleet::{Auth, BackendConfig, Door, Secret};
    let Some(display) = Display::start() else {
        return;
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    // Every test process has this variable; its content is the key.
    let key = std::env::var("PATH").unwrap();
    let router = axum::Router::new().fallback(move |headers: axum::http::HeaderMap| async move {
        use axum::response::IntoResponse as _;
        let is_known = headers
            .get("x-key")
            .is_some_and(|given| given.as_bytes() == key.as_bytes());
        if is_known {
            axum::response::Html(FRIENDLY).into_response()
        } else {
            axum::http::StatusCode::UNAUTHORIZED.into_response()
        }
    });
    let address = serve_routes(router).await;
    let mut config = BackendConfig::new("studio", format!("http://{address}/").parse().unwrap());
    config.auth = Auth::Header {
        name: "x-key".to_owned(),
        value: Secret::Env("PATH".to_owned()),
    };
    let door = Door::open(&config, "4f8c2d").await.unwrap();
    let mut order = order(address, folder.path(), None);
    order.url = door.url().clone();
    let window = start(&display, folder.path(), order);
    let loaded = wait(&window, PATIENCE, |event| match event {
        EditorEvent::Said(FromWindow::Loaded) => Some(Ok(())),
        EditorEvent::Said(FromWindow::Notice { text }) => Some(Err(text.clone())),
        EditorEvent::Died(reason) => Some(Err(reason.clone())),
        _ => None,
    })
    .await;
    assert_eq!(loaded, Some(Ok(())), "the page is let in and believed");
}

/// A form like those of servers that want a password, and a person who fills it.
const LOGIN: &str = r#"<!doctype html><body><form method="post" action="/login">
    <input type="password" name="password"><button>Sign in</button></form>
    <script>setTimeout(() => {
        document.querySelector("input").value = "open sesame";
        document.querySelector("form").requestSubmit();
    }, 500);</script></body>"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_login_page_of_the_server_itself_is_passed() {
    use axum::http::{HeaderMap, StatusCode, header};
    use axum::response::{Html, IntoResponse as _, Redirect};
    use axum::routing::get;
    let Some(display) = Display::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let router = axum::Router::new()
        .route(
            "/",
            get(|headers: HeaderMap| async move {
                let cookie = headers.get(header::COOKIE);
                if cookie.is_some_and(|cookie| cookie.as_bytes() == b"session=known") {
                    Html(FRIENDLY).into_response()
                } else {
                    Redirect::to("/login").into_response()
                }
            }),
        )
        .route(
            "/login",
            get(|| async { Html(LOGIN) }).post(|body: String| async move {
                if body == "password=open+sesame" {
                    let cookie = [(header::SET_COOKIE, "session=known; Path=/; HttpOnly")];
                    (cookie, Redirect::to("/")).into_response()
                } else {
                    StatusCode::FORBIDDEN.into_response()
                }
            }),
        );
    let address = serve_routes(router).await;
    let window = start(&display, folder.path(), order(address, folder.path(), None));
    let saved = wait(&window, PATIENCE, |event| match event {
        EditorEvent::Said(FromWindow::Save(saved)) => Some(Ok(saved.workflow.get().to_owned())),
        EditorEvent::Said(FromWindow::Notice { text } | FromWindow::Failed { text }) => {
            Some(Err(text.clone()))
        }
        EditorEvent::Died(reason) => Some(Err(reason.clone())),
        _ => None,
    })
    .await
    .expect("the person comes in and saves");
    // The node's own workflow, with what the person added.
    let saved = saved.unwrap();
    assert!(
        saved.contains("\"id\":1") && saved.contains("\"id\":7"),
        "{saved}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_on_another_server_is_refused_by_name() {
    use axum::response::Redirect;
    let Some(display) = Display::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (elsewhere, hits) = serve_counting(vec![("/login", LOGIN.to_owned())]).await;
    let there = format!("http://{elsewhere}/login?secret=of-the-server");
    let router = axum::Router::new().fallback(move || async move { Redirect::to(&there) });
    let address = serve_routes(router).await;
    let window = start(&display, folder.path(), order(address, folder.path(), None));
    let told = wait(&window, PATIENCE, |event| match event {
        EditorEvent::Said(FromWindow::Failed { text }) => Some(Ok(text.clone())),
        EditorEvent::Said(other) => {
            (!matches!(other, FromWindow::Geometry(_))).then(|| Err(format!("{other:?}")))
        }
        EditorEvent::Died(reason) => Some(Err(reason.clone())),
        _ => None,
    })
    .await
    .expect("the window says so")
    .unwrap();
    assert!(
        told.contains(&format!("http://{elsewhere},")) && !told.contains("secret"),
        "{told}"
    );
    assert_eq!(hits.load(Ordering::Relaxed), 0, "it was not even asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_loaded_anew_begins_with_what_the_node_has_by_then() {
    use axum::http::StatusCode;
    use axum::response::Html;
    use axum::routing::get;
    let Some(display) = Display::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let may_reload = Arc::new(AtomicUsize::new(0));
    let asked = may_reload.clone();
    // The person reloads the page when the node has what was saved, and adds something else.
    let page = FRIENDLY
        .replace("id: 7", "id: sessionStorage.reloaded ? 8 : 7")
        .replace(
            "</script>",
            r#"if (!sessionStorage.reloaded) setInterval(async () => {
                if (!(await fetch("/may_reload")).ok) return;
                sessionStorage.reloaded = "yes";
                location.reload();
            }, 300);</script>"#,
        );
    let router = axum::Router::new()
        .route("/", get(|| async { Html(page) }))
        .route(
            "/may_reload",
            get(|| async move {
                match asked.load(Ordering::Relaxed) {
                    0 => StatusCode::NOT_FOUND,
                    _ => StatusCode::OK,
                }
            }),
        );
    let address = serve_routes(router).await;
    let window = start(&display, folder.path(), order(address, folder.path(), None));
    let saved = wait(&window, PATIENCE, |event| match event {
        EditorEvent::Said(FromWindow::Save(saved)) => {
            let graph = saved.workflow.get().to_owned();
            Some((saved.number, RawValue::from_string(graph).unwrap()))
        }
        _ => None,
    })
    .await;
    let (number, graph) = saved.expect("it is saved");
    window
        .send(ToWindow::SaveAnswer {
            number,
            answer: SaveAnswer::Kept,
        })
        .unwrap();
    window
        .send(ToWindow::NodeWorkflow(EditorGraph::Ui(graph)))
        .unwrap();
    let kept = wait(&window, PATIENCE, |event| {
        matches!(
            event,
            EditorEvent::Said(FromWindow::Changed { draft: None })
        )
        .then_some(())
    })
    .await;
    assert!(kept.is_some());
    may_reload.store(1, Ordering::Relaxed);
    let draft = wait(&window, PATIENCE, |event| match event {
        EditorEvent::Said(FromWindow::Changed { draft: Some(draft) }) => {
            let draft = draft.get();
            draft.contains("\"id\":8").then(|| draft.to_owned())
        }
        _ => None,
    })
    .await
    .expect("the change after it");
    assert!(draft.contains("\"id\":7"), "saved before it: {draft}");
}

#[test]
fn the_app_itself_is_not_linked_with_the_web_view() {
    let needed = |program: &str| {
        let mut readelf = Command::new("readelf");
        readelf.args(["-d", program]).stdout(Stdio::piped());
        let listed = needed::spawn(&mut readelf)?.wait_with_output().unwrap();
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let names: Vec<String> = listed
            .lines()
            .filter(|line| line.contains("(NEEDED)"))
            .map(str::to_owned)
            .collect();
        Some(names)
    };
    let (Some(app), Some(window)) = (
        needed(env!("CARGO_BIN_EXE_comfyui-orchestrator")),
        needed(env!("CARGO_BIN_EXE_comfyui-orchestrator-editor")),
    ) else {
        return;
    };
    let of_the_web_view = |names: &[String]| -> Vec<String> {
        names
            .iter()
            .filter(|name| {
                ["webkit", "javascriptcore", "libgtk", "libsoup"]
                    .iter()
                    .any(|part| name.contains(part))
            })
            .cloned()
            .collect()
    };
    assert!(!of_the_web_view(&window).is_empty(), "{window:?}");
    assert!(!app.is_empty(), "readelf lists what the app needs");
    assert!(of_the_web_view(&app).is_empty(), "{app:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_without_the_page_says_so_at_once() {
    let Some(display) = Display::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let address = serve(Vec::new()).await;
    let window = start(&display, folder.path(), order(address, folder.path(), None));
    let told = wait(&window, PATIENCE, |event| match event {
        EditorEvent::Said(FromWindow::NotShown { text }) => Some(text.clone()),
        _ => None,
    })
    .await
    .expect("it says that it shows nothing");
    assert!(
        told.contains("has no editor") && told.contains("404"),
        "{told}"
    );
}
