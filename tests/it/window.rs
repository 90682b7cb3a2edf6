//! The window as a person uses it: pointer, keys and dropped files go in as the messages a window system sends, and the
//! document, the selection and what is asked are looked at. Everything is real but the pixels: no GPU and no display.

mod editing;
mod frames;
mod hand;
mod kept_work;
mod library;
#[cfg(all(feature = "editor", target_os = "linux"))]
mod real_editor;
mod review;

use crate::small_projects::join;
use comfyui_orchestrator::app::actions::Action;
use comfyui_orchestrator::app::bridge::RunViews;
use comfyui_orchestrator::app::dialogs::{Dialogs, Prompt};
use comfyui_orchestrator::app::document::{Document, Selection};
use comfyui_orchestrator::app::exposure;
use comfyui_orchestrator::app::toasts::{Severity, Toasts};
use comfyui_orchestrator::engine::RunState;
use comfyui_orchestrator::project::{
    DataType, Literal, Node, NodeId, NodeKindName, OutputNode, PortId, Project, ProjectId,
};
use hand::{Hand, Key};
use std::collections::BTreeSet;

/// Adds a node by double click and search. Its top left corner is where the click was.
fn add(hand: &mut Hand, at_px: [f32; 2], words: &str) -> NodeId {
    let before: BTreeSet<NodeId> = hand.project().nodes.keys().copied().collect();
    hand.double_click(at_px);
    hand.type_text(words);
    hand.press(Key::Enter);
    let added: Vec<NodeId> = hand
        .project()
        .nodes
        .keys()
        .copied()
        .filter(|id| !before.contains(id))
        .collect();
    assert_eq!(added.len(), 1, "\"{words}\" adds one node");
    added[0]
}

#[test]
fn a_double_click_is_one_however_slow_the_frames_are() {
    let folder = tempfile::tempdir().unwrap();
    let mut hand = Hand::open(folder.path());
    // What comes in each frame: presses and releases. The hand was fast, the frames take most of a second.
    let schedules: [&[&[bool]]; 4] = [
        &[&[true], &[false, true], &[false]],
        &[&[true, false], &[true, false]],
        &[&[true, false, true], &[false]],
        &[&[true, false, true, false]],
    ];
    let slowly = |hand: &mut Hand, frames: &[&[bool]]| {
        hand.move_to([620.0, 300.0]);
        hand.frames(2);
        for frame in frames {
            for down in *frame {
                hand.button(*down);
            }
            hand.frames(1);
            std::thread::sleep(std::time::Duration::from_millis(700));
        }
        hand.frames(4);
        let has_search = hand.get::<Dialogs>().finder.is_some();
        hand.press(Key::Escape);
        hand.wait_frames(10);
        has_search
    };
    for schedule in schedules {
        assert!(slowly(&mut hand, schedule), "{schedule:?}");
    }
    // Two clicks of which each had its own frames are two.
    let two: &[&[bool]] = &[&[true], &[false], &[], &[true], &[false]];
    assert!(!slowly(&mut hand, two));
}

#[test]
fn nodes_are_added_by_search_and_wired_by_dragging() {
    let folder = tempfile::tempdir().unwrap();
    let mut hand = Hand::open(folder.path());
    let seeds = add(&mut hand, [420.0, 200.0], "fan out");
    let merge = add(&mut hand, [820.0, 420.0], "merge");

    // Seeds are numbers and the merge takes pictures: the wire is refused and nothing changes.
    let (seed_port, values_port) = (hand.output_px(seeds, 0), hand.input_px(merge, 0));
    hand.drag(seed_port, values_port);
    assert_eq!(hand.project().links.values().count(), 0);

    // Let go over empty space, the wire asks what takes a number; what is chosen comes linked.
    hand.drag(seed_port, [820.0, 200.0]);
    hand.type_text("condition");
    hand.press(Key::Enter);
    let condition = hand
        .project()
        .nodes
        .values()
        .find(|node| node.kind.name() == NodeKindName::Condition)
        .map(|node| node.id)
        .expect("the search adds a condition");
    let links: Vec<_> = hand.project().links.values().copied().collect();
    assert_eq!(links.len(), 1);
    assert_eq!((links[0].from.node, links[0].to.node), (seeds, condition));

    // A link taken off its input and let go over nothing is gone; undo brings it back.
    let value_port = hand.input_px(condition, 0);
    hand.drag(value_port, [420.0, 560.0]);
    assert_eq!(hand.project().links.values().count(), 0);
    hand.chord(&[Key::Control], Key::Letter('z'));
    assert_eq!(hand.project().links.values().count(), 1);
}

#[test]
fn what_a_box_selects_is_copied_pasted_undone_and_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let mut hand = Hand::open(folder.path());
    let first = add(&mut hand, [420.0, 200.0], "fan out");
    hand.drag(hand.output_px(first, 0), [820.0, 300.0]);
    hand.type_text("condition");
    hand.press(Key::Enter);
    let second = *hand.get::<Selection>().nodes.first().unwrap();
    hand.click([420.0, 620.0]);
    assert!(hand.get::<Selection>().is_empty());
    hand.drag([380.0, 150.0], [1150.0, 600.0]);
    assert_eq!(
        hand.get::<Selection>().nodes,
        BTreeSet::from([first, second])
    );

    // All keys of the chord in one slow frame.
    hand.chord(&[Key::Control], Key::Letter('c'));
    hand.chord(&[Key::Control], Key::Letter('v'));
    assert_eq!(hand.project().nodes.len(), 4);
    let pasted = hand.get::<Selection>().nodes.clone();
    assert!(pasted.is_disjoint(&BTreeSet::from([first, second])));
    assert_eq!(
        hand.project().links.values().count(),
        2,
        "the link between both is copied too"
    );

    // The condition alone, with the link it takes its value from.
    hand.click(hand.middle_px(second));
    hand.chord(&[Key::Control], Key::Letter('c'));
    hand.chord(&[Key::Control, Key::Shift], Key::Letter('v'));
    let copy = *hand.get::<Selection>().nodes.first().unwrap();
    let link = hand
        .project()
        .links
        .into_node(copy)
        .next()
        .copied()
        .expect("the copy is linked");
    assert_eq!(link.from.node, first);
    hand.chord(&[Key::Control], Key::Letter('z'));

    hand.chord(&[Key::Control], Key::Letter('z'));
    assert_eq!(hand.project().nodes.len(), 2);
    hand.chord(&[Key::Control, Key::Shift], Key::Letter('z'));
    assert_eq!(hand.project().nodes.len(), 4);
    hand.chord(&[Key::Control], Key::Letter('a'));
    hand.press(Key::Delete);
    assert!(hand.project().nodes.is_empty());
    hand.chord(&[Key::Control], Key::Letter('z'));
    assert_eq!(hand.project().nodes.len(), 4);
}

#[test]
fn alt_dragging_a_node_leaves_it_and_moves_a_copy_in_one_step() {
    let folder = tempfile::tempdir().unwrap();
    let mut hand = Hand::open(folder.path());
    let original = add(&mut hand, [420.0, 200.0], "fan out");
    let place = hand.project().nodes[&original].pos_world;
    let grabbed = hand.middle_px(original);
    hand.hold(Key::Alt);
    hand.drag(grabbed, [grabbed[0] + 300.0, grabbed[1] + 150.0]);
    hand.let_go(Key::Alt);
    let project = hand.project();
    assert_eq!(project.nodes.len(), 2);
    let [x, y] = project.nodes[&original].pos_world;
    assert!((x - place[0]).abs() < 0.01 && (y - place[1]).abs() < 0.01);
    let copy = project
        .nodes
        .values()
        .find(|node| node.id != original)
        .unwrap();
    assert!((copy.pos_world[0] - place[0] - 300.0).abs() < 2.0);
    assert!((copy.pos_world[1] - place[1] - 150.0).abs() < 2.0);
    hand.chord(&[Key::Control], Key::Letter('z'));
    assert_eq!(
        hand.project().nodes.len(),
        1,
        "one step back takes all of it"
    );
}

#[test]
fn dragging_at_the_border_moves_the_view() {
    let folder = tempfile::tempdir().unwrap();
    let mut hand = Hand::open(folder.path());
    let node = add(&mut hand, [420.0, 200.0], "fan out");
    let before = hand.view_center();
    let border = hand.canvas_right_px() - 4.0;
    hand.move_to(hand.middle_px(node));
    hand.button(true);
    hand.frames(2);
    for x in [600.0, 900.0, border] {
        hand.move_to([x, 300.0]);
        hand.frames(2);
    }
    hand.wait_frames(20);
    hand.button(false);
    hand.frames(2);
    assert!(hand.view_center()[0] > before[0] + 10.0);
    let under_pointer = hand.middle_px(node);
    assert!(
        (under_pointer[0] - border).abs() < 40.0,
        "the node stays under the pointer"
    );
}

/// The smallest workflow that says what it makes.
const WORKFLOW: &str = r#"{
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "plain"}}
}"#;

#[test]
fn a_dropped_workflow_becomes_a_node_and_nonsense_a_message() {
    let folder = tempfile::tempdir().unwrap();
    let workflow = folder.path().join("plain.json");
    std::fs::write(&workflow, WORKFLOW).unwrap();
    let nonsense = folder.path().join("nonsense.json");
    std::fs::write(&nonsense, "{ \"hello\": [1, 2").unwrap();
    let mut hand = Hand::open(folder.path());

    hand.move_to([700.0, 400.0]);
    hand.drop_file(&workflow);
    assert_eq!(hand.project().workflows.len(), 1);
    let node = hand.project().nodes.values().next().unwrap();
    assert_eq!(node.kind.name(), NodeKindName::Workflow);
    assert_eq!(node.outputs.len(), 1);

    hand.drop_file(&nonsense);
    assert_eq!(hand.project().nodes.len(), 1);
    let toasts = hand.get::<Toasts>();
    let toast = toasts.visible.last().expect("the person is told");
    assert_eq!(toast.severity, Severity::Error);
    assert!(toast.title.contains("nonsense"), "{}", toast.title);
}

#[test]
fn unsaved_work_is_asked_about_and_survives_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let mut hand = Hand::open(folder.path());
    add(&mut hand, [420.0, 200.0], "fan out");
    hand.ask_to_close();
    assert!(matches!(
        hand.get::<Dialogs>().prompt,
        Some(Prompt::Unsaved(_))
    ));
    assert!(!hand.has_ended());
    hand.press(Key::Escape);
    assert!(hand.get::<Dialogs>().prompt.is_none());

    // Another window's work is kept when this one loses the focus, and is not offered to a third while it lives.
    hand.lose_focus();
    let other = Hand::open(folder.path());
    assert!(other.get::<Dialogs>().prompt.is_none());
    drop(other);

    // It ends without being asked; the next start offers the work.
    drop(hand);
    let mut next = Hand::open(folder.path());
    let offered = match &next.get::<Dialogs>().prompt {
        Some(Prompt::Recovered { project, .. }) => project.nodes.len(),
        other => panic!("{other:?} is asked"),
    };
    assert_eq!(offered, 1);
    next.click_words("Restore");
    assert_eq!(next.project().nodes.len(), 1);
    assert!(next.get::<Document>().is_dirty());

    // Saved into a folder, nothing is asked any more.
    let project = folder.path().join("kept");
    next.act(Action::SavePath(project.clone()));
    assert!(!next.get::<Document>().is_dirty());
    assert!(project.join("project.ron").is_file());
    next.ask_to_close();
    assert!(next.has_ended());
}

#[test]
fn settings_and_unsaved_work_lie_in_the_folder_that_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut hand = Hand::open(folder.path());
    hand.act(Action::ToggleTheme);
    add(&mut hand, [420.0, 200.0], "fan out");
    hand.lose_focus();
    assert!(folder.path().join("settings.json").is_file());
    assert_eq!(
        std::fs::read_dir(folder.path().join("unsaved"))
            .unwrap()
            .count(),
        1
    );
}

#[test]
fn at_every_scale_the_words_of_the_bars_stay_apart() {
    let folder = tempfile::tempdir().unwrap();
    let mut hand = Hand::open(folder.path());
    add(&mut hand, [420.0, 200.0], "fan out");
    for _ in 0..20 {
        hand.act(Action::UiScaleUp);
        hand.frames(3);
        let labels = hand.labels();
        let bars: Vec<_> = labels
            .iter()
            .filter(|label| {
                label.rect.max.y < 44.0 || label.rect.min.y > hand.height_points() - 28.0
            })
            .collect();
        for (at, one) in bars.iter().enumerate() {
            for other in &bars[at + 1..] {
                let common = one.rect.intersect(other.rect);
                let is_apart = common.width() < 1.0 || common.height() < 1.0;
                let is_same = one.text == other.text;
                assert!(
                    is_apart || is_same,
                    "\"{}\" lies over \"{}\" at {} %",
                    one.text,
                    other.text,
                    hand.scale() * 100.0
                );
            }
            assert!(
                one.rect.min.x > -1.0 && one.rect.max.x < hand.width_points() + 1.0,
                "\"{}\" is cut off at {} %",
                one.text,
                hand.scale() * 100.0
            );
        }
    }
    assert!((hand.scale() - 3.0).abs() < 0.01);
}

/// Words that are written into a file: a run that needs no server.
fn note() -> Project {
    let mut project = Project::new(ProjectId::new_now(), "Note");
    let fresh: &mut dyn FnMut() -> PortId = &mut PortId::new_now;
    let words = Literal::Text("hello".to_owned());
    let input = Node::input_literal(NodeId::new_now(), words, fresh).titled("Words");
    let output = Node::output_to(
        NodeId::new_now(),
        OutputNode::default(),
        DataType::Text,
        fresh,
    )
    .titled("File")
    .at([400.0, 0.0]);
    for node in [&input, &output] {
        project.nodes.insert(node.id, node.clone());
    }
    join(&mut project, &input, &output);
    project
}

#[test]
fn runs_of_earlier_sessions_are_listed_and_shown_with_their_own_project() {
    let folder = tempfile::tempdir().unwrap();
    let project = note();
    let open = |document: &Project| {
        let document = document.clone();
        Hand::open_with(folder.path(), |options| options.document = Some(document))
    };
    let shown_state = |hand: &Hand| {
        let view = hand.get::<RunViews>().shown_view()?;
        view.state
    };
    let mut hand = open(&project);
    hand.chord(&[Key::Control], Key::Enter);
    hand.wait_until("the run ends", |hand| {
        shown_state(hand) == Some(RunState::Completed)
    });
    let run = hand.get::<RunViews>().shown;
    drop(hand);

    // The same project in a new session: its latest run is on the canvas again.
    let mut hand = open(&project);
    hand.wait_until("the run is read back", |hand| {
        shown_state(hand) == Some(RunState::Completed)
    });
    assert_eq!(hand.get::<RunViews>().shown, run);
    hand.click_words("Runs");
    assert!(hand.sees("completed"), "{:?}", hand.labels());

    // Another project has no runs of its own, and does not show those of the first.
    hand.act(Action::NewProject);
    assert_eq!(hand.get::<RunViews>().shown, None);
    assert!(hand.sees("No run yet"));
    hand.click_words("All projects · 1");
    assert!(hand.sees("completed"));

    // The run leads to its project, as it was then: it was never saved.
    hand.click_words("Open its project");
    hand.wait_until("the project is open", |hand| {
        hand.project().id == project.id && hand.get::<RunViews>().shown == run
    });
    assert_eq!(hand.project().nodes, project.nodes);
    assert!(hand.get::<Document>().is_dirty());
}

#[test]
fn fields_are_chosen_named_and_dragged_out_to_become_inputs() {
    let folder = tempfile::tempdir().unwrap();
    let workflow = folder.path().join("plain.json");
    std::fs::write(&workflow, WORKFLOW).unwrap();
    let mut hand = Hand::open(folder.path());
    hand.drop_file(&workflow);
    let node = *hand.get::<Selection>().nodes.first().unwrap();
    let labels = |hand: &Hand| -> Vec<String> {
        exposure::parameters_of(&hand.project().nodes[&node])
            .iter()
            .map(|parameter| parameter.label.clone())
            .collect()
    };
    let before = labels(&hand);
    assert!(!before.contains(&"color".to_owned()), "{before:?}");
    hand.act(Action::ChooseFields);
    // Typed into the search, which has the keyboard.
    hand.type_text("color");
    let found = hand.find_words("color · EmptyImage");
    hand.click(found);
    let mut wanted = before.clone();
    wanted.push("color".to_owned());
    assert_eq!(labels(&hand), wanted);

    // Its handle is at the right end of its row; over the canvas it becomes an input.
    let grip = hand.find_words("\u{eae2}");
    hand.drag(grip, [500.0, 700.0]);
    let inputs: Vec<String> = hand.project().nodes[&node]
        .inputs
        .iter()
        .map(|port| port.name.clone())
        .collect();
    assert!(inputs.contains(&"color".to_owned()), "{inputs:?}");

    hand.press(Key::Escape);
    hand.click([420.0, 760.0]);
    hand.chord(&[Key::Control], Key::Letter('z'));
    hand.chord(&[Key::Control], Key::Letter('z'));
    assert_eq!(labels(&hand), before);
}

#[test]
fn a_workflow_is_replaced_after_what_breaks_was_shown() {
    let folder = tempfile::tempdir().unwrap();
    let workflow = folder.path().join("plain.json");
    std::fs::write(&workflow, WORKFLOW).unwrap();
    // Renumbered, wider, and saved by a node of another id; the batch size is gone.
    let other = folder.path().join("other.json");
    let text = r#"{
        "7": {"class_type": "EmptyImage", "inputs": {"width": 128, "height": 64, "color": 0}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["7", 0], "filename_prefix": "plain"}}
    }"#;
    std::fs::write(&other, text).unwrap();
    let mut hand = Hand::open(folder.path());
    hand.drop_file(&workflow);
    let node = *hand.get::<Selection>().nodes.first().unwrap();
    let before = hand.project().clone();

    hand.act(Action::CompareWorkflow {
        node,
        path: other.clone(),
    });
    assert!(hand.get::<Dialogs>().replacement.is_some());
    let seen =
        |hand: &Hand, words: &str| hand.labels().iter().any(|label| label.text.contains(words));
    assert!(seen(&hand, "128"), "{:?}", hand.labels());
    assert!(seen(&hand, "Batch size"), "{:?}", hand.labels());
    assert_eq!(*hand.project(), before, "nothing is done unasked");

    hand.click_words("Replace");
    let parameters = exposure::parameters_of(&hand.project().nodes[&node]);
    let found_again = parameters
        .iter()
        .filter(|one| one.address.node.node_id == "7")
        .count();
    assert_eq!(found_again, 2);
    assert_eq!(hand.project().nodes[&node].outputs.len(), 1);
    hand.chord(&[Key::Control], Key::Letter('z'));
    assert_eq!(*hand.project(), before);
}
