//! Giving work out: local tasks and questions to the cache a few at a time, then prompts (see `placing`).

use super::attempts::Attempt;
use super::candidates::models_of;
use super::flow::End;
use super::item::ItemIndex;
use super::local_orders::local_work;
use super::questions::asks;
use super::run::Run;
use super::values::first_leaf;
use super::{
    CacheQuestion, Effect, LOCAL_TASKS_AT_ONCE, LOOK_UPS_AT_ONCE, LocalOrder, Machine, ServerCache,
    Submission,
};
use crate::engine::event::{ItemState, PlacementDecision, RunEventBody, RunState};
use crate::engine::failure::{Failure, FailureClass};
use crate::engine::id::{AttemptId, RunId};
use crate::engine::placement::Models;
use crate::engine::plan::NodeIndex;
use crate::engine::question::QuestionCause;
use crate::engine::value::Value;
use crate::project::{BackendId, NodeKind, PortBinding, WorkflowNode};
use crate::workflow::ParameterAddress;
use std::cmp::Reverse;

impl Machine {
    /// Gives out what can be given out.
    pub(super) fn schedule(&mut self, now_ms: u64, run_ids: &[RunId]) {
        let mut run_ids = run_ids.to_vec();
        run_ids.sort_by_key(|run_id| {
            let priority = self.runs.get(run_id).map_or(0, |run| run.priority);
            (Reverse(priority), *run_id)
        });
        let run_ids = run_ids.as_slice();
        loop {
            for run_id in run_ids {
                self.fail_what_nobody_can_run(now_ms, *run_id);
            }
            self.order_local_work(now_ms, run_ids);
            // Local work that could not even be ordered may have made other items Ready.
            let is_settled = run_ids.iter().all(|run_id| {
                self.runs
                    .get(run_id)
                    .is_none_or(|run| run.unchecked_nodes.is_empty())
            });
            if is_settled {
                break;
            }
        }
        self.ask_where_nobody_answers(now_ms, run_ids);
        self.order_look_ups(run_ids);
        // Items that can go nowhere any more end, and what follows from that may be Ready.
        while self.place(now_ms, run_ids) {}
    }

    /// Asks the cache for some of the items that may have been made before.
    fn order_look_ups(&mut self, run_ids: &[RunId]) {
        for run_id in run_ids {
            while self.looking_up.len() < LOOK_UPS_AT_ONCE {
                let Some(run) = self.runs.get_mut(run_id) else {
                    break;
                };
                if run.state != RunState::Running {
                    break;
                }
                // One that is asked about already was changed meanwhile: its turn comes with the answer.
                let next = run.look_ups.iter().find(|(.., index)| {
                    let item_id = run.items[*index as usize].item_id;
                    !self.looking_up.contains_key(&item_id)
                });
                let Some(key) = next.cloned() else {
                    break;
                };
                run.look_ups.remove(&key);
                let (.., node, index) = key;
                let plan = run.plan.clone();
                let planned = &plan.nodes[node];
                let NodeKind::Workflow(workflow) = &planned.node.kind else {
                    continue;
                };
                let item_id = run.items[index as usize].item_id;
                let fields = fields_of(run, index, workflow);
                self.looking_up.insert(item_id, fields.clone());
                self.effects.push(Effect::LookUp(CacheQuestion {
                    item_id,
                    run_id: *run_id,
                    node_id: planned.node.id,
                    workflow: workflow.workflow.clone(),
                    fields,
                }));
            }
        }
    }

    fn order_local_work(&mut self, now_ms: u64, run_ids: &[RunId]) {
        // What a run left that rests since the start of the process is not being done.
        let mut going_on = self
            .local_running
            .iter()
            .filter(|(item_id, running)| {
                !self.dormant.contains(&running.run_id) && !self.local_waiting.contains(item_id)
            })
            .count();
        let without_a_disk = self.nodes_without_a_disk();
        for run_id in run_ids {
            while going_on < LOCAL_TASKS_AT_ONCE {
                let Some(run) = self.runs.get_mut(run_id) else {
                    break;
                };
                let next = run
                    .local_ready
                    .iter()
                    .find(|(.., node, _)| !without_a_disk.contains(&(*run_id, *node)));
                let Some((.., index)) = next.cloned() else {
                    break;
                };
                let order = self.local_order_count + 1;
                match local_work(run, index, order) {
                    Ok(work) => {
                        self.local_order_count = order;
                        run.set_item_state(index, ItemState::Running);
                        run.emit_state(index, None);
                        let run_id = *run_id;
                        let running = LocalOrder {
                            run_id,
                            index,
                            order,
                        };
                        self.local_running.insert(work.item_id, running);
                        going_on += 1;
                        self.flush(now_ms, run_id);
                        self.effects.push(Effect::Local(work));
                    }
                    Err(failure) => {
                        run.end_item(index, End::Failed(failure));
                        self.settle_run(now_ms, *run_id);
                    }
                }
            }
        }
    }

    /// Fails Ready items of nodes that every backend in question is unable to run.
    fn fail_what_nobody_can_run(&mut self, now_ms: u64, run_id: RunId) {
        while let Some(node) = self
            .runs
            .get_mut(&run_id)
            .and_then(|run| run.unchecked_nodes.pop_first())
        {
            let Some(failure) = self.nobody_can_run(run_id, node) else {
                continue;
            };
            let Some(run) = self.runs.get(&run_id) else {
                return;
            };
            let ready: Vec<ItemIndex> = run.nodes[node]
                .ready
                .iter()
                .map(|(.., index)| *index)
                // What a person sent to a certain backend is judged by that one.
                .filter(|index| run.items[*index as usize].only_on().is_none())
                .collect();
            for index in ready {
                self.give_up(now_ms, run_id, index, failure.clone());
            }
        }
    }

    /// An item can go nowhere: a person is asked, or it fails.
    pub(super) fn give_up(
        &mut self,
        now_ms: u64,
        run_id: RunId,
        index: ItemIndex,
        failure: Failure,
    ) {
        if let Some(run) = self.runs.get_mut(&run_id)
            // An earlier one may have stopped the run.
            && run.items[index as usize].state == ItemState::Ready
        {
            if asks(run, run.items[index as usize].node) {
                self.ask(now_ms, run_id, index, QuestionCause::NoPlace, failure);
            } else {
                run.end_item(index, End::Failed(failure));
            }
        }
        self.settle_run(now_ms, run_id);
    }

    /// The failure of a node that every backend it may run on is unable to run; none while there is hope.
    fn nobody_can_run(&self, run_id: RunId, node: NodeIndex) -> Option<Failure> {
        let run = self.runs.get(&run_id)?;
        let planned = &run.plan.nodes[node];
        let NodeKind::Workflow(workflow) = &planned.node.kind else {
            return None;
        };
        let mut reasons = Vec::new();
        let mut class = FailureClass::MissingNode;
        for facts in self.backends.values() {
            if facts.not_wanted_by(workflow).is_some() {
                continue;
            }
            let (reason, learned) = self.inability(planned.workflow_hash, facts)?;
            class = learned.unwrap_or(class);
            reasons.push(format!("{}: {reason}", facts.name));
        }
        (!reasons.is_empty()).then(|| {
            Failure::new(
                class,
                format!(
                    "no backend can run \"{}\": {}",
                    planned.node.title,
                    reasons.join("; ")
                ),
            )
        })
    }

    pub(super) fn submit(
        &mut self,
        now_ms: u64,
        run_id: RunId,
        index: ItemIndex,
        backend_id: BackendId,
        decision: PlacementDecision,
    ) {
        let Some(run) = self.runs.get_mut(&run_id) else {
            return;
        };
        let item = &run.items[index as usize];
        let number = item.attempts + 1;
        let item_id = item.item_id;
        let attempt_id = AttemptId::derive(item_id, number);
        run.emit(RunEventBody::AttemptPlaced {
            attempt_id,
            item_id,
            number,
            backend_id,
            decision,
        });
        self.attempt_placed(run_id, index, attempt_id, number, backend_id);
        self.flush(now_ms, run_id);
        if let Some(submission) = self.submission(attempt_id) {
            self.effects.push(Effect::Submit(submission));
        }
    }

    /// Takes an attempt onto the books.
    pub(super) fn attempt_placed(
        &mut self,
        run_id: RunId,
        index: ItemIndex,
        attempt_id: AttemptId,
        number: u32,
        backend_id: BackendId,
    ) {
        let Some(run) = self.runs.get_mut(&run_id) else {
            return;
        };
        run.set_item_state(index, ItemState::Submitted);
        let item = &mut run.items[index as usize];
        item.attempts = number;
        item.live_attempt = Some(attempt_id);
        let planned = &run.plan.nodes[item.node];
        let (workflow, effort) = (planned.workflow_hash, planned.effort_hash);
        let fields = match &planned.node.kind {
            NodeKind::Workflow(settings) => fields_of(run, index, settings),
            _ => Fields::new(),
        };
        let needs = models_of(run, index);
        let models = match needs {
            Some(needs) if self.loaded.get(&backend_id) != Some(&needs) => Models::Swapped,
            _ => Models::Loaded,
        };
        if let Some(needs) = needs {
            self.loaded.insert(backend_id, needs);
        }
        self.attempts.insert(
            attempt_id,
            Attempt {
                run_id,
                item: index,
                backend_id,
                workflow,
                effort,
                fields,
                edits: run.edits.get(&index).cloned().unwrap_or_default(),
                models,
                started_ms: None,
                executed_ms: None,
                is_accepted: false,
                called_off: None,
            },
        );
        self.load.entry(backend_id).or_default().push(attempt_id);
    }

    /// What is to be POSTed for a live attempt.
    pub(super) fn submission(&self, attempt_id: AttemptId) -> Option<Submission> {
        let attempt = self.attempts.get(&attempt_id)?;
        let run = self.runs.get(&attempt.run_id)?;
        let item = run.items.get(attempt.item as usize)?;
        let planned = &run.plan.nodes[item.node];
        let NodeKind::Workflow(workflow) = &planned.node.kind else {
            return None;
        };
        let bypass = item
            .trouble
            .as_ref()
            .is_some_and(|trouble| trouble.bypass_cache);
        Some(Submission {
            attempt_id,
            item_id: item.item_id,
            run_id: attempt.run_id,
            node_id: planned.node.id,
            backend_id: attempt.backend_id,
            workflow: workflow.workflow.clone(),
            fields: attempt.fields.clone(),
            server_cache: if bypass {
                ServerCache::Bypass
            } else {
                ServerCache::Allowed
            },
        })
    }
}

/// Fields of a workflow with what they are set to.
pub(super) type Fields = Vec<(ParameterAddress, Value)>;

/// The fields of an item's workflow that are set: what a person changed, what is linked, then the node's own parameters.
pub(super) fn fields_of(run: &Run, index: ItemIndex, workflow: &WorkflowNode) -> Fields {
    let planned = &run.plan.nodes[run.items[index as usize].node];
    let mut fields = Vec::new();
    for (input, planned_input) in planned.inputs.iter().enumerate() {
        let Some(port) = planned.node.inputs.get(planned_input.port) else {
            continue;
        };
        if let PortBinding::Parameter(address) = &port.binding
            && let Some(value) = run.input_value(index, input).and_then(first_leaf)
            // No content, for example an empty cell of a table: the node's own value stays.
            && value != Value::Trigger
        {
            fields.push((address.clone(), value));
        }
    }
    for (address, value) in run.edits.get(&index).into_iter().flatten() {
        fields.retain(|(known, _)| known != address);
        fields.push((address.clone(), Value::Literal(value.clone())));
    }
    let linked = fields.len();
    let item = &run.items[index as usize];
    for parameter in &workflow.parameters {
        let roll = item.item_id.roll(&parameter.address);
        if let Some(value) = parameter.value_of_item(item.ordinal, roll)
            && !fields[..linked]
                .iter()
                .any(|(address, _)| *address == parameter.address)
        {
            fields.push((parameter.address.clone(), Value::Literal(value)));
        }
    }
    fields
}
