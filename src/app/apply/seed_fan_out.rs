//! A fan-out of seeds for a field of a Workflow node.

use crate::app::actions::Gesture;
use crate::app::catalog::Catalog;
use crate::app::document::{Document, Selection};
use crate::app::exposure;
use crate::project::{
    Edit, EditError, FanOutSource, Link, LinkId, Literal, Node, NodeId, PortId, PortRef, SeedOrder,
};
use crate::workflow::ParameterAddress;

/// Seeds that a new fan-out has.
const SEEDS: u32 = 4;
/// How far left of the node the fan-out is put, canvas units.
const DISTANCE: f32 = 280.0;

/// Gives the field an input, unless it has one, and a Fan out node that feeds it; one undo step.
pub(super) fn seeds_from_fan_out(
    document: &mut Document,
    selection: &mut Selection,
    catalog: &mut Catalog,
    node_id: NodeId,
    address: &ParameterAddress,
) -> Result<(), EditError> {
    let project = document.project();
    let Some((node, facts)) = catalog.facts_of(project, node_id)? else {
        return Ok(());
    };
    let mut edits = Vec::new();
    let mut changed = node.clone();
    if exposure::port_of(&changed, address).is_none() {
        exposure::toggle_input(&mut changed, address, &facts);
        edits.push(Edit::configure(changed.clone()));
    }
    let Some(port) = exposure::port_of(&changed, address) else {
        return Ok(());
    };
    let to = PortRef {
        node: node_id,
        port,
    };
    edits.extend(project.links_into(to).map(|link| Edit::RemoveLink(link.id)));
    let own = || {
        let field = crate::app::catalog::field_of(&facts, address)?;
        Some(Literal::from_json(&field.value))
    };
    let shown = exposure::parameters_of(node)
        .iter()
        .find(|parameter| parameter.address == *address)
        .and_then(|parameter| parameter.value.clone());
    let first = match shown.or_else(own) {
        Some(Literal::Integer(seed)) => u64::try_from(seed.get()).unwrap_or(1),
        _ => 1,
    };
    let source = FanOutSource::Seeds {
        axis: "seed".to_owned(),
        first,
        count: SEEDS,
        order: SeedOrder::Increment,
    };
    let fan_out = Node::fan_out(NodeId::new_now(), source, &mut PortId::new_now)
        .titled(&format!("{SEEDS} seeds"))
        .at([node.pos_world[0] - DISTANCE, node.pos_world[1]]);
    let fan_out_id = fan_out.id;
    let from = fan_out.outputs.first().map(|output| PortRef {
        node: fan_out_id,
        port: output.id,
    });
    edits.push(Edit::AddNode(Box::new(fan_out)));
    edits.extend(from.map(|from| {
        Edit::AddLink(Link {
            id: LinkId::new_now(),
            from,
            to,
        })
    }));
    document.edit("Seeds from a fan-out", Gesture::new(), edits)?;
    selection.nodes = [fan_out_id].into();
    selection.links.clear();
    selection.frames.clear();
    Ok(())
}
