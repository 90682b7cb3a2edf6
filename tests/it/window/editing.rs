//! What surrounds ComfyUI's editor and the fields of a node: marks, the browser instead of a window, seeds.

use super::WORKFLOW;
use super::hand::Hand;
use comfyui_orchestrator::app::actions::Action;
use comfyui_orchestrator::app::document::Selection;
use comfyui_orchestrator::app::editors::Editors;
use comfyui_orchestrator::app::model::NodeEditing;
use comfyui_orchestrator::app::replace_workflow::{BrokenUses, Reach};
use comfyui_orchestrator::app::toasts::Toasts;
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
fn a_workflow_is_written_where_the_browser_can_open_it() {
    let folder = tempfile::tempdir().unwrap();
    let (mut hand, node_id) = with_node(folder.path(), WORKFLOW);
    hand.act(Action::WriteForBrowser { node_id });
    let written = folder.path().join("editor/browser/plain.json");
    assert_eq!(std::fs::read_to_string(&written).unwrap(), WORKFLOW);
    let told = hand
        .get::<Toasts>()
        .history
        .iter()
        .any(|toast| toast.body.contains(&written.display().to_string()));
    assert!(told, "the message says where it lies");
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
