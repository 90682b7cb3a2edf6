//! The library at the left of the window.

use super::WORKFLOW;
use super::hand::Hand;
use comfyui_orchestrator::app::actions::{Action, NewNode};
use comfyui_orchestrator::app::bridge::Library;
use comfyui_orchestrator::app::dialogs::Dialogs;
use comfyui_orchestrator::app::document::Selection;
use comfyui_orchestrator::app::library::LibraryWish;
use comfyui_orchestrator::app::replace_workflow::{BrokenUses, Reach};
use comfyui_orchestrator::project::{NodeKind, WorkflowFile};
use comfyui_orchestrator::store::{LibraryEntry, LibraryWorkflowId};

/// Lets the thread answer.
fn settle(hand: &mut Hand) {
    for _ in 0..200 {
        hand.wait_frames(2);
        if !hand.get::<Library>().is_busy() {
            break;
        }
    }
    assert!(!hand.get::<Library>().is_busy(), "the library answers");
    hand.frames(3);
}

fn paths(hand: &Hand) -> Vec<String> {
    let library = hand.get::<Library>();
    library.entries.iter().map(LibraryEntry::path).collect()
}

fn id_of(hand: &Hand, path: &str) -> LibraryWorkflowId {
    let library = hand.get::<Library>();
    let found = library.entries.iter().find(|entry| entry.path() == path);
    found
        .unwrap_or_else(|| panic!("{path} of {:?}", paths(hand)))
        .workflow_id
}

#[test]
fn a_folder_is_put_into_the_library_searched_tagged_and_dragged_to_the_canvas() {
    let folder = tempfile::tempdir().unwrap();
    let mine = folder.path().join("Mine");
    std::fs::create_dir_all(mine.join("small")).unwrap();
    std::fs::write(mine.join("small/Plain.json"), WORKFLOW).unwrap();
    let glow = WORKFLOW.replace("EmptyImage", "GlowImage");
    std::fs::write(mine.join("Glow.json"), &glow).unwrap();
    let mut hand = Hand::open(folder.path());
    hand.act(Action::Library(LibraryWish::Import(mine)));
    settle(&mut hand);
    assert_eq!(paths(&hand), ["Mine/Glow", "Mine/small/Plain"]);

    // A closed folder opens by a click; a row becomes a node by dragging.
    hand.click_words("small");
    let row = hand.find_words("Plain");
    hand.drag(row, [700.0, 400.0]);
    settle(&mut hand);
    let node_id = *hand.get::<Selection>().nodes.first().expect("a node");
    let node = &hand.project().nodes[&node_id];
    let NodeKind::Workflow(settings) = &node.kind else {
        panic!("a Workflow node");
    };
    assert_eq!(settings.workflow.as_str(), "Plain");
    assert_eq!(
        &*hand.project().workflows[&settings.workflow].text,
        WORKFLOW
    );

    // What is typed is looked for in classes too.
    hand.click_words("Search");
    hand.type_text("glowimage");
    settle(&mut hand);
    assert_eq!(paths(&hand), ["Mine/Glow"]);

    let workflow_id = id_of(&hand, "Mine/Glow");
    hand.act(Action::Library(LibraryWish::Describe {
        workflow_id,
        folder: "Bright".to_owned(),
        name: "Glow".to_owned(),
        tags: vec!["night".to_owned()],
    }));
    settle(&mut hand);
    assert_eq!(paths(&hand), ["Bright/Glow"]);
    assert!(hand.labels().iter().any(|label| label.text == "#night"));

    // It may take the place of the node's workflow, after the differences were shown.
    hand.act(Action::Library(LibraryWish::CompareWithNode {
        workflow_id,
        node_id,
    }));
    settle(&mut hand);
    assert!(hand.get::<Dialogs>().replacement.is_some());
}

#[test]
fn what_the_editor_saves_is_a_new_version_and_an_older_one_can_be_restored() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("Plain.json");
    std::fs::write(&file, WORKFLOW).unwrap();
    let mut hand = Hand::open(folder.path());
    hand.act(Action::Library(LibraryWish::Import(file)));
    settle(&mut hand);
    let workflow_id = id_of(&hand, "Plain");
    hand.act(Action::AddNode {
        node: NewNode::FromLibrary(workflow_id),
        pos_world: None,
        connect: None,
    });
    settle(&mut hand);
    let node_id = *hand.get::<Selection>().nodes.first().expect("a node");

    // The editor saves: the same workflow of the library gets a new version, with both forms.
    let text = WORKFLOW.replace("64", "96");
    let saved = WorkflowFile {
        text: text.as_str().into(),
        page_prompt: Some(text.as_str().into()),
    };
    hand.act(Action::ReplaceWorkflow {
        node_id,
        file: saved.clone(),
        reach: Reach::ThisNode,
        broken: BrokenUses::Keep,
    });
    settle(&mut hand);
    let library = hand.get::<Library>();
    assert_eq!(library.entries.len(), 1);
    assert_eq!(library.entries[0].version, 2);
    let kept = hand.project().workflows.values().next().expect("it");
    assert_eq!(*kept, saved);

    hand.act(Action::Library(LibraryWish::ShowVersions(workflow_id)));
    settle(&mut hand);
    let (of, rows) = hand.get::<Library>().versions.clone().expect("versions");
    assert_eq!(of, workflow_id);
    assert_eq!(rows.len(), 2);
    let differences = rows[1].differences.as_ref().expect("both can be read");
    assert!(differences.count > 0, "{differences:?}");
    hand.click_words("Restore");
    settle(&mut hand);
    assert_eq!(hand.get::<Library>().entries[0].version, 3);
    hand.act(Action::Library(LibraryWish::AddNode {
        workflow_id,
        version: None,
        pos_world: None,
    }));
    settle(&mut hand);
    assert!(
        hand.project()
            .workflows
            .values()
            .any(|file| &*file.text == WORKFLOW)
    );
    hand.act(Action::Library(LibraryWish::Remove(workflow_id)));
    settle(&mut hand);
    assert!(paths(&hand).is_empty());
}

#[test]
fn another_workflow_of_the_library_is_no_new_version_of_the_one_it_replaces() {
    let folder = tempfile::tempdir().unwrap();
    let mut hand = Hand::open(folder.path());
    let keep = |hand: &mut Hand, name: &str, text: &str| {
        hand.act(Action::AddWorkflow {
            name: name.to_owned(),
            file: WorkflowFile {
                text: text.into(),
                page_prompt: Some(text.into()),
            },
        });
        settle(hand);
    };
    keep(&mut hand, "Portrait", WORKFLOW);
    keep(&mut hand, "Upscale", &WORKFLOW.replace("64", "640"));
    let (portrait, upscale) = (
        id_of(&hand, "Projects/Untitled/Portrait"),
        id_of(&hand, "Projects/Untitled/Upscale"),
    );
    hand.act(Action::AddNode {
        node: NewNode::FromLibrary(portrait),
        pos_world: None,
        connect: None,
    });
    settle(&mut hand);
    let node_id = *hand.get::<Selection>().nodes.first().expect("a node");
    hand.act(Action::Library(LibraryWish::CompareWithNode {
        workflow_id: upscale,
        node_id,
    }));
    settle(&mut hand);
    hand.click_words("Replace");
    settle(&mut hand);
    let NodeKind::Workflow(settings) = &hand.project().nodes[&node_id].kind else {
        panic!("a Workflow node");
    };
    assert!(
        hand.project().workflows[&settings.workflow]
            .text
            .contains("640")
    );
    let library = hand.get::<Library>();
    assert_eq!(library.entries.len(), 2);
    assert!(library.entries.iter().all(|entry| entry.version == 1));
}
