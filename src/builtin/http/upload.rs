//! `/upload/image` and `/upload/mask`.

use std::{fs, io, path::Path};

use axum::{
    body::Bytes,
    extract::{FromRequest, Multipart, Request, State},
    http::StatusCode,
    response::Response,
};
use indexmap::IndexMap;
use serde_json::{Value, json};

use super::{MAXIMUM_BODY_BYTES, SharedHost, answer};
use crate::builtin::{
    folders::{self, Place},
    host::Host,
    nodes::files::{DecodedImage, decode_image, png_texts, write_png},
};

/// How often a taken name is counted up before giving up.
const MAXIMUM_RENAMES: usize = 10_000;

/// What is answered when ComfyUI's handler would raise.
const FAULT: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;

struct Form {
    file_name: String,
    bytes: Bytes,
    fields: IndexMap<String, String>,
}

/// `POST /upload/image`.
pub async fn image(State(host): SharedHost, request: Request) -> Response {
    store(host, request, |_, form, path| {
        fs::write(path, &form.bytes).map_err(|_| FAULT)
    })
    .await
}

/// `POST /upload/mask`: the alpha of the upload is put on the picture that `original_ref` names.
pub async fn mask(State(host): SharedHost, request: Request) -> Response {
    store(host, request, |host, form, path| {
        write_masked(host, form, path)
    })
    .await
}

async fn store(
    host: std::sync::Arc<Host>,
    request: Request,
    save: fn(&Host, &Form, &Path) -> Result<(), StatusCode>,
) -> Response {
    let form = match read_form(request).await {
        Ok(form) => form,
        Err(response) => return response,
    };
    let stored = tokio::task::spawn_blocking(move || place_upload(&host, &form, save)).await;
    stored.unwrap_or_else(|_| answer::fault())
}

async fn read_form(request: Request) -> Result<Form, Response> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, MAXIMUM_BODY_BYTES)
        .await
        .map_err(|_| answer::body_too_large())?;
    let request = Request::from_parts(parts, axum::body::Body::from(body));
    let bad = |_| answer::empty(StatusCode::BAD_REQUEST);
    let mut multipart = Multipart::from_request(request, &())
        .await
        .map_err(|_| answer::empty(StatusCode::BAD_REQUEST))?;
    let mut file = None;
    let mut fields = IndexMap::new();
    while let Some(field) = multipart.next_field().await.map_err(bad)? {
        let name = field.name().unwrap_or_default().to_owned();
        if name == "image" {
            let file_name = field.file_name().map(str::to_owned);
            file = Some((file_name, field.bytes().await.map_err(bad)?));
        } else {
            fields.insert(name, field.text().await.map_err(bad)?);
        }
    }
    match file {
        Some((Some(file_name), bytes)) if !file_name.is_empty() => Ok(Form {
            file_name,
            bytes,
            fields,
        }),
        _ => Err(answer::empty(StatusCode::BAD_REQUEST)),
    }
}

fn place_upload(
    host: &Host,
    form: &Form,
    save: fn(&Host, &Form, &Path) -> Result<(), StatusCode>,
) -> Response {
    let field = |name: &str| form.fields.get(name).map(String::as_str);
    let Some(place) = Place::parse(field("type").unwrap_or("input")) else {
        return answer::fault();
    };
    let subfolder = field("subfolder").unwrap_or_default();
    let base = host.folders.place(place);
    let bad = || answer::empty(StatusCode::BAD_REQUEST);
    let Some(folder) = folders::inside(&base, subfolder) else {
        return bad();
    };
    let whole = Path::new(subfolder).join(&form.file_name);
    if folders::inside(&base, &whole.to_string_lossy()).is_none() {
        return bad();
    }
    // ComfyUI fails to open such a path unless the folder happens to exist.
    if form.file_name.contains(['/', '\\']) || matches!(form.file_name.as_str(), "." | "..") {
        return answer::fault();
    }
    if fs::create_dir_all(&folder).is_err() {
        return answer::fault();
    }
    let overwrite = matches!(field("overwrite"), Some("true" | "1"));
    let Ok(chosen) = free_name(&folder, &form.file_name, &form.bytes, overwrite) else {
        return answer::fault();
    };
    if let FreeName::New(name) = &chosen
        && let Err(status) = save(host, form, &folder.join(name))
    {
        return if status == FAULT {
            answer::fault()
        } else {
            answer::empty(status)
        };
    }
    let (FreeName::New(name) | FreeName::SameContent(name)) = chosen;
    answer::json(&json!({ "name": name, "subfolder": subfolder, "type": place.word() }))
}

enum FreeName {
    /// Nothing lies there, or it may be overwritten.
    New(String),
    /// The very same bytes lie there already.
    SameContent(String),
}

fn free_name(folder: &Path, wanted: &str, bytes: &[u8], overwrite: bool) -> io::Result<FreeName> {
    if overwrite {
        return Ok(FreeName::New(wanted.to_owned()));
    }
    let (stem, extension) = match wanted.rfind('.') {
        Some(dot) if dot > 0 => wanted.split_at(dot),
        _ => (wanted, ""),
    };
    let mut name = wanted.to_owned();
    for number in 1..MAXIMUM_RENAMES {
        let path = folder.join(&name);
        if !path.exists() {
            return Ok(FreeName::New(name));
        }
        let same_length = fs::metadata(&path)?.len() == bytes.len() as u64;
        if same_length && fs::read(&path)? == bytes {
            return Ok(FreeName::SameContent(name));
        }
        name = format!("{stem} ({number}){extension}");
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn write_masked(host: &Host, form: &Form, path: &Path) -> Result<(), StatusCode> {
    let reference: Value = form
        .fields
        .get("original_ref")
        .and_then(|text| serde_json::from_str(text).ok())
        .ok_or(FAULT)?;
    let member = |name: &str| reference.get(name).and_then(Value::as_str);
    let (file_name, place) = folders::split_annotation(member("filename").ok_or(FAULT)?);
    if file_name.is_empty() || file_name.starts_with('/') || file_name.contains("..") {
        return Err(StatusCode::BAD_REQUEST);
    }
    let place = place
        .or_else(|| Place::parse(member("type").unwrap_or("output")))
        .ok_or(StatusCode::BAD_REQUEST)?;
    let folder = folders::inside(
        &host.folders.place(place),
        member("subfolder").unwrap_or_default(),
    )
    .ok_or(StatusCode::FORBIDDEN)?;
    let original = folders::inside(&folder, file_name).ok_or(StatusCode::BAD_REQUEST)?;
    if !original.is_file() {
        return Ok(());
    }
    let original_bytes = fs::read(&original).map_err(|_| FAULT)?;
    let picture = decode_image(&original_bytes, file_name).map_err(|_| FAULT)?;
    let mask = decode_image(&form.bytes, &form.file_name).map_err(|_| FAULT)?;
    if (picture.width, picture.height) != (mask.width, mask.height) {
        return Err(FAULT);
    }
    let rgba = picture
        .rgba
        .chunks_exact(4)
        .zip(mask.rgba.chunks_exact(4))
        .flat_map(|(picture, mask)| match (picture, mask) {
            ([red, green, blue, _], [_, _, _, alpha]) => [*red, *green, *blue, *alpha],
            _ => [0; 4],
        })
        .collect();
    let joined = DecodedImage { rgba, ..picture };
    let texts = png_texts(&original_bytes);
    write_png(path, &joined, &texts).map_err(|_| FAULT)
}
