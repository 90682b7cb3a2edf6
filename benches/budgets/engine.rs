//! The engine per item: a fan-out, a workflow and an output, with backends and local workers that answer at once.
//!
//! What is measured is the machine's steps and, in the durable case, the log in `SQLite`; patching, HTTP and pictures are
//! not part of it. An item is one execution of one node: N values make 2 N + 1 items.

use crate::projects::{Build, DRAW, draw_node};
use comfyui_orchestrator::artifacts::{Artifact, ContentHash, Measures};
use comfyui_orchestrator::engine::machine::{
    AttemptOutputs, Availability, BackendFacts, Effect, Input, LocalOutcome, LocalTask, Machine,
};
use comfyui_orchestrator::engine::{Plan, RunEvent, RunFolders, RunId, RunState, Value};
use comfyui_orchestrator::project::{
    BackendId, DataType, FanOutSource, Node, OutputNode, PortId, ProjectId, SeedOrder,
    write_portable_form,
};
use comfyui_orchestrator::store::{NewRun, Store, wait};
use criterion::{BenchmarkId, Criterion};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Backends of the run, as in the sample project.
const BACKENDS: u128 = 3;
/// Facts that the executor takes in one turn, so that one commit serves many.
const FACTS_PER_TURN: usize = 256;
/// The time at which every run begins, in Unix milliseconds.
const START_MS: u64 = 1_700_000_000_000;

/// How many of the waiting facts one turn takes. Each turn with events is one commit.
#[derive(Clone, Copy)]
enum Turn {
    /// One: facts arrive one by one, as from slow prompts.
    OneFact,
    /// All that wait, as the executor does: facts arrive together, as from prompts that end at the same time.
    AllThatWait,
}

/// The machine's steps alone, per item.
pub fn in_memory(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("engine in memory, per item");
    for count in [1_000, 10_000, 50_000] {
        let scene = Scene::new(count);
        let items = scene.items();
        group.bench_function(BenchmarkId::from_parameter(format!("{items} items")), |b| {
            b.iter_custom(|iterations| {
                per_item(iterations, items, || {
                    let begin = Instant::now();
                    let events = scene.play(RunId::new_now(), Turn::AllThatWait, drop);
                    let elapsed = begin.elapsed();
                    assert!(events > items, "an item has more than one event");
                    elapsed
                })
            });
        });
    }
    group.finish();
}

/// The machine's steps and their log on the disk, per item. Nothing goes on before its events are on the disk.
pub fn durable(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("orchestrator.sqlite")).unwrap();
    let mut group = criterion.benchmark_group("engine durable, per item");
    for (name, count, turn) in [
        ("one commit per fact", 50, Turn::OneFact),
        ("one commit per turn", 500, Turn::AllThatWait),
    ] {
        let scene = Scene::new(count);
        let items = scene.items();
        group.bench_function(BenchmarkId::new(name, format!("{items} items")), |b| {
            b.iter_custom(|iterations| {
                per_item(iterations, items, || {
                    let run_id = RunId::new_now();
                    wait(store.create_run(scene.new_run(run_id))).unwrap();
                    let begin = Instant::now();
                    let events = scene.play(run_id, turn, |events| {
                        wait(store.append_events(events)).unwrap();
                    });
                    let elapsed = begin.elapsed();
                    let stored = wait(store.run(run_id)).unwrap().summary;
                    assert_eq!(stored.event_count, events);
                    assert_eq!(stored.state, RunState::Completed);
                    elapsed
                })
            });
        });
    }
    group.finish();
    // One append as the disk alone answers it: the floor of every commit above.
    let run_id = RunId::new_now();
    wait(store.create_run(Scene::new(1).new_run(run_id))).unwrap();
    let mut seq = 0;
    criterion.bench_function("store, one event in one commit", |b| {
        b.iter(|| {
            let event = RunEvent {
                run_id,
                seq,
                at_ms: START_MS,
                body: comfyui_orchestrator::engine::RunEventBody::RunStateChanged {
                    state: RunState::Running,
                },
            };
            wait(store.append_events(vec![event])).unwrap();
            seq += 1;
        });
    });
}

/// The time of `iterations` items, from as many whole runs as hold them.
fn per_item(iterations: u64, items: u64, mut run: impl FnMut() -> Duration) -> Duration {
    let runs = iterations.div_ceil(items);
    let elapsed: Duration = (0..runs).map(|_| run()).sum();
    elapsed.mul_f64(iterations as f64 / (runs * items) as f64)
}

/// A planned project and what its prompts make.
struct Scene {
    plan: Arc<Plan>,
    count: u32,
    image: PortId,
    picture: Value,
}

impl Scene {
    fn new(count: u32) -> Self {
        let mut build = Build::new("Engine");
        build.workflow("draw", DRAW);
        let source = FanOutSource::Seeds {
            axis: "seed".to_owned(),
            first: 1,
            count,
            order: SeedOrder::Increment,
        };
        let id = build.ids.node();
        let fan_out = Node::fan_out(id, source, &mut || build.ids.port());
        let fan_out = build.add(fan_out);
        let draw = draw_node(&mut build.ids);
        let image = draw.outputs[0].id;
        let draw = build.add(draw);
        let id = build.ids.node();
        let output = Node::output_to(id, OutputNode::default(), DataType::Image, &mut || {
            build.ids.port()
        });
        let output = build.add(output);
        build.link((fan_out, 0), (draw, 1));
        build.link((draw, 0), (output, 0));
        let plan = Plan::compile(Arc::new(build.project)).unwrap();
        let picture = Value::Artifact(Arc::new(Artifact {
            hash: ContentHash::of(b"a picture"),
            data_type: DataType::Image,
            extension: "png".to_owned(),
            byte_len: 1_000_000,
            measures: Measures {
                width_px: Some(1024),
                height_px: Some(1024),
                brightness: Some(0.5),
                sharpness: Some(0.25),
                ..Measures::default()
            },
            origin: None,
        }));
        Self {
            plan: Arc::new(plan),
            count,
            image,
            picture,
        }
    }

    /// Items of a run: the fan-out, and per value a prompt and an output.
    fn items(&self) -> u64 {
        2 * u64::from(self.count) + 1
    }

    fn new_run(&self, run_id: RunId) -> NewRun {
        NewRun {
            run_id,
            project_id: ProjectId::from_uuid(Uuid::from_u128(1)),
            name: "Engine".to_owned(),
            created_ms: START_MS,
            snapshot: write_portable_form(&self.plan.project).unwrap(),
            folders: RunFolders {
                output: "/output".into(),
                inputs: "/inputs".into(),
            },
            backends: Vec::new(),
            workflow_outputs: BTreeMap::new(),
        }
    }

    /// Plays a run to its end as the executor does: step with facts, record what happened, carry out what was ordered.
    /// Returns the number of events.
    fn play(&self, run_id: RunId, turn: Turn, mut record: impl FnMut(Vec<RunEvent>)) -> u64 {
        let mut machine = Machine::new();
        let mut facts: VecDeque<Input> = (0..BACKENDS).map(online).map(Input::Backend).collect();
        facts.push_back(Input::Start {
            run_id,
            plan: self.plan.clone(),
        });
        let mut now_ms = START_MS;
        let mut event_count = 0;
        while !facts.is_empty() {
            now_ms += 1;
            let taken = match turn {
                Turn::OneFact => 1,
                Turn::AllThatWait => facts.len().min(FACTS_PER_TURN),
            };
            let mut events = Vec::new();
            let mut orders = Vec::new();
            for fact in facts.drain(..taken) {
                for effect in machine.step(now_ms, fact) {
                    match effect {
                        Effect::Record(event) => events.push(event),
                        order => orders.push(order),
                    }
                }
            }
            if !events.is_empty() {
                event_count += events.len() as u64;
                record(events);
            }
            for order in orders {
                self.answer(order, &mut facts);
            }
        }
        assert_eq!(machine.run_state(run_id), Some(RunState::Completed));
        assert_eq!(machine.item_count(run_id) as u64, self.items());
        event_count
    }

    fn answer(&self, order: Effect, facts: &mut VecDeque<Input>) {
        match order {
            Effect::Submit(submission) => {
                let attempt_id = submission.attempt_id;
                let outputs = AttemptOutputs {
                    ports: BTreeMap::from([(self.image, vec![self.picture.clone()])]),
                };
                facts.push_back(Input::AttemptAccepted { attempt_id });
                facts.push_back(Input::AttemptStarted { attempt_id });
                facts.push_back(Input::AttemptEnded {
                    attempt_id,
                    outcome: Ok(outputs),
                });
            }
            Effect::Local(work) => {
                assert!(matches!(work.task, LocalTask::Write { .. }));
                let path = "/output/Engine/Output/seed=1_0001.png".to_owned();
                facts.push_back(Input::LocalEnded {
                    item_id: work.item_id,
                    order: work.order,
                    outcome: Ok(LocalOutcome::Written(vec![path])),
                });
            }
            Effect::WakeAt { .. } => {}
            other => panic!("nothing was to go wrong: {other:?}"),
        }
    }
}

fn online(number: u128) -> BackendFacts {
    BackendFacts {
        backend_id: BackendId::from_uuid(Uuid::from_u128(0xB000 + number)),
        name: format!("machine-{number}"),
        tags: BTreeSet::new(),
        availability: Availability::Online,
        vram_bytes: None,
        unable: BTreeMap::new(),
        weights: BTreeMap::new(),
        model_sizes: None,
        classes: None,
    }
}
