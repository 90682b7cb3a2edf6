//! Nodes for plain values and texts.

use serde_json::{Value, json};

use crate::builtin::{
    node::{Datum, NodeFailure, NodeOutput, NodeRun},
    python,
    spec::NodeClass,
};

const PRIMITIVES: &str = "comfy_extras.nodes_primitive";
const CATEGORY: &str = "utils/primitive";

pub fn classes() -> Vec<NodeClass> {
    let primitive = |name, title| NodeClass::v3(name, PRIMITIVES, CATEGORY, value).titled(title);
    vec![
        primitive("PrimitiveInt", "Int")
            .int(
                "value",
                json!({ "min": -i64::MAX, "max": i64::MAX, "control_after_generate": true }),
            )
            .output("INT"),
        primitive("PrimitiveFloat", "Float")
            .float(
                "value",
                json!({ "min": -i64::MAX, "max": i64::MAX, "step": 0.1 }),
            )
            .output("FLOAT"),
        primitive("PrimitiveString", "String")
            .text("value", json!({ "multiline": false }))
            .output("STRING"),
        primitive("PrimitiveStringMultiline", "String (Multiline)")
            .text("value", json!({ "multiline": true }))
            .output("STRING"),
        primitive("PrimitiveBoolean", "Boolean")
            .boolean("value", json!({}))
            .output("BOOLEAN"),
        NodeClass::v3(
            "StringConcatenate",
            "comfy_extras.nodes_string",
            "utils/string",
            concatenate,
        )
        .titled("Concatenate")
        .text("string_a", json!({ "multiline": true }))
        .text("string_b", json!({ "multiline": true }))
        .text("delimiter", json!({ "default": "", "multiline": false }))
        .output("STRING"),
        NodeClass::v1("PreviewAny", "Preview as Text", "utils", preview_any)
            .in_module("comfy_extras.nodes_preview_any")
            .typed("source", "*", json!({}))
            .output_node(),
    ]
}

fn value(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    Ok(NodeOutput::values([run.datum("value")?.clone()]))
}

fn concatenate(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    let joined = format!(
        "{}{}{}",
        run.text("string_a")?,
        run.text("delimiter")?,
        run.text("string_b")?
    );
    Ok(NodeOutput::values([Datum::Plain(json!(joined))]))
}

fn preview_any(run: &mut NodeRun<'_>) -> Result<NodeOutput, NodeFailure> {
    let text = match run.datum("source")? {
        Datum::Plain(value @ (Value::Array(_) | Value::Object(_))) => {
            serde_json::to_string_pretty(value).unwrap_or_default()
        }
        other => python::text(&other.describe()),
    };
    Ok(NodeOutput::shown(json!({ "text": [text] })))
}
