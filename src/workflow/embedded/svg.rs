//! SVG: JSON in the `metadata` element, usually as CDATA.

use super::source::Source;
use super::{Fault, MAX_TEXTS, Texts, text};

pub(super) fn read(source: &mut Source<'_>, texts: &mut Texts) -> Result<(), Fault> {
    let file = text(source.all()?);
    if !file.contains("<svg") {
        return Err(Fault::damaged(
            "it is a web page or XML of another kind, not a drawing",
        ));
    }
    let mut rest = file.as_str();
    for _ in 0..MAX_TEXTS {
        let Some((_, after)) = rest.split_once("<metadata") else {
            break;
        };
        let Some((_, after)) = after.split_once('>') else {
            return Err(Fault::damaged("its metadata are cut off"));
        };
        let Some((content, after)) = element(after) else {
            return Err(Fault::damaged("its metadata are cut off"));
        };
        rest = after;
        texts.push("metadata", content)?;
    }
    Ok(())
}

/// The text of an element up to its end tag, and what follows.
fn element(from: &str) -> Option<(String, &str)> {
    let mut content = String::new();
    let mut at = 0;
    let mut end = from.find("</metadata")?;
    // Every byte is searched once for each mark, however many parts there are.
    while let Some(start) = from.get(at..end)?.find("<![CDATA[") {
        content.push_str(&unescape(from.get(at..at + start)?));
        let data_at = at + start + 9;
        let data_len = from.get(data_at..)?.find("]]>")?;
        content.push_str(from.get(data_at..data_at + data_len)?);
        at = data_at + data_len + 3;
        if at > end {
            end = at + from.get(at..)?.find("</metadata")?;
        }
    }
    content.push_str(&unescape(from.get(at..end)?));
    Some((content, from.get(end..)?))
}

fn unescape(text: &str) -> String {
    text.replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&#34;", "\"")
        .replace("&amp;", "&")
}
