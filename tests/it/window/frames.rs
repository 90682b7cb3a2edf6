//! Frames around nodes, and the view that goes on showing everything.

use super::hand::{Hand, Key};
use super::{add, note};
use comfyui_orchestrator::app::actions::{Action, Select};
use comfyui_orchestrator::app::document::Selection;
use comfyui_orchestrator::project::{Frame, FrameId, NodeId};
use std::collections::BTreeSet;

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
    hand.act(Action::Select(Select::Only {
        nodes: inside.to_vec(),
        links: Vec::new(),
    }));
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
    hand.click_right(title);
    hand.click_words("Rename");
    hand.frames(2);
    hand.type_text(" again");
    assert_eq!(frame(&hand).title, "Frames of mine again");
    hand.press(Key::Escape);

    // Taken away, it leaves what lay in it.
    hand.act(Action::SelectFrame(made.id));
    hand.press(Key::Delete);
    assert!(hand.project().frames.is_empty());
    assert_eq!(hand.project().nodes.len(), 3);
}

/// A frame around nodes, and its id.
fn framed(hand: &mut Hand, nodes: &[NodeId]) -> FrameId {
    hand.act(Action::Select(Select::Only {
        nodes: nodes.to_vec(),
        links: Vec::new(),
    }));
    hand.act(Action::FrameSelection);
    hand.get::<Selection>().only_frame().expect("a frame")
}

#[test]
fn frames_are_cut_pasted_duplicated_and_chosen_by_a_box_like_nodes() {
    let folder = tempfile::tempdir().unwrap();
    let mut hand = Hand::open(folder.path());
    let node = add(&mut hand, [520.0, 320.0], "fan out");
    let frame_id = framed(&mut hand, &[node]);
    let before = hand.project().clone();
    // A box that goes through it takes what it touches; one around it takes it too.
    let Frame {
        pos_world,
        size_world,
        ..
    } = before.frames[&frame_id];
    let end = [0, 1].map(|axis| pos_world[axis] + size_world[axis]);
    let (low, high) = (
        hand.place_px(pos_world, [-20.0, -20.0]),
        hand.place_px(end, [20.0, 20.0]),
    );
    let middle = [0, 1].map(|axis| f32::midpoint(low[axis], high[axis]));
    hand.drag(low, middle);
    let selection = hand.get::<Selection>();
    assert!(selection.frames.is_empty() && selection.nodes.len() == 1);
    // From elsewhere: two presses at one place would be a double click.
    hand.drag(low.map(|at| at - 12.0), high);
    let both = Selection {
        nodes: BTreeSet::from([node]),
        frames: BTreeSet::from([frame_id]),
        ..Selection::default()
    };
    assert_eq!(*hand.get::<Selection>(), both);

    // What is cut comes back whole.
    hand.act(Action::Cut);
    assert!(hand.project().nodes.is_empty() && hand.project().frames.is_empty());
    hand.act(Action::Paste);
    let pasted = hand.project();
    assert_eq!((pasted.nodes.len(), pasted.frames.len()), (1, 1));
    let made = frame(&hand);
    assert_eq!(
        (made.title, made.size_world),
        (before.frames[&frame_id].title.clone(), size_world)
    );
    assert_eq!(hand.project().nodes_in_frame(&frame(&hand)).count(), 1);
    assert!(hand.get::<Selection>().frames.contains(&made.id));
    hand.act(Action::Undo);
    hand.act(Action::Undo);
    assert_eq!(*hand.project(), before);

    // A frame by itself is copied by itself; a link by itself is neither copied nor cut.
    hand.act(Action::SelectFrame(frame_id));
    hand.act(Action::Duplicate);
    assert_eq!(hand.project().frames.len(), 2);
    assert_eq!(hand.project().nodes.len(), 1);
    let copy = hand.get::<Selection>().only_frame().expect("the copy");
    assert_ne!(copy, frame_id);
    let at = hand.project().frames[&copy].pos_world;
    assert!((at[0] - pos_world[0] - 40.0).abs() < 0.01);
}

#[test]
fn a_frame_takes_the_frames_in_it_along() {
    let folder = tempfile::tempdir().unwrap();
    let mut hand = Hand::open(folder.path());
    let node = add(&mut hand, [560.0, 360.0], "fan out");
    let inner = framed(&mut hand, &[node]);
    // Around everything: the frame, too.
    hand.act(Action::SelectAll);
    hand.act(Action::FrameSelection);
    let outer = hand.get::<Selection>().only_frame().expect("a frame");
    let frames = hand.project().frames.clone();
    assert!(frames[&outer].encloses(&frames[&inner]));
    hand.act(Action::FitFrame);
    assert_eq!(hand.project().frames, frames, "it fits already");
    let wide = frames[&outer].clone();
    let before = hand.project().clone();
    let title = hand.place_px(wide.pos_world, [30.0, 8.0]);
    hand.drag(title, [title[0] + 70.0, title[1] + 30.0]);
    let after = hand.project();
    let by =
        |was: [f32; 2], is: [f32; 2]| [0, 1].map(|axis| format!("{:.0}", is[axis] - was[axis]));
    let of = |id: &FrameId| by(before.frames[id].pos_world, after.frames[id].pos_world);
    assert_eq!(of(&outer), ["70", "30"]);
    assert_eq!(of(&inner), of(&outer));
    let of_node = by(before.nodes[&node].pos_world, after.nodes[&node].pos_world);
    assert_eq!(of_node, of(&outer));
    hand.act(Action::Undo);
    assert_eq!(*hand.project(), before, "one step");
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
