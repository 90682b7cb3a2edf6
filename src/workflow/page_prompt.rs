//! The prompt that ComfyUI's own page made of a workflow when it was saved from there: exact for every custom node, also
//! for those that only exist in the page.

use super::convert::{ConvertError, Converted};
use super::object_info::ObjectInfo;
use super::preflight::{Reason, preflight};
use super::prompt::Prompt;

/// What the page made, as it is to be sent to a backend with these classes. `converted` is what we make of the same file.
///
/// * The page drew `{a|b}` once, when the file was saved; each item draws anew, so these texts are ours.
/// * A backend with another version of a node class may require an input that the page's backend did not know. Then ours
///   is sent, provided that it has what is required.
pub(super) fn fitted(
    page_prompt: &Prompt,
    converted: Result<Converted, ConvertError>,
    object_info: &ObjectInfo,
) -> Prompt {
    // What we do not understand, the page did.
    let Ok(ours) = converted else {
        return page_prompt.clone();
    };
    if lacks_an_input(page_prompt, object_info) && !lacks_an_input(&ours.prompt, object_info) {
        return ours.prompt;
    }
    let mut prompt = page_prompt.clone();
    for (node_id, input) in &ours.drawn {
        let text = ours
            .prompt
            .nodes
            .get(node_id)
            .and_then(|node| node.inputs.get(input));
        let place = prompt
            .nodes
            .get_mut(node_id)
            .and_then(|node| node.inputs.get_mut(input));
        if let (Some(text), Some(place)) = (text, place)
            && place.is_string()
        {
            place.clone_from(text);
        }
    }
    prompt
}

fn lacks_an_input(prompt: &Prompt, object_info: &ObjectInfo) -> bool {
    preflight(prompt, object_info)
        .iter()
        .any(|reason| matches!(reason, Reason::MissingInput { .. }))
}
