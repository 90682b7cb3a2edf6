//! The one user's settings and files: `/users`, `/settings`, `/userdata`.

use std::{
    fs,
    path::{Path as FilePath, PathBuf},
    time::UNIX_EPOCH,
};

use axum::{
    extract::{Path, Query, Request, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde_json::{Map, Value, json};

use super::{
    QueryMap, SharedHost, answer, file,
    frontend::percent_decoded,
    prompt::{read_bytes, read_json},
};
use crate::builtin::{folders, host::Host};

const SETTINGS_FILE: &str = "comfy.settings.json";

/// `GET /users`.
pub async fn users(State(host): SharedHost) -> Response {
    let migrated = host.folders.user().exists();
    answer::json(&json!({ "storage": "server", "migrated": migrated }))
}

fn load_settings(host: &Host) -> Map<String, Value> {
    let bytes = fs::read(host.folders.user().join(SETTINGS_FILE)).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

fn save_settings(host: &Host, settings: &Map<String, Value>) -> Response {
    let folder = host.folders.user();
    let text = serde_json::to_string_pretty(settings).unwrap_or_default();
    let saved =
        fs::create_dir_all(&folder).and_then(|()| fs::write(folder.join(SETTINGS_FILE), text));
    match saved {
        Ok(()) => answer::empty(StatusCode::OK),
        Err(_) => answer::fault(),
    }
}

/// `GET /settings`.
pub async fn settings(State(host): SharedHost) -> Response {
    answer::json(&load_settings(&host))
}

/// `GET /settings/ID`: null when it is not set.
pub async fn setting(State(host): SharedHost, Path(id): Path<String>) -> Response {
    answer::json(&load_settings(&host).get(&id))
}

/// `POST /settings`: the given ones are changed, the others stay.
pub async fn change_settings(State(host): SharedHost, request: Request) -> Response {
    match read_json(request).await {
        Ok(Value::Object(changes)) => {
            let mut settings = load_settings(&host);
            settings.extend(changes);
            save_settings(&host, &settings)
        }
        Ok(_) => answer::fault(),
        Err(response) => response,
    }
}

/// `POST /settings/ID`.
pub async fn change_setting(
    State(host): SharedHost,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    match read_json(request).await {
        Ok(value) => {
            let mut settings = load_settings(&host);
            settings.insert(id, value);
            save_settings(&host, &settings)
        }
        Err(response) => response,
    }
}

fn is_true(query: &indexmap::IndexMap<String, String>, name: &str) -> bool {
    query
        .get(name)
        .is_some_and(|text| text.eq_ignore_ascii_case("true"))
}

/// A path in the user's folder; `None` when it would lie outside. Names may be encoded once more, as ComfyUI allows.
fn user_path(host: &Host, name: &str) -> Option<PathBuf> {
    folders::inside(&host.folders.user(), &percent_decoded(name))
}

fn seconds(time: std::io::Result<std::time::SystemTime>) -> f64 {
    time.ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
        .map_or(0.0, |since| since.as_secs_f64())
}

fn file_info(path: &FilePath, shown_as: &str) -> Value {
    let Ok(metadata) = fs::metadata(path) else {
        return Value::Null;
    };
    let modified = seconds(metadata.modified());
    json!({ "path": shown_as, "size": metadata.len(), "modified": modified, "created": modified })
}

/// `GET /userdata?dir=`.
pub async fn list(State(host): SharedHost, Query(query): QueryMap) -> Response {
    let Some(directory) = query.get("dir").filter(|directory| !directory.is_empty()) else {
        return answer::text(StatusCode::BAD_REQUEST, "Directory not provided");
    };
    let Some(folder) = user_path(&host, directory) else {
        return answer::text(StatusCode::FORBIDDEN, "Invalid directory");
    };
    if !folder.exists() {
        return answer::text(StatusCode::NOT_FOUND, "Directory not found");
    }
    let files = if is_true(&query, "recurse") {
        folders::files_below(&folder)
    } else {
        folders::file_names(&folder)
    };
    let listed: Vec<Value> = files
        .iter()
        .map(|name| {
            if is_true(&query, "full_info") {
                file_info(&folder.join(name), name)
            } else if is_true(&query, "split") {
                std::iter::once(name.as_str())
                    .chain(name.split('/'))
                    .map(Value::from)
                    .collect()
            } else {
                json!(name)
            }
        })
        .collect();
    answer::json(&listed)
}

/// `GET /v2/userdata?path=`: files and folders below a path.
pub async fn list_tree(State(host): SharedHost, Query(query): QueryMap) -> Response {
    let wanted = query.get("path").map(String::as_str).unwrap_or_default();
    let Some(folder) = user_path(&host, wanted) else {
        return answer::text(StatusCode::BAD_REQUEST, "Invalid path requested");
    };
    if !folder.exists() {
        return if wanted.is_empty() {
            answer::json(&json!([]))
        } else {
            answer::text(StatusCode::NOT_FOUND, "Requested path not found")
        };
    }
    if !folder.is_dir() {
        let text = "Requested path is not a directory";
        return answer::text(StatusCode::BAD_REQUEST, text);
    }
    let prefix = folders::normalise(&percent_decoded(wanted)).unwrap_or_default();
    let mut directories = Vec::new();
    let mut files = Vec::new();
    for below in folders::files_below(&folder) {
        let path = prefix.join(&below).to_string_lossy().replace('\\', "/");
        let mut parent = FilePath::new(&below).parent();
        while let Some(directory) = parent.filter(|directory| directory.parent().is_some()) {
            let shown = prefix.join(directory).to_string_lossy().replace('\\', "/");
            let name = shown.rsplit('/').next().unwrap_or_default();
            let entry = json!({ "name": name, "path": shown, "type": "directory" });
            if !directories.contains(&entry) {
                directories.push(entry);
            }
            parent = directory.parent();
        }
        let metadata = fs::metadata(folder.join(&below)).ok();
        files.push(json!({
            "name": path.rsplit('/').next(),
            "path": path,
            "type": "file",
            "size": metadata.as_ref().map(fs::Metadata::len),
            "modified": metadata.map(|metadata| seconds(metadata.modified())),
        }));
    }
    let by_name = |entry: &Value| {
        entry
            .get("name")
            .map(|name| name.to_string().to_lowercase())
    };
    directories.sort_by_key(by_name);
    files.sort_by_key(by_name);
    directories.extend(files);
    answer::json(&directories)
}

/// `GET /userdata/FILE`.
pub async fn read(
    State(host): SharedHost,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    match user_path(&host, &name) {
        None => answer::empty(StatusCode::FORBIDDEN),
        Some(path) if !path.is_file() => answer::empty(StatusCode::NOT_FOUND),
        Some(path) => file::serve(&path, file::media_type(&name), &headers).await,
    }
}

/// The name of a file below the user's folder, or what is known of it.
fn describe(host: &Host, path: &FilePath, query: &indexmap::IndexMap<String, String>) -> Response {
    let root = host.folders.user();
    let relative = path.strip_prefix(&root).unwrap_or(path);
    let relative = relative.to_string_lossy().replace('\\', "/");
    if is_true(query, "full_info") {
        answer::json(&file_info(path, &relative))
    } else {
        answer::json(&relative)
    }
}

fn may_not_overwrite(query: &indexmap::IndexMap<String, String>, path: &FilePath) -> bool {
    query.get("overwrite").is_some_and(|text| text == "false") && path.exists()
}

/// `POST /userdata/FILE?overwrite=&full_info=`.
pub async fn write(
    State(host): SharedHost,
    Path(name): Path<String>,
    Query(query): QueryMap,
    request: Request,
) -> Response {
    let Some(path) = user_path(&host, &name).filter(|path| *path != host.folders.user()) else {
        return answer::empty(StatusCode::FORBIDDEN);
    };
    if may_not_overwrite(&query, &path) {
        return answer::text(StatusCode::CONFLICT, "File already exists");
    }
    let bytes = match read_bytes(request).await {
        Ok(bytes) => bytes,
        Err(response) => return response,
    };
    let folder = path.parent().unwrap_or(&path).to_path_buf();
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(&path, bytes));
    match written {
        Ok(()) => describe(&host, &path, &query),
        Err(_) => answer::empty(StatusCode::BAD_REQUEST),
    }
}

/// `DELETE /userdata/FILE`.
pub async fn delete(State(host): SharedHost, Path(name): Path<String>) -> Response {
    match user_path(&host, &name) {
        None => answer::empty(StatusCode::FORBIDDEN),
        Some(path) if !path.exists() => answer::empty(StatusCode::NOT_FOUND),
        Some(path) => match fs::remove_file(path) {
            Ok(()) => answer::empty(StatusCode::NO_CONTENT),
            Err(_) => answer::fault(),
        },
    }
}

/// `POST /userdata/FILE/move/DESTINATION?overwrite=&full_info=`.
pub async fn rename(
    State(host): SharedHost,
    Path((name, destination)): Path<(String, String)>,
    Query(query): QueryMap,
) -> Response {
    let (Some(from), Some(to)) = (user_path(&host, &name), user_path(&host, &destination)) else {
        return answer::empty(StatusCode::FORBIDDEN);
    };
    if !from.is_file() {
        return answer::empty(StatusCode::NOT_FOUND);
    }
    if may_not_overwrite(&query, &to) {
        return answer::text(StatusCode::CONFLICT, "File already exists");
    }
    let folder = to.parent().unwrap_or(&to).to_path_buf();
    match fs::create_dir_all(folder).and_then(|()| fs::rename(&from, &to)) {
        Ok(()) => describe(&host, &to, &query),
        Err(_) => answer::fault(),
    }
}
