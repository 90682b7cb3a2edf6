//! What the tests of the window share: a display, servers of pages, the window's program, and what it says.

use crate::needed;
use comfyui_orchestrator::editor::message::{
    Appearance, DraftFate, EditorGraph, FromWindow, OpenWindow,
};
use comfyui_orchestrator::editor::process::{EditorEvent, EditorProcess};
use serde_json::value::RawValue;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A page that answers to the calls of ComfyUI's `app` that the bar makes, with a graph of one number, and a person who changes
/// and saves it. The bar looks at what it loaded 0.7 s later; timers of one page go off in the order of their times, however
/// slow the machine is.
pub const FRIENDLY: &str = r#"<!doctype html><body><script>
    let graph = {nodes: [], extra: {ds: {scale: 1}}};
    const person = () => {
        setTimeout(() => {
            graph.nodes.push({id: 7, type: "A"});
            window.dispatchEvent(new Event("pointerup"));
        }, 2000);
        setTimeout(() => window.dispatchEvent(new KeyboardEvent("keydown", {key: "s", ctrlKey: true})), 4000);
    };
    window.app = {
        graph: {serialize: () => graph},
        loadGraphData: async (loaded) => { graph = structuredClone(loaded); person(); },
        loadApiJson: async (loaded) => { graph = {api: loaded}; },
        graphToPrompt: async () => ({workflow: graph, output: {"1": {class_type: "A", inputs: {}}}}),
    };
</script></body>"#;

/// A display for the test alone; none where there is no Xvfb.
pub struct Display {
    server: Child,
    /// As in `DISPLAY`.
    pub name: String,
}

impl Display {
    pub fn start() -> Option<Self> {
        let mut server = needed::spawn(
            Command::new("Xvfb")
                .args(["-displayfd", "1", "-screen", "0", "1280x900x24"])
                .stdout(Stdio::piped())
                .stderr(Stdio::null()),
        )?;
        let mut number = String::new();
        let mut output = std::io::BufReader::new(server.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut output, &mut number).unwrap();
        assert!(!number.trim().is_empty(), "Xvfb does not start");
        Some(Self {
            server,
            name: format!(":{}", number.trim()),
        })
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// A server of whatever these routes say.
pub async fn serve_routes(router: axum::Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

pub async fn serve(pages: Vec<(&'static str, String)>) -> SocketAddr {
    serve_counting(pages).await.0
}

/// A server of some pages, and how often any of them was asked for.
pub async fn serve_counting(pages: Vec<(&'static str, String)>) -> (SocketAddr, Arc<AtomicUsize>) {
    use axum::response::Html;
    use axum::routing::get;
    let mut router = axum::Router::new().route(
        "/download.bin",
        get(|| async {
            (
                [("content-type", "application/octet-stream")],
                vec![0_u8; 64],
            )
        }),
    );
    let hits = Arc::new(AtomicUsize::new(0));
    for (path, html) in pages {
        let hits = hits.clone();
        let page = move || async move {
            hits.fetch_add(1, Ordering::Relaxed);
            Html(html)
        };
        router = router.route(path, get(page));
    }
    (serve_routes(router).await, hits)
}

pub fn order(address: SocketAddr, profile_dir: &Path, draft: Option<Box<RawValue>>) -> OpenWindow {
    OpenWindow {
        url: format!("http://{address}/").parse().unwrap(),
        node_title: "Portrait".to_owned(),
        backend_name: "Workstation".to_owned(),
        workflow: EditorGraph::Ui(
            RawValue::from_string(r#"{"nodes":[{"id":1}],"extra":{"ds":{"scale":2}}}"#.to_owned())
                .unwrap(),
        ),
        draft,
        profile_dir: profile_dir.to_owned(),
        appearance: Appearance::Dark,
        geometry: None,
    }
}

/// The window's program on this display.
pub fn window_program(display: &Display, folder: &Path) -> std::path::PathBuf {
    // The window takes its display from the environment of the program that starts it, as in the app: a small shell
    // script gives it this test's own.
    let script = folder.join("window.sh");
    std::fs::write(
        &script,
        format!(
            "#!/bin/sh\nunset WAYLAND_DISPLAY\nDISPLAY={} exec '{}'\n",
            display.name,
            env!("CARGO_BIN_EXE_comfyui-orchestrator-editor")
        ),
    )
    .unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    script
}

pub fn start(display: &Display, folder: &Path, order: OpenWindow) -> EditorProcess {
    let program = window_program(display, folder);
    EditorProcess::start(&program, order, || {}).unwrap()
}

/// Waits for something a window says.
pub async fn wait<T>(
    window: &EditorProcess,
    limit: Duration,
    mut wanted: impl FnMut(&EditorEvent) -> Option<T>,
) -> Option<T> {
    let start = Instant::now();
    while start.elapsed() < limit {
        while let Some(event) = window.poll() {
            if let Some(found) = wanted(&event) {
                return Some(found);
            }
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    None
}

pub const PATIENCE: Duration = Duration::from_secs(90);

pub fn loaded(event: &EditorEvent) -> Option<()> {
    matches!(event, EditorEvent::Said(FromWindow::Loaded)).then_some(())
}

pub fn draft_of(event: &EditorEvent) -> Option<String> {
    match event {
        EditorEvent::Said(FromWindow::Changed { draft: Some(draft) }) => {
            Some(draft.get().to_owned())
        }
        _ => None,
    }
}

pub fn fate_of(event: &EditorEvent) -> Option<DraftFate> {
    match event {
        EditorEvent::Said(FromWindow::Closed { draft }) => Some(*draft),
        _ => None,
    }
}
