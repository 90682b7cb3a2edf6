//! Makespans of simulated fleets under our placement, round robin, least queue, and the rule of `SwarmUI` as its sources state it:
//! two prompts ahead per backend; a free backend whose current model fits wins; else the model with the most pressure
//! (10 × requests + seconds waited) is loaded where a backend is free, at the earliest after 1.5 s.
//!
//! Printed is the makespan by a lower bound: all work on all backends that can do it, nothing loaded more often than once.

use crate::engine_driver::{Graph, World, backend_id, online};
use comfyui_orchestrator::engine::machine::Input;
use comfyui_orchestrator::engine::{AttemptId, Failure, FailureClass, RunState};
use comfyui_orchestrator::project::{WorkflowFile, WorkflowName};
use std::collections::{BTreeMap, VecDeque};

/// A machine of a fleet.
#[derive(Clone)]
struct Fleet {
    name: &'static str,
    machines: Vec<Rig>,
    kinds: Vec<Kind>,
    /// Milliseconds to load another model.
    swap_ms: u64,
}

#[derive(Clone)]
struct Rig {
    /// 1 does a kind's work in its time, 3 in a third.
    speed: f64,
    vram: u64,
    /// Of so many prompts one is lost; 0 for none.
    loses_every: u64,
}

/// Prompts of one workflow.
#[derive(Clone)]
struct Kind {
    count: u32,
    run_ms: u64,
    vram: u64,
    has_model: bool,
}

fn rig(speed: f64) -> Rig {
    Rig {
        speed,
        vram: 24,
        loses_every: 0,
    }
}

fn kind(count: u32, run_ms: u64) -> Kind {
    Kind {
        count,
        run_ms,
        vram: 8,
        has_model: false,
    }
}

fn fleets() -> Vec<Fleet> {
    let model = |count, run_ms| Kind {
        has_model: true,
        ..kind(count, run_ms)
    };
    let fleet = |name, machines, kinds| Fleet {
        name,
        machines,
        kinds,
        swap_ms: 10_000,
    };
    vec![
        fleet("equal", vec![rig(1.0); 3], vec![kind(120, 10_000)]),
        fleet("3:1", vec![rig(3.0), rig(1.0)], vec![kind(80, 30_000)]),
        fleet(
            "mixed speeds, mixed work",
            vec![rig(3.0), rig(2.0), rig(1.0), rig(0.5)],
            vec![kind(60, 20_000), kind(60, 5_000)],
        ),
        fleet(
            "mixed VRAM",
            vec![
                rig(1.0),
                Rig {
                    vram: 8,
                    ..rig(1.0)
                },
                Rig {
                    vram: 8,
                    ..rig(1.0)
                },
            ],
            vec![
                Kind {
                    vram: 20,
                    ..kind(40, 10_000)
                },
                kind(80, 10_000),
            ],
        ),
        fleet(
            "three model sets",
            vec![rig(1.0); 3],
            vec![model(60, 5_000), model(60, 5_000), model(60, 5_000)],
        ),
        fleet(
            "five model sets",
            vec![rig(1.0); 2],
            (0..5).map(|_| model(40, 4_000)).collect(),
        ),
        fleet(
            "one flaky",
            vec![
                rig(1.0),
                rig(1.0),
                Rig {
                    loses_every: 2,
                    ..rig(1.0)
                },
            ],
            vec![kind(120, 10_000)],
        ),
    ]
}

impl Fleet {
    fn lower_bound_ms(&self) -> f64 {
        let work = |kinds: &[&Kind]| -> f64 {
            kinds
                .iter()
                .map(|kind| f64::from(kind.count) * kind.run_ms as f64)
                .sum()
        };
        let speed = |vram: u64| -> f64 {
            self.machines
                .iter()
                .filter(|machine| machine.vram >= vram)
                .map(|machine| {
                    // A prompt that is lost takes half its time for nothing.
                    let lost = if machine.loses_every == 0 {
                        0.0
                    } else {
                        1.0 / machine.loses_every as f64
                    };
                    machine.speed * (1.0 - lost) / (1.0 - lost / 2.0)
                })
                .sum()
        };
        let models = self.kinds.iter().filter(|kind| kind.has_model).count();
        let loads = models.max(self.machines.len()) as f64 * self.swap_ms as f64;
        let loading = if models > 0 {
            loads / self.machines.len() as f64
        } else {
            0.0
        };
        let all: Vec<&Kind> = self.kinds.iter().collect();
        let mut bound = work(&all) / speed(0) + loading;
        for kind in &self.kinds {
            let hard: Vec<&Kind> = self
                .kinds
                .iter()
                .filter(|other| other.vram >= kind.vram)
                .collect();
            bound = bound.max(work(&hard) / speed(kind.vram));
        }
        bound
    }
}

/// What a machine does with a prompt.
enum Fate {
    Done,
    OutOfMemory,
    Lost,
}

/// The machines of a fleet while they work.
struct Shop<'a> {
    fleet: &'a Fleet,
    loaded: Vec<Option<usize>>,
    begun: Vec<u64>,
}

impl<'a> Shop<'a> {
    fn new(fleet: &'a Fleet) -> Self {
        Self {
            fleet,
            loaded: vec![None; fleet.machines.len()],
            begun: vec![0; fleet.machines.len()],
        }
    }

    /// How long a prompt occupies a machine, and what comes of it.
    fn begin(&mut self, machine: usize, kind: usize) -> (u64, Fate) {
        let (rig, work) = (&self.fleet.machines[machine], &self.fleet.kinds[kind]);
        self.begun[machine] += 1;
        let run_ms = (work.run_ms as f64 / rig.speed) as u64;
        if work.vram > rig.vram {
            self.loaded[machine] = None;
            return (2_000, Fate::OutOfMemory);
        }
        if rig.loses_every > 0 && self.begun[machine].is_multiple_of(rig.loses_every) {
            self.loaded[machine] = None;
            return (run_ms / 2, Fate::Lost);
        }
        let mut took_ms = run_ms;
        if work.has_model && self.loaded[machine] != Some(kind) {
            took_ms += self.fleet.swap_ms;
            self.loaded[machine] = Some(kind);
        }
        (took_ms, Fate::Done)
    }
}

/// The order of the prompts: the kinds in turn, as a fan-out over each makes them.
fn prompts(fleet: &Fleet) -> VecDeque<usize> {
    let most = fleet.kinds.iter().map(|kind| kind.count).max().unwrap_or(0);
    (0..most)
        .flat_map(|index| {
            (0..fleet.kinds.len()).filter(move |kind| index < fleet.kinds[*kind].count)
        })
        .collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Policy {
    RoundRobin,
    LeastQueue,
    Swarm,
}

/// The makespan under a rule that knows no times. What fails is queued again at the end; a machine that ran out of memory for
/// a kind is not given that kind again.
fn makespan_of(fleet: &Fleet, policy: Policy) -> u64 {
    let count = fleet.machines.len();
    let mut shop = Shop::new(fleet);
    let mut waiting = prompts(fleet);
    let mut queues: Vec<VecDeque<usize>> = vec![VecDeque::new(); count];
    let mut busy: Vec<Option<(u64, usize, Fate)>> = (0..count).map(|_| None).collect();
    let mut bad: Vec<Vec<bool>> = vec![vec![false; fleet.kinds.len()]; count];
    let mut wanted_since: BTreeMap<usize, u64> = BTreeMap::new();
    let mut turn = 0;
    let mut now_ms = 0;
    loop {
        dispatch(
            fleet,
            policy,
            now_ms,
            &mut waiting,
            &mut queues,
            &busy,
            &bad,
            &shop,
            &mut turn,
            &mut wanted_since,
        );
        for machine in 0..count {
            if busy[machine].is_none()
                && let Some(kind) = queues[machine].pop_front()
            {
                let (took_ms, fate) = shop.begin(machine, kind);
                busy[machine] = Some((now_ms + took_ms, kind, fate));
            }
        }
        let next = (0..count)
            .filter_map(|machine| {
                busy[machine]
                    .as_ref()
                    .map(|(end_ms, ..)| (*end_ms, machine))
            })
            .min();
        let Some((end_ms, machine)) = next else {
            if waiting.is_empty() {
                return now_ms;
            }
            // Swarm waits for pressure.
            now_ms += 500;
            assert!(now_ms < 100_000_000, "nothing goes on");
            continue;
        };
        // Swarm looks again every half second while something waits.
        if policy == Policy::Swarm && !waiting.is_empty() && end_ms > now_ms + 500 {
            now_ms += 500;
            continue;
        }
        now_ms = end_ms;
        if let Some((_, kind, fate)) = busy[machine].take() {
            match fate {
                Fate::Done => {}
                Fate::OutOfMemory => {
                    bad[machine][kind] = true;
                    waiting.push_back(kind);
                }
                Fate::Lost => waiting.push_back(kind),
            }
        }
    }
}

#[allow(
    clippy::too_many_arguments,
    reason = "the state of one small simulation"
)]
fn dispatch(
    fleet: &Fleet,
    policy: Policy,
    now_ms: u64,
    waiting: &mut VecDeque<usize>,
    queues: &mut [VecDeque<usize>],
    busy: &[Option<(u64, usize, Fate)>],
    bad: &[Vec<bool>],
    shop: &Shop<'_>,
    turn: &mut usize,
    wanted_since: &mut BTreeMap<usize, u64>,
) {
    let count = fleet.machines.len();
    let ahead = |queues: &[VecDeque<usize>], machine: usize| {
        queues[machine].len() + usize::from(busy[machine].is_some())
    };
    match policy {
        Policy::RoundRobin => {
            while let Some(kind) = waiting.pop_front() {
                let able: Vec<usize> = (0..count).filter(|machine| !bad[*machine][kind]).collect();
                queues[able[*turn % able.len()]].push_back(kind);
                *turn += 1;
            }
        }
        Policy::LeastQueue => {
            while let Some(kind) = waiting.front().copied() {
                let best = (0..count)
                    .filter(|machine| !bad[*machine][kind])
                    .min_by_key(|machine| ahead(queues, *machine));
                match best {
                    Some(machine) if ahead(queues, machine) < 2 => {
                        queues[machine].push_back(kind);
                        waiting.pop_front();
                    }
                    _ => return,
                }
            }
        }
        Policy::Swarm => {
            for kind in 0..fleet.kinds.len() {
                if waiting.contains(&kind) {
                    wanted_since.entry(kind).or_insert(now_ms);
                } else {
                    wanted_since.remove(&kind);
                }
            }
            // Whatever fits what a machine with room has, or needs no model, goes first.
            let mut place = 0;
            while place < waiting.len() {
                let kind = waiting[place];
                let fits = |machine: &usize| {
                    let last = queues[*machine]
                        .back()
                        .copied()
                        .or(busy[*machine].as_ref().map(|(_, kind, _)| *kind))
                        .or(shop.loaded[*machine]);
                    !fleet.kinds[kind].has_model || last == Some(kind)
                };
                let free = (0..count)
                    .filter(|machine| !bad[*machine][kind] && ahead(queues, *machine) < 2)
                    .find(fits);
                match free {
                    Some(machine) => {
                        queues[machine].push_back(kind);
                        waiting.remove(place);
                    }
                    None => place += 1,
                }
            }
            // Then the model under most pressure is loaded on an idle machine.
            let pressed = wanted_since
                .iter()
                .filter(|(kind, since_ms)| {
                    fleet.kinds[**kind].has_model && now_ms >= **since_ms + 1_500
                })
                .filter_map(|(kind, since_ms)| {
                    let requests = waiting.iter().filter(|one| *one == kind).count() as u64;
                    (requests > 0).then(|| (requests * 10 + (now_ms - since_ms) / 1000, *kind))
                })
                .max();
            if let Some((_, kind)) = pressed
                && let Some(machine) =
                    (0..count).find(|machine| !bad[*machine][kind] && ahead(queues, *machine) == 0)
                && let Some(place) = waiting.iter().position(|one| *one == kind)
            {
                waiting.remove(place);
                queues[machine].push_back(kind);
            }
        }
    }
}

/// The makespan under our placement, by the real machine.
fn our_makespan(fleet: &Fleet) -> u64 {
    let mut graph = Graph::new();
    let mut kind_of = BTreeMap::new();
    for (number, kind) in fleet.kinds.iter().enumerate() {
        let name = WorkflowName::new(&format!("kind{number}")).unwrap();
        let model = if kind.has_model {
            format!("model{number}.safetensors")
        } else {
            "none".to_owned()
        };
        let text = format!("{{\"1\":{{\"inputs\":{{\"model\":\"{model}\",\"kind\":{number}}}}}}}");
        graph
            .project
            .workflows
            .insert(name.clone(), WorkflowFile::new(text));
        let fan_out = graph.fan_out(&format!("F{number}"), kind.count);
        let node = graph.workflow(&format!("W{number}"), &["seed"]);
        graph.edit_workflow(node).workflow = name;
        graph.edit_workflow(node).retry.max_attempts = 9;
        graph.link(fan_out, &format!("F{number}"), node, "seed");
        kind_of.insert(node, number);
    }
    let count = fleet.machines.len();
    let mut world = World::with_backends(&graph, 0);
    for (number, rig) in fleet.machines.iter().enumerate() {
        let mut facts = online(number as u128);
        facts.vram_bytes = Some(rig.vram * 1_000_000_000);
        world.step(Input::Backend(facts));
    }
    let mut shop = Shop::new(fleet);
    let mut busy: Vec<Option<(u64, AttemptId, Fate)>> = (0..count).map(|_| None).collect();
    let begin_ms = world.now_ms;
    world.start();
    while !world.run_state.is_ended() {
        for (machine, work) in busy.iter_mut().enumerate() {
            if work.is_some() {
                continue;
            }
            let backend = backend_id(machine as u128);
            if let Some(next) = world.submitted.iter().find(|one| one.backend_id == backend) {
                let attempt_id = next.attempt_id;
                let (took_ms, fate) = shop.begin(machine, kind_of[&next.node_id]);
                *work = Some((world.now_ms + took_ms, attempt_id, fate));
                world.step(Input::AttemptStarted { attempt_id });
            }
        }
        while world.answer_local() {}
        let next = (0..count)
            .filter_map(|machine| {
                busy[machine]
                    .as_ref()
                    .map(|(end_ms, ..)| (*end_ms, machine))
            })
            .min();
        let wake = world.wakes.first().copied();
        let Some((end_ms, machine)) = next else {
            let at_ms = wake.expect("nothing goes on");
            world.wakes.pop_first();
            world.now_ms = world.now_ms.max(at_ms);
            world.step(Input::Tick);
            continue;
        };
        if let Some(at_ms) = wake
            && at_ms < end_ms
        {
            world.wakes.pop_first();
            world.now_ms = world.now_ms.max(at_ms);
            world.step(Input::Tick);
            continue;
        }
        world.now_ms = end_ms;
        let Some((_, attempt_id, fate)) = busy[machine].take() else {
            continue;
        };
        let position = world
            .submitted
            .iter()
            .position(|one| one.attempt_id == attempt_id)
            .unwrap();
        let submission = world.submitted.remove(position).unwrap();
        let outcome = match fate {
            Fate::Done => world.outcome(&submission),
            Fate::OutOfMemory => Err(Failure::new(FailureClass::OutOfMemory, "out of memory")),
            Fate::Lost => Err(Failure::new(FailureClass::Lost, "lost")),
        };
        world.step(Input::AttemptEnded {
            attempt_id,
            outcome,
        });
    }
    assert_eq!(world.run_state, RunState::Completed, "{}", fleet.name);
    world.now_ms - begin_ms
}

#[test]
fn placement_bench() {
    println!(
        "{:<26} {:>9} {:>8} {:>12} {:>12} {:>8}",
        "fleet", "bound s", "ours", "round robin", "least queue", "Swarm"
    );
    for fleet in fleets() {
        let bound = fleet.lower_bound_ms();
        let ours = our_makespan(&fleet) as f64 / bound;
        let others: Vec<f64> = [Policy::RoundRobin, Policy::LeastQueue, Policy::Swarm]
            .into_iter()
            .map(|policy| makespan_of(&fleet, policy) as f64 / bound)
            .collect();
        println!(
            "{:<26} {:>9.0} {ours:>8.3} {:>12.3} {:>12.3} {:>8.3}",
            fleet.name,
            bound / 1000.0,
            others[0],
            others[1],
            others[2]
        );
        let best = others.iter().copied().fold(f64::INFINITY, f64::min);
        assert!(
            ours <= best * 1.001,
            "{}: {ours:.3}, but another rule has {best:.3}",
            fleet.name
        );
    }
}
