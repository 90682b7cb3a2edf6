//! What flows on links: data types, and literal values a person can type.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

/// The type of a port.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum DataType {
    /// Carries no value, only "it happened".
    Trigger,
    /// A still picture, or an ordered batch of them.
    Image,
    /// A one-channel picture.
    Mask,
    /// A moving picture.
    Video,
    /// Sound.
    Audio,
    /// A latent tensor in ComfyUI's `.latent` format.
    Latent,
    /// Unicode text.
    Text,
    /// A whole number from `i64::MIN` to `u64::MAX` (ComfyUI seeds need all 64 bits).
    Integer,
    /// A double-precision number.
    Number,
    /// True or false.
    Boolean,
    /// Any JSON document.
    Json,
    /// A file of a type we do not look into.
    File,
    /// Any of the above.
    Any,
}

impl DataType {
    /// Every type, in the order in which menus list them.
    pub const ALL: [Self; 13] = [
        Self::Image,
        Self::Mask,
        Self::Video,
        Self::Audio,
        Self::Latent,
        Self::Text,
        Self::Integer,
        Self::Number,
        Self::Boolean,
        Self::Json,
        Self::File,
        Self::Trigger,
        Self::Any,
    ];

    /// Whether an input of this type takes a value of type `from`: equal types, `Any` on either side, or one of the
    /// listed widenings (Integer→Number, Mask→Image, Number/Integer/Boolean→Text).
    #[must_use]
    pub fn accepts(self, from: Self) -> bool {
        self == from
            || self == Self::Any
            || from == Self::Any
            || matches!(
                (from, self),
                (Self::Integer, Self::Number)
                    | (Self::Mask, Self::Image)
                    | (Self::Number | Self::Integer | Self::Boolean, Self::Text)
            )
    }

    /// Whether values of this type are files, and so travel as artifacts.
    #[must_use]
    pub fn is_media(self) -> bool {
        matches!(
            self,
            Self::Image | Self::Mask | Self::Video | Self::Audio | Self::Latent | Self::File
        )
    }

    /// The name a person reads.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Trigger => "Trigger",
            Self::Image => "Image",
            Self::Mask => "Mask",
            Self::Video => "Video",
            Self::Audio => "Audio",
            Self::Latent => "Latent",
            Self::Text => "Text",
            Self::Integer => "Integer",
            Self::Number => "Number",
            Self::Boolean => "Boolean",
            Self::Json => "JSON",
            Self::File => "File",
            Self::Any => "Any",
        }
    }
}

impl From<crate::workflow::ValueType> for DataType {
    fn from(value_type: crate::workflow::ValueType) -> Self {
        use crate::workflow::ValueType;
        match value_type {
            ValueType::Image => Self::Image,
            ValueType::Mask => Self::Mask,
            ValueType::Video => Self::Video,
            ValueType::Audio => Self::Audio,
            ValueType::Latent => Self::Latent,
            ValueType::Text => Self::Text,
            ValueType::Integer => Self::Integer,
            ValueType::Number => Self::Number,
            ValueType::Boolean => Self::Boolean,
            ValueType::Json => Self::Json,
            ValueType::File => Self::File,
            ValueType::Any => Self::Any,
        }
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.title())
    }
}

/// A whole number that covers both `i64` and `u64`: ComfyUI's specs reach `u64::MAX` and below zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[schemars(with = "i64")]
pub struct Integer(i128);

impl Integer {
    /// The number, if it fits into `i64` or `u64`.
    #[must_use]
    pub fn new(value: i128) -> Option<Self> {
        (value >= i128::from(i64::MIN) && value <= i128::from(u64::MAX)).then_some(Self(value))
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> i128 {
        self.0
    }

    /// The number as JSON, exact.
    #[must_use]
    pub fn to_json(self) -> serde_json::Value {
        match i64::try_from(self.0) {
            Ok(small) => small.into(),
            // `new` admits nothing above u64::MAX.
            Err(_) => (self.0 as u64).into(),
        }
    }
}

impl From<i64> for Integer {
    fn from(value: i64) -> Self {
        Self(i128::from(value))
    }
}

impl From<u64> for Integer {
    fn from(value: u64) -> Self {
        Self(i128::from(value))
    }
}

impl From<u32> for Integer {
    fn from(value: u32) -> Self {
        Self(i128::from(value))
    }
}

impl fmt::Display for Integer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Integer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match i64::try_from(self.0) {
            Ok(small) => serializer.serialize_i64(small),
            Err(_) => serializer.serialize_u64(self.0 as u64),
        }
    }
}

impl<'de> Deserialize<'de> for Integer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IntegerVisitor;
        impl de::Visitor<'_> for IntegerVisitor {
            type Value = Integer;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number of at most 64 bits")
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Integer, E> {
                Ok(value.into())
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Integer, E> {
                Ok(value.into())
            }
        }
        deserializer.deserialize_any(IntegerVisitor)
    }
}

/// A value a person types or a file stores: what parameters, fan-out lists and Input nodes hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Literal {
    /// Unicode text, also a choice out of a list.
    Text(String),
    /// A whole number.
    Integer(Integer),
    /// A finite double-precision number.
    Number(f64),
    /// True or false.
    Boolean(bool),
    /// Any JSON document. In files it is a string that holds the JSON: RON has no null, and the text keeps every digit.
    Json(
        #[serde(with = "json_text")]
        #[schemars(with = "String")]
        serde_json::Value,
    ),
}

/// A JSON document as a string that holds its text.
mod json_text {
    use serde::{Deserialize, Deserializer, Serializer, de, ser};
    use serde_json::Value;

    pub fn serialize<S: Serializer>(json: &Value, serializer: S) -> Result<S::Ok, S::Error> {
        let text = serde_json::to_string(json).map_err(ser::Error::custom)?;
        serializer.serialize_str(&text)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        let text = String::deserialize(deserializer)?;
        serde_json::from_str(&text).map_err(de::Error::custom)
    }
}

impl Literal {
    /// The type of the value.
    #[must_use]
    pub fn data_type(&self) -> DataType {
        match self {
            Self::Text(_) => DataType::Text,
            Self::Integer(_) => DataType::Integer,
            Self::Number(_) => DataType::Number,
            Self::Boolean(_) => DataType::Boolean,
            Self::Json(_) => DataType::Json,
        }
    }

    /// The value as ComfyUI takes it in a prompt.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Text(text) => text.clone().into(),
            Self::Integer(integer) => integer.to_json(),
            Self::Number(number) => (*number).into(),
            Self::Boolean(boolean) => (*boolean).into(),
            Self::Json(json) => json.clone(),
        }
    }

    /// The literal that a prompt's JSON value stands for. Whole numbers stay exact.
    #[must_use]
    pub fn from_json(json: &serde_json::Value) -> Self {
        match json {
            serde_json::Value::String(text) => Self::Text(text.clone()),
            serde_json::Value::Bool(boolean) => Self::Boolean(*boolean),
            serde_json::Value::Number(number) => {
                if let Some(signed) = number.as_i64() {
                    Self::Integer(signed.into())
                } else if let Some(unsigned) = number.as_u64() {
                    Self::Integer(unsigned.into())
                } else {
                    Self::Number(number.as_f64().unwrap_or_default())
                }
            }
            other => Self::Json(other.clone()),
        }
    }
}

impl fmt::Display for Literal {
    /// As shown in labels and file names: text without quotes, numbers in their shortest exact form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Integer(integer) => integer.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Boolean(boolean) => boolean.fmt(f),
            Self::Json(json) => json.fmt(f),
        }
    }
}
