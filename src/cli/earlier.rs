//! An earlier run as its log tells it, and the items of it that a person means.

use super::item_names::{self, Named};
use crate::engine::{ItemId, RunEvent, RunEventBody, RunView};
use crate::project::Project;
use crate::store::{RunSummary, Store};
use anyhow::Context as _;
use std::collections::BTreeSet;

/// Events of one page.
const PAGE: usize = 4096;

/// An earlier run, read back.
pub(super) struct EarlierRun {
    /// The project as it was when the run began.
    pub(super) project: Project,
    /// Everything that happened, in order.
    pub(super) events: Vec<RunEvent>,
    /// The same, folded.
    pub(super) view: RunView,
}

impl EarlierRun {
    /// Reads a run's snapshot and log.
    pub(super) async fn read(store: &Store, run: &RunSummary) -> anyhow::Result<Self> {
        let project =
            crate::project::read_portable_form(store.run(run.run_id).await?.snapshot.as_bytes())
                .context("the run's snapshot cannot be read")?;
        let mut events = Vec::new();
        loop {
            let page = store.events(run.run_id, events.len() as u64, PAGE).await?;
            let is_last = page.len() < PAGE;
            events.extend(page);
            if is_last {
                break;
            }
        }
        let view = RunView::of(&events);
        Ok(Self {
            project,
            events,
            view,
        })
    }

    /// An item as a person calls it: `Draw seed=7`.
    pub(super) fn name_of(&self, item_id: &ItemId) -> String {
        name_of(&self.view, &self.project, item_id)
    }

    /// The items that a person means by one name, in the order of their names.
    ///
    /// # Errors
    /// When there is none, and when it cannot be known which are meant.
    pub(super) fn meant(&self, wanted: &str) -> anyhow::Result<Vec<ItemId>> {
        self.meant_among(wanted, |_| true)
    }

    /// The same, of the items that can be meant.
    ///
    /// # Errors
    /// When there is none, and when it cannot be known which are meant.
    pub(super) fn meant_among(
        &self,
        wanted: &str,
        can_be: impl Fn(&ItemId) -> bool,
    ) -> anyhow::Result<Vec<ItemId>> {
        let mut items = self.named();
        items.retain(|item| can_be(&item.item_id));
        let mut found = item_names::meant(wanted, &items)?;
        found.sort_by_key(|item_id| (self.name_of(item_id), *item_id));
        Ok(found)
    }

    /// Every item that a name fits, for looking at them: where it fits none, those of whose name it is a part.
    pub(super) fn fitting(&self, wanted: &str) -> BTreeSet<ItemId> {
        let items = self.named();
        if let Ok(found) = item_names::meant(wanted, &items) {
            return found.into_iter().collect();
        }
        let mut found: BTreeSet<ItemId> = item_names::fitting(wanted, &items)
            .into_iter()
            .map(|item| item.item_id)
            .collect();
        if found.is_empty() {
            let parts: Vec<String> = wanted.split_whitespace().map(str::to_lowercase).collect();
            let fits = |item: &&Named<'_>| {
                let name = item.name().to_lowercase();
                parts.iter().all(|part| name.contains(part))
            };
            found.extend(items.iter().filter(fits).map(|item| item.item_id));
        }
        found
    }

    fn named(&self) -> Vec<Named<'_>> {
        self.events
            .iter()
            .filter_map(|event| match &event.body {
                RunEventBody::ItemCreated {
                    item_id,
                    node_id,
                    labels,
                    ..
                } => Some(Named {
                    item_id: *item_id,
                    node: node_id.uuid(),
                    title: self
                        .project
                        .nodes
                        .get(node_id)
                        .map_or("?", |node| node.title.as_str()),
                    labels,
                }),
                _ => None,
            })
            .collect()
    }
}

/// An item as a person calls it: `Draw seed=7`.
pub(super) fn name_of(view: &RunView, project: &Project, item_id: &ItemId) -> String {
    view.items.get(item_id).map_or_else(String::new, |item| {
        let title = project
            .nodes
            .get(&item.node_id)
            .map_or("?", |node| node.title.as_str());
        format!("{title} {}", item.label).trim_end().to_owned()
    })
}
