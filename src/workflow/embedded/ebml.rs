//! `WebM` and Matroska: `SimpleTag` texts.

use super::source::Source;
use super::{Fault, Texts, text};

const EBML: u32 = 0x1A45_DFA3;
const SEGMENT: u32 = 0x1853_8067;
const TAGS: u32 = 0x1254_C367;
const TAG: u32 = 0x7373;
const SIMPLE_TAG: u32 = 0x67C8;
const TAG_NAME: u32 = 0x45A3;
const TAG_STRING: u32 = 0x4487;
const CLUSTER: u32 = 0x1F43_B675;

/// Tags within tags that are followed.
const MAX_DEPTH: usize = 8;

/// An element: its id, and where its content begins and ends.
struct Element {
    id: u32,
    start: u64,
    end: u64,
}

pub(super) fn read(source: &mut Source<'_>, texts: &mut Texts) -> Result<(), Fault> {
    let mut at = 0;
    while at < source.len() {
        let element = element_at(source, at, source.len())?;
        match element.id {
            SEGMENT => return segment(source, &element, texts),
            EBML => {}
            _ => return Err(Fault::damaged("it has no segment")),
        }
        at = element.end;
    }
    Err(Fault::damaged("it has no segment"))
}

fn segment(source: &mut Source<'_>, segment: &Element, texts: &mut Texts) -> Result<(), Fault> {
    let mut at = segment.start;
    while at < segment.end {
        let element = element_at(source, at, segment.end)?;
        if element.id == TAGS {
            tags(source, &element, texts, 0)?;
        }
        // A live recording has clusters without length; its tags come before them.
        if element.id == CLUSTER && element.end == segment.end {
            break;
        }
        at = element.end;
    }
    Ok(())
}

/// Everything below `Tags`: names and strings side by side in a `SimpleTag`.
fn tags(
    source: &mut Source<'_>,
    parent: &Element,
    texts: &mut Texts,
    depth: usize,
) -> Result<(), Fault> {
    if depth > MAX_DEPTH {
        return Err(Fault::damaged("its tags are nested too deep"));
    }
    let mut name = None;
    let mut string = None;
    let mut at = parent.start;
    while at < parent.end {
        let element = element_at(source, at, parent.end)?;
        at = element.end;
        match element.id {
            TAG | SIMPLE_TAG => tags(source, &element, texts, depth + 1)?,
            TAG_NAME => name = Some(content(source, &element)?),
            TAG_STRING => string = Some(content(source, &element)?),
            _ => {}
        }
    }
    match (name, string) {
        (Some(name), Some(string)) => texts.push(&name, string),
        _ => Ok(()),
    }
}

fn content(source: &mut Source<'_>, element: &Element) -> Result<String, Fault> {
    let bytes = source.bytes(element.start, element.end - element.start)?;
    Ok(text(bytes).trim_end_matches('\0').to_owned())
}

/// The element at a place; it ends within its parent.
fn element_at(source: &mut Source<'_>, at: u64, parent_end: u64) -> Result<Element, Fault> {
    source.next_part()?;
    let cut_off = || Fault::damaged("an element is cut off");
    let header_len = parent_end.saturating_sub(at).min(12);
    let header = source.bytes(at, header_len)?;
    let (id, id_len) = number(&header, Marker::Kept, 4).ok_or_else(cut_off)?;
    let sized = header.get(id_len..).unwrap_or_default();
    let (size, size_len) = number(sized, Marker::Dropped, 8).ok_or_else(cut_off)?;
    let start = at + (id_len + size_len) as u64;
    let is_unknown = size == (1 << (7 * size_len)) - 1;
    let end = if is_unknown {
        parent_end
    } else {
        start
            .checked_add(size)
            .filter(|end| *end <= parent_end)
            .ok_or_else(cut_off)?
    };
    Ok(Element {
        id: id as u32,
        start,
        end,
    })
}

/// Whether the bits that tell a number's length belong to it.
#[derive(PartialEq)]
enum Marker {
    Kept,
    Dropped,
}

/// A number of variable length, and its length in bytes.
fn number(bytes: &[u8], marker: Marker, most: usize) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let length = first.leading_zeros() as usize + 1;
    if length > most {
        return None;
    }
    let head = if marker == Marker::Kept {
        u64::from(first)
    } else {
        u64::from(first) & ((1 << (8 - length)) - 1)
    };
    let rest = bytes.get(1..length)?;
    Some((
        rest.iter()
            .fold(head, |number, byte| (number << 8) | u64::from(*byte)),
        length,
    ))
}
