//! What fields make of values that are typed into them.

use serde_json::Value;

/// What a field of several lines makes of a value.
pub(super) fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) if text.contains('\r') => {
            text.replace("\r\n", "\n").replace('\r', "\n")
        }
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Array(values) => {
            let texts: Vec<String> = values.iter().map(as_text).collect();
            texts.join(",")
        }
        Value::Object(_) => "[object Object]".to_owned(),
        Value::Number(number) if number.is_f64() => float_text(number.as_f64().unwrap_or(0.0)),
        other => other.to_string(),
    }
}

/// A fraction as JavaScript writes it. Whole numbers stay exact, where JavaScript would round them.
fn float_text(number: f64) -> String {
    let size = number.abs();
    if number == 0.0 {
        "0".to_owned()
    } else if (1e-6..1e21).contains(&size) {
        number.to_string()
    } else if size < 1.0 {
        format!("{number:e}")
    } else {
        format!("{number:e}").replace('e', "e+")
    }
}

/// The multiple of `step` nearest to a number, counted from the smallest value; none when it is the number itself.
pub(super) fn to_step(number: i128, min: i128, step: i128) -> Option<Value> {
    if step.unsigned_abs() <= 1 {
        return None;
    }
    let offset = min % step;
    let steps = ((number - offset) as f64 / step as f64 + 0.5).floor() as i128;
    let fitted = steps * step + offset;
    (fitted != number).then(|| match i64::try_from(fitted) {
        Ok(small) => small.into(),
        Err(_) => (fitted as f64).into(),
    })
}

/// The whole number, or the multiple of `step`, nearest to a fraction.
pub(super) fn whole_step(number: f64, min: i128, step: i128) -> Value {
    let step = if step == 0 { 1 } else { step };
    let offset = if step == 1 { 0 } else { min % step };
    let steps = ((number - offset as f64) / step as f64 + 0.5).floor();
    let fitted = steps * step as f64 + offset as f64;
    if fitted.abs() < 9e18 {
        (fitted as i64).into()
    } else {
        fitted.into()
    }
}

/// A fraction rounded and limited as the editor does it. Without limits of its own a field goes from 0 to 2048, and
/// without a step by halves.
pub(super) fn rounded(
    number: f64,
    min: Option<f64>,
    max: Option<f64>,
    step: Option<f64>,
    round: Option<f64>,
) -> Option<f64> {
    let decimals = |step: f64| (-step.log10().floor()).max(0.0) as usize;
    let precision = decimals(step.unwrap_or(0.5)).min(15);
    let round = match round {
        Some(round) if round != 0.0 => round,
        _ if precision > 0 => 10_f64.powi(-(precision as i32)),
        _ => return None,
    };
    let nearest = (number / round + 0.5).floor() * round;
    let shortened: f64 = format!("{nearest:.precision$}").parse().ok()?;
    Some(shortened.min(max.unwrap_or(2048.0)).max(min.unwrap_or(0.0)))
}
