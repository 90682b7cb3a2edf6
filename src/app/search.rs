//! Finding by typing a few letters.

/// Whether every word of the query is part of the text, whatever the case.
#[must_use]
pub fn matches_words(query: &str, text: &str) -> bool {
    let text = text.to_lowercase();
    query
        .split_whitespace()
        .all(|word| text.contains(&word.to_lowercase()))
}

/// How well the query fits the text; higher is better, none when it does not. The letters of the query come in this order
/// in the text; runs of letters, and letters at the beginning of words, count more.
#[must_use]
pub fn fuzzy_score(query: &str, text: &str) -> Option<i32> {
    let query: Vec<char> = query
        .to_lowercase()
        .chars()
        .filter(|character| !character.is_whitespace())
        .collect();
    let text: Vec<char> = text.to_lowercase().chars().collect();
    let mut score = 0;
    let mut from = 0;
    let mut last_hit = None;
    for wanted in query {
        let found = (from..text.len()).find(|&index| text.get(index) == Some(&wanted))?;
        let starts_word = found == 0
            || text
                .get(found - 1)
                .is_some_and(|before| !before.is_alphanumeric());
        score += 1;
        if starts_word {
            score += 6;
        }
        if found > 0 && last_hit == Some(found - 1) {
            score += 4;
        }
        last_hit = Some(found);
        from = found + 1;
    }
    Some(score * 8 - text.len().min(64) as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_fit_wins() {
        let texts = ["Zoom to fit", "Fan out", "Save as", "Copy"];
        let best = |query: &str| {
            texts
                .iter()
                .filter_map(|text| Some((fuzzy_score(query, text)?, *text)))
                .max()
                .map(|(_, text)| text)
        };
        assert_eq!(best("fo"), Some("Fan out"));
        assert_eq!(best("zf"), Some("Zoom to fit"));
        assert_eq!(best("sa"), Some("Save as"));
        assert_eq!(best("xyz"), None);
    }
}
