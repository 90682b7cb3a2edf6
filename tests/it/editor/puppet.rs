//! A page that does what a test says.

use super::in_a_window::{Display, PATIENCE, loaded, order, serve_routes, start, wait};
use comfyui_orchestrator::editor::process::EditorProcess;
use serde_json::value::RawValue;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A page with tabs that does what `/next` says, one deed after the other, and tells what it sees of colours.
const OBEDIENT: &str = r#"<!doctype html><body><script>
    const text = Object.getOwnPropertyDescriptor(Node.prototype, "textContent");
    const scheme = () => matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    Object.defineProperty(Node.prototype, "textContent", {...text, set(value) {
        if (this.localName === "style") fetch("/colours?" + encodeURIComponent(scheme() + " " + value));
        text.set.call(this, value);
    }});
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
        close: () => window.close(),
    };
    setInterval(async () => deeds[await (await fetch("/next")).text()]?.(), 150);
</script></body>"#;

/// What a page is to do, and what it did.
#[derive(Clone, Default)]
pub struct Puppet {
    deeds: Arc<std::sync::Mutex<std::collections::VecDeque<&'static str>>>,
    pub tried: Arc<AtomicUsize>,
    pub tabs: Arc<std::sync::Mutex<String>>,
    pub colours: Arc<std::sync::Mutex<String>>,
}

impl Puppet {
    pub fn to_do(&self, deed: &'static str) {
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
        let colours = self.colours.clone();
        let see = move |uri: Uri| async move {
            uri.query()
                .unwrap_or_default()
                .clone_into(&mut colours.lock().unwrap());
        };
        let router = axum::Router::new()
            .route("/", get(|| async { Html(OBEDIENT) }))
            .route("/colours", get(see))
            .route("/next", get(next))
            .route("/tried", get(count))
            .route("/tabs", get(note));
        serve_routes(router).await
    }
}

/// A window on a page that does what it is told, when the workflow is shown.
pub async fn obedient(
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
