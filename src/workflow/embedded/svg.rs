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
    let mut rest = from;
    loop {
        let end = rest.find("</metadata")?;
        match rest.find("<![CDATA[") {
            Some(start) if start < end => {
                content.push_str(&unescape(rest.get(..start)?));
                let (data, after) = rest.get(start + 9..)?.split_once("]]>")?;
                content.push_str(data);
                rest = after;
            }
            _ => {
                content.push_str(&unescape(rest.get(..end)?));
                return Some((content, rest.get(end..)?));
            }
        }
    }
}

fn unescape(text: &str) -> String {
    text.replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&#34;", "\"")
        .replace("&amp;", "&")
}
