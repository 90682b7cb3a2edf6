//! Whole runs over real servers: HTTP and WebSocket over loopback, real pixels, a real database.

use crate::small_projects::{copied, one_for_each_file, small_harbour};
use crate::whole_runs::{
    assert_posted_once, begin, files_below, finish, next, run_to_end, start_engine, start_server,
};
use comfyui_orchestrator::engine::{
    EngineEvent, FailureClass, ItemState, ResumePolicy, RunCommand, RunEvent, RunEventBody,
    RunState, RunView, RunWish, database_path,
};
use comfyui_orchestrator::store::Store;
use serde_json::json;
use std::time::Duration;
use tempfile::TempDir;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sample_scene_runs_on_three_servers_of_different_speed() {
    let folder = TempDir::new().unwrap();
    let a = start_server(folder.path(), "a", 0, None).await;
    let b = start_server(folder.path(), "b", 5, None).await;
    let c = start_server(folder.path(), "c", 10, None).await;
    let (view, log) = run_to_end(folder.path(), &[&a, &b, &c], small_harbour()).await;

    assert_eq!(view.state, Some(RunState::Completed));
    let files = files_below(&folder.path().join("out"));
    assert_eq!(
        files.len(),
        13,
        "twelve pictures and their sheet: {files:?}"
    );
    assert!(files.contains("contact sheet.png"), "{files:?}");
    assert_posted_once(&log, &[&a.handle, &b.handle, &c.handle]);
    for server in [&a, &b, &c] {
        assert!(
            !server.handle.posts_by_prompt_id().is_empty(),
            "{} got nothing to do",
            server.config.name
        );
    }
    // What was told is what was stored, word for word.
    let store = Store::open(&comfyui_orchestrator::engine::database_path(
        &folder.path().join("data"),
    ))
    .unwrap();
    assert_eq!(store.events(log[0].run_id, 0, 100_000).await.unwrap(), log);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_ends_in_the_middle_goes_on_at_the_next_start() {
    let folder = TempDir::new().unwrap();
    let a = start_server(folder.path(), "a", 20, None).await;
    let b = start_server(folder.path(), "b", 20, None).await;
    let first = start_engine(folder.path(), &[&a, &b], ResumePolicy::Leave).await;
    let (run_id, mut events) = begin(&first, folder.path(), small_harbour());
    let mut done = 0;
    while done < 5 {
        if let EngineEvent::Run(RunEvent {
            body: RunEventBody::ItemDone { .. },
            ..
        }) = next(&mut events).await
        {
            done += 1;
        }
    }
    first.stop().await;
    drop(events);

    let second = start_engine(folder.path(), &[&a, &b], ResumePolicy::Resume).await;
    let mut events = second.handle.subscribe().unwrap();
    let (view, log) = finish(&mut events, run_id).await;
    second.stop().await;
    assert_eq!(view.state, Some(RunState::Completed));
    assert_eq!(files_below(&folder.path().join("out")).len(), 13);
    assert_posted_once(&log, &[&a.handle, &b.handle]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_and_restarted_costs_only_the_attempts_it_had() {
    let folder = TempDir::new().unwrap();
    let a = start_server(folder.path(), "a", 10, None).await;
    let b = start_server(folder.path(), "b", 30, None).await;
    let engine = start_engine(folder.path(), &[&a, &b], ResumePolicy::Leave).await;
    let (_, mut events) = begin(&engine, folder.path(), small_harbour());
    // Kill b while it executes something of ours, and start it again on its address, with nothing left in its memory.
    loop {
        if let EngineEvent::Run(RunEvent {
            body: RunEventBody::AttemptStarted { attempt_id },
            ..
        }) = next(&mut events).await
            && b.handle
                .posts_by_prompt_id()
                .contains_key(&attempt_id.to_string())
        {
            break;
        }
    }
    b.handle.stop_abruptly();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let again = start_server(folder.path(), "b", 10, Some(b.address)).await;
    let mut failures = Vec::new();
    let mut view = RunView::default();
    while !view.state.is_some_and(RunState::is_ended) {
        if let EngineEvent::Run(event) = next(&mut events).await {
            view.apply(&event);
            if let RunEventBody::AttemptFailed { failure, .. } = event.body {
                failures.push(failure);
            }
        }
    }
    engine.stop().await;
    assert_eq!(view.state, Some(RunState::Completed), "{failures:?}");
    assert!(
        !failures.is_empty(),
        "the killed server lost at least one attempt"
    );
    assert!(
        failures.iter().all(|failure| matches!(
            failure.class,
            FailureClass::Lost
                | FailureClass::Offline
                | FailureClass::Transfer
                | FailureClass::OutputGone
        )),
        "{failures:?}"
    );
    assert_eq!(files_below(&folder.path().join("out")).len(), 13);
    for server in [&a.handle, &b.handle, &again.handle] {
        assert!(
            server
                .posts_by_prompt_id()
                .values()
                .all(|count| *count == 1)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_run_interrupts_what_executes_and_resumes_with_what_is_missing() {
    let folder = TempDir::new().unwrap();
    let a = start_server(folder.path(), "a", 60, None).await;
    let engine = start_engine(folder.path(), &[&a], ResumePolicy::Leave).await;
    let (run_id, mut events) = begin(&engine, folder.path(), small_harbour());
    let mut view = RunView::default();
    let mut is_cancelled = false;
    let mut is_resumed = false;
    let mut done_before = 0;
    loop {
        let EngineEvent::Run(event) = next(&mut events).await else {
            continue;
        };
        view.apply(&event);
        let done = view.counts.get(ItemState::Done);
        if !is_cancelled && done >= 5 {
            is_cancelled = true;
            engine
                .handle
                .send(RunCommand::wish(run_id, RunWish::Cancel))
                .unwrap();
        }
        match view.state {
            Some(RunState::Cancelled) if !is_resumed => {
                is_resumed = true;
                done_before = done;
                assert_eq!(
                    view.counts.active(),
                    0,
                    "nothing goes on after a cancelled run has ended"
                );
                engine
                    .handle
                    .send(RunCommand::wish(run_id, RunWish::Resume))
                    .unwrap();
            }
            Some(state) if state.is_ended() && is_resumed => break,
            _ => {}
        }
    }
    engine.stop().await;
    assert_eq!(view.state, Some(RunState::Completed));
    assert!(done_before >= 5, "finished items keep their outputs");
    assert_eq!(files_below(&folder.path().join("out")).len(), 13);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_that_declares_sixty_thousand_pixels_a_side_fails_with_a_sentence() {
    let folder = TempDir::new().unwrap();
    let bomb = folder.path().join("bomb.png");
    // A PNG of a few bytes whose header promises 60,000 × 60,000 pixels of 16-bit RGBA.
    let mut bytes = Vec::new();
    {
        let mut encoder = png::Encoder::new(&mut bytes, 60_000, 60_000);
        encoder.set_color(png::ColorType::Rgba);
        encoder.set_depth(png::BitDepth::Sixteen);
        // Almost all of the data is missing on purpose.
        let mut writer = encoder.write_header().unwrap();
        writer.write_chunk(png::chunk::IDAT, &[0x78, 0x9c]).unwrap();
    }
    std::fs::write(&bomb, &bytes).unwrap();
    let (view, log) = run_to_end(folder.path(), &[], copied(&bomb)).await;
    assert_eq!(view.state, Some(RunState::Failed));
    let failure = log
        .iter()
        .find_map(|event| match &event.body {
            RunEventBody::ItemFailed { failure, .. } => Some(failure.clone()),
            _ => None,
        })
        .expect("the input failed");
    assert!(
        failure.message.contains("60000") || failure.message.contains("60,000"),
        "{}",
        failure.message
    );
    assert!(files_below(&folder.path().join("out")).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_teaches_how_fast_a_server_takes_files() {
    let folder = TempDir::new().unwrap();
    let picture = folder.path().join("noise.png");
    let mut random = fastrand::Rng::with_seed(1);
    // Noise does not get smaller: about 750 kB, enough to measure.
    image::RgbImage::from_fn(500, 500, |_, _| {
        image::Rgb([random.u8(..), random.u8(..), random.u8(..)])
    })
    .save(&picture)
    .unwrap();
    let server = start_server(folder.path(), "a", 0, None).await;
    let prompt = json!({
        "1": {"class_type": "LoadImage", "inputs": {"image": "x.png"}},
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "inverted"}},
    });
    let project = one_for_each_file(&prompt, ("1", "image"), &[&picture]);
    let (view, log) = run_to_end(folder.path(), &[&server], project).await;
    assert_eq!(view.state, Some(RunState::Completed), "{log:#?}");
    let store = Store::open(&database_path(&folder.path().join("data"))).unwrap();
    let learned = store.setting("placement.estimates").await.unwrap().unwrap();
    let learned: serde_json::Value = serde_json::from_str(&learned).unwrap();
    let backend_id = server.config.id.to_string();
    let bytes_per_ms = learned["backends"][&backend_id]["bytes_per_ms"].as_f64();
    assert!(bytes_per_ms.is_some_and(|speed| speed > 0.0), "{learned}");
}
