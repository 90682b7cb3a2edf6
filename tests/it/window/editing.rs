//! What surrounds ComfyUI's editor and the fields of a node: marks, the browser instead of a window, seeds.

use super::WORKFLOW;
use super::hand::{Hand, Key};
use comfyui_orchestrator::app::actions::Action;
use comfyui_orchestrator::app::bridge::Backends;
use comfyui_orchestrator::app::dialogs::Dialogs;
use comfyui_orchestrator::app::dialogs::in_browser::BrowserDialog;
use comfyui_orchestrator::app::document::Selection;
use comfyui_orchestrator::app::editors::{EditorState, Editors};
use comfyui_orchestrator::app::model::NodeEditing;
use comfyui_orchestrator::app::replace_workflow::{BrokenUses, Reach};
use comfyui_orchestrator::builtin::{Server, ServerOptions};
#[cfg(unix)]
use comfyui_orchestrator::editor::message::PROTOCOL_VERSION;
use comfyui_orchestrator::fleet::BackendState;
use comfyui_orchestrator::project::{FanOutSource, NodeId, NodeKind, WorkflowFile};
#[cfg(unix)]
use comfyui_orchestrator::store::project_folder::{self, ProjectPlace};
use std::path::Path;
#[cfg(unix)]
use std::sync::atomic::{AtomicU64, Ordering};

const SEEDED: &str = r#"{
    "1": {"class_type": "Painter", "inputs": {"seed": 41, "width": 64}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "plain"}}
}"#;

fn with_node(folder: &Path, text: &str) -> (Hand, NodeId) {
    let file = folder.join("plain.json");
    std::fs::write(&file, text).unwrap();
    let mut hand = Hand::open(folder);
    hand.drop_file(&file);
    let node_id = *hand.get::<Selection>().nodes.first().expect("a node");
    (hand, node_id)
}

/// Numbers of saves.
#[cfg(unix)]
static SAVES: AtomicU64 = AtomicU64::new(1);

/// Editor windows that say what a test tells them: a shell script that speaks the protocol, one folder for each node.
#[cfg(unix)]
struct Windows {
    folder: std::path::PathBuf,
}

#[cfg(unix)]
impl Windows {
    fn new(folder: &Path) -> Self {
        let folder = folder.join("windows");
        std::fs::create_dir_all(&folder).unwrap();
        let script = format!(
            r#"#!/bin/sh
read -r hello; read -r open
title=$(printf '%s' "$open" | sed 's/.*"node_title":"\([^"]*\)".*/\1/')
cd '{folder}' && mkdir -p "$title" && cd "$title" || exit 1
rm -f say.* quit; printf '%s\n' "$open" > heard
exec 3<&0; cat <&3 >> heard 2>/dev/null &
echo '{{"hello":{{"version":{PROTOCOL_VERSION}}}}}'; echo '"loaded"'
number=0
while [ ! -f quit ]; do
  if [ -f say.$number ]; then cat say.$number; number=$((number + 1)); else sleep 0.05; fi
done
"#,
            folder = folder.display()
        );
        let windows = Self { folder };
        std::fs::write(windows.program(), script).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(windows.program(), mode).unwrap();
        windows
    }

    fn program(&self) -> std::path::PathBuf {
        self.folder.join("program")
    }

    /// Lets the window of a node say something.
    fn say(&self, title: &str, message: &serde_json::Value) {
        let folder = self.folder.join(title);
        let is_free = |number: &u32| !folder.join(format!("say.{number}")).exists();
        let number = (0..1000).find(is_free);
        let path = folder.join(format!("say.{}", number.unwrap()));
        std::fs::write(folder.join("next"), format!("{message}\n")).unwrap();
        std::fs::rename(folder.join("next"), path).unwrap();
    }

    fn save(&self, title: &str, target: &str, text: &str) {
        let form: serde_json::Value = serde_json::from_str(text).unwrap();
        let number = SAVES.fetch_add(1, Ordering::Relaxed);
        let saved = serde_json::json!({
            "number": number, "target": target, "workflow": form, "prompt": form,
        });
        self.say(title, &serde_json::json!({"save": saved}));
    }

    fn end(&self, title: &str) {
        std::fs::write(self.folder.join(title).join("quit"), "").unwrap();
    }

    /// How often the window of a node heard these words.
    fn heard(&self, title: &str, words: &str) -> usize {
        let heard = std::fs::read_to_string(self.folder.join(title).join("heard"));
        heard.unwrap_or_default().matches(words).count()
    }
}

/// A window of the app whose editors are the test's own, with a backend that has a page.
#[cfg(unix)]
fn with_windows(folder: &Path) -> (Hand, Windows, tokio::runtime::Runtime) {
    let windows = Windows::new(folder);
    let pages = folder.join("pages");
    std::fs::create_dir_all(&pages).unwrap();
    std::fs::write(pages.join("index.html"), "<!doctype html>").unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut options = ServerOptions::new(folder.join("server"));
    options.frontend_dir = Some(pages);
    let server = runtime.block_on(Server::bind(options)).unwrap();
    let url: url::Url = format!("http://{}", server.local_addr()).parse().unwrap();
    runtime.spawn(server.serve(std::future::pending()));
    let program = windows.program();
    let mut hand = Hand::open_with(folder, |options| {
        options.editor_program = Some(program);
        options.start_builtin = Some(Box::new(move || Ok(url.clone())));
    });
    hand.act(Action::StartBuiltin);
    hand.wait_until("the backend answers and has a page", |hand| {
        let cards = &hand.get::<Backends>().cards;
        cards.values().any(|card| {
            card.status.state == BackendState::Online && card.status.has_editor == Some(true)
        })
    });
    (hand, windows, runtime)
}

/// Drops a workflow of this name and opens its editor.
#[cfg(unix)]
fn open_editor(hand: &mut Hand, folder: &Path, name: &str, text: &str) -> NodeId {
    let file = folder.join(format!("{name}.json"));
    std::fs::write(&file, text).unwrap();
    hand.drop_file(&file);
    let node_id = *hand.get::<Selection>().nodes.first().expect("a node");
    hand.act(Action::EditWorkflow {
        node_id: None,
        backend_id: None,
    });
    hand.wait_until("the editor is open", |hand| {
        let state = hand.get::<Editors>().of(node_id);
        state.is_some_and(|(state, _)| state == EditorState::Open)
    });
    node_id
}

#[cfg(unix)]
fn is_marked(node_id: NodeId, mark: NodeEditing) -> impl Fn(&Hand) -> bool {
    move |hand| hand.get::<Editors>().mark(node_id) == mark
}

#[cfg(unix)]
#[test]
fn what_an_editor_saves_is_lost_by_no_answer_and_goes_when_the_disk_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let (mut hand, windows, _runtime) = with_windows(folder.path());
    let node_id = open_editor(&mut hand, folder.path(), "Plain", WORKFLOW);
    let draft = folder.path().join(format!("editor/drafts/{node_id}.json"));
    let text = WORKFLOW.replace("64", "96");
    let form: serde_json::Value = serde_json::from_str(&text).unwrap();

    windows.say("Plain", &serde_json::json!({"changed": {"draft": form}}));
    hand.wait_until("it is marked", is_marked(node_id, NodeEditing::Changed));
    hand.wait_until("it is kept", |_| draft.exists());
    // Saved, and not taken: it stays.
    windows.save("Plain", "node", &text);
    let asks = "Replace the workflow of \"Plain\"?";
    hand.wait_until("the app asks", |hand| hand.sees(asks));
    hand.wait_until("the window hears of it", |_| {
        windows.heard("Plain", "in_review") == 1
    });
    hand.press(Key::Escape);
    hand.wait_until("the window hears", |_| {
        windows.heard("Plain", "Not taken") == 1
    });
    assert!(draft.exists());
    assert!(
        hand.project()
            .workflows
            .values()
            .all(|file| &*file.text == WORKFLOW)
    );
    // The window closes with the save not looked at: it stays, and is marked.
    windows.save("Plain", "node", &text);
    hand.wait_until("the app asks", |hand| hand.sees(asks));
    windows.say("Plain", &serde_json::json!({"closed": {"draft": "keep"}}));
    windows.end("Plain");
    hand.wait_until("the window is gone", is_marked(node_id, NodeEditing::Kept));
    assert!(draft.exists());
    // Taken: the disk has it with the unsaved project, and the draft goes. Undo takes the node back.
    hand.answer("Replace");
    let unsaved = folder.path().join("unsaved");
    let place = ProjectPlace::Folder(unsaved.join(hand.project().id.to_string()));
    hand.wait_until("the draft goes", |hand| {
        let is_gone = !draft.exists();
        if is_gone {
            let on_disk = project_folder::read_recovery(&place).unwrap();
            let on_disk = on_disk.expect("the disk has the work").project;
            assert_eq!(on_disk.workflows, hand.project().workflows);
        }
        is_gone
    });
    hand.wait_until("the mark goes", is_marked(node_id, NodeEditing::Not));
    let kept = hand.project().workflows.values().next().unwrap().clone();
    assert!(kept.text.contains("96"), "{}", kept.text);
    assert!(kept.page_prompt.is_some());

    // A window that shows it hears when an undo takes it back.
    hand.act(Action::EditWorkflow {
        node_id: Some(node_id),
        backend_id: None,
    });
    hand.wait_until("it is open again", is_marked(node_id, NodeEditing::Open));
    hand.act(Action::Undo);
    hand.wait_until("the window hears", |_| {
        windows.heard("Plain", "node_workflow") == 1
    });

    // What the page says was thrown away lies aside, and comes back.
    windows.say("Plain", &serde_json::json!({"changed": {"draft": form}}));
    hand.wait_until("it is marked", is_marked(node_id, NodeEditing::Changed));
    windows.say("Plain", &serde_json::json!({"changed": {"draft": null}}));
    hand.wait_until("it is aside", |hand| {
        hand.get::<Editors>().has_thrown_away(node_id)
    });
    hand.wait_until("it is not kept", |_| !draft.exists());
    windows.say(
        "Plain",
        &serde_json::json!({"closed": {"draft": "discard"}}),
    );
    windows.end("Plain");
    hand.wait_until("the window is gone", is_marked(node_id, NodeEditing::Not));
    hand.act(Action::BringBackEdits { node_id });
    hand.wait_until("it is offered", |_| {
        windows.heard("Plain", "\"draft\":{") == 1
    });
    assert!(draft.exists(), "it was read from there");
}

#[cfg(unix)]
#[test]
fn saves_of_several_editors_wait_for_each_other_and_for_the_person() {
    let folder = tempfile::tempdir().unwrap();
    let (mut hand, windows, _runtime) = with_windows(folder.path());
    open_editor(&mut hand, folder.path(), "One", WORKFLOW);
    open_editor(
        &mut hand,
        folder.path(),
        "Two",
        &WORKFLOW.replace("64", "65"),
    );
    let before = hand.project().clone();
    windows.save("One", "node", &WORKFLOW.replace("64", "71"));
    hand.wait_until("the first is asked about", |hand| {
        hand.sees("Replace the workflow of \"One\"?")
    });
    // Another window waits; the same one is told to wait for the answer.
    windows.save("Two", "new_workflow", &WORKFLOW.replace("64", "72"));
    windows.save("One", "node", &WORKFLOW.replace("64", "73"));
    hand.wait_until("it is refused", |_| windows.heard("One", "still asks") == 1);
    hand.wait_until("the other waits", |_| {
        windows.heard("Two", "in_review") == 1
    });
    // What waits is not passed over either.
    windows.save("Two", "node", &WORKFLOW.replace("64", "74"));
    hand.wait_until("it is refused", |_| windows.heard("Two", "still asks") == 1);
    assert_eq!(*hand.project(), before, "nothing is done without an answer");
    hand.answer("Replace");
    hand.wait_until("the second is asked about", |hand| {
        hand.sees("Keep a new workflow?")
    });
    hand.wait_until("the first hears", |_| windows.heard("One", "\"kept\"") == 1);
    // Behind it comes what the node has, for a page that was loaded anew since it saved.
    hand.wait_until("it hears of the node", |_| {
        windows.heard("One", "node_workflow") == 1
    });
    let texts = |hand: &Hand| -> Vec<String> {
        let files = hand.project().workflows.values();
        files.map(|file| file.text.to_string()).collect()
    };
    assert_eq!(texts(&hand).len(), 2);
    assert!(texts(&hand).iter().any(|text| text.contains("71")));
    hand.click_words("Do not");
    hand.wait_until("it hears", |_| windows.heard("Two", "Not taken") == 1);
    assert_eq!(texts(&hand).len(), 2);
    windows.save("Two", "new_workflow", &WORKFLOW.replace("64", "72"));
    hand.wait_until("it is asked about", |hand| {
        hand.sees("Keep a new workflow?")
    });
    // A click that was on its way to something else is not an answer.
    hand.click_words("Keep it");
    assert!(hand.sees("Keep a new workflow?"));
    assert!(!texts(&hand).iter().any(|text| text.contains("72")));
    hand.answer("Keep it");
    hand.wait_until("it is kept", |_| windows.heard("Two", "\"kept\"") == 1);
    assert!(texts(&hand).iter().any(|text| text.contains("72")));
    assert_eq!(hand.project().nodes.len(), 2, "no node was added");
}

#[cfg(unix)]
#[test]
fn the_editor_of_a_deleted_node_closes_once_and_its_changes_come_back_with_the_node() {
    let folder = tempfile::tempdir().unwrap();
    let (mut hand, windows, _runtime) = with_windows(folder.path());
    let node_id = open_editor(&mut hand, folder.path(), "Plain", WORKFLOW);
    windows.say(
        "Plain",
        &serde_json::json!({"changed": {"draft": {"nodes": []}}}),
    );
    hand.wait_until("it is marked", is_marked(node_id, NodeEditing::Changed));
    hand.act(Action::Select(
        comfyui_orchestrator::app::actions::Select::Only {
            nodes: vec![node_id],
            links: Vec::new(),
        },
    ));
    hand.act(Action::Delete);
    hand.wait_frames(20);
    hand.wait_until("it is told", |_| windows.heard("Plain", "close") > 0);
    hand.wait_frames(20);
    assert_eq!(windows.heard("Plain", "{\"close\":\"keep\"}"), 1);
    windows.say("Plain", &serde_json::json!({"closed": {"draft": "keep"}}));
    windows.end("Plain");
    hand.wait_until("the window is gone", |hand| {
        hand.get::<Editors>().of(node_id).is_none()
    });
    hand.act(Action::Undo);
    assert_eq!(hand.get::<Editors>().mark(node_id), NodeEditing::Kept);
}

#[test]
fn changes_of_an_earlier_session_are_marked_and_no_other_workflow_takes_them_away() {
    let folder = tempfile::tempdir().unwrap();
    let (mut hand, node_id) = with_node(folder.path(), WORKFLOW);
    let project = folder.path().join("project");
    hand.act(Action::SavePath(project.clone()));
    assert_eq!(hand.get::<Editors>().mark(node_id), NodeEditing::Not);

    // A window died in an earlier session; its changes were kept.
    let drafts = folder.path().join("editor/drafts");
    std::fs::create_dir_all(&drafts).unwrap();
    let draft = drafts.join(format!("{node_id}.json"));
    std::fs::write(&draft, "{}").unwrap();
    hand.act(Action::OpenPath(project));
    assert_eq!(hand.get::<Editors>().mark(node_id), NodeEditing::Kept);

    // The node gets a workflow from elsewhere: that is not what was kept.
    hand.act(Action::ReplaceWorkflow {
        node_id,
        file: WorkflowFile::new(WORKFLOW.replace("64", "96")),
        reach: Reach::ThisNode,
        broken: BrokenUses::Keep,
    });
    assert_eq!(hand.get::<Editors>().mark(node_id), NodeEditing::Kept);
    assert!(draft.exists());
}

#[test]
fn backends_without_the_page_are_named_and_no_window_opens() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let options = ServerOptions::new(folder.path().join("server"));
    let server = runtime.block_on(Server::bind(options)).unwrap();
    let url: url::Url = format!("http://{}", server.local_addr()).parse().unwrap();
    runtime.spawn(server.serve(std::future::pending()));
    let file = folder.path().join("plain.json");
    std::fs::write(&file, WORKFLOW).unwrap();
    let mut hand = Hand::open_with(folder.path(), |options| {
        options.start_builtin = Some(Box::new(move || Ok(url.clone())));
    });
    hand.drop_file(&file);
    let node_id = *hand.get::<Selection>().nodes.first().expect("a node");
    hand.act(Action::StartBuiltin);
    hand.wait_until("the backend says that it has none", |hand| {
        let cards = &hand.get::<Backends>().cards;
        cards
            .values()
            .any(|card| card.status.has_editor == Some(false))
    });
    hand.act(Action::EditWorkflow {
        node_id: None,
        backend_id: None,
    });
    assert!(hand.sees("\"plain\" cannot be edited there"));
    assert!(hand.get::<Editors>().of(node_id).is_none());
}

#[test]
fn where_there_is_no_window_the_browser_serves_and_its_file_comes_back_by_dropping_it() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime
        .block_on(Server::bind(ServerOptions {
            frontend_dir: Some(folder.path().to_owned()),
            ..ServerOptions::new(folder.path().join("server"))
        }))
        .unwrap();
    let url: url::Url = format!("http://{}", server.local_addr()).parse().unwrap();
    runtime.spawn(server.serve(std::future::pending()));
    std::fs::write(folder.path().join("index.html"), "<!doctype html>").unwrap();
    let missing = folder.path().join("comfyui-orchestrator-editor");
    let file = folder.path().join("plain.json");
    std::fs::write(&file, WORKFLOW).unwrap();
    let mut hand = Hand::open_with(folder.path(), |options| {
        options.editor_program = Some(missing.clone());
        options.start_builtin = Some(Box::new(move || Ok(url.clone())));
    });
    hand.drop_file(&file);
    let node_id = *hand.get::<Selection>().nodes.first().expect("a node");
    hand.act(Action::StartBuiltin);
    hand.wait_until("the server answers", |hand| {
        let cards = &hand.get::<Backends>().cards;
        cards
            .values()
            .any(|card| card.status.state == BackendState::Online)
    });

    hand.act(Action::EditWorkflow {
        node_id: None,
        backend_id: None,
    });
    assert!(hand.sees("The editor of \"plain\" cannot be shown here"));
    assert!(hand.sees(&format!(
        "The program of the editor's window is not installed: there is no {}.",
        missing.display()
    )));
    hand.act(Action::WriteForBrowser { node_id });
    let written = folder.path().join("editor/browser/plain.json");
    assert_eq!(std::fs::read_to_string(&written).unwrap(), WORKFLOW);
    assert_eq!(
        hand.get::<Dialogs>().in_browser,
        Some(BrowserDialog::Steps {
            title: "plain".to_owned(),
            file: written
        }),
        "it says where the file lies"
    );

    // The browser wrote it beside an older one of the same name.
    let downloaded = folder.path().join("plain (2).json");
    std::fs::write(&downloaded, WORKFLOW.replace("64", "96")).unwrap();
    hand.drop_file(&downloaded);
    assert!(hand.sees("Replace the workflow of \"plain\"?"));
    hand.click_words("Replace");
    let project = hand.project();
    assert_eq!(project.nodes.len(), 1, "no second node");
    let workflow = project.workflows.values().next().unwrap();
    assert!(workflow.text.contains("96"), "{}", workflow.text);

    // A file of another name is another node.
    let other = folder.path().join("other.json");
    std::fs::write(&other, WORKFLOW.replace("64", "80")).unwrap();
    hand.drop_file(&other);
    assert_eq!(hand.project().nodes.len(), 2);
}

#[test]
fn a_seed_gets_a_fan_out_in_one_step() {
    let folder = tempfile::tempdir().unwrap();
    let (mut hand, node_id) = with_node(folder.path(), SEEDED);
    let before = hand.project().clone();
    let parameters = comfyui_orchestrator::app::exposure::parameters_of(&before.nodes[&node_id]);
    let seed = parameters
        .iter()
        .find(|parameter| parameter.address.input == "seed")
        .expect("the seed is shown");
    hand.act(Action::SeedsFromFanOut {
        node: node_id,
        address: seed.address.clone(),
    });
    let project = hand.project();
    let seeds = project
        .nodes
        .values()
        .find_map(|node| match &node.kind {
            NodeKind::FanOut(fan_out) => Some(&fan_out.source),
            _ => None,
        })
        .expect("a fan-out");
    assert!(
        matches!(
            seeds,
            FanOutSource::Seeds {
                first: 41,
                count: 4,
                ..
            }
        ),
        "it begins with the workflow's own: {seeds:?}"
    );
    assert_eq!(project.links.values().count(), 1);
    assert!(
        comfyui_orchestrator::engine::problems(project, None).is_empty(),
        "{:?}",
        comfyui_orchestrator::engine::problems(project, None)
    );
    hand.act(Action::Undo);
    assert_eq!(*hand.project(), before);
}
