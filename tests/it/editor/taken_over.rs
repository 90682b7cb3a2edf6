//! What an open window takes over from the app: its colours, the node's name, and where it was.

use super::in_a_window::{Display, FRIENDLY, PATIENCE, loaded, order, serve, start, wait};
use super::puppet::{Puppet, obedient};
use crate::needed;
use comfyui_orchestrator::editor::message::{
    Appearance, CloseMode, FromWindow, ToWindow, WindowGeometry,
};
use comfyui_orchestrator::editor::process::EditorEvent;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn an_open_window_takes_the_app_s_colours_and_the_node_s_name() {
    let Some((display, _folder, puppet, window)) = obedient(None).await else {
        return;
    };
    let seen = || puppet.colours.lock().unwrap().clone();
    assert!(seen().contains("--back%3A%231c2028"), "{}", seen());
    window
        .send(ToWindow::Appearance(Appearance::Light))
        .unwrap();
    window
        .send(ToWindow::NodeTitle("Landscape".to_owned()))
        .unwrap();
    let begin = Instant::now();
    while !seen().contains("--back%3A%23ffffff") {
        assert!(begin.elapsed() < PATIENCE, "{}", seen());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // A page that is loaded anew has them from the start, and is told that its surroundings are light.
    puppet.colours.lock().unwrap().clear();
    puppet.to_do("reload");
    wait(&window, PATIENCE, loaded).await.expect("it is shown");
    assert!(seen().starts_with("light%20"), "{}", seen());
    assert!(seen().contains("--back%3A%23ffffff"), "{}", seen());
    let mut search = Command::new("xdotool");
    search
        .env("DISPLAY", &display.name)
        .args(["search", "--name", "^Landscape, Workstation$"])
        .stdout(Stdio::piped());
    if let Some(search) = needed::spawn(&mut search) {
        let found = search.wait_with_output().unwrap();
        assert!(!found.stdout.is_empty(), "its title says so");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn colours_that_change_while_the_page_comes_up_stay_when_it_is_there() {
    let Some(display) = Display::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let puppet = Puppet::default();
    let mut order = order(puppet.serve().await, folder.path(), None);
    // The page waits with its app until it is told to begin.
    order.url.set_query(Some("late"));
    let window = start(&display, folder.path(), order);
    puppet.until("the page runs", |page| page.is_idle).await;
    // By then the window has sent the workflow, with the colours of before.
    tokio::time::sleep(Duration::from_secs(2)).await;
    window
        .send(ToWindow::Appearance(Appearance::Light))
        .unwrap();
    let seen = || puppet.colours.lock().unwrap().clone();
    let begin = Instant::now();
    while !seen().contains("--back%3A%23ffffff") {
        assert!(begin.elapsed() < PATIENCE, "{}", seen());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    puppet.to_do("begin");
    wait(&window, PATIENCE, loaded).await.expect("it is shown");
    assert!(seen().contains("--back%3A%23ffffff"), "{}", seen());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_stands_where_it_was_and_never_beyond_the_screens() {
    let Some(display) = Display::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let address = serve(vec![("/", FRIENDLY.to_owned())]).await;
    let last = |x, y| WindowGeometry {
        x,
        y,
        width: 800.0,
        height: 600.0,
    };
    for (last, comes_back) in [(last(120.0, 60.0), true), (last(7000.0, 60.0), false)] {
        let mut order = order(address, folder.path(), None);
        order.geometry = Some(last);
        let window = start(&display, folder.path(), order);
        wait(&window, PATIENCE, loaded).await.expect("it is shown");
        window.send(ToWindow::Close(CloseMode::Keep)).unwrap();
        let stood = wait(&window, PATIENCE, |event| match event {
            EditorEvent::Said(FromWindow::Geometry(geometry)) => Some(*geometry),
            _ => None,
        })
        .await
        .expect("it says where it was");
        if comes_back {
            assert_eq!(stood, last);
        } else {
            // The test's screen is 1280 wide.
            assert!((0.0..1280.0).contains(&stood.x), "{stood:?}");
            assert_eq!((stood.width, stood.height), (800.0, 600.0));
        }
    }
}
