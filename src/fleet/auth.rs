//! From a reference to a secret to the headers that carry it.

use super::backend::{Auth, Secret};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use thiserror::Error;

/// Why we cannot say who we are. Never shows a secret.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum AuthError {
    /// The environment variable does not exist, is empty or not text.
    #[error(
        "the environment variable {variable}, which holds the secret for this backend, is not set; set it and restart"
    )]
    VariableMissing {
        /// Its name.
        variable: String,
    },
    /// The secret holds characters that no header may hold, such as a line break.
    #[error(
        "the environment variable {variable} holds characters that cannot be sent, perhaps a line break; set it anew"
    )]
    SecretUnusable {
        /// Its name.
        variable: String,
    },
    /// The header's name is not one.
    #[error("{name:?} is not the name of an HTTP header; correct this backend's authentication")]
    HeaderName {
        /// The name.
        name: String,
    },
}

/// The headers that say who we are. `variable` reads an environment variable.
///
/// # Errors
/// [`AuthError`] when the secret is missing or cannot be sent.
pub fn auth_headers(
    auth: &Auth,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<HeaderMap, AuthError> {
    let read = |Secret::Env(name): &Secret| {
        variable(name)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| AuthError::VariableMissing {
                variable: name.clone(),
            })
    };
    let (name, text, secret) = match auth {
        Auth::None => return Ok(HeaderMap::new()),
        Auth::Bearer(secret) => (AUTHORIZATION, format!("Bearer {}", read(secret)?), secret),
        Auth::Basic { user, password } => {
            let pair = format!("{user}:{}", read(password)?);
            (
                AUTHORIZATION,
                format!("Basic {}", base64(pair.as_bytes())),
                password,
            )
        }
        Auth::Header { name, value } => (
            HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| AuthError::HeaderName { name: name.clone() })?,
            read(value)?,
            value,
        ),
    };
    let Secret::Env(variable) = secret;
    let mut value = HeaderValue::from_str(&text).map_err(|_| AuthError::SecretUnusable {
        variable: variable.clone(),
    })?;
    value.set_sensitive(true);
    Ok(HeaderMap::from_iter([(name, value)]))
}

/// RFC 4648 base64 with padding: all that Basic authentication needs.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word = (0..3).fold(0_u32, |word, position| {
            word << 8 | u32::from(group.get(position).copied().unwrap_or(0))
        });
        for position in 0..4 {
            let digit = (word >> (18 - 6 * position)) & 63;
            text.push(if position <= group.len() {
                char::from(DIGITS[digit as usize])
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        // RFC 4648 §10.
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}
