//! The way from a node through the editor's window and back, with the app, the window and the backend as they are: on a page of a
//! few lines that the built-in backend serves, and on the page of a real ComfyUI. For the latter:
//! `COMFYUI_URLS=http://127.0.0.1:8188 cargo test real_editor`; skipped without it.

use super::hand::Hand;
use crate::editor::in_a_window::{Display, window_program};
use comfyui_orchestrator::app::actions::Action;
use comfyui_orchestrator::app::bridge::{Backends, RunViews};
use comfyui_orchestrator::app::document::Selection;
use comfyui_orchestrator::app::editors::Editors;
use comfyui_orchestrator::app::model::NodeEditing;
use comfyui_orchestrator::builtin::{Server, ServerOptions};
use comfyui_orchestrator::engine::RunState;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A picture of one colour, blurred.
const BEFORE: &str = r#"{
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 48, "batch_size": 1, "color": 255}, "_meta": {"title": "Blank"}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "real-editor"}, "_meta": {"title": "Save"}}
}"#;

/// What a person does on the page: a value, a node more, its link, and Ctrl+S.
const PERSON: &str = r#"<script>(async () => {
    const sleep = (time_ms) => new Promise((resolve) => setTimeout(resolve, time_ms));
    const find = (type) => window.app?.graph?.nodes?.find((node) => node.type === type);
    while (!find("EmptyImage") || !find("SaveImage")) await sleep(200);
    // The bar lets the nodes settle before it looks for changes.
    await sleep(3000);
    const width = find("EmptyImage").widgets.find((widget) => widget.name === "width");
    width.value = 96;
    const invert = window.LiteGraph.createNode("ImageInvert");
    window.app.graph.add(invert);
    find("EmptyImage").connect(0, invert, 0);
    invert.connect(0, find("SaveImage"), 0);
    window.dispatchEvent(new Event("pointerup"));
    await sleep(1500);
    window.dispatchEvent(new KeyboardEvent("keydown", {key: "s", ctrlKey: true}));
})();</script>"#;

/// A page that keeps a graph as ComfyUI does and makes its prompt, with the same person on it.
const SMALL_PAGE: &str = r#"<!doctype html><title>ComfyUI</title><body><script>
    const WIDGETS = {EmptyImage: ["width", "height", "batch_size", "color"], ImageInvert: [], SaveImage: ["filename_prefix"]};
    let graph = {nodes: [], links: []};
    const find = (type) => graph.nodes.find((node) => node.type === type);
    window.app = {
        graph: {serialize: () => graph},
        loadGraphData: async (loaded) => { graph = structuredClone(loaded); },
        graphToPrompt: async () => {
            const output = {};
            for (const node of graph.nodes) {
                const inputs = {};
                WIDGETS[node.type].forEach((name, index) => { inputs[name] = node.widgets_values[index]; });
                for (const input of node.inputs ?? []) {
                    const link = graph.links.find(([id]) => id === input.link);
                    if (link) inputs[input.name] = [String(link[1]), link[2]];
                }
                output[node.id] = {class_type: node.type, inputs};
            }
            return {workflow: graph, output};
        },
    };
    const sleep = (time_ms) => new Promise((resolve) => setTimeout(resolve, time_ms));
    (async () => {
        while (!find("EmptyImage")) await sleep(100);
        await sleep(2500);
        const save = find("SaveImage"), link = graph.links[0];
        find("EmptyImage").widgets_values[0] = 96;
        graph.nodes.push({
            id: 90, type: "ImageInvert", pos: [0, 300], size: [200, 50], flags: {}, order: 1, mode: 0, properties: {}, widgets_values: [],
            inputs: [{name: "image", type: "IMAGE", link: link[0]}], outputs: [{name: "IMAGE", type: "IMAGE", links: [91]}],
        });
        graph.links.push([91, 90, 0, save.id, link[4], "IMAGE"]);
        save.inputs.find((input) => input.link === link[0]).link = 91;
        [link[3], link[4]] = [90, 0];
        [graph.last_node_id, graph.last_link_id] = [90, 91];
        window.dispatchEvent(new Event("pointerup"));
        await sleep(1500);
        window.dispatchEvent(new KeyboardEvent("keydown", {key: "s", ctrlKey: true}));
    })();
</script></body>"#;

/// Passes everything on to a server as it is, and puts a person's hands into its first page.
async fn with_hands(server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(pass_on(stream, server));
        }
    });
    address
}

async fn pass_on(mut stream: TcpStream, server: SocketAddr) -> std::io::Result<()> {
    let mut head = vec![0; 32];
    let mut count = 0;
    while count < 16 {
        count = stream.peek(&mut head).await?;
        if count == 0 {
            return Ok(());
        }
    }
    let is_browser = {
        let mut request = vec![0; 4096];
        let count = stream.peek(&mut request).await?;
        String::from_utf8_lossy(&request[..count]).contains("Mozilla")
    };
    if head.starts_with(b"GET / HTTP") && is_browser {
        let _ = stream.read(&mut vec![0; 64 * 1024]).await?;
        let page = reqwest::get(format!("http://{server}/")).await;
        let page = page.unwrap().text().await.unwrap();
        let page = page.replace("</head>", &format!("{PERSON}</head>"));
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncache-control: no-store\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{page}",
            page.len()
        );
        stream.write_all(answer.as_bytes()).await?;
        return stream.shutdown().await;
    }
    let mut upstream = TcpStream::connect(server).await?;
    tokio::io::copy_bidirectional(&mut stream, &mut upstream).await?;
    Ok(())
}

#[test]
fn a_node_goes_through_a_real_editor_and_runs_as_it_was_changed() {
    let urls = std::env::var("COMFYUI_URLS").unwrap_or_default();
    let Some(url) = urls.split(',').map(str::trim).find(|url| !url.is_empty()) else {
        println!("skipped: COMFYUI_URLS is not set");
        return;
    };
    let Some(display) = Display::start() else {
        return;
    };
    let url: url::Url = url.parse().unwrap();
    let server = url.socket_addrs(|| None).unwrap()[0];
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let address = runtime.block_on(with_hands(server));
    let folder = tempfile::tempdir().unwrap();
    goes_through_the_window(address, &display, folder.path());
}

#[test]
fn a_node_goes_through_a_page_of_the_builtin_backend_and_runs_as_it_was_changed() {
    let Some(display) = Display::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("pages");
    std::fs::create_dir_all(&pages).unwrap();
    std::fs::write(pages.join("index.html"), SMALL_PAGE).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut options = ServerOptions::new(folder.path().join("server"));
    options.frontend_dir = Some(pages);
    let server = runtime.block_on(Server::bind(options)).unwrap();
    let address = server.local_addr();
    runtime.spawn(server.serve(std::future::pending()));
    goes_through_the_window(address, &display, folder.path());
}

/// Opens a node's editor on the page at this address, takes what the person there saves, and runs it.
fn goes_through_the_window(address: SocketAddr, display: &Display, folder: &std::path::Path) {
    let page: url::Url = format!("http://{address}/").parse().unwrap();
    let program = window_program(display, folder);
    let file = folder.join("Blank.json");
    std::fs::write(&file, BEFORE).unwrap();
    let mut hand = Hand::open_with(folder, |options| {
        options.editor_program = Some(program);
        options.start_builtin = Some(Box::new(move || Ok(page.clone())));
    });
    hand.act(Action::StartBuiltin);
    hand.wait_until("the server answers and its classes are known", |hand| {
        let cards = &hand.get::<Backends>().cards;
        cards
            .values()
            .any(|card| card.status.has_editor == Some(true))
            && hand
                .get::<comfyui_orchestrator::app::catalog::Catalog>()
                .object_info()
                .is_some()
    });
    hand.drop_file(&file);
    let node_id = *hand.get::<Selection>().nodes.first().expect("a node");
    hand.act(Action::EditWorkflow {
        node_id: None,
        backend_id: None,
    });
    hand.wait_until("the page is changed", |hand| {
        hand.get::<Editors>().mark(node_id) == NodeEditing::Changed
    });
    hand.wait_until("it is saved, and the app asks", |hand| {
        hand.sees("Replace the workflow of \"Blank\"?")
    });
    let before = hand.project().clone();
    hand.answer("Replace");
    hand.wait_until("the node has it", |hand| *hand.project() != before);
    let workflow = hand.project().workflows.values().next().unwrap();
    let prompt: serde_json::Value =
        serde_json::from_str(workflow.page_prompt.as_deref().expect("a prompt")).unwrap();
    let nodes: Vec<_> = prompt.as_object().unwrap().values().collect();
    let of_class = |class: &str| {
        let found = nodes.iter().find(|node| node["class_type"] == class);
        found.unwrap_or_else(|| panic!("{class} in {prompt}"))
    };
    assert_eq!(of_class("EmptyImage")["inputs"]["width"], 96);
    of_class("ImageInvert");
    hand.wait_until("nothing is left to save", |hand| {
        hand.get::<Editors>().mark(node_id) == NodeEditing::Open
    });

    hand.act(Action::Run);
    hand.wait_until("it runs to its end", |hand| {
        let view = hand.get::<RunViews>().shown_view();
        view.and_then(|view| view.state)
            .is_some_and(RunState::is_ended)
    });
    let view = hand.get::<RunViews>().shown_view().unwrap();
    assert_eq!(view.state, Some(RunState::Completed));
    // What was made is 96 wide: the change of the page is what ran.
    let widths: Vec<u32> = walk(folder)
        .iter()
        .filter_map(|path| {
            let reader = image::ImageReader::open(path).ok()?;
            reader.with_guessed_format().ok()?.into_dimensions().ok()
        })
        .map(|(width, _)| width)
        .collect();
    assert!(widths.contains(&96), "{widths:?}");
}

/// Every file of the artifact store and of the outputs.
fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(kind) if kind.is_file() => files.push(entry.path()),
                _ => {}
            }
        }
    }
    files
}
