//! What becomes of changes that nobody has saved: on closing, on a failed save, when the page or the window dies.

use super::in_a_window::{
    Display, FRIENDLY, PATIENCE, draft_of, fate_of, loaded, order, serve, start, wait,
};
use super::puppet::obedient;
use comfyui_orchestrator::editor::message::{
    CloseMode, DraftFate, EditorGraph, FromWindow, SaveAnswer, SaveTarget, ToWindow,
};
use comfyui_orchestrator::editor::process::EditorEvent;
use serde_json::value::{RawValue, to_raw_value};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Presses a key in the window as a person does.
fn press(display: &Display, key: &str) -> bool {
    let pressed = Command::new("xdotool")
        .env("DISPLAY", &display.name)
        .args([
            "search",
            "--name",
            "Portrait, Workstation",
            "windowfocus",
            "--sync",
            "key",
            key,
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    pressed.is_ok_and(|status| status.success())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_save_that_fails_on_closing_keeps_the_window_and_the_changes() {
    let Some((display, _folder, puppet, window)) = obedient(None).await else {
        return;
    };
    puppet.to_do("fail");
    puppet.to_do("change");
    let draft = wait(&window, PATIENCE, draft_of).await;
    assert!(draft.unwrap().contains("\"id\":100"));
    window.send(ToWindow::Close(CloseMode::Ask)).unwrap();
    // "Save to node" has the focus.
    let begin = Instant::now();
    while puppet.tried.load(Ordering::Relaxed) == 0 {
        if !press(&display, "Return") {
            println!("skipped: there is no xdotool here");
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "the question is answered");
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    let said = wait(&window, Duration::from_secs(4), |event| match event {
        EditorEvent::Said(FromWindow::Geometry(_)) => None,
        other => Some(format!("{other:?}")),
    });
    assert_eq!(said.await, None, "it stays, and nothing is saved");
    // Asked again, and once more instead of an answer: nobody said that the changes may go.
    window.send(ToWindow::Close(CloseMode::Ask)).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    window.send(ToWindow::Close(CloseMode::Ask)).unwrap();
    assert_eq!(
        wait(&window, PATIENCE, fate_of).await,
        Some(DraftFate::Keep)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_saved_on_closing_waits_for_the_answer_of_the_app() {
    let Some((display, _folder, puppet, window)) = obedient(None).await else {
        return;
    };
    puppet.to_do("change");
    wait(&window, PATIENCE, draft_of).await.expect("a change");
    window.send(ToWindow::Close(CloseMode::Ask)).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    if !press(&display, "Return") {
        println!("skipped: there is no xdotool here");
        return;
    }
    let saved = wait(&window, PATIENCE, |event| match event {
        EditorEvent::Said(FromWindow::Save(saved)) => Some(Ok((saved.target, saved.number))),
        other => fate_of(other).map(Err),
    })
    .await;
    let Some(Ok((SaveTarget::Node, number))) = saved else {
        panic!("{saved:?}");
    };
    let early = wait(&window, Duration::from_secs(2), fate_of).await;
    assert_eq!(early, None, "the app has not answered yet");
    window
        .send(ToWindow::SaveAnswer {
            number,
            answer: SaveAnswer::InReview,
        })
        .unwrap();
    assert_eq!(
        wait(&window, PATIENCE, fate_of).await,
        Some(DraftFate::Keep)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_counts_for_the_save_that_it_is_about() {
    let Some((_display, _folder, puppet, window)) = obedient(None).await else {
        return;
    };
    let save_of = |event: &EditorEvent| match event {
        EditorEvent::Said(FromWindow::Save(saved)) => Some(saved.number),
        _ => None,
    };
    let answer = |number: u64, answer: SaveAnswer| {
        let answer = ToWindow::SaveAnswer { number, answer };
        window.send(answer).unwrap();
    };
    puppet.to_do("change");
    wait(&window, PATIENCE, draft_of).await.expect("a change");
    puppet.to_do("save");
    let first = wait(&window, PATIENCE, save_of).await.expect("a save");
    answer(first, SaveAnswer::InReview);
    // Once more while the app asks: that one is refused, and the first is taken.
    puppet.to_do("save");
    let second = wait(&window, PATIENCE, save_of).await.expect("another");
    assert_ne!(first, second);
    answer(second, SaveAnswer::Refused("still asks".to_owned()));
    answer(first, SaveAnswer::Kept);
    let is_equal = wait(&window, PATIENCE, |event| {
        let equal = FromWindow::Changed { draft: None };
        matches!(event, EditorEvent::Said(said) if format!("{said:?}") == format!("{equal:?}"))
            .then_some(())
    });
    is_equal.await.expect("what is shown is what the node has");
    window.send(ToWindow::Close(CloseMode::Ask)).unwrap();
    assert_eq!(
        wait(&window, PATIENCE, fate_of).await,
        Some(DraftFate::Discard)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draft_that_is_offered_stays_when_nobody_answers_and_when_the_page_is_loaded_anew() {
    let draft = RawValue::from_string(r#"{"nodes":[{"id":3}]}"#.to_owned()).unwrap();
    let Some((_display, _folder, puppet, window)) = obedient(Some(draft)).await else {
        return;
    };
    // Neither a change behind the question nor loading the page again is an answer.
    puppet.to_do("change");
    puppet.to_do("reload");
    let again = wait(&window, PATIENCE, |event| match event {
        EditorEvent::Said(FromWindow::Loaded) => Some(Ok(())),
        EditorEvent::Said(FromWindow::Changed { draft }) => Some(Err(format!("{draft:?}"))),
        _ => None,
    })
    .await;
    assert_eq!(again, Some(Ok(())));
    window.send(ToWindow::Close(CloseMode::Ask)).unwrap();
    assert_eq!(
        wait(&window, PATIENCE, fate_of).await,
        Some(DraftFate::Keep)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_loads_the_page_anew_and_the_changes_are_offered_in_it() {
    let Some((display, _folder, puppet, window)) = obedient(None).await else {
        return;
    };
    puppet.to_do("change");
    wait(&window, PATIENCE, draft_of).await.expect("a change");
    if !press(&display, "F5") {
        println!("skipped: there is no xdotool here");
        return;
    }
    wait(&window, PATIENCE, loaded)
        .await
        .expect("it comes back");
    window.send(ToWindow::Close(CloseMode::Ask)).unwrap();
    assert_eq!(
        wait(&window, PATIENCE, fate_of).await,
        Some(DraftFate::Keep),
        "the draft is offered, and nobody answered"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_page_s_process_is_told_and_the_page_comes_back_with_the_draft() {
    let Some((_display, _folder, puppet, window)) = obedient(None).await else {
        return;
    };
    puppet.to_do("change");
    wait(&window, PATIENCE, draft_of).await.expect("a change");
    let of_page = |entry: &std::fs::DirEntry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
        let parent = rest.split_whitespace().nth(1)?;
        (name.starts_with("WebKitWeb") && parent == window.process_id().to_string())
            .then(|| entry.file_name().to_string_lossy().into_owned())
    };
    let page_id = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .find_map(|entry| of_page(&entry))
        .expect("the page has a process of its own");
    let killed = Command::new("kill").args(["-9", &page_id]).status();
    assert!(killed.unwrap().success());
    let told = wait(&window, PATIENCE, |event| match event {
        EditorEvent::Said(FromWindow::PageGone) => Some(()),
        _ => None,
    });
    told.await.expect("it is told");
    wait(&window, PATIENCE, loaded)
        .await
        .expect("it comes back");
    window.send(ToWindow::Close(CloseMode::Ask)).unwrap();
    assert_eq!(
        wait(&window, PATIENCE, fate_of).await,
        Some(DraftFate::Keep),
        "the draft is offered, and nobody answered"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_closes_itself_comes_back_with_the_draft() {
    let Some((_display, _folder, puppet, window)) = obedient(None).await else {
        return;
    };
    puppet.to_do("change");
    wait(&window, PATIENCE, draft_of).await.expect("a change");
    puppet.to_do("close");
    let told = wait(&window, PATIENCE, |event| match event {
        EditorEvent::Said(FromWindow::PageGone) => Some(Ok(())),
        EditorEvent::Said(FromWindow::Closed { .. }) => Some(Err("the page closed the window")),
        _ => None,
    });
    assert_eq!(told.await, Some(Ok(())));
    wait(&window, PATIENCE, loaded)
        .await
        .expect("it comes back");
    window.send(ToWindow::Close(CloseMode::Ask)).unwrap();
    assert_eq!(
        wait(&window, PATIENCE, fate_of).await,
        Some(DraftFate::Keep)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_belongs_to_the_tab_of_its_node_and_follows_the_node() {
    let Some((_display, _folder, puppet, window)) = obedient(None).await else {
        return;
    };
    // The node gets another workflow in the app, and nothing was changed here.
    let other = RawValue::from_string(r#"{"nodes":[{"id":9}]}"#.to_owned()).unwrap();
    window
        .send(ToWindow::NodeWorkflow(EditorGraph::Ui(other)))
        .unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    puppet.to_do("change");
    let draft = wait(&window, PATIENCE, draft_of).await.expect("a change");
    assert!(
        draft.contains("\"id\":9") && draft.contains("\"id\":100"),
        "{draft}"
    );
    assert_eq!(*puppet.tabs.lock().unwrap(), "Old.json|Portrait.json");
    // Looking at another tab is no change of the node's workflow, and saving it is refused.
    puppet.to_do("other_tab");
    puppet.to_do("save");
    let said = wait(&window, Duration::from_secs(4), |event| match event {
        EditorEvent::Said(FromWindow::Save(_) | FromWindow::Changed { .. }) => {
            Some(format!("{event:?}"))
        }
        _ => None,
    });
    assert_eq!(said.await, None);
    assert_eq!(puppet.tried.load(Ordering::Relaxed), 0);
    // Back to what it was before by an undo in the app: the page knows that it differs.
    let first = r#"{"nodes":[{"id":1}],"extra":{"ds":{"scale":2}}}"#;
    let first = RawValue::from_string(first.to_owned()).unwrap();
    window
        .send(ToWindow::NodeWorkflow(EditorGraph::Ui(first)))
        .unwrap();
    puppet.to_do("reload");
    wait(&window, PATIENCE, loaded).await.expect("it is shown");
    window.send(ToWindow::Close(CloseMode::Ask)).unwrap();
    assert_eq!(
        wait(&window, PATIENCE, fate_of).await,
        Some(DraftFate::Keep)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_window_is_reported_and_its_draft_comes_back() {
    let Some(display) = Display::start() else {
        println!("skipped: there is no Xvfb here");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let address = serve(vec![("/", FRIENDLY.to_owned())]).await;
    let window = start(&display, folder.path(), order(address, folder.path(), None));
    let draft = wait(&window, PATIENCE, |event| match event {
        EditorEvent::Said(FromWindow::Changed { draft: Some(draft) }) => {
            Some(to_raw_value(draft).unwrap())
        }
        _ => None,
    })
    .await
    .expect("a change is noticed");
    let killed = Command::new("kill")
        .args(["-9", &window.process_id().to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    let reason = wait(&window, PATIENCE, |event| match event {
        EditorEvent::Died(reason) => Some(reason.clone()),
        _ => None,
    })
    .await
    .expect("the end is told");
    assert!(reason.contains("unexpectedly"), "{reason}");
    // The next window is given the draft and asks the person; nothing is lost in between.
    let again = start(
        &display,
        folder.path(),
        order(address, folder.path(), Some(draft)),
    );
    let loaded = wait(&again, PATIENCE, |event| {
        matches!(event, EditorEvent::Said(FromWindow::Loaded)).then_some(())
    })
    .await;
    assert!(loaded.is_some());
}
