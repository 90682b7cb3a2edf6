//! What surrounds ComfyUI's editor and the fields of a node: marks, the browser instead of a window, seeds.

use super::WORKFLOW;
use super::hand::Hand;
use comfyui_orchestrator::app::actions::Action;
use comfyui_orchestrator::app::bridge::Backends;
use comfyui_orchestrator::app::dialogs::Dialogs;
use comfyui_orchestrator::app::dialogs::in_browser::BrowserDialog;
use comfyui_orchestrator::app::document::Selection;
use comfyui_orchestrator::app::editors::Editors;
use comfyui_orchestrator::app::model::NodeEditing;
use comfyui_orchestrator::app::replace_workflow::{BrokenUses, Reach};
use comfyui_orchestrator::builtin::{Server, ServerOptions};
use comfyui_orchestrator::fleet::BackendState;
use comfyui_orchestrator::project::{FanOutSource, NodeId, NodeKind, WorkflowFile};
use std::path::Path;

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

#[test]
fn changes_that_an_editor_could_not_save_are_marked_until_they_are_saved() {
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

    // What the editor saved is with the node now, and nothing is offered twice.
    hand.act(Action::ReplaceWorkflow {
        node_id,
        file: WorkflowFile {
            text: WORKFLOW.replace("64", "96").into(),
            page_prompt: Some(WORKFLOW.replace("64", "96").into()),
        },
        reach: Reach::ThisNode,
        broken: BrokenUses::Keep,
    });
    assert_eq!(hand.get::<Editors>().mark(node_id), NodeEditing::Not);
    assert!(!draft.exists());
}

#[test]
fn where_there_is_no_window_the_browser_serves_and_its_file_comes_back_by_dropping_it() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime
        .block_on(Server::bind(ServerOptions::new(
            folder.path().join("server"),
        )))
        .unwrap();
    let url: url::Url = format!("http://{}", server.local_addr()).parse().unwrap();
    runtime.spawn(server.serve(std::future::pending()));
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
