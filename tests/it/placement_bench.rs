//! Makespans of simulated fleets under our placement, round robin, least queue, and the rule of `SwarmUI` as its sources state it:
//! two prompts ahead per backend; a free backend whose current model fits wins; else the model with the most pressure
//! (10 × requests + seconds waited) is loaded where a backend is free, at the earliest after 1.5 s.
//!
//! Printed is the makespan by a lower bound: all work on all backends that can do it, nothing loaded more often than once. Prompts
//! cannot be cut, so the bound is not always attainable: `plan` is the best that a long search finds that knows all times beforehand.
//! Ours has to come within 5 % of it, the first time (`cold`: it knows nothing) and the second (`warm`: by what the first taught).

mod search;

use crate::engine_driver::{Graph, World, backend_id, online};
use comfyui_orchestrator::engine::machine::Input;
use comfyui_orchestrator::engine::placement::Estimates;
use comfyui_orchestrator::engine::{AttemptId, Failure, FailureClass, RunState};
use comfyui_orchestrator::project::{WorkflowFile, WorkflowName};
use comfyui_orchestrator::workflow::{COMPUTING_BYTES, ModelWeights};
use std::collections::{BTreeMap, VecDeque};

/// How far ours may be behind the best plan.
const MOST_BEHIND: f64 = 1.05;

/// Machines, and what they are to do.
#[derive(Clone)]
struct Fleet {
    name: &'static str,
    machines: Vec<Rig>,
    kinds: Vec<Kind>,
    /// Milliseconds to load another model.
    swap_ms: u64,
    /// How a prompt fares where there is too little memory: so many times slower, or not at all.
    squeezed: Option<f64>,
    /// Whether the machines tell how large their models are.
    tells_sizes: bool,
    /// Whether it is so short that it is only looked at when times are known.
    only_warm: bool,
    /// Whether another rule may be faster, as long as ours keeps near the best plan.
    may_trail: bool,
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
#[derive(Clone, Copy)]
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
        squeezed: None,
        tells_sizes: false,
        only_warm: false,
        may_trail: false,
    };
    let small = Rig {
        vram: 8,
        ..rig(1.0)
    };
    let heavy = |count, run_ms| Kind {
        vram: 20,
        ..kind(count, run_ms)
    };
    let mixed_vram = || {
        fleet(
            "mixed VRAM",
            vec![rig(1.0), small.clone(), small.clone()],
            vec![heavy(40, 10_000), kind(80, 10_000)],
        )
    };
    vec![
        fleet("equal", vec![rig(1.0); 3], vec![kind(120, 10_000)]),
        fleet(
            "equal, uneven count",
            vec![rig(1.0); 4],
            vec![kind(101, 10_000)],
        ),
        Fleet {
            only_warm: true,
            ..fleet(
                "3:1, few and long",
                vec![rig(3.0), rig(1.0)],
                vec![kind(7, 90_000)],
            )
        },
        fleet("3:1", vec![rig(3.0), rig(1.0)], vec![kind(80, 30_000)]),
        fleet(
            "mixed speeds, mixed work",
            vec![rig(3.0), rig(2.0), rig(1.0), rig(0.5)],
            vec![kind(60, 20_000), kind(60, 5_000)],
        ),
        mixed_vram(),
        Fleet {
            name: "mixed VRAM, sizes told",
            tells_sizes: true,
            ..mixed_vram()
        },
        Fleet {
            squeezed: Some(3.0),
            tells_sizes: true,
            ..fleet(
                "large models, moved",
                vec![rig(1.0), small.clone(), small.clone(), small.clone()],
                vec![heavy(90, 20_000)],
            )
        },
        fleet(
            "three model sets",
            vec![rig(1.0); 3],
            vec![model(60, 5_000), model(60, 5_000), model(60, 5_000)],
        ),
        fleet(
            "three model sets, 3:1",
            vec![rig(3.0), rig(1.0), rig(1.0)],
            vec![model(80, 12_000), model(40, 12_000), model(40, 12_000)],
        ),
        fleet(
            "five model sets",
            vec![rig(1.0); 2],
            (0..5).map(|_| model(40, 4_000)).collect(),
        ),
        // The only one that has the memory is slow: it should do nothing else.
        Fleet {
            tells_sizes: true,
            ..fleet(
                "large ones on the slow",
                vec![
                    rig(1.0),
                    Rig {
                        speed: 3.0,
                        ..small.clone()
                    },
                ],
                vec![heavy(30, 20_000), kind(80, 20_000)],
            )
        },
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
        // What the flaky one loses has to be made where another model is loaded: whoever waits for the machine with that model
        // (Swarm's rule does here, by its luck with the order) beats whoever sends it to the one that is free first.
        Fleet {
            may_trail: true,
            ..fleet(
                "models, one flaky",
                vec![
                    rig(1.0),
                    rig(1.0),
                    Rig {
                        loses_every: 5,
                        ..rig(1.0)
                    },
                ],
                vec![model(60, 8_000), model(60, 8_000), model(60, 8_000)],
            )
        },
    ]
}

impl Fleet {
    /// Milliseconds of a prompt of a kind on a machine when nothing goes wrong; none where it runs out of memory.
    fn run_ms(&self, machine: usize, kind: usize) -> Option<f64> {
        let (rig, kind) = (&self.machines[machine], &self.kinds[kind]);
        let run_ms = kind.run_ms as f64 / rig.speed;
        if kind.vram <= rig.vram {
            Some(run_ms)
        } else {
            self.squeezed.map(|times| run_ms * times)
        }
    }

    fn lower_bound_ms(&self) -> f64 {
        let kinds: Vec<usize> = (0..self.kinds.len()).collect();
        let work = |kinds: &[usize]| -> f64 {
            kinds
                .iter()
                .map(|kind| f64::from(self.kinds[*kind].count) * self.kinds[*kind].run_ms as f64)
                .sum()
        };
        // Every machine does at best what it is best at.
        let speed = |kinds: &[usize]| -> f64 {
            self.machines
                .iter()
                .enumerate()
                .map(|(machine, rig)| {
                    // A prompt that is lost takes half its time for nothing.
                    let lost = if rig.loses_every == 0 {
                        0.0
                    } else {
                        1.0 / rig.loses_every as f64
                    };
                    let best = kinds
                        .iter()
                        .filter_map(|kind| {
                            Some(self.kinds[*kind].run_ms as f64 / self.run_ms(machine, *kind)?)
                        })
                        .fold(0.0, f64::max);
                    best * (1.0 - lost) / (1.0 - lost / 2.0)
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
        let mut bound = work(&kinds) / speed(&kinds) + loading;
        for kind in &self.kinds {
            let hard: Vec<usize> = kinds
                .iter()
                .copied()
                .filter(|other| self.kinds[*other].vram >= kind.vram)
                .collect();
            bound = bound.max(work(&hard) / speed(&hard));
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
        let Some(run_ms) = self.fleet.run_ms(machine, kind) else {
            self.loaded[machine] = None;
            return (2_000, Fate::OutOfMemory);
        };
        let run_ms = run_ms as u64;
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

/// The makespan under our placement, by the real machine, and what it learned.
fn our_makespan(fleet: &Fleet, taught: Estimates) -> (u64, Estimates) {
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
    world.machine.set_estimates(taught);
    for (number, rig) in fleet.machines.iter().enumerate() {
        let mut facts = online(number as u128);
        facts.vram_bytes = Some(rig.vram * 1_000_000_000);
        if fleet.tells_sizes {
            for (node_id, kind) in &kind_of {
                let bytes = fleet.kinds[*kind].vram * 1_000_000_000 - COMPUTING_BYTES;
                let weights = ModelWeights {
                    all_bytes: bytes,
                    largest_bytes: bytes,
                    is_complete: true,
                };
                let hash = world.plan.workflow_hash(*node_id).unwrap();
                facts.weights.insert(hash, weights);
            }
        }
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
    let estimates = world.machine.estimates().clone();
    (world.now_ms - begin_ms, estimates)
}

#[test]
fn placement_bench() {
    println!(
        "{:<24} {:>8} {:>7} {:>7} {:>7} {:>12} {:>12} {:>7}",
        "fleet", "bound s", "plan", "cold", "warm", "round robin", "least queue", "Swarm"
    );
    let mut complaints = Vec::new();
    for fleet in fleets() {
        let bound = fleet.lower_bound_ms();
        let plan = search::best_plan_ms(&fleet) / bound;
        let (cold_ms, taught) = our_makespan(&fleet, Estimates::default());
        let (warm_ms, _) = our_makespan(&fleet, taught);
        let (cold, warm) = (cold_ms as f64 / bound, warm_ms as f64 / bound);
        let others: Vec<f64> = [Policy::RoundRobin, Policy::LeastQueue, Policy::Swarm]
            .into_iter()
            .map(|policy| makespan_of(&fleet, policy) as f64 / bound)
            .collect();
        println!(
            "{:<24} {:>8.0} {plan:>7.3} {cold:>7.3} {warm:>7.3} {:>12.3} {:>12.3} {:>7.3}",
            fleet.name,
            bound / 1000.0,
            others[0],
            others[1],
            others[2]
        );
        let best = others.iter().copied().fold(f64::INFINITY, f64::min);
        for (when, ours) in [("cold", cold), ("warm", warm)] {
            if when == "cold" && fleet.only_warm {
                continue;
            }
            if ours > best * 1.001 && !fleet.may_trail {
                complaints.push(format!(
                    "{} ({when}): {ours:.3}, but another rule has {best:.3}",
                    fleet.name
                ));
            }
            if ours > plan * MOST_BEHIND {
                complaints.push(format!(
                    "{} ({when}): {ours:.3}, but {plan:.3} is possible",
                    fleet.name
                ));
            }
        }
    }
    assert!(complaints.is_empty(), "{complaints:#?}");
}
