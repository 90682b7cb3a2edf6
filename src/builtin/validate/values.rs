//! Literal values of a prompt, converted to the types of their inputs as Python does it, and checked against limits and choices.

use super::{Validation, reason};
use crate::builtin::{
    python,
    spec::{InputKind, InputSpec, NodeClass},
};
use serde_json::{Value, json};

/// Above this many choices an error does not repeat them.
const MAXIMUM_LISTED_CHOICES: usize = 20;

impl Validation<'_> {
    /// Converts a value to the type of its input and checks it.
    pub(super) fn check_value(
        &self,
        class: &NodeClass,
        input: &InputSpec,
        value: Value,
    ) -> Result<Value, Value> {
        let config = || self.config(class, input);
        let value = match value {
            Value::Object(mut members) if members.contains_key("__value__") => {
                members.remove("__value__").unwrap_or_default()
            }
            other => other,
        };
        let InputKind::Named(kind) = input.kind else {
            return self.check_choice(class, input, value);
        };
        let converted = match kind {
            "INT" => python::int(&value).map(int_value),
            "FLOAT" => python::float(&value).map(|float| json!(float)),
            "STRING" => Ok(json!(python::text(&value))),
            "BOOLEAN" => Ok(json!(python::truthy(&value))),
            _ => Ok(value.clone()),
        };
        let converted = converted.map_err(|text| {
            reason(
                "invalid_input_type",
                &format!("Failed to convert an input value to a {kind} value"),
                &format!("{}, {}, {text}", input.name, python::text(&value)),
                json!({
                    "input_name": input.name,
                    "input_config": config(),
                    "received_value": value,
                    "exception_message": text,
                }),
            )
        })?;
        for (option, kind, word) in [
            ("min", "value_smaller_than_min", "smaller than min"),
            ("max", "value_bigger_than_max", "bigger than max"),
        ] {
            let Some(limit) = input.options.get(option) else {
                continue;
            };
            let order = compare(&converted, limit);
            let beyond = if option == "min" {
                order == Some(std::cmp::Ordering::Less)
            } else {
                order == Some(std::cmp::Ordering::Greater)
            };
            if beyond {
                return Err(reason(
                    kind,
                    &format!(
                        "Value {} {word} of {}",
                        python::text(&converted),
                        python::text(limit)
                    ),
                    input.name,
                    json!({
                        "input_name": input.name,
                        "input_config": config(),
                        "received_value": converted,
                    }),
                ));
            }
        }
        Ok(converted)
    }

    fn check_choice(
        &self,
        class: &NodeClass,
        input: &InputSpec,
        value: Value,
    ) -> Result<Value, Value> {
        let models;
        let choices: Vec<&str> = if let InputKind::Choice(choices) = input.kind {
            choices.to_vec()
        } else if let InputKind::Models(folder) = input.kind {
            models = self.host.folders.model_files(folder);
            models.iter().map(String::as_str).collect()
        } else {
            let name = python::text(&value);
            let file = self.host.folders.annotated_file(&name);
            return if file.is_some_and(|file| file.exists()) {
                Ok(value)
            } else {
                Err(reason(
                    "custom_validation_failed",
                    "Custom validation failed for node",
                    &format!(
                        "{} - Invalid {} file: {name}",
                        input.name,
                        input.kind.file_word().unwrap_or("image")
                    ),
                    json!({ "input_name": input.name }),
                ))
            };
        };
        if value.as_str().is_some_and(|text| choices.contains(&text)) {
            return Ok(value);
        }
        let (list, config) = if choices.len() > MAXIMUM_LISTED_CHOICES {
            (format!("(list of length {})", choices.len()), Value::Null)
        } else {
            (python::repr(&json!(choices)), self.config(class, input))
        };
        Err(reason(
            "value_not_in_list",
            "Value not in list",
            &format!("{}: '{}' not in {list}", input.name, python::text(&value)),
            json!({
                "input_name": input.name,
                "input_config": config,
                "received_value": value,
            }),
        ))
    }
}

fn int_value(value: i128) -> Value {
    i64::try_from(value)
        .map(|value| json!(value))
        .or_else(|_| u64::try_from(value).map(|value| json!(value)))
        .unwrap_or_else(|_| json!(value as f64))
}

fn compare(left: &Value, right: &Value) -> Option<std::cmp::Ordering> {
    if left.is_f64() || right.is_f64() {
        left.as_f64()?.partial_cmp(&right.as_f64()?)
    } else {
        Some(python::int(left).ok()?.cmp(&python::int(right).ok()?))
    }
}
