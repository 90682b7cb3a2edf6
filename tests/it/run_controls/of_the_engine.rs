//! Wishes while a run goes on, in the program that runs it: on real servers.

use super::project;
use crate::whole_runs::{
    BuiltinServer, PATIENCE, assert_posted_once, begin, files_below, next, start_engine,
    start_server,
};
use comfyui_orchestrator::engine::{
    Engine, EngineEvent, ItemId, ItemState, OnStart, ResumePolicy, RetryScope, RunCommand,
    RunEvent, RunEventBody, RunId, RunState, RunView, RunWish,
};
use comfyui_orchestrator::project::{Literal, NodeId, NodeKind, PortBinding, Project};
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::mpsc;

/// A run that goes on, and all that is known of it.
struct Going {
    engine: Engine,
    events: mpsc::Receiver<EngineEvent>,
    run_id: RunId,
    work: NodeId,
    view: RunView,
    log: Vec<RunEvent>,
}

impl Going {
    async fn start(folder: &Path, servers: &[&BuiltinServer], project: Project) -> Self {
        let engine = start_engine(folder, servers, ResumePolicy::Leave).await;
        let work = project
            .nodes
            .values()
            .find(|node| matches!(node.kind, NodeKind::Workflow(_)))
            .map(|node| node.id)
            .unwrap();
        let (run_id, events) = begin(&engine, folder, project);
        Self {
            engine,
            events,
            run_id,
            work,
            view: RunView::default(),
            log: Vec::new(),
        }
    }

    fn send(&self, command: RunCommand) {
        self.engine.handle.send(command).unwrap();
    }

    fn wish(&self, wish: RunWish) {
        self.send(RunCommand::wish(self.run_id, wish));
    }

    async fn until(&mut self, holds: impl Fn(&RunView) -> bool) {
        let begun = Instant::now();
        while !holds(&self.view) {
            assert!(begun.elapsed() < PATIENCE, "{:?}", self.view.counts);
            match next(&mut self.events).await {
                EngineEvent::Run(event) if event.run_id == self.run_id => {
                    self.view.apply(&event);
                    self.log.push(event);
                }
                EngineEvent::RunRefused { problems, .. } => panic!("refused: {problems:?}"),
                _ => {}
            }
        }
    }

    /// Until something happens that was not known before.
    async fn until_told(&mut self, is_it: impl Fn(&RunEventBody) -> bool) {
        let begun = Instant::now();
        let mut known = self.log.len();
        loop {
            assert!(begun.elapsed() < PATIENCE, "{:?}", self.view.counts);
            let seq = self.view.next_seq;
            self.until(|view| view.next_seq > seq).await;
            if self.log[known..].iter().any(|event| is_it(&event.body)) {
                return;
            }
            known = self.log.len();
        }
    }

    /// An item of the workflow that no server has: which one goes first depends on who was looked up first.
    fn waiting_item(&self) -> ItemId {
        self.view
            .items
            .iter()
            .find(|(_, item)| item.node_id == self.work && item.state == ItemState::Ready)
            .map(|(item_id, _)| *item_id)
            .unwrap()
    }

    fn of_work(&self, state: ItemState) -> u32 {
        self.view.nodes[&self.work].counts.get(state)
    }

    /// The workflow's item of this number.
    fn item(&self, number: u32) -> ItemId {
        let label = format!("n={number}");
        self.view
            .items
            .iter()
            .find(|(_, item)| item.node_id == self.work && *item.label == *label)
            .map(|(item_id, _)| *item_id)
            .unwrap()
    }

    /// The items in the order in which they were sent.
    fn sent(&self) -> Vec<ItemId> {
        self.log
            .iter()
            .filter_map(|event| match &event.body {
                RunEventBody::AttemptPlaced { item_id, .. } => Some(*item_id),
                _ => None,
            })
            .collect()
    }

    fn withdrawn(&self) -> usize {
        self.log
            .iter()
            .filter(|event| matches!(event.body, RunEventBody::AttemptWithdrawn { .. }))
            .count()
    }
}

fn is_withdrawn(body: &RunEventBody) -> bool {
    matches!(body, RunEventBody::AttemptWithdrawn { .. })
}

fn ended(view: &RunView) -> bool {
    view.state.is_some_and(RunState::is_ended)
}

fn done(count: u32) -> impl Fn(&RunView) -> bool {
    move |view| view.files_written >= u64::from(count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_item_and_then_its_node_are_called_off_and_retried_one_by_one() {
    let folder = TempDir::new().unwrap();
    let server = start_server(folder.path(), "a", 0, None).await;
    let mut going = Going::start(folder.path(), &[&server], project(6, 0.6)).await;
    let work = going.work;
    going.until(done(1)).await;
    let item_id = going.waiting_item();
    going.wish(RunWish::CancelItem(item_id));
    going
        .until(|view| view.counts.get(ItemState::Cancelled) == 1)
        .await;
    assert!(!ended(&going.view), "the others go on");
    going.wish(RunWish::CancelNode(work));
    going.until(ended).await;
    assert_eq!(going.view.state, Some(RunState::CompletedWithFailures));
    let made = going.of_work(ItemState::Done);
    assert!((1..5).contains(&made), "{made}");
    assert_eq!(going.of_work(ItemState::Cancelled), 6 - made);

    going.wish(RunWish::Retry(RetryScope::Items(vec![item_id])));
    going
        .until(|view| view.items[&item_id].state == ItemState::Done && ended(view))
        .await;
    assert_eq!(going.of_work(ItemState::Done), made + 1, "that item alone");
    going.wish(RunWish::Retry(RetryScope::Node(work)));
    going
        .until(|view| view.state == Some(RunState::Completed))
        .await;
    assert_eq!(going.of_work(ItemState::Done), 6);
    assert_posted_once(&going.log, &[&server.handle]);
    going.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_run_sends_nothing_and_what_goes_first_is_for_a_person_to_say() {
    let folder = TempDir::new().unwrap();
    let server = start_server(folder.path(), "a", 0, None).await;
    let mut going = Going::start(folder.path(), &[&server], project(8, 0.2)).await;
    going.until(done(1)).await;
    going.wish(RunWish::Pause);
    going
        .until(|view| view.state == Some(RunState::Paused) && view.counts.active() == 0)
        .await;
    let posts = server.handle.posts_by_prompt_id().len();
    let last = going.waiting_item();
    going.wish(RunWish::SetItemPriority {
        item_ids: vec![last],
        priority: 3,
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(server.handle.posts_by_prompt_id().len(), posts);
    let before = going.sent().len();
    going.wish(RunWish::Resume);
    going.until(ended).await;
    assert_eq!(going.view.state, Some(RunState::Completed));
    assert_eq!(going.sent()[before], last);
    assert_eq!(files_below(&folder.path().join("out")).len(), 8);
    going.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_item_is_made_again_with_another_value_and_nothing_else_is() {
    let folder = TempDir::new().unwrap();
    let server = start_server(folder.path(), "a", 0, None).await;
    let project = project(3, 0.0);
    let field = match &project
        .nodes
        .values()
        .find(|node| matches!(node.kind, NodeKind::Workflow(_)))
        .unwrap()
        .inputs[0]
        .binding
    {
        PortBinding::Parameter(address) => address.clone(),
        other => panic!("{other:?}"),
    };
    let mut going = Going::start(folder.path(), &[&server], project).await;
    going.until(ended).await;
    let item_id = going.item(1);
    let before = going.sent().len();
    going.wish(RunWish::RedoItem {
        item_id,
        fields: vec![(field, Literal::Integer(0xFF_0000_u32.into()))],
    });
    going.until(|view| !ended(view)).await;
    going.until(ended).await;
    assert_eq!(going.view.state, Some(RunState::Completed));
    assert_eq!(going.sent()[before..], [item_id]);
    let written = going.view.recent_files.back().unwrap();
    let pixel = image::open(written).unwrap().to_rgb8().get_pixel(0, 0).0;
    assert_eq!(pixel, [255, 0, 0]);
    going.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_drained_vacated_and_removed_while_it_works() {
    let folder = TempDir::new().unwrap();
    let a = start_server(folder.path(), "a", 0, None).await;
    let b = start_server(folder.path(), "b", 0, None).await;
    let mut going = Going::start(folder.path(), &[&a, &b], project(24, 0.4)).await;
    let (on_a, on_b) = (a.config.id, b.config.id);
    going.until(done(2)).await;
    // Drained: what it has ends there, and it gets nothing new.
    going.send(RunCommand::SetBackendEnabled {
        backend_id: on_a,
        enabled: false,
    });
    let work = going.work;
    going
        .until(move |view| !view.nodes[&work].backends.contains_key(&on_a))
        .await;
    assert_eq!(going.withdrawn(), 0);
    let posts = a.handle.posts_by_prompt_id().len();
    going.until(done(6)).await;
    assert_eq!(a.handle.posts_by_prompt_id().len(), posts, "nothing new");
    // The other way round, and at once: what b has goes to a.
    for command in [
        RunCommand::SetBackendEnabled {
            backend_id: on_a,
            enabled: true,
        },
        RunCommand::SetBackendEnabled {
            backend_id: on_b,
            enabled: false,
        },
        RunCommand::VacateBackend { backend_id: on_b },
    ] {
        going.send(command);
    }
    going.until_told(is_withdrawn).await;
    going.until(done(8)).await;
    // Removed while it works: what it has goes elsewhere, too.
    let before = going.withdrawn();
    going.send(RunCommand::SetBackendEnabled {
        backend_id: on_b,
        enabled: true,
    });
    going.send(RunCommand::RemoveBackend { backend_id: on_a });
    going.until(ended).await;
    assert_eq!(going.view.state, Some(RunState::Completed));
    assert!(going.withdrawn() > before);
    assert_eq!(files_below(&folder.path().join("out")).len(), 24);
    assert_posted_once(&going.log, &[&a.handle, &b.handle]);
    going.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unfinished_runs_go_on_pause_or_wait_at_the_start_as_it_is_set() {
    let folder = TempDir::new().unwrap();
    let server = start_server(folder.path(), "a", 0, None).await;
    let mut going = Going::start(folder.path(), &[&server], project(6, 0.3)).await;
    let run_id = going.run_id;
    going.until(done(1)).await;
    assert_eq!(
        going.engine.handle.on_start().await.unwrap(),
        OnStart::Resume
    );
    going
        .engine
        .handle
        .set_on_start(OnStart::Ask)
        .await
        .unwrap();
    going.engine.stop().await;

    let engine = start_engine(folder.path(), &[&server], ResumePolicy::BySetting).await;
    let mut events = engine.handle.subscribe().unwrap();
    let unfinished = loop {
        if let EngineEvent::Unfinished(run_ids) = next(&mut events).await {
            break run_ids;
        }
    };
    assert_eq!(unfinished, [run_id]);
    let posts = server.handle.posts_by_prompt_id().len();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(server.handle.posts_by_prompt_id().len(), posts, "it rests");
    engine.handle.set_on_start(OnStart::Paused).await.unwrap();
    engine.stop().await;

    let engine = start_engine(folder.path(), &[&server], ResumePolicy::BySetting).await;
    let events = engine.handle.subscribe().unwrap();
    let mut going = Going {
        engine,
        events,
        view: RunView::default(),
        log: Vec::new(),
        ..going
    };
    going
        .until(|view| view.state == Some(RunState::Paused) && view.counts.active() == 0)
        .await;
    assert!(!done(6)(&going.view));
    going.wish(RunWish::Resume);
    going.until(ended).await;
    assert_eq!(going.view.state, Some(RunState::Completed));
    assert_posted_once(&going.log, &[&server.handle]);
    assert_eq!(files_below(&folder.path().join("out")).len(), 6);
    going.engine.stop().await;
}
