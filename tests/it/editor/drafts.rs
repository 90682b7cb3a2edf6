//! What becomes of changes that nobody has saved: on closing, on a failed save, when the page or the window dies.

use super::in_a_window::{Display, PATIENCE, draft_of, fate_of, loaded, order, start, wait};
use super::puppet::obedient;
use crate::needed;
use comfyui_orchestrator::editor::message::{
    CloseMode, DraftFate, EditorGraph, FromWindow, SaveAnswer, SaveTarget, ToWindow,
};
use comfyui_orchestrator::editor::process::EditorEvent;
use serde_json::value::RawValue;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Whether keys can be pressed here. Says so where not.
fn has_keys() -> bool {
    let mut xdotool = Command::new("xdotool");
    xdotool.arg("version").stdout(Stdio::null());
    xdotool.stderr(Stdio::null());
    // It fails without a display, which is not what is asked here.
    needed::spawn(&mut xdotool)
        .map(|mut child| child.wait())
        .is_some()
}

/// Presses a key in the window as a person does, until what is waited for has come of it.
async fn press_until<T>(
    display: &Display,
    key: &str,
    mut come: impl AsyncFnMut() -> Option<T>,
) -> T {
    let begin = Instant::now();
    loop {
        // It fails while the window is not there yet.
        Command::new("xdotool")
            .env("DISPLAY", &display.name)
            .args(["search", "--name", "Portrait, Workstation"])
            .args(["windowfocus", "--sync", "key", key])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        if let Some(come) = come().await {
            return come;
        }
        assert!(begin.elapsed() < PATIENCE, "{key} is heard");
    }
}

/// How long nothing is heard of what must not be: longer than the page takes to look for changes and to send them.
const SILENCE: Duration = Duration::from_secs(3);
/// Between two presses of a key.
const KEY_PAUSE: Duration = Duration::from_millis(700);

#[tokio::test(flavor = "multi_thread")]
async fn a_save_that_fails_on_closing_keeps_the_window_and_the_changes() {
    if !has_keys() {
        return;
    }
    let Some((display, _folder, puppet, window)) = obedient(None).await else {
        return;
    };
    puppet.to_do("fail");
    puppet.to_do("change");
    let draft = wait(&window, PATIENCE, draft_of).await;
    assert!(draft.unwrap().contains("\"id\":100"));
    window.send(ToWindow::Close(CloseMode::Ask)).unwrap();
    // "Save to node" has the focus.
    press_until(&display, "Return", async || {
        tokio::time::sleep(KEY_PAUSE).await;
        puppet.with(|page| page.tried > 0).then_some(())
    })
    .await;
    let said = wait(&window, SILENCE, |event| match event {
        EditorEvent::Said(FromWindow::Geometry(_)) => None,
        other => Some(format!("{other:?}")),
    });
    assert_eq!(said.await, None, "it stays, and nothing is saved");
    // Asked again, and once more instead of an answer: nobody said that the changes may go.
    window.send(ToWindow::Close(CloseMode::Ask)).unwrap();
    assert_eq!(wait(&window, Duration::from_secs(1), fate_of).await, None);
    window.send(ToWindow::Close(CloseMode::Ask)).unwrap();
    assert_eq!(
        wait(&window, PATIENCE, fate_of).await,
        Some(DraftFate::Keep)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_saved_on_closing_waits_for_the_answer_of_the_app() {
    if !has_keys() {
        return;
    }
    let Some((display, _folder, puppet, window)) = obedient(None).await else {
        return;
    };
    puppet.to_do("change");
    wait(&window, PATIENCE, draft_of).await.expect("a change");
    window.send(ToWindow::Close(CloseMode::Ask)).unwrap();
    let saved = press_until(&display, "Return", async || {
        wait(&window, KEY_PAUSE, |event| match event {
            EditorEvent::Said(FromWindow::Save(saved)) => Some(Ok((saved.target, saved.number))),
            other => fate_of(other).map(Err),
        })
        .await
    })
    .await;
    let Ok((SaveTarget::Node, number)) = saved else {
        panic!("{saved:?}");
    };
    let early = wait(&window, SILENCE, fate_of).await;
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
async fn a_save_that_is_too_large_is_not_kept_and_closing_asks() {
    let Some((_display, _folder, puppet, window)) = obedient(None).await else {
        return;
    };
    puppet.to_do("change");
    wait(&window, PATIENCE, draft_of).await.expect("a change");
    puppet.to_do("burden");
    puppet.to_do("save");
    let refused = wait(&window, PATIENCE, |event| match event {
        EditorEvent::Said(FromWindow::Notice { text }) => Some(text.clone()),
        _ => None,
    });
    let refused = refused.await.expect("it is told");
    assert!(refused.contains("at most"), "{refused}");
    window.send(ToWindow::Close(CloseMode::Ask)).unwrap();
    assert_eq!(wait(&window, SILENCE, fate_of).await, None, "it asks");
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
    if !has_keys() {
        return;
    }
    let Some((display, _folder, puppet, window)) = obedient(None).await else {
        return;
    };
    puppet.to_do("change");
    wait(&window, PATIENCE, draft_of).await.expect("a change");
    // One of which the page has not told yet.
    puppet.to_do("change_quietly");
    puppet.until("it is done", |page| page.is_idle).await;
    let mut told = None;
    // It comes back.
    press_until(&display, "F5", async || {
        wait(&window, Duration::from_secs(15), |event| {
            told = draft_of(event).or(told.take());
            loaded(event)
        })
        .await
    })
    .await;
    assert!(told.is_some_and(|draft| draft.contains("\"id\":101")));
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
    let before = puppet.with(|page| page.shown);
    window
        .send(ToWindow::NodeWorkflow(EditorGraph::Ui(other)))
        .unwrap();
    puppet
        .until("the page goes to it", |page| page.shown > before)
        .await;
    // What is changed before the bar has looked at what it loaded counts as loaded.
    let begin = Instant::now();
    let draft = loop {
        puppet.to_do("change");
        if let Some(draft) = wait(&window, SILENCE, draft_of).await {
            break draft;
        }
        assert!(begin.elapsed() < PATIENCE, "a change is noticed");
    };
    assert!(
        draft.contains("\"id\":9") && draft.contains("\"id\":100"),
        "{draft}"
    );
    assert_eq!(
        puppet.with(|page| page.tabs.clone()),
        "Old.json|Portrait.json"
    );
    // Looking at another tab is no change of the node's workflow, and saving it is refused.
    puppet.to_do("other_tab");
    puppet.to_do("save");
    puppet.until("both are done", |page| page.is_idle).await;
    let said = wait(&window, SILENCE, |event| match event {
        EditorEvent::Said(FromWindow::Save(_) | FromWindow::Changed { .. }) => {
            Some(format!("{event:?}"))
        }
        _ => None,
    });
    assert_eq!(said.await, None);
    assert_eq!(puppet.with(|page| page.tried), 0);
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
    let Some((display, folder, puppet, window)) = obedient(None).await else {
        return;
    };
    puppet.to_do("change");
    let draft = wait(&window, PATIENCE, draft_of).await.expect("a change");
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
    // The next window is given the draft and asks; as long as nobody answers it is kept.
    let address = puppet.serve().await;
    let open = async || {
        let draft = RawValue::from_string(draft.clone()).unwrap();
        let order = order(address, folder.path(), Some(draft));
        let window = start(&display, folder.path(), order);
        wait(&window, PATIENCE, loaded).await.expect("it is shown");
        window
    };
    let again = open().await;
    again.send(ToWindow::Close(CloseMode::Ask)).unwrap();
    assert_eq!(wait(&again, PATIENCE, fate_of).await, Some(DraftFate::Keep));
    // "Bring them back" has the focus: the page shows what was changed, which is changed still.
    if !has_keys() {
        return;
    }
    let again = open().await;
    let brought_back = press_until(&display, "Return", async || {
        wait(&again, KEY_PAUSE, draft_of).await
    })
    .await;
    assert_eq!(brought_back, draft);
}
