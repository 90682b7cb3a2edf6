//! The links of a project, found by id and by the node they touch.

use super::document::{Link, PortRef};
use super::id::{LinkId, NodeId};
use std::collections::{BTreeMap, BTreeSet};

/// Links by id, with the look-ups an edit needs kept beside them, so that an edit costs what it touches and not what the
/// project holds.
///
/// Every link sits under its own [`Link::id`]; iteration is in id order, which is the order in which a Merge appends.
#[derive(Clone, Debug, Default)]
pub struct Links {
    by_id: BTreeMap<LinkId, Link>,
    /// Links that end at a node.
    into_node: BTreeMap<NodeId, BTreeSet<LinkId>>,
    /// Links that start at a node.
    out_of_node: BTreeMap<NodeId, BTreeSet<LinkId>>,
}

/// Two sets of links are equal when their links are; the look-ups follow from these.
impl PartialEq for Links {
    fn eq(&self, other: &Self) -> bool {
        self.by_id == other.by_id
    }
}

impl Links {
    /// No links.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a link, or replaces the one with the same id, which it gives back. Checks nothing: edits do.
    pub fn insert(&mut self, link: Link) -> Option<Link> {
        let replaced = self.remove(link.id);
        self.into_node
            .entry(link.to.node)
            .or_default()
            .insert(link.id);
        self.out_of_node
            .entry(link.from.node)
            .or_default()
            .insert(link.id);
        self.by_id.insert(link.id, link);
        replaced
    }

    /// Takes a link out.
    pub fn remove(&mut self, link_id: LinkId) -> Option<Link> {
        let link = self.by_id.remove(&link_id)?;
        forget(&mut self.into_node, link.to.node, link_id);
        forget(&mut self.out_of_node, link.from.node, link_id);
        Some(link)
    }

    /// The link with this id.
    #[must_use]
    pub fn get(&self, link_id: LinkId) -> Option<&Link> {
        self.by_id.get(&link_id)
    }

    /// Whether there is a link with this id.
    #[must_use]
    pub fn contains(&self, link_id: LinkId) -> bool {
        self.by_id.contains_key(&link_id)
    }

    /// How many links there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Every link, by id.
    pub fn values(&self) -> impl Iterator<Item = &Link> {
        self.by_id.values()
    }

    /// The ids of every link, in order.
    pub fn keys(&self) -> impl Iterator<Item = LinkId> {
        self.by_id.keys().copied()
    }

    /// The links that end at a node, by id.
    pub fn into_node(&self, node_id: NodeId) -> impl Iterator<Item = &Link> {
        self.touching(&self.into_node, node_id)
    }

    /// The links that start at a node, by id.
    pub fn out_of_node(&self, node_id: NodeId) -> impl Iterator<Item = &Link> {
        self.touching(&self.out_of_node, node_id)
    }

    /// The links that end at an input, by id.
    pub fn into_port(&self, end: PortRef) -> impl Iterator<Item = &Link> {
        self.into_node(end.node).filter(move |link| link.to == end)
    }

    /// The links that start at an output, by id.
    pub fn out_of_port(&self, end: PortRef) -> impl Iterator<Item = &Link> {
        self.out_of_node(end.node)
            .filter(move |link| link.from == end)
    }

    fn touching<'a>(
        &'a self,
        by_node: &'a BTreeMap<NodeId, BTreeSet<LinkId>>,
        node_id: NodeId,
    ) -> impl Iterator<Item = &'a Link> {
        by_node
            .get(&node_id)
            .into_iter()
            .flatten()
            .filter_map(|link_id| self.by_id.get(link_id))
    }
}

impl FromIterator<Link> for Links {
    fn from_iter<I: IntoIterator<Item = Link>>(links: I) -> Self {
        let mut all = Self::new();
        for link in links {
            all.insert(link);
        }
        all
    }
}

fn forget(by_node: &mut BTreeMap<NodeId, BTreeSet<LinkId>>, node_id: NodeId, link_id: LinkId) {
    if let Some(links) = by_node.get_mut(&node_id) {
        links.remove(&link_id);
        if links.is_empty() {
            by_node.remove(&node_id);
        }
    }
}
