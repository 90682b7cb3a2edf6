//! What becomes of each item of a run that was played without making anything: from what it is made from.

use super::count::{When, bounds};
use super::{DryCount, DryNode, DryRun};
use crate::engine::event::ItemState;
use crate::engine::id::{ItemId, RunId};
use crate::engine::machine::Machine;
use crate::project::{MergeFailurePolicy, Node, NodeId, NodeKind, Project};
use std::collections::{BTreeMap, HashMap};

/// The reason of what is made from something that is made.
const FOLLOWS: &str = "what it is made from runs";
/// Before the reason of what something cannot be made without.
const IN_VAIN: &str = "what it is made from cannot run";

/// Why an item is not in the cache.
pub(super) enum Missing {
    /// No equal item was made before.
    New,
    /// It is made every time.
    Unknowable(String),
    /// It cannot be known yet whether one was.
    Unclear(String),
    /// It cannot be made at all.
    Impossible(String),
}

/// How an item ended when the run was played.
pub(super) enum Ended {
    Done,
    Failed(String),
    /// It was called off because it would be made, or waited for a person.
    CalledOff,
    /// Something that it is made from was.
    Blocked,
    /// It does not run.
    Skipped,
}

impl Ended {
    pub(super) fn of(state: ItemState) -> Self {
        match state {
            ItemState::Done => Self::Done,
            ItemState::Skipped => Self::Skipped,
            ItemState::Blocked => Self::Blocked,
            _ => Self::CalledOff,
        }
    }
}

/// What becomes of an item.
#[derive(Clone)]
enum Fate {
    /// Its value is there.
    Known,
    /// It does not run.
    Never,
    /// It cannot run, for this reason.
    Impossible(String),
    /// It runs.
    Runs(Coming),
}

/// An item that would be made.
#[derive(Clone)]
struct Coming {
    when: When,
    /// Why it is made.
    reason: String,
    /// What that hangs on.
    hangs_on: Option<String>,
    /// Whether what it gives may be what an earlier one gave.
    may_repeat: bool,
    /// How many items it is; none where there is no telling.
    stands_for: Option<u32>,
}

/// What an item is given by another.
struct Given {
    when: When,
    hangs_on: Option<String>,
    may_repeat: bool,
    /// Whether there is no telling how many.
    is_open: bool,
    /// Whether it is there.
    is_known: bool,
    /// Why it is never given, where something cannot be made.
    impossible: Option<String>,
}

/// All that is known after a run was played.
pub(super) struct Fates<'a> {
    pub(super) machine: &'a Machine,
    pub(super) run_id: RunId,
    pub(super) project: &'a Project,
    pub(super) items: &'a [(ItemId, NodeId)],
    pub(super) ended: &'a HashMap<ItemId, Ended>,
    pub(super) missing: &'a HashMap<ItemId, Missing>,
    pub(super) unable: &'a BTreeMap<NodeId, String>,
}

impl Fates<'_> {
    /// Counts what becomes of the items of every Workflow node.
    pub(super) fn count(&self, order: &[NodeId]) -> DryRun {
        let mut fates: HashMap<ItemId, (usize, Fate)> = HashMap::new();
        for (place, (item_id, node_id)) in self.items.iter().enumerate() {
            if let Some(node) = self.project.nodes.get(node_id) {
                let fate = self.fate(*item_id, node, &fates);
                fates.insert(*item_id, (place, fate));
            }
        }
        let mut all_runs = Vec::new();
        let mut run = DryRun {
            to_run: DryCount::NONE,
            ..DryRun::default()
        };
        for node in order
            .iter()
            .filter_map(|node_id| self.project.nodes.get(node_id))
            .filter(|node| matches!(node.kind, NodeKind::Workflow(_)))
        {
            let mut cached = 0;
            let mut cannot_run: BTreeMap<String, u32> = BTreeMap::new();
            let mut by_reason: BTreeMap<String, Vec<(When, Option<u32>)>> = BTreeMap::new();
            for (item_id, _) in self.items.iter().filter(|(_, of)| *of == node.id) {
                match fates.get(item_id).map(|(_, fate)| fate) {
                    Some(Fate::Known) => cached += 1,
                    Some(Fate::Impossible(reason)) => {
                        *cannot_run.entry(reason.clone()).or_default() += 1;
                    }
                    Some(Fate::Runs(coming)) => by_reason
                        .entry(coming.words())
                        .or_default()
                        .push((coming.when.clone(), coming.stands_for)),
                    Some(Fate::Never) | None => {}
                }
            }
            let of_node: Vec<(When, Option<u32>)> = by_reason.values().flatten().cloned().collect();
            all_runs.extend(of_node.iter().cloned());
            run.cached += cached;
            run.cannot_run += cannot_run.values().sum::<u32>();
            run.nodes.push(DryNode {
                node_id: node.id,
                title: node.title.clone(),
                cached,
                to_run: bounds(of_node),
                reasons: by_reason
                    .into_iter()
                    .map(|(reason, all)| (reason, bounds(all)))
                    .filter(|(_, count)| !count.is_none())
                    .collect(),
                cannot_run,
            });
        }
        run.to_run = bounds(all_runs);
        run
    }

    fn fate(&self, item_id: ItemId, node: &Node, fates: &HashMap<ItemId, (usize, Fate)>) -> Fate {
        let unable = self.unable.get(&node.id);
        match self.ended.get(&item_id) {
            Some(Ended::Done) => Fate::Known,
            Some(Ended::Failed(reason)) => {
                Fate::Impossible(format!("\"{}\" fails: {reason}", node.title))
            }
            None | Some(Ended::Skipped) => Fate::Never,
            Some(Ended::CalledOff) => match (self.missing.get(&item_id), unable) {
                (_, Some(reason)) | (Some(Missing::Impossible(reason)), _) => {
                    Fate::Impossible(reason.clone())
                }
                (Some(Missing::New), None) => self.coming(
                    item_id,
                    When::Sure,
                    "no equal item was made before",
                    None,
                    false,
                ),
                (Some(Missing::Unknowable(reason)), None) => {
                    self.coming(item_id, When::Sure, reason, None, true)
                }
                (Some(Missing::Unclear(reason)), None) => {
                    self.coming(item_id, When::Perhaps, reason, None, true)
                }
                // A Review waits for a person.
                (None, None) => self.coming(item_id, When::Perhaps, "", None, false),
            },
            Some(Ended::Blocked) => self.fate_of_blocked(item_id, node, fates),
        }
    }

    /// Of an item that is made from something that would be made.
    fn fate_of_blocked(
        &self,
        item_id: ItemId,
        node: &Node,
        fates: &HashMap<ItemId, (usize, Fate)>,
    ) -> Fate {
        let Some(lineage) = self.machine.lineage(self.run_id, item_id) else {
            return Fate::Never;
        };
        let givers = |input: &[(ItemId, u32)]| -> Vec<Given> {
            input
                .iter()
                .map(|(giver, output)| self.given(*giver, *output, fates))
                .collect()
        };
        let mut when = When::Sure;
        let mut hangs_on: Option<String> = None;
        let mut may_repeat = false;
        if let NodeKind::Merge(merge) = &node.kind {
            let all: Vec<Given> = lineage
                .inputs
                .iter()
                .flat_map(|input| givers(input))
                .collect();
            let broken = all.iter().find_map(|given| given.impossible.clone());
            if let Some(broken) = broken
                && (merge.on_failed == MergeFailurePolicy::RequireAll
                    || all.iter().all(|given| given.impossible.is_some()))
            {
                return Fate::Impossible(broken);
            }
            // What was there before may be what is taken of the list.
            may_repeat = all.iter().any(|given| given.is_known || given.may_repeat);
            when = When::any(all.into_iter().map(|given| {
                if given.is_open {
                    given.when.and(&When::Perhaps)
                } else {
                    given.when
                }
            }));
            if when != When::Sure {
                hangs_on = Some(format!("something comes to \"{}\"", node.title));
            }
        } else {
            for given in lineage.inputs.iter().flat_map(|input| givers(input)) {
                if let Some(broken) = given.impossible {
                    return Fate::Impossible(broken);
                }
                when = when.and(&given.when);
                may_repeat |= given.may_repeat;
                hangs_on = hangs_on.or(given.hangs_on);
            }
        }
        if when == When::Never {
            return Fate::Never;
        }
        if let Some(unable) = self.unable.get(&node.id) {
            return Fate::Impossible(unable.clone());
        }
        if matches!(node.kind, NodeKind::Review(_)) {
            when = when.and(&When::Perhaps);
        }
        let mut reason = FOLLOWS.to_owned();
        if may_repeat && matches!(node.kind, NodeKind::Workflow(_)) {
            when = when.and(&When::Perhaps);
            reason.push_str(", unless that gives what it gave before");
        }
        self.coming(item_id, when, &reason, hangs_on, may_repeat)
    }

    fn coming(
        &self,
        item_id: ItemId,
        when: When,
        reason: &str,
        hangs_on: Option<String>,
        may_repeat: bool,
    ) -> Fate {
        let lineage = self
            .machine
            .lineage(self.run_id, item_id)
            .unwrap_or_default();
        let (when, hangs_on) = if lineage.may_be_called_off {
            let first = "the first that are ready do not suffice".to_owned();
            (when.and(&When::Perhaps), hangs_on.or(Some(first)))
        } else {
            (when, hangs_on)
        };
        Fate::Runs(Coming {
            when,
            reason: reason.to_owned(),
            hangs_on,
            may_repeat,
            stands_for: lineage.stands_for,
        })
    }

    /// What an item gives by one of its outputs.
    fn given(&self, giver: ItemId, output: u32, fates: &HashMap<ItemId, (usize, Fate)>) -> Given {
        let mut given = Given {
            when: When::Sure,
            hangs_on: None,
            may_repeat: false,
            is_open: false,
            is_known: false,
            impossible: None,
        };
        let Some((place, fate)) = fates.get(&giver) else {
            return given;
        };
        match fate {
            Fate::Known => given.is_known = true,
            Fate::Never => given.when = When::Never,
            Fate::Impossible(reason) => {
                given.when = When::Never;
                given.impossible = Some(if reason.starts_with(IN_VAIN) {
                    reason.clone()
                } else {
                    format!("{IN_VAIN}: {reason}")
                });
            }
            Fate::Runs(coming) => {
                given.when = coming.when.clone();
                given.may_repeat = coming.may_repeat;
                given.is_open = coming.stands_for.is_none();
                given.hangs_on.clone_from(&coming.hangs_on);
                let node = self
                    .items
                    .get(*place)
                    .and_then(|(_, node_id)| self.project.nodes.get(node_id));
                match node.map(|node| (&node.kind, &node.title)) {
                    Some((NodeKind::Condition(_), title)) => {
                        let choice = When::If([(*place, output)].into());
                        given.when = given.when.and(&choice);
                        given.hangs_on = Some(format!("\"{title}\" sends it here"));
                    }
                    Some((NodeKind::Review(_), title)) => {
                        given.hangs_on = Some(format!("it is picked in \"{title}\""));
                    }
                    _ => {}
                }
            }
        }
        given
    }
}

impl Coming {
    fn words(&self) -> String {
        match &self.hangs_on {
            Some(hangs_on) => format!("{}, if {hangs_on}", self.reason),
            None => self.reason.clone(),
        }
    }
}
