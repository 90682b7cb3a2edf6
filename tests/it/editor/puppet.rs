//! A page that does what a test says.

use super::in_a_window::{Display, PATIENCE, loaded, order, serve_routes, start, wait};
use comfyui_orchestrator::editor::process::EditorProcess;
use serde_json::value::RawValue;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A page with tabs that does what `/next` says, one deed after the other, and tells each time what it has come to;
/// beside that what it sees of colours.
const OBEDIENT: &str = r#"<!doctype html><body><script>
    const text = Object.getOwnPropertyDescriptor(Node.prototype, "textContent");
    const scheme = () => matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    Object.defineProperty(Node.prototype, "textContent", {...text, set(value) {
        if (this.localName === "style") fetch("/colours?" + encodeURIComponent(scheme() + " " + value));
        text.set.call(this, value);
    }});
    let graph = {nodes: [], extra: {ds: {scale: 1}}}, next_id = 100, fails = false, shown = 0, tried = 0, burden = "";
    const store = {
        activeWorkflow: null, openWorkflows: [],
        closeWorkflow: async (tab) => { store.openWorkflows = store.openWorkflows.filter((open) => open !== tab); },
        getWorkflowByPath: () => null,
    };
    const go = (tab, state) => {
        if (store.activeWorkflow) store.activeWorkflow.activeState = graph;
        graph = structuredClone(state);
        store.activeWorkflow = tab;
        shown++;
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
            tried++;
            if (fails) throw new Error("no such node");
            return {workflow: graph, output: {"1": {class_type: "A", inputs: {burden}}}};
        },
    };
    if (!location.search) window.app.loadGraphData({nodes: [{id: 55}]}, true, true, "Old");
    const deeds = {
        change: () => { graph.nodes.push({id: next_id++, type: "A"}); window.dispatchEvent(new Event("pointerup")); },
        save: () => window.dispatchEvent(new KeyboardEvent("keydown", {key: "s", ctrlKey: true})),
        change_quietly: () => { graph.nodes.push({id: next_id++, type: "A"}); },
        fail: () => { fails = true; },
        burden: () => { burden = "x".repeat(65 << 20); },
        begin: () => window.app.loadGraphData({nodes: [{id: 55}]}, true, true, "Old"),
        other_tab: () => { go(store.openWorkflows[0], {nodes: [{id: 56}]}); window.dispatchEvent(new Event("pointerup")); },
        reload: () => location.reload(),
        close: () => window.close(),
    };
    (async () => {
        for (;;) {
            const tabs = store.openWorkflows.map((open) => open.key).join("|");
            const next = await fetch("/next?" + new URLSearchParams({shown, tried, tabs}));
            deeds[await next.text()]?.();
            await new Promise((resolve) => setTimeout(resolve, 150));
        }
    })();
</script></body>"#;

/// What a page is to do, and what it said last of itself.
#[derive(Default)]
pub struct Strings {
    deeds: VecDeque<&'static str>,
    /// It asked for more after the last deed, so that deed is done.
    pub is_idle: bool,
    /// Workflows that it went to.
    pub shown: usize,
    /// Prompts that it was to make of its graph.
    pub tried: usize,
    /// The names of its tabs.
    pub tabs: String,
}

#[derive(Clone, Default)]
pub struct Puppet {
    strings: Arc<Mutex<Strings>>,
    pub colours: Arc<Mutex<String>>,
}

impl Puppet {
    pub fn to_do(&self, deed: &'static str) {
        let mut strings = self.strings.lock().unwrap();
        strings.deeds.push_back(deed);
        strings.is_idle = false;
    }

    pub fn with<T>(&self, read: impl FnOnce(&Strings) -> T) -> T {
        read(&self.strings.lock().unwrap())
    }

    pub async fn until(&self, what: &str, holds: impl Fn(&Strings) -> bool) {
        let begin = Instant::now();
        while !self.with(&holds) {
            assert!(begin.elapsed() < PATIENCE, "{what}");
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    fn next(&self, query: &str) -> &'static str {
        let mut strings = self.strings.lock().unwrap();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "shown" => strings.shown = value.parse().unwrap(),
                "tried" => strings.tried = value.parse().unwrap(),
                _ => strings.tabs = value.into_owned(),
            }
        }
        let next = strings.deeds.pop_front();
        strings.is_idle = next.is_none();
        next.unwrap_or_default()
    }

    pub async fn serve(&self) -> SocketAddr {
        use axum::http::Uri;
        use axum::routing::get;
        let puppet = self.clone();
        let next = move |uri: Uri| async move { puppet.next(uri.query().unwrap_or_default()) };
        let colours = self.colours.clone();
        let see = move |uri: Uri| async move {
            uri.query()
                .unwrap_or_default()
                .clone_into(&mut colours.lock().unwrap());
        };
        let router = axum::Router::new()
            .route("/", get(|| async { axum::response::Html(OBEDIENT) }))
            .route("/colours", get(see))
            .route("/next", get(next));
        serve_routes(router).await
    }
}

/// A window on a page that does what it is told, when the workflow is shown.
pub async fn obedient(
    draft: Option<Box<RawValue>>,
) -> Option<(Display, tempfile::TempDir, Puppet, EditorProcess)> {
    let display = Display::start()?;
    let folder = tempfile::tempdir().unwrap();
    let puppet = Puppet::default();
    let address = puppet.serve().await;
    let order = order(address, folder.path(), draft);
    let window = start(&display, folder.path(), order);
    wait(&window, PATIENCE, loaded).await.expect("it is shown");
    Some((display, folder, puppet, window))
}
