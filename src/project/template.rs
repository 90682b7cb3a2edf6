//! The file name templates of Output nodes.

use std::fmt;

/// Most digits that `{index:0N}` may ask for.
const MAX_INDEX_DIGITS: usize = 12;
/// Longest template in characters.
const MAX_TEMPLATE_CHARS: usize = 500;
/// Most folders and the file name together.
const MAX_SEGMENTS: usize = 8;

/// A piece of an output template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplatePart {
    /// Text as it stands; `/` separates folders.
    Text(String),
    /// `{project}`: the project's name.
    Project,
    /// `{node}`: the Output node's title.
    Node,
    /// `{label}`: all labels of the value.
    Label,
    /// `{label:AXIS}`: the label of one axis.
    LabelOf(String),
    /// `{index}` or `{index:04}`: the number of the file, with at least this many digits.
    Index {
        /// 1 for `{index}`.
        min_digits: usize,
    },
    /// `{ext}`: the file's extension.
    Extension,
    /// `{run}`: the run.
    Run,
    /// `{date}`: the day.
    Date,
}

/// Why a template cannot name files.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Nothing there.
    #[error("the file name is empty; use for example {{node}}_{{index:04}}.{{ext}}")]
    Empty,
    /// It is too long or has too many folders.
    #[error(
        "the file name is too long; up to {MAX_TEMPLATE_CHARS} characters and {MAX_SEGMENTS} levels are possible"
    )]
    TooLong,
    /// A brace without its partner.
    #[error("a brace in the file name has no partner; placeholders look like {{index}}")]
    UnpairedBrace,
    /// A placeholder that does not exist.
    #[error(
        "{{{0}}} in the file name is unknown; use project, node, label, label:AXIS, index, index:04, ext, run or date"
    )]
    UnknownPlaceholder(String),
    /// The name starts at the root of a disk.
    #[error(
        "the file name starts with / ; it is always below the output folder, so leave that out"
    )]
    Absolute,
    /// A folder of the name leads elsewhere or has no name.
    #[error("the file name has the folder \"{0}\"; name each folder, without . and ..")]
    BadFolder(String),
    /// A character that some system refuses.
    #[error(
        "the file name has the character {0:?}, which some systems refuse; use another (/ between folders)"
    )]
    BadCharacter(char),
}

/// Takes an output template apart; both the check before a run and the writing of its files do it here. What comes back can only name files below the output folder, as long as each
/// placeholder is filled with a single path segment.
pub fn parse_template(template: &str) -> Result<Vec<TemplatePart>, TemplateError> {
    if template.trim().is_empty() {
        return Err(TemplateError::Empty);
    }
    if template.chars().count() > MAX_TEMPLATE_CHARS {
        return Err(TemplateError::TooLong);
    }
    let mut parts = Vec::new();
    let mut rest = template;
    while let Some(brace) = rest.find(['{', '}']) {
        let (text, placeholder) = rest.split_at(brace);
        push_text(&mut parts, text)?;
        let Some((name, after)) = placeholder
            .strip_prefix('{')
            .and_then(|inside| inside.split_once('}'))
        else {
            return Err(TemplateError::UnpairedBrace);
        };
        parts.push(placeholder_part(name)?);
        rest = after;
    }
    push_text(&mut parts, rest)?;
    check_folders(&parts)?;
    Ok(parts)
}

fn push_text(parts: &mut Vec<TemplatePart>, text: &str) -> Result<(), TemplateError> {
    let refused = |c: &char| c.is_control() || "\\:*?\"<>|".contains(*c);
    if let Some(character) = text.chars().find(refused) {
        return Err(TemplateError::BadCharacter(character));
    }
    if !text.is_empty() {
        parts.push(TemplatePart::Text(text.to_owned()));
    }
    Ok(())
}

fn placeholder_part(name: &str) -> Result<TemplatePart, TemplateError> {
    let unknown = || TemplateError::UnknownPlaceholder(name.to_owned());
    Ok(match name.split_once(':') {
        None => match name {
            "project" => TemplatePart::Project,
            "node" => TemplatePart::Node,
            "label" => TemplatePart::Label,
            "index" => TemplatePart::Index { min_digits: 1 },
            "ext" => TemplatePart::Extension,
            "run" => TemplatePart::Run,
            "date" => TemplatePart::Date,
            _ => return Err(unknown()),
        },
        Some(("label", axis)) if !axis.is_empty() && !axis.contains('{') => {
            TemplatePart::LabelOf(axis.to_owned())
        }
        Some(("index", digits)) => {
            let min_digits = digits.parse().map_err(|_| unknown())?;
            if !(1..=MAX_INDEX_DIGITS).contains(&min_digits) {
                return Err(unknown());
            }
            TemplatePart::Index { min_digits }
        }
        Some(_) => return Err(unknown()),
    })
}

/// Every path segment has a name that is not `.` or `..`. A placeholder counts as a name.
fn check_folders(parts: &[TemplatePart]) -> Result<(), TemplateError> {
    let shape: String = parts
        .iter()
        .map(Shape)
        .map(|shape| shape.to_string())
        .collect();
    if shape.starts_with('/') {
        return Err(TemplateError::Absolute);
    }
    let bad = shape.split('/').find(|segment| {
        let name = segment.trim();
        name.is_empty() || name.chars().all(|c| c == '.')
    });
    if shape.split('/').count() > MAX_SEGMENTS {
        return Err(TemplateError::TooLong);
    }
    match bad {
        Some(segment) => Err(TemplateError::BadFolder(segment.to_owned())),
        None => Ok(()),
    }
}

/// A part with placeholders written as a single letter.
struct Shape<'a>(&'a TemplatePart);

impl fmt::Display for Shape<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            TemplatePart::Text(text) => f.write_str(text),
            _ => f.write_str("x"),
        }
    }
}
