//! The value of an Input node.

use super::{LocalContext, artifact_failure, failure, io_failure};
use crate::artifacts::ArtifactError;
use crate::engine::command::RunFolders;
use crate::engine::failure::{Failure, FailureClass};
use crate::engine::value::Value;
use crate::project::{DataType, InputValue, Integer, Literal};
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// Largest file an Input node reads, bytes.
const MAX_INPUT_BYTES: u64 = 8 * 1024 * 1024 * 1024;

/// Largest file an Input node reads as text, number or JSON, bytes.
const MAX_INPUT_TEXT_BYTES: u64 = 16 * 1024 * 1024;

/// Reads what an Input node names.
pub(super) fn load(
    value: &InputValue,
    data_type: DataType,
    context: LocalContext,
) -> Result<Value, Failure> {
    match value {
        InputValue::Literal(literal) => Ok(Value::Literal(literal.clone())),
        InputValue::File(name) => {
            let path = locate(name, &context.folders.inputs)?;
            load_file(&path, data_type, context)
        }
    }
}

/// Whether an Input node can be read: its file is there, is a file, can be opened, and holds what it should where that is text.
///
/// # Errors
/// What reading it would come to.
pub(super) fn check(
    value: &InputValue,
    data_type: DataType,
    folders: &RunFolders,
) -> Result<(), Failure> {
    let InputValue::File(name) = value else {
        return Ok(());
    };
    let path = locate(name, &folders.inputs)?;
    match data_type {
        DataType::Trigger => Ok(()),
        DataType::Text
        | DataType::Integer
        | DataType::Number
        | DataType::Boolean
        | DataType::Json => load_literal(&path, data_type).map(|_| ()),
        _ => File::open(&path)
            .map(|_| ())
            .map_err(|error| io_failure("Reading the input file", &path, &error)),
    }
}

/// A file as a value of a type.
pub(super) fn load_file(
    path: &Path,
    data_type: DataType,
    context: LocalContext,
) -> Result<Value, Failure> {
    match data_type {
        DataType::Trigger => Ok(Value::Trigger),
        DataType::Text
        | DataType::Integer
        | DataType::Number
        | DataType::Boolean
        | DataType::Json => load_literal(path, data_type).map(Value::Literal),
        _ => context
            .artifacts
            .store_file(path, data_type, MAX_INPUT_BYTES)
            .map(|artifact| Value::Artifact(Arc::new(artifact)))
            .map_err(|error| {
                let mut failure = artifact_failure(&error);
                if matches!(&error, ArtifactError::Io { path: refused, .. } if refused == path) {
                    // The input cannot be read; nobody waits for that.
                    failure.class = FailureClass::Local;
                }
                failure.message = format!(
                    "The input file {} cannot be used: {}",
                    path.display(),
                    failure.message
                );
                failure
            }),
    }
}

/// The file a person named. Relative paths stay inside the inputs folder, links included; an absolute path is the person's
/// own choice.
fn locate(name: &str, inputs: &Path) -> Result<PathBuf, Failure> {
    // A project made on Windows writes its folders with backslashes.
    let portable = name.replace('\\', "/");
    let relative = Path::new(&portable);
    let path = if Path::new(name).is_absolute() {
        PathBuf::from(name)
    } else {
        let is_inside = relative
            .components()
            .all(|component| matches!(component, Component::Normal(_) | Component::CurDir));
        let is_drive =
            matches!(portable.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic());
        if !is_inside || is_drive || portable.is_empty() {
            return Err(failure(format!(
                "The input file \"{name}\" does not lie in the project's inputs folder; put it there, or choose it by its full path"
            )));
        }
        inputs.join(relative)
    };
    let found = fs::canonicalize(&path)
        .map_err(|error| io_failure("Reading the input file", &path, &error))?;
    if !Path::new(name).is_absolute() {
        let inputs = fs::canonicalize(inputs)
            .map_err(|error| io_failure("Reading the inputs folder", inputs, &error))?;
        if !found.starts_with(&inputs) {
            return Err(failure(format!(
                "The input file \"{name}\" is a link that leads out of the project's inputs folder; choose the file by its full path"
            )));
        }
    }
    // Devices and pipes have no end.
    let is_file = fs::metadata(&found).is_ok_and(|metadata| metadata.is_file());
    if !is_file {
        return Err(failure(format!(
            "The input \"{name}\" is not a file: {}",
            found.display()
        )));
    }
    Ok(found)
}

fn load_literal(path: &Path, data_type: DataType) -> Result<Literal, Failure> {
    let io = |error: std::io::Error| io_failure("Reading the input file", path, &error);
    let mut bytes = Vec::new();
    File::open(path)
        .map_err(io)?
        .take(MAX_INPUT_TEXT_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    if bytes.len() as u64 > MAX_INPUT_TEXT_BYTES {
        return Err(failure(format!(
            "The input file is larger than {} MiB, too large for a value of type {data_type}: {}",
            MAX_INPUT_TEXT_BYTES / 1024 / 1024,
            path.display()
        )));
    }
    let wrong = |reason: &str| {
        failure(format!(
            "The input file does not hold a value of type {data_type} ({reason}): {}",
            path.display()
        ))
    };
    let text = String::from_utf8(bytes).map_err(|_error| wrong("it is not UTF-8 text"))?;
    // Editors on Windows begin a file with this mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let trimmed = text.trim();
    match data_type {
        DataType::Integer => trimmed
            .parse::<i128>()
            .ok()
            .and_then(Integer::new)
            .map(Literal::Integer)
            .ok_or_else(|| wrong("it is not a whole number of 64 bits")),
        DataType::Number => trimmed
            .parse::<f64>()
            .ok()
            .filter(|number| number.is_finite())
            .map(Literal::Number)
            .ok_or_else(|| wrong("it is not a number")),
        DataType::Boolean => match trimmed {
            "true" => Ok(Literal::Boolean(true)),
            "false" => Ok(Literal::Boolean(false)),
            _ => Err(wrong("it is neither true nor false")),
        },
        DataType::Json => serde_json::from_str(trimmed)
            .map(Literal::Json)
            .map_err(|error| wrong(&error.to_string())),
        _ => Ok(Literal::Text(text.to_owned())),
    }
}
