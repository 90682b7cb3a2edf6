//! An earlier run as its log tells it, and the items of it that a person means.

use crate::engine::{ItemId, RunEvent, RunView};
use crate::project::Project;
use crate::store::{RunSummary, Store};
use anyhow::{Context as _, bail};

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

    /// Whether a person means an item: its id, the beginning or end of it, or parts of its node's title and labels.
    pub(super) fn is_meant(&self, item_id: &ItemId, wanted: &str) -> bool {
        let id = item_id.to_string();
        let name = self.name_of(item_id).to_lowercase();
        id.ends_with(wanted)
            || id.starts_with(wanted)
            || wanted
                .split_whitespace()
                .all(|part| name.contains(&part.to_lowercase()))
    }

    /// The items that a person means by one word, in the order of their names.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn meant(&self, wanted: &str) -> anyhow::Result<Vec<ItemId>> {
        let mut found: Vec<ItemId> = self
            .view
            .items
            .keys()
            .filter(|item_id| self.is_meant(item_id, wanted))
            .copied()
            .collect();
        if found.is_empty() {
            bail!(
                "no item fits \"{wanted}\"; name its node and labels, or its id as `runs show --json` prints it"
            );
        }
        found.sort_by_key(|item_id| (self.name_of(item_id), *item_id));
        Ok(found)
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
