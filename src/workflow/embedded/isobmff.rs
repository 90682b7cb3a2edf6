//! MP4, `QuickTime` and AVIF: boxes with texts (`ilst` by name or by key, `©cmt`), and the EXIF item of pictures.

use super::source::{Cursor, Source};
use super::{Fault, MAX_TEXTS, Texts, exif, text};

/// A box: its name, and where its content begins and ends.
#[derive(Clone, Copy)]
struct Atom {
    name: [u8; 4],
    start: u64,
    end: u64,
}

pub(super) fn read(source: &mut Source<'_>, texts: &mut Texts) -> Result<(), Fault> {
    let whole = Atom {
        name: *b"file",
        start: 0,
        end: source.len(),
    };
    let mut at = whole.start;
    while let Some(atom) = next(source, &mut at, whole.end)? {
        match &atom.name {
            b"moov" => movie(source, atom, texts)?,
            b"meta" => meta(source, atom, texts)?,
            _ => {}
        }
    }
    Ok(())
}

/// `moov`: metadata in it, in its user data, or in those of its tracks.
fn movie(source: &mut Source<'_>, movie: Atom, texts: &mut Texts) -> Result<(), Fault> {
    let mut at = movie.start;
    while let Some(atom) = next(source, &mut at, movie.end)? {
        match &atom.name {
            b"meta" => meta(source, atom, texts)?,
            b"udta" => user_data(source, atom, texts)?,
            b"trak" => {
                let mut at = atom.start;
                while let Some(inner) = next(source, &mut at, atom.end)? {
                    match &inner.name {
                        b"meta" => meta(source, inner, texts)?,
                        b"udta" => user_data(source, inner, texts)?,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// `udta`: `meta`, or the older texts whose names begin with ©.
fn user_data(source: &mut Source<'_>, user_data: Atom, texts: &mut Texts) -> Result<(), Fault> {
    let mut at = user_data.start;
    while let Some(atom) = next(source, &mut at, user_data.end)? {
        match &atom.name {
            b"meta" => meta(source, atom, texts)?,
            [0xA9, name @ ..] => {
                let content = source.bytes(atom.start, atom.end - atom.start)?;
                let mut rest = Cursor(&content);
                // Length and language, then the text.
                if let (Ok(length), Ok(_)) = (rest.u16_be(), rest.u16_be())
                    && let Ok(content) = rest.take(usize::from(length))
                {
                    texts.push(named(*name), text(content.to_vec()))?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// `meta`: a list of texts with their keys, or the items of a picture.
fn meta(source: &mut Source<'_>, meta: Atom, texts: &mut Texts) -> Result<(), Fault> {
    // In MP4 a version comes first, in QuickTime it does not.
    let has_version = source
        .array::<8>(meta.start)
        .is_ok_and(|head| !head.ends_with(b"hdlr"));
    let start = meta.start + if has_version { 4 } else { 0 };
    let mut keys = Vec::new();
    let mut lists = Vec::new();
    let mut locations = None;
    let mut infos = None;
    let mut item_data = None;
    let mut at = start;
    while let Some(atom) = next(source, &mut at, meta.end)? {
        match &atom.name {
            b"keys" => keys = read_keys(source, atom)?,
            b"ilst" => lists.push(atom),
            b"iloc" => locations = Some(atom),
            b"iinf" => infos = Some(atom),
            b"idat" => item_data = Some(atom),
            _ => {}
        }
    }
    for list in lists {
        let mut at = list.start;
        while let Some(atom) = next(source, &mut at, list.end)? {
            list_entry(source, atom, &keys, texts)?;
        }
    }
    if let (Some(infos), Some(locations)) = (infos, locations)
        && let Some(item_id) = exif_item(source, infos)?
    {
        exif_of_item(source, locations, item_data, item_id, texts)?;
    }
    Ok(())
}

/// The names of a list whose entries are numbered from 1.
fn read_keys(source: &mut Source<'_>, keys: Atom) -> Result<Vec<String>, Fault> {
    let content = source.bytes(keys.start, keys.end - keys.start)?;
    let mut rest = Cursor(&content);
    // Version and flags.
    rest.u32_be()?;
    let count = rest.u32_be()? as usize;
    let mut names = Vec::new();
    for _ in 0..count.min(MAX_TEXTS) {
        let length = rest.u32_be()? as usize;
        // Namespace.
        rest.take(4)?;
        let name = rest.take(length.saturating_sub(8))?;
        names.push(text(name.to_vec()));
    }
    Ok(names)
}

fn list_entry(
    source: &mut Source<'_>,
    entry: Atom,
    keys: &[String],
    texts: &mut Texts,
) -> Result<(), Fault> {
    let number = u32::from_be_bytes(entry.name) as usize;
    let mut name = match entry.name {
        [0xA9, a, b, c] => named([a, b, c]).to_owned(),
        _ => match number.checked_sub(1).and_then(|index| keys.get(index)) {
            Some(key) => key.clone(),
            None => text(entry.name.to_vec()),
        },
    };
    let mut at = entry.start;
    while let Some(atom) = next(source, &mut at, entry.end)? {
        let is_text = matches!(&atom.name, b"data" | b"name");
        if !is_text {
            continue;
        }
        let content = source.bytes(atom.start, atom.end - atom.start)?;
        let mut rest = Cursor(&content);
        if atom.name == *b"name" {
            // The name of a free-form entry, after version and flags.
            rest.u32_be()?;
            name = text(rest.0.to_vec());
            continue;
        }
        // Type (1 is UTF-8, 0 is not said) and language.
        let kind = rest.u32_be()? & 0x00FF_FFFF;
        rest.u32_be()?;
        if matches!(kind, 0 | 1) {
            // `com.apple.quicktime.comment` is a comment as well.
            let short = name.rsplit('.').next().unwrap_or(&name).to_owned();
            texts.push(&short, text(rest.0.to_vec()))?;
        }
    }
    Ok(())
}

fn named(name: [u8; 3]) -> &'static str {
    match &name {
        b"cmt" => "comment",
        b"des" => "description",
        b"too" => "encoder",
        b"nam" => "title",
        _ => "text",
    }
}

/// The id of the item that is EXIF.
fn exif_item(source: &mut Source<'_>, infos: Atom) -> Result<Option<u32>, Fault> {
    let version = source.array::<4>(infos.start)?[0];
    let mut at = infos.start + 4 + if version == 0 { 2 } else { 4 };
    while let Some(info) = next(source, &mut at, infos.end)? {
        if info.name != *b"infe" {
            continue;
        }
        let content = source.bytes(info.start, info.end - info.start)?;
        let mut rest = Cursor(&content);
        let [version, _, _, _] = rest.array()?;
        let item_id = match version {
            2 => u32::from(rest.u16_be()?),
            3 => rest.u32_be()?,
            _ => continue,
        };
        // Protection.
        rest.u16_be()?;
        if rest.array::<4>()? == *b"Exif" {
            return Ok(Some(item_id));
        }
    }
    Ok(None)
}

/// A number of 0, 4 or 8 bytes.
fn sized(rest: &mut Cursor<'_>, length: u8) -> Result<u64, Fault> {
    match length {
        0 => Ok(0),
        4 => rest.u32_be().map(u64::from),
        8 => rest.array().map(u64::from_be_bytes),
        _ => Err(Fault::damaged("an item has a place of unknown form")),
    }
}

fn exif_of_item(
    source: &mut Source<'_>,
    locations: Atom,
    item_data: Option<Atom>,
    wanted: u32,
    texts: &mut Texts,
) -> Result<(), Fault> {
    let content = source.bytes(locations.start, locations.end - locations.start)?;
    let mut rest = Cursor(&content);
    let [version, _, _, _] = rest.array()?;
    let [sizes, more] = rest.array()?;
    let (offset_size, length_size) = (sizes >> 4, sizes & 15);
    let (base_size, index_size) = (more >> 4, if version == 0 { 0 } else { more & 15 });
    let count = if version < 2 {
        u32::from(rest.u16_be()?)
    } else {
        rest.u32_be()?
    };
    for _ in 0..count {
        source.next_part()?;
        let item_id = if version < 2 {
            u32::from(rest.u16_be()?)
        } else {
            rest.u32_be()?
        };
        let method = if version == 0 { 0 } else { rest.u16_be()? & 15 };
        // Which file it is in: this one.
        rest.u16_be()?;
        let base = sized(&mut rest, base_size)?;
        let extents = rest.u16_be()?;
        for number in 0..extents {
            sized(&mut rest, index_size)?;
            let offset = sized(&mut rest, offset_size)?;
            let length = sized(&mut rest, length_size)?;
            if item_id != wanted || number > 0 {
                continue;
            }
            let origin = match (method, item_data) {
                (0, _) => 0,
                (1, Some(data)) => data.start,
                _ => continue,
            };
            let start = origin
                .checked_add(base)
                .and_then(|start| start.checked_add(offset))
                .ok_or_else(|| Fault::damaged("an item lies outside"))?;
            let item = source.bytes(start, length)?;
            let mut block = Cursor(&item);
            // Where the TIFF header begins after this number.
            let skipped = block.u32_be()? as usize;
            block.take(skipped)?;
            return exif::read(block.0, texts);
        }
    }
    Ok(())
}

/// The box at a place within its parent; moves on to the next. None at the end.
fn next(source: &mut Source<'_>, at: &mut u64, parent_end: u64) -> Result<Option<Atom>, Fault> {
    // Four zero bytes end a QuickTime list; less than a header is padding.
    if parent_end.saturating_sub(*at) < 8 {
        return Ok(None);
    }
    source.next_part()?;
    let [s0, s1, s2, s3, name @ ..] = source.array::<8>(*at)?;
    let short = u64::from(u32::from_be_bytes([s0, s1, s2, s3]));
    let (header, size) = match short {
        0 => (8, parent_end - *at),
        1 => (16, u64::from_be_bytes(source.array(*at + 8)?)),
        size => (8, size),
    };
    let end = at
        .checked_add(size)
        .filter(|end| size >= header && *end <= parent_end)
        .ok_or_else(|| {
            Fault::damaged(format!(
                "the box \"{}\" claims {size} bytes",
                name.escape_ascii()
            ))
        })?;
    let atom = Atom {
        name,
        start: *at + header,
        end,
    };
    *at = end;
    Ok(Some(atom))
}
