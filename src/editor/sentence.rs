//! Messages as sentences.

/// A message of an error as a sentence of its own: it begins small, for logs and for what is put before it.
#[must_use]
pub fn sentence(message: &str) -> String {
    let mut letters = message.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}
