//! What the editor does to texts before it sends them.

use super::graph::Graphs;
use serde_json::Value;

/// Strips `/* … */` and `// …` comments and replaces each `{a|b}` by one of its options, within options too.
pub(super) fn expand(prompt: &str, choose: &mut dyn FnMut(usize) -> usize) -> String {
    let stripped = strip_comments(prompt);
    if !stripped.contains(['{', '\\']) {
        return stripped;
    }
    let expanded = expand_choices(&stripped, choose, 0);
    unescape(&expanded)
}

fn strip_comments(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('/') {
        let (before, from) = rest.split_at(at);
        kept.push_str(before);
        if let Some(comment) = from.strip_prefix("/*")
            && let Some(end) = comment.find("*/")
        {
            rest = comment.get(end + 2..).unwrap_or_default();
        } else if from.starts_with("//") {
            let end = from.find(['\n', '\r', '\u{2028}', '\u{2029}']);
            rest = end.and_then(|end| from.get(end..)).unwrap_or_default();
        } else {
            kept.push('/');
            rest = from.get(1..).unwrap_or_default();
        }
    }
    kept.push_str(rest);
    kept
}

/// Deepest `{…{…}…}` that is expanded; below it braces stay as they are.
const MAX_CHOICE_DEPTH: usize = 64;

fn expand_choices(text: &str, choose: &mut dyn FnMut(usize) -> usize, depth: usize) -> String {
    let mut result = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                result.push(c);
                result.extend(chars.next());
            }
            '{' if depth < MAX_CHOICE_DEPTH => {
                let options = read_options(&mut chars);
                let picked = choose(options.len()).min(options.len().saturating_sub(1));
                if let Some(option) = options.get(picked) {
                    result.push_str(&expand_choices(option, choose, depth + 1));
                }
            }
            other => result.push(other),
        }
    }
    result
}

/// The options up to the closing brace; one that is never closed ends with the text.
fn read_options(chars: &mut std::str::Chars<'_>) -> Vec<String> {
    let mut options = Vec::new();
    let mut option = String::new();
    let mut depth = 0_usize;
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                option.push(c);
                option.extend(chars.next());
                continue;
            }
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            '|' if depth == 0 => {
                options.push(std::mem::take(&mut option));
                continue;
            }
            _ => {}
        }
        option.push(c);
    }
    options.push(option);
    options
}

/// Takes the backslash from escaped braces and bars, and from nothing else.
fn unescape(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\\'
            && let Some(next) = chars.next_if(|next| matches!(next, '{' | '}' | '|'))
        {
            result.push(next);
        } else {
            result.push(c);
        }
    }
    result
}

/// Replaces each `%Node.widget%` by the value of that widget in the graph `scope` or below; the node is found by its search name, else by its title.
/// What names no widget stays as it is, and so does everything once the text has become longer than any file name.
pub(super) fn replace(text: &str, graphs: &Graphs<'_>, scope: usize) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('%') {
        let (before, from) = rest.split_at(start);
        result.push_str(before);
        let inner = from.get(1..).unwrap_or_default();
        match inner.find('%') {
            Some(end) if end > 0 => {
                let name = inner.get(..end).unwrap_or_default();
                let value = widget_value(name, graphs, scope)
                    .filter(|value| result.len() + value.len() <= text.len() + MAX_GROWTH);
                if let Some(value) = value {
                    result.push_str(&value);
                } else {
                    result.push('%');
                    result.push_str(name);
                    result.push('%');
                }
                rest = inner.get(end + 1..).unwrap_or_default();
            }
            // `%%`: the first stands alone, the second may open a name.
            Some(_) => {
                result.push('%');
                rest = inner;
            }
            None => {
                result.push_str(from);
                rest = "";
            }
        }
    }
    result.push_str(rest);
    result
}

/// By how many bytes a text may grow. No file system has longer names.
const MAX_GROWTH: usize = 64 * 1024;

fn widget_value(name: &str, graphs: &Graphs<'_>, scope: usize) -> Option<String> {
    let (node_name, widget) = name.split_once('.')?;
    if widget.contains('.') {
        return None;
    }
    let node = graphs.named(scope, node_name)?;
    let widget = node.widgets.iter().find(|each| each.name == widget)?;
    let value = match &widget.value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    };
    let forbidden = |c: char| {
        matches!(c, '/' | '?' | '<' | '>' | '\\' | ':' | '*' | '|' | '"')
            || c < ' '
            || c == '\u{7f}'
    };
    Some(value.replace(forbidden, "_"))
}
