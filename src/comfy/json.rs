//! Reading JSON as Python writes it.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Parses JSON. Python's `json.dumps` writes `NaN`, `Infinity` and `-Infinity` for floats that custom nodes put into
/// inputs, progress or limits; JSON has no such words, so they are read as `null` in a second attempt.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(bytes).or_else(|error| match without_bare_words(bytes) {
        Some(mended) => serde_json::from_slice(&mended),
        None => Err(error),
    })
}

/// The text with `NaN` and `±Infinity` outside strings replaced by `null`; none if there are no such words.
fn without_bare_words(bytes: &[u8]) -> Option<Vec<u8>> {
    const WORDS: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];
    let mut mended = Vec::with_capacity(bytes.len());
    let mut found = false;
    let mut in_string = false;
    let mut rest = bytes;
    while let Some((&byte, tail)) = rest.split_first() {
        let word = if in_string {
            None
        } else {
            WORDS.iter().find(|word| rest.starts_with(word))
        };
        if let Some(word) = word {
            mended.extend_from_slice(b"null");
            found = true;
            rest = rest.get(word.len()..).unwrap_or_default();
            continue;
        }
        mended.push(byte);
        rest = tail;
        match byte {
            b'"' => in_string = !in_string,
            b'\\' if in_string => {
                if let Some((&escaped, tail)) = rest.split_first() {
                    mended.push(escaped);
                    rest = tail;
                }
            }
            _ => {}
        }
    }
    found.then_some(mended)
}

/// A count that Python may have written as int, float, negative or null; anything but a positive number is 0.
pub(super) fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(value
        .as_u64()
        .or_else(|| value.as_f64().map(|number| number as u64))
        .unwrap_or(0))
}

/// A number that may be int, float or null (then 0).
pub(super) fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Value::deserialize(deserializer)?.as_f64().unwrap_or(0.0))
}

/// A timestamp in milliseconds, int or float; none if absent or null.
pub(super) fn timestamp<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<u64>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(value
        .as_u64()
        .or_else(|| value.as_f64().map(|number| number as u64)))
}

/// An id that a custom client may have written as a number; null is the empty text.
pub(super) fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(text_of(&Value::deserialize(deserializer)?))
}

/// Like [`id`] for a list; anything but a list is empty.
pub(super) fn ids<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Array(ids) => ids.iter().map(text_of).collect(),
        _ => Vec::new(),
    })
}

/// Null as the type's default.
pub(super) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A scalar as text: strings bare, null empty, the rest as JSON.
pub(super) fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// A member as text; empty when absent.
pub(super) fn member(value: &Value, name: &str) -> String {
    value.get(name).map(text_of).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pythons_bare_words_are_null_and_strings_stay() {
        let text = br#"{"a": NaN, "b": [-Infinity, Infinity], "c": "NaN \" Infinity"}"#;
        let value: Option<Value> = parse(text).ok();
        let expected: Option<Value> =
            serde_json::from_str(r#"{"a": null, "b": [null, null], "c": "NaN \" Infinity"}"#).ok();
        assert!(value.is_some());
        assert_eq!(value, expected);
        assert!(parse::<Value>(b"{\"a\": Nan}").is_err());
        assert!(parse::<Value>(b"{\"a\": \"\\").is_err());
    }
}
