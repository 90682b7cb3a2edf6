//! Frames around nodes, and the view that goes on showing everything.

use super::hand::{Hand, Key};
use super::{add, note};
use comfyui_orchestrator::app::actions::Action;
use comfyui_orchestrator::app::document::Selection;
use comfyui_orchestrator::project::{Frame, NodeId};

fn places(hand: &Hand, nodes: &[NodeId]) -> Vec<[f32; 2]> {
    let project = hand.project();
    nodes.iter().map(|id| project.nodes[id].pos_world).collect()
}

fn frame(hand: &Hand) -> Frame {
    let frames = &hand.project().frames;
    assert_eq!(frames.len(), 1);
    frames.values().next().unwrap().clone()
}

#[test]
fn a_frame_moves_with_what_lies_in_it_and_goes_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut hand = Hand::open(folder.path());
    let inside = [
        add(&mut hand, [420.0, 220.0], "fan out"),
        add(&mut hand, [420.0, 420.0], "merge"),
    ];
    let outside = [add(&mut hand, [900.0, 420.0], "condition")];
    hand.act(Action::Select(
        comfyui_orchestrator::app::actions::Select::Only {
            nodes: inside.to_vec(),
            links: Vec::new(),
        },
    ));
    hand.chord(&[Key::Control], Key::Letter('g'));
    let made = frame(&hand);
    assert_eq!(hand.get::<Selection>().only_frame(), Some(made.id));
    let held: Vec<NodeId> = hand
        .project()
        .nodes_in_frame(&made)
        .map(|node| node.id)
        .collect();
    assert!(inside.iter().all(|id| held.contains(id)) && held.len() == 2);

    // By its title it takes along what lies in it, as one step.
    let (before, beside) = (places(&hand, &inside), places(&hand, &outside));
    let title = hand.place_px(made.pos_world, [40.0, 8.0]);
    hand.drag(title, [title[0] + 60.0, title[1] + 40.0]);
    let moved = frame(&hand);
    let by = [0, 1].map(|axis| moved.pos_world[axis] - made.pos_world[axis]);
    assert!(by[0] > 20.0 && by[1] > 10.0, "{by:?}");
    for (was, is) in before.iter().zip(places(&hand, &inside)) {
        for axis in [0, 1] {
            assert!((is[axis] - was[axis] - by[axis]).abs() < 0.01);
        }
    }
    assert_eq!(places(&hand, &outside), beside);
    hand.chord(&[Key::Control], Key::Letter('z'));
    assert_eq!(frame(&hand), made);
    assert_eq!(places(&hand, &inside), before);

    // Its corner changes its size, its menu and a double click its name.
    let end = [0, 1].map(|axis| made.pos_world[axis] + made.size_world[axis]);
    let corner = hand.place_px(end, [-4.0, -4.0]);
    hand.drag(corner, [corner[0] + 50.0, corner[1] + 30.0]);
    let grown = frame(&hand);
    assert!(grown.size_world[0] > made.size_world[0] + 20.0);
    assert!(grown.size_world[1] > made.size_world[1] + 10.0);
    assert!(
        [0, 1].map(|axis| (grown.pos_world[axis] - made.pos_world[axis]).abs() < 0.01) == [true; 2]
    );
    let title = hand.place_px(made.pos_world, [40.0, 8.0]);
    hand.double_click(title);
    hand.frames(2);
    hand.type_text("s of mine");
    assert_eq!(frame(&hand).title, "Frames of mine");
    hand.press(Key::Escape);

    // Taken away, it leaves what lay in it.
    hand.act(Action::SelectFrame(made.id));
    hand.press(Key::Delete);
    assert!(hand.project().frames.is_empty());
    assert_eq!(hand.project().nodes.len(), 3);
}

#[test]
fn a_view_of_everything_stays_one_when_the_interface_grows() {
    let folder = tempfile::tempdir().unwrap();
    let project = note();
    let nodes: Vec<NodeId> = project.nodes.keys().copied().collect();
    let mut hand = Hand::open_with(folder.path(), |options| options.document = Some(project));
    hand.frames(6);
    for _ in 0..5 {
        hand.act(Action::UiScaleUp);
        hand.frames(4);
        assert!(
            nodes.iter().all(|id| hand.sees_node(*id)),
            "at {} %",
            hand.scale() * 100.0
        );
    }
    // Moved by a person, it stays where it was put.
    hand.act(Action::ZoomIn);
    hand.wait_frames(20);
    let put = hand.canvas_zoom();
    hand.act(Action::UiScaleUp);
    hand.frames(4);
    assert!((put - hand.canvas_zoom()).abs() < 1e-4);
}
