//! What waits for a person is shown, marked and answered in the window.

use super::hand::{Hand, Key};
use comfyui_orchestrator::app::actions::Action;
use comfyui_orchestrator::app::bridge::RunViews;
use comfyui_orchestrator::app::document::Selection;
use comfyui_orchestrator::app::review::given_values;
use comfyui_orchestrator::engine::{ItemState, RunState};
use comfyui_orchestrator::project::{
    Axis, DataType, FanOutSource, Integer, Link, LinkId, Literal, Node, NodeId, OutputNode, PortId,
    PortRef, Project, ProjectId, ReviewNode,
};

/// Three texts, each held by a Review, then written into files: a run that needs no server.
fn three_texts() -> Project {
    let mut project = Project::new(ProjectId::new_now(), "Texts");
    let fresh: &mut dyn FnMut() -> PortId = &mut PortId::new_now;
    let texts = ["red fox", "grey heron", "brown bear"];
    let source = FanOutSource::List(Axis {
        name: "text".to_owned(),
        data_type: DataType::Text,
        values: texts.map(|text| Literal::Text(text.to_owned())).to_vec(),
    });
    let nodes = [
        Node::fan_out(NodeId::new_now(), source, fresh).titled("Animals"),
        Node::review(
            NodeId::new_now(),
            ReviewNode {
                question: "Which animal?".to_owned(),
            },
            DataType::Text,
            fresh,
        )
        .titled("Choose")
        .at([400.0, 0.0]),
        Node::output_to(
            NodeId::new_now(),
            OutputNode::default(),
            DataType::Text,
            fresh,
        )
        .titled("File")
        .at([800.0, 0.0]),
    ];
    for node in &nodes {
        project.nodes.insert(node.id, node.clone());
    }
    for pair in nodes.windows(2) {
        project.links.insert(Link {
            id: LinkId::new_now(),
            from: PortRef {
                node: pair[0].id,
                port: pair[0].outputs[0].id,
            },
            to: PortRef {
                node: pair[1].id,
                port: pair[1].inputs[0].id,
            },
        });
    }
    project
}

fn count(hand: &Hand, state: ItemState) -> u32 {
    let view = hand.get::<RunViews>().shown_view();
    view.map_or(0, |view| view.counts.get(state))
}

#[test]
fn what_is_picked_goes_on_and_the_rest_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let mut hand = Hand::open_with(folder.path(), |options| {
        options.document = Some(three_texts());
    });
    hand.chord(&[Key::Control], Key::Enter);
    hand.wait_until("three texts wait", |hand| {
        count(hand, ItemState::Parked) == 3
    });
    // It says so where one looks: in the tab, on the node, in the status bar.
    assert!(
        hand.sees("Review 3") && hand.sees("3 items wait for you"),
        "{:?}",
        hand.labels()
    );

    hand.act(Action::ShowReview);
    assert!(hand.sees("3 items wait for you") && hand.sees("Which animal?"));
    hand.click_words("grey heron");
    assert!(
        hand.sees("picked") && hand.sees("Answer: 1 picked"),
        "{:?}",
        hand.labels()
    );
    // A second click takes the mark away; a double click looks closely and leaves the marks alone. Nothing is sent meanwhile.
    hand.wait_frames(60);
    hand.click_words("grey heron");
    assert!(!hand.sees("picked"));
    hand.wait_frames(60);
    let heron = hand.find_words("grey heron");
    hand.double_click(heron);
    assert!(
        hand.sees("2 of 3") && !hand.sees("picked"),
        "{:?}",
        hand.labels()
    );
    hand.press(Key::Escape);
    assert!(hand.sees("brown bear"));
    hand.wait_frames(60);
    hand.click_words("grey heron");
    assert_eq!(count(&hand, ItemState::Parked), 3);
    hand.click_words("Reject the rest");
    hand.click_words("Answer: 1 picked, 2 rejected");
    hand.wait_until("the run ends", |hand| {
        let view = hand.get::<RunViews>().shown_view();
        view.and_then(|view| view.state) == Some(RunState::Completed)
    });
    assert!(hand.sees("Nothing waits for you"));
    let view = hand.get::<RunViews>().shown_view().unwrap();
    assert_eq!(view.files_written, 1);
    let file = std::fs::read_to_string(&view.recent_files[0]).unwrap();
    assert!(file.contains("grey heron"), "{file}");
    // Two that were not picked, and what would have been written of them.
    assert_eq!(count(&hand, ItemState::Skipped), 4);
}

#[test]
fn what_a_run_would_do_is_told_before_it_starts() {
    let folder = tempfile::tempdir().unwrap();
    let mut hand = Hand::open_with(folder.path(), |options| {
        options.document = Some(three_texts());
    });
    hand.act(Action::PlanRun);
    hand.wait_until("the answer is there", |hand| {
        hand.sees("No workflow runs in this project")
    });
    assert!(
        hand.get::<RunViews>().shown.is_none(),
        "nothing was started"
    );
    hand.click_words("Close");
    assert!(!hand.sees("No workflow runs in this project"));
}

#[test]
fn what_an_item_was_made_with_is_shown_whole_when_it_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("words.json");
    let text = super::WORKFLOW.replace("\"color\": 0", "\"color\": 0, \"words\": \"none\"");
    std::fs::write(&file, text).unwrap();
    let mut project = Project::new(ProjectId::new_now(), "Words");
    let fresh: &mut dyn FnMut() -> PortId = &mut PortId::new_now;
    let axis = |name: &str, values: Vec<Literal>| Axis {
        name: name.to_owned(),
        data_type: values[0].data_type(),
        values,
    };
    let words = ["a cat", "a cat, golden hour"].map(|text| Literal::Text(text.to_owned()));
    let sides = [64_u32, 128].map(|side| Literal::Integer(Integer::from(side)));
    let source = FanOutSource::Grid(vec![
        axis("prompt", words.to_vec()),
        axis("side", sides.to_vec()),
    ]);
    let fan_out = Node::fan_out(NodeId::new_now(), source, fresh);
    let (from, outputs) = (fan_out.id, fan_out.outputs.clone());
    project.nodes.insert(from, fan_out);
    let mut hand = Hand::open_with(folder.path(), |options| options.document = Some(project));
    hand.drop_file(&file);
    let node = *hand.get::<Selection>().nodes.first().unwrap();
    for (field, output) in [("words", 0), ("width", 1)] {
        let shown =
            comfyui_orchestrator::app::exposure::parameters_of(&hand.project().nodes[&node]);
        let mut address = shown[0].address.clone();
        address.node.node_id = "1".to_owned();
        address.input = field.to_owned();
        hand.act(Action::ToggleInput { node, address });
        let input = hand.project().nodes[&node].inputs.last().unwrap().id;
        hand.act(Action::AddLink {
            from: PortRef {
                node: from,
                port: outputs[output].id,
            },
            to: PortRef { node, port: input },
        });
    }
    assert_eq!(hand.project().links.values().count(), 2);
    let given = |label: &str| -> Vec<(String, Literal)> {
        let project = hand.project();
        given_values(project, &project.nodes[&node], label)
            .into_iter()
            .map(|(address, value)| (address.input, value))
            .collect()
    };
    assert_eq!(
        given("prompt=a cat, golden hour, side=128"),
        [
            ("width".to_owned(), sides[1].clone()),
            ("words".to_owned(), words[1].clone())
        ]
    );
    assert_eq!(given("prompt=a cat, side=64").len(), 2);
    assert!(given("prompt=a dog").is_empty(), "nothing is made up");
}
