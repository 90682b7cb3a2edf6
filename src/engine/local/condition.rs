//! Conditions: a CEL expression over an item's value, its measures and its labels.

use super::failure;
use crate::artifacts::{Artifact, Measures};
use crate::engine::failure::Failure;
use crate::engine::value::{Labels, ListElement, Value};
use crate::project::{DataType, Literal};
use cel::common::ast::{EntryExpr, Expr, IdedExpr};
use cel::{Context, ExecutionError, Program, Value as CelValue};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Length of an expression in characters.
const MAX_EXPRESSION_CHARS: usize = 1000;

/// How deep an expression may be nested, calls and operators included.
const MAX_EXPRESSION_DEPTH: usize = 200;

/// How many loops (`all`, `exists`, `map`, `filter`) may lie inside each other. With [`MAX_ELEMENTS`] this bounds the work.
const MAX_NESTED_LOOPS: usize = 2;

/// Values of a batch or list that an expression sees.
const MAX_ELEMENTS: usize = 1000;

/// Characters of a text that an expression sees.
const MAX_TEXT_CHARS: usize = 100_000;

/// Names known to messages at most.
const MAX_NAMES_SHOWN: usize = 24;

/// Stack of the thread that parses and evaluates, bytes: the parser recurses.
const STACK_BYTES: usize = 16 * 1024 * 1024;

/// Every variable an expression may name. Which of them exist depends on the item.
const VARIABLES: [&str; 17] = [
    "audio",
    "boolean",
    "brightness",
    "count",
    "duration",
    "height",
    "image",
    "images",
    "json",
    "labels",
    "number",
    "rating",
    "seed",
    "sharpness",
    "text",
    "video",
    "width",
];

type Variables = BTreeMap<&'static str, CelValue>;

/// Checks an expression without an item: whether it can be parsed, is within limits, and names only variables that an item
/// may have.
///
/// # Errors
/// A sentence that says what is wrong and what to write instead.
pub fn check_expression(expression: &str) -> Result<(), String> {
    on_own_stack(|| compile(expression).map(|_program| ()))?
}

/// The places, ascending, of the `keep` elements with the highest score; of equal ones the first.
pub(super) fn best(
    expression: &str,
    elements: &[ListElement],
    ratings: &[Option<u8>],
    keep: u32,
) -> Result<Vec<u32>, Failure> {
    let mut scored = on_own_stack(|| {
        let program = compile(expression)?;
        elements
            .iter()
            .zip(0_u32..)
            .map(|(element, place)| {
                let mut variables = variables(&element.value, &element.labels)
                    .map_err(|problem| format!("cannot be evaluated: {problem}"))?;
                add_rating(
                    ratings.get(place as usize).copied().flatten(),
                    &mut variables,
                );
                score(&program, &variables).map(|score| (score, place))
            })
            .collect::<Result<Vec<(f64, u32)>, String>>()
    })
    .and_then(|outcome| outcome)
    .map_err(|problem| failure(format!("The score \"{expression}\" {problem}.")))?;
    scored.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1)));
    let mut kept: Vec<u32> = scored
        .into_iter()
        .take(keep as usize)
        .map(|(_, place)| place)
        .collect();
    kept.sort_unstable();
    Ok(kept)
}

fn score(program: &Program, variables: &Variables) -> Result<f64, String> {
    let mut context = Context::default();
    for (name, value) in variables {
        context.add_variable_from_value(*name, value.clone());
    }
    let score = match program.execute(&context) {
        Ok(CelValue::Int(number)) => number as f64,
        Ok(CelValue::UInt(number)) => number as f64,
        Ok(CelValue::Float(number)) => number,
        Ok(CelValue::Bool(answer)) => f64::from(u8::from(answer)),
        Ok(other) => {
            return Err(format!(
                "gives {} instead of a number; use for example image.sharpness",
                shown(&other)
            ));
        }
        Err(error) => return Err(explain(&error, variables)),
    };
    if score.is_nan() {
        return Err("gives no number for one of the values".to_owned());
    }
    Ok(score)
}

/// Whether the expression holds for an item.
pub(super) fn decide(
    expression: &str,
    value: &Value,
    labels: &Labels,
    rating: Option<u8>,
) -> Result<bool, Failure> {
    let mut variables = variables(value, labels).map_err(|problem| {
        failure(format!(
            "The condition \"{expression}\" cannot be evaluated: {problem}."
        ))
    })?;
    add_rating(rating, &mut variables);
    on_own_stack(|| {
        let program = compile(expression)?;
        let mut context = Context::default();
        for (name, value) in &variables {
            context.add_variable_from_value(*name, value.clone());
        }
        match program.execute(&context) {
            Ok(CelValue::Bool(answer)) => Ok(answer),
            Ok(other) => Err(format!(
                "gives {} instead of true or false; compare it with something",
                shown(&other)
            )),
            Err(error) => Err(explain(&error, &variables)),
        }
    })
    .and_then(|outcome| outcome)
    .map_err(|problem| failure(format!("The condition \"{expression}\" {problem}.")))
}

/// What nobody rated has the rating 0.
fn add_rating(rating: Option<u8>, variables: &mut Variables) {
    let rating = rating.unwrap_or(0);
    variables.insert("rating", CelValue::Int(i64::from(rating)));
}

/// Runs a closure on a thread with enough stack for the deepest expression. Conditions come from files of strangers: if
/// the parser should panic on one, the thread ends and not the program.
fn on_own_stack<T: Send>(closure: impl FnOnce() -> T + Send) -> Result<T, String> {
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("condition".to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, closure)
            .map_err(|error| format!("cannot be evaluated: no thread ({error})"))?
            .join()
            .map_err(|_panic| "cannot be read; simplify it".to_owned())
    })
}

fn compile(expression: &str) -> Result<Program, String> {
    if expression.trim().is_empty() {
        return Err("is empty; write for example image.sharpness > 0.1".to_owned());
    }
    if expression.chars().count() > MAX_EXPRESSION_CHARS {
        return Err(format!(
            "is longer than {MAX_EXPRESSION_CHARS} characters; shorten it"
        ));
    }
    let program = Program::compile(expression).map_err(|errors| {
        let first = errors
            .errors
            .first()
            .map(|error| format!("{} at column {}", error.msg, error.pos.1))
            .unwrap_or_default();
        format!("cannot be read: {first}")
    })?;
    let mut named = BTreeSet::new();
    let mut bound = BTreeSet::new();
    walk(program.expression(), &mut named, &mut bound)?;
    let unknown = named
        .iter()
        .find(|name| !bound.contains(*name) && !VARIABLES.contains(&name.as_str()));
    match unknown {
        Some(name) => Err(format!(
            "names \"{name}\", which no item has; there are {}",
            VARIABLES.join(", ")
        )),
        None => Ok(program),
    }
}

/// Collects the names an expression uses and the ones its loops bind, and refuses what is too deep.
fn walk(
    root: &IdedExpr,
    named: &mut BTreeSet<String>,
    bound: &mut BTreeSet<String>,
) -> Result<(), String> {
    // Expression, depth, loops around it.
    let mut pending = vec![(root, 0_usize, 0_usize)];
    while let Some((expression, depth, loops)) = pending.pop() {
        if depth > MAX_EXPRESSION_DEPTH {
            return Err("is nested too deep; simplify it".to_owned());
        }
        if loops > MAX_NESTED_LOOPS {
            return Err(format!(
                "has more than {MAX_NESTED_LOOPS} loops (all, exists, map, filter) inside each other; simplify it"
            ));
        }
        let mut visit = |inner, loops| pending.push((inner, depth + 1, loops));
        match &expression.expr {
            Expr::Unspecified | Expr::Literal(_) => {}
            Expr::Ident(name) => {
                named.insert(name.clone());
            }
            Expr::Select(select) => visit(&select.operand, loops),
            Expr::Call(call) => {
                if let Some(target) = &call.target {
                    visit(target, loops);
                }
                for argument in &call.args {
                    visit(argument, loops);
                }
            }
            Expr::List(list) => {
                for element in &list.elements {
                    visit(element, loops);
                }
            }
            Expr::Map(_) | Expr::Struct(_) => {
                let entries = match &expression.expr {
                    Expr::Map(map) => &map.entries,
                    Expr::Struct(structure) => &structure.entries,
                    _ => continue,
                };
                for entry in entries {
                    match &entry.expr {
                        EntryExpr::MapEntry(entry) => {
                            visit(&entry.key, loops);
                            visit(&entry.value, loops);
                        }
                        EntryExpr::StructField(field) => visit(&field.value, loops),
                    }
                }
            }
            Expr::Comprehension(comprehension) => {
                bound.insert(comprehension.iter_var.clone());
                bound.extend(comprehension.iter_var2.clone());
                bound.insert(comprehension.accu_var.clone());
                visit(&comprehension.iter_range, loops);
                visit(&comprehension.accu_init, loops);
                visit(&comprehension.loop_cond, loops + 1);
                visit(&comprehension.loop_step, loops + 1);
                visit(&comprehension.result, loops);
            }
        }
    }
    Ok(())
}

/// What an expression may name for this item.
fn variables(value: &Value, labels: &Labels) -> Result<Variables, String> {
    let mut variables = Variables::new();
    variables.insert("labels", labels_value(labels));
    if let Some(seed) = labels.get("seed") {
        let seed = match (seed.parse::<i64>(), seed.parse::<u64>()) {
            (Ok(signed), _) => CelValue::Int(signed),
            (_, Ok(unsigned)) => CelValue::UInt(unsigned),
            _ => seed.as_str().into(),
        };
        variables.insert("seed", seed);
    }
    match value {
        Value::Trigger => {}
        Value::Literal(literal) => add_literal(literal, &mut variables)?,
        Value::Artifact(artifact) => {
            add_file(artifact, &mut variables);
            variables.insert("count", CelValue::Int(1));
            variables.insert("images", CelValue::from(vec![file_value(artifact, labels)]));
        }
        Value::Batch(batch) => {
            check_count(batch.len())?;
            if let Some(first) = batch.first() {
                add_file(first, &mut variables);
            }
            let images: Vec<CelValue> = batch
                .iter()
                .map(|artifact| file_value(artifact, labels))
                .collect();
            variables.insert("count", CelValue::Int(images.len() as i64));
            variables.insert("images", images.into());
        }
        Value::List(list) => {
            check_count(list.len())?;
            let images: Vec<CelValue> = list
                .iter()
                .flat_map(|element| {
                    element
                        .value
                        .artifacts()
                        .into_iter()
                        .map(|artifact| file_value(&artifact, &element.labels))
                })
                .collect();
            check_count(images.len())?;
            variables.insert("count", CelValue::Int(list.len() as i64));
            variables.insert("images", images.into());
        }
    }
    Ok(variables)
}

fn check_count(count: usize) -> Result<(), String> {
    if count > MAX_ELEMENTS {
        return Err(format!(
            "it is asked about {count} values, at most {MAX_ELEMENTS} are possible; put the condition before the merge"
        ));
    }
    Ok(())
}

fn add_literal(literal: &Literal, variables: &mut Variables) -> Result<(), String> {
    match literal {
        Literal::Text(text) => {
            if text.chars().count() > MAX_TEXT_CHARS {
                return Err(format!(
                    "the text is longer than {MAX_TEXT_CHARS} characters"
                ));
            }
            variables.insert("text", text.as_str().into());
        }
        Literal::Integer(integer) => {
            let number = integer.get();
            let number = match (i64::try_from(number), u64::try_from(number)) {
                (Ok(signed), _) => CelValue::Int(signed),
                (_, Ok(unsigned)) => CelValue::UInt(unsigned),
                _ => CelValue::Float(number as f64),
            };
            variables.insert("number", number);
        }
        Literal::Number(number) => {
            variables.insert("number", CelValue::Float(*number));
        }
        Literal::Boolean(boolean) => {
            variables.insert("boolean", CelValue::Bool(*boolean));
        }
        Literal::Json(json) => {
            variables.insert("json", json_value(json));
        }
    }
    Ok(())
}

fn add_file(artifact: &Artifact, variables: &mut Variables) {
    for (name, measure) in measure_values(&artifact.measures) {
        variables.insert(name, measure);
    }
    let name = match artifact.data_type {
        DataType::Image | DataType::Mask => "image",
        DataType::Video => "video",
        DataType::Audio => "audio",
        _ => return,
    };
    let members: HashMap<String, CelValue> = measure_values(&artifact.measures)
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    variables.insert(name, members.into());
}

/// A file of a batch or list: its measures, and its labels.
fn file_value(artifact: &Artifact, labels: &Labels) -> CelValue {
    let mut members: HashMap<String, CelValue> = measure_values(&artifact.measures)
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    members.insert("labels".to_owned(), labels_value(labels));
    members.into()
}

fn measure_values(measures: &Measures) -> Vec<(&'static str, CelValue)> {
    let whole = |value: Option<u32>| value.map(|value| CelValue::Int(i64::from(value)));
    let decimal = |value: Option<f64>| value.map(CelValue::Float);
    [
        ("width", whole(measures.width_px)),
        ("height", whole(measures.height_px)),
        ("duration", decimal(measures.duration_s)),
        ("brightness", decimal(measures.brightness)),
        ("sharpness", decimal(measures.sharpness)),
    ]
    .into_iter()
    .filter_map(|(name, value)| value.map(|value| (name, value)))
    .collect()
}

fn labels_value(labels: &Labels) -> CelValue {
    labels
        .iter()
        .map(|(axis, shown)| (axis.clone(), CelValue::from(shown.as_str())))
        .collect::<HashMap<String, CelValue>>()
        .into()
}

/// JSON as CEL sees it. Documents come out of our parser, which bounds their depth.
fn json_value(json: &serde_json::Value) -> CelValue {
    match json {
        serde_json::Value::Null => CelValue::Null,
        serde_json::Value::Bool(boolean) => CelValue::Bool(*boolean),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(signed), _) => CelValue::Int(signed),
            (_, Some(unsigned)) => CelValue::UInt(unsigned),
            _ => CelValue::Float(number.as_f64().unwrap_or_default()),
        },
        serde_json::Value::String(text) => text.as_str().into(),
        serde_json::Value::Array(elements) => {
            elements.iter().map(json_value).collect::<Vec<_>>().into()
        }
        serde_json::Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), json_value(value)))
            .collect::<HashMap<String, CelValue>>()
            .into(),
    }
}

/// The end of the sentence `The condition "…" …`.
fn explain(error: &ExecutionError, variables: &Variables) -> String {
    let known = known(variables);
    match error {
        ExecutionError::UndeclaredReference(name) => {
            format!("needs \"{name}\", which this item does not have; known here: {known}")
        }
        ExecutionError::NoSuchKey(name) => {
            format!("asks for \"{name}\", which is not there; known here: {known}")
        }
        ExecutionError::NoSuchOverload(_) | ExecutionError::UnsupportedBinaryOperator(..) => {
            format!(
                "combines values that do not go together ({error}); whole numbers and decimals are combined by double(…), text becomes a number by int(…) or double(…); known here: {known}"
            )
        }
        other => format!("cannot be evaluated: {other}; known here: {known}"),
    }
}

/// Names and values of everything an expression can use, for messages.
fn known(variables: &Variables) -> String {
    let mut names = Vec::new();
    for (name, value) in variables {
        match value {
            CelValue::Map(map) => {
                let mut members: Vec<String> = map
                    .map
                    .iter()
                    .map(|(key, value)| format!("{name}.{key} = {}", shown(value)))
                    .collect();
                members.sort();
                names.extend(members);
            }
            other => names.push(format!("{name} = {}", shown(other))),
        }
    }
    if names.is_empty() {
        return "nothing".to_owned();
    }
    let hidden = names.len().saturating_sub(MAX_NAMES_SHOWN);
    names.truncate(MAX_NAMES_SHOWN);
    if hidden > 0 {
        names.push(format!("{hidden} more"));
    }
    names.join(", ")
}

fn shown(value: &CelValue) -> String {
    match value {
        CelValue::Int(number) => number.to_string(),
        CelValue::UInt(number) => number.to_string(),
        CelValue::Float(number) => number.to_string(),
        CelValue::Bool(boolean) => boolean.to_string(),
        CelValue::String(text) => {
            let mut short: String = text.chars().take(40).collect();
            if short.len() < text.len() {
                short.push('…');
            }
            format!("\"{short}\"")
        }
        CelValue::List(list) => format!("a list of {}", list.len()),
        CelValue::Map(map) => format!("a map of {}", map.map.len()),
        CelValue::Null => "null".to_owned(),
        other => format!("a value of type {}", other.type_of()),
    }
}
