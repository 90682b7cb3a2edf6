//! Work that was never saved outlives everything but a person's own word.

use super::hand::{Hand, Key};
use super::{add, note};
use comfyui_orchestrator::app::actions::{Action, Gesture};
use comfyui_orchestrator::app::bridge::RunViews;
use comfyui_orchestrator::app::dialogs::{Dialogs, Prompt};
use comfyui_orchestrator::app::document::Document;
use comfyui_orchestrator::app::toasts::Toasts;
use comfyui_orchestrator::engine::{RunId, RunState};
use comfyui_orchestrator::project::{Project, ProjectId};

fn run(hand: &mut Hand) -> RunId {
    let before = hand.get::<RunViews>().shown;
    hand.chord(&[Key::Control], Key::Enter);
    hand.wait_until("the run ends", |hand| {
        let runs = hand.get::<RunViews>();
        runs.shown != before
            && runs.shown_view().and_then(|view| view.state) == Some(RunState::Completed)
    });
    hand.get::<RunViews>().shown.unwrap()
}

#[test]
fn a_run_leads_to_what_was_made_of_its_project_since_and_no_window_takes_it_from_another() {
    let folder = tempfile::tempdir().unwrap();
    let project = note();
    let mut hand = Hand::open_with(folder.path(), |options| {
        options.document = Some(project.clone());
    });
    let first = run(&mut hand);
    let second = run(&mut hand);
    hand.act(Action::RenameProject {
        name: "Note with more".to_owned(),
        gesture: Gesture::new(),
    });
    hand.lose_focus();
    drop(hand);
    // Another project is left behind the same way, later: that is the one that the next start offers.
    let mut hand = Hand::open(folder.path());
    hand.press(Key::Escape);
    add(&mut hand, [420.0, 200.0], "fan out");
    hand.lose_focus();
    drop(hand);
    let mut hand = Hand::open(folder.path());
    match &hand.get::<Dialogs>().prompt {
        Some(Prompt::Recovered { project, .. }) => assert_eq!(project.nodes.len(), 1),
        other => panic!("{other:?} is asked"),
    }
    hand.press(Key::Escape);

    // The run's project is there as it was left, not as it was when the run began, and the run that was asked for is shown.
    hand.act(Action::OpenProjectOfRun(first));
    hand.wait_until("the project is open", |hand| {
        hand.project().id == project.id && hand.get::<RunViews>().shown.is_some()
    });
    assert_eq!(hand.project().name, "Note with more");
    assert_eq!(hand.get::<RunViews>().shown, Some(first));
    assert!(hand.get::<Document>().is_dirty());
    hand.act(Action::OpenProjectOfRun(second));
    hand.wait_until("the other run is shown", |hand| {
        hand.get::<RunViews>().shown == Some(second)
    });

    // It is this window's now.
    let mut other = Hand::open(folder.path());
    other.press(Key::Escape);
    other.act(Action::OpenProjectOfRun(first));
    other.wait_until("it is told", |other| {
        let toasts = &other.get::<Toasts>().visible;
        toasts
            .iter()
            .any(|toast| toast.title.contains("another window"))
    });
    assert_ne!(other.project().id, project.id);
    drop(other);
    drop(hand);

    // What cannot be read is not written over.
    let left = folder.path().join(format!("unsaved/{}", project.id));
    let recovery = std::fs::read_dir(&left)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| std::fs::read_to_string(path).is_ok_and(|text| text.contains("Note with")))
        .expect("it is kept");
    std::fs::write(&recovery, "{ half").unwrap();
    let mut hand = Hand::open(folder.path());
    hand.press(Key::Escape);
    hand.act(Action::OpenProjectOfRun(first));
    hand.wait_until("it is told", |hand| {
        let toasts = &hand.get::<Toasts>().visible;
        toasts
            .iter()
            .any(|toast| toast.title == "The project was not opened")
    });
    assert_eq!(std::fs::read_to_string(&recovery).unwrap(), "{ half");
}

#[test]
fn unsaved_work_of_a_saved_project_is_decided_about_or_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("project");
    let recovery = place.join(".recovery.orchestrator.json");
    let mut hand = Hand::open_with(folder.path(), |options| options.document = Some(note()));
    hand.act(Action::SavePath(place.clone()));
    hand.act(Action::RenameProject {
        name: "Note with more".to_owned(),
        gesture: Gesture::new(),
    });
    hand.lose_focus();
    drop(hand);
    assert!(recovery.exists());

    // Unsaved work of the project that is open is not passed over: it would be written over.
    let mut hand = Hand::open(folder.path());
    hand.act(Action::OpenPath(place.clone()));
    assert!(hand.sees("Restore") && hand.sees("Discard"));
    assert!(!hand.sees("Not now"));
    hand.press(Key::Escape);
    // Closing the window, or going to another project, answers nothing: the same is asked the next time.
    hand.ask_to_close();
    assert!(hand.has_ended() && recovery.exists());
    drop(hand);
    let mut hand = Hand::open(folder.path());
    let elsewhere = [
        Action::NewProject,
        Action::OpenSnapshot(Box::new(Project::new(ProjectId::new_now(), "Of a run"))),
        Action::OpenPath(place.clone()),
    ];
    for action in elsewhere {
        hand.act(Action::OpenPath(place.clone()));
        assert!(hand.sees("Restore"));
        hand.act(action);
        assert!(recovery.exists());
        if hand.get::<Document>().is_dirty() {
            hand.act(Action::NewProject);
            hand.click_words("Don't save");
        }
    }
    hand.act(Action::OpenPath(place.clone()));
    hand.click_words("Restore");
    assert_eq!(hand.project().name, "Note with more");
    drop(hand);

    // Work that cannot be read lies aside from then on.
    std::fs::write(&recovery, "{ half").unwrap();
    let mut hand = Hand::open(folder.path());
    hand.act(Action::OpenPath(place.clone()));
    assert_eq!(hand.project().name, "Note");
    hand.act(Action::RenameProject {
        name: "Another".to_owned(),
        gesture: Gesture::new(),
    });
    hand.lose_focus();
    assert!(recovery.exists());
    let aside = place.join(".recovery.orchestrator.json.unread");
    assert_eq!(std::fs::read_to_string(aside).unwrap(), "{ half");
}
