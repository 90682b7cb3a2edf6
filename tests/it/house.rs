//! The rooms of the house know only whom they may know (the import table in ARCHITECTURE.md).

use std::fs;
use std::path::{Path, PathBuf};

/// What the sources below a path must not name. A path may be listed several times.
const FORBIDDEN: &[(&str, &[&str])] = &[
    (
        "project",
        &[
            "tokio",
            "reqwest",
            "rusqlite",
            "bevy",
            "std::fs",
            "std::time",
            "std::net",
            "crate::engine",
            "crate::comfy",
            "crate::store",
            "crate::fleet",
            "crate::app",
            "crate::artifacts",
        ],
    ),
    (
        "workflow",
        &[
            "tokio",
            "reqwest",
            "rusqlite",
            "bevy",
            "std::fs",
            "std::time",
            "std::net",
            "crate::engine",
            "crate::comfy",
            "crate::store",
            "crate::fleet",
            "crate::app",
            "crate::artifacts",
        ],
    ),
    (
        "engine/machine",
        &[
            "tokio",
            "reqwest",
            "rusqlite",
            "bevy",
            "std::fs",
            "std::time",
            "fastrand",
            "crate::comfy",
            "crate::store",
            "crate::fleet",
            "crate::app",
        ],
    ),
    (
        "engine/placement",
        &[
            "tokio",
            "reqwest",
            "rusqlite",
            "bevy",
            "std::fs",
            "std::time",
            "fastrand",
            "crate::comfy",
            "crate::store",
            "crate::fleet",
            "crate::app",
        ],
    ),
    (
        "engine/plan",
        &[
            "tokio",
            "reqwest",
            "rusqlite",
            "bevy",
            "std::fs",
            "std::time",
            "fastrand",
            "crate::comfy",
            "crate::store",
            "crate::fleet",
            "crate::app",
        ],
    ),
    (
        "engine/fold",
        &[
            "tokio",
            "reqwest",
            "rusqlite",
            "bevy",
            "std::fs",
            "std::time",
            "fastrand",
            "crate::comfy",
            "crate::store",
            "crate::fleet",
            "crate::app",
        ],
    ),
    ("engine/executor", &["bevy", "crate::app", "crate::cli"]),
    (
        "engine/local",
        &["bevy", "crate::app", "crate::cli", "crate::comfy"],
    ),
    (
        "durable",
        &["tokio", "reqwest", "rusqlite", "bevy", "crate::"],
    ),
    (
        "comfy",
        &[
            "rusqlite",
            "bevy",
            "crate::store",
            "crate::engine",
            "crate::app",
            "crate::artifacts",
        ],
    ),
    (
        "store",
        &[
            "bevy",
            "crate::comfy",
            "crate::app",
            "crate::fleet::monitor",
            "reqwest",
        ],
    ),
    (
        "fleet",
        &[
            "bevy",
            "rusqlite",
            "crate::store",
            "crate::engine",
            "crate::app",
        ],
    ),
    (
        "artifacts",
        &[
            "bevy",
            "reqwest",
            "rusqlite",
            "crate::store",
            "crate::engine",
            "crate::comfy",
            "crate::fleet",
            "crate::cli",
            "crate::app",
        ],
    ),
    (
        "media",
        &[
            "bevy",
            "tokio",
            "reqwest",
            "rusqlite",
            "crate::store",
            "crate::engine",
            "crate::comfy",
            "crate::fleet",
            "crate::cli",
            "crate::app",
        ],
    ),
    (
        "builtin",
        &[
            "bevy",
            "crate::store",
            "crate::engine",
            "crate::app",
            "crate::comfy",
        ],
    ),
    (
        "editor",
        &[
            "bevy",
            "tokio",
            "rusqlite",
            "crate::app",
            "crate::artifacts",
            "crate::builtin",
            "crate::cli",
            "crate::comfy",
            "crate::engine",
            "crate::fleet",
            "crate::media",
            "crate::project",
            "crate::store",
            "crate::workflow",
        ],
    ),
    (
        "editor_window",
        &[
            "bevy",
            "tokio",
            "rusqlite",
            "comfyui_orchestrator::app",
            "comfyui_orchestrator::artifacts",
            "comfyui_orchestrator::builtin",
            "comfyui_orchestrator::cli",
            "comfyui_orchestrator::comfy",
            "comfyui_orchestrator::engine",
            "comfyui_orchestrator::fleet",
            "comfyui_orchestrator::media",
            "comfyui_orchestrator::project",
            "comfyui_orchestrator::store",
            "comfyui_orchestrator::workflow",
        ],
    ),
    ("cli", &["crate::comfy", "rusqlite", "bevy::"]),
    (
        "app/canvas",
        &[
            "crate::engine::EngineHandle",
            "crate::store",
            "crate::comfy",
            "crate::fleet::monitor",
            "crate::app::panels",
            "crate::app::dialogs",
        ],
    ),
    (
        "app/panels",
        &[
            "crate::engine::EngineHandle",
            "crate::store",
            "crate::comfy",
            "crate::app::canvas::",
            "crate::app::dialogs",
        ],
    ),
    (
        "app/dialogs",
        &[
            "crate::engine::EngineHandle",
            "crate::comfy",
            "crate::app::canvas::",
            "crate::app::panels",
        ],
    ),
];

fn sources_of(room: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let file = room.with_extension("rs");
    if file.is_file() {
        files.push(file);
    }
    let mut folders = vec![room.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}

/// Whether a line of code (comments aside) names the forbidden path as a whole word.
fn names(line: &str, forbidden: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    code.match_indices(forbidden).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + forbidden.len()..].chars().next();
        let is_word =
            |character: Option<char>| character.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !is_word(before) && (forbidden.ends_with("::") || !is_word(after))
    })
}

#[test]
fn every_room_knows_only_whom_it_may_know() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut trespasses = Vec::new();
    for (room, forbidden) in FORBIDDEN {
        let files = sources_of(&src.join(room));
        assert!(
            !files.is_empty(),
            "the import table names a room that does not exist: {room}"
        );
        for file in files {
            let text = fs::read_to_string(&file).expect("source files are readable");
            let production = text.split("#[cfg(test)]").next().unwrap_or_default();
            for (number, line) in production.lines().enumerate() {
                for path in forbidden.iter().filter(|path| names(line, path)) {
                    trespasses.push(format!("{}:{} names {path}", file.display(), number + 1));
                }
            }
        }
    }
    assert!(
        trespasses.is_empty(),
        "forbidden imports:\n{}",
        trespasses.join("\n")
    );
}

/// What is named anywhere in the app's program is linked with it, and the app must start where there is no web view.
#[test]
fn only_the_editor_window_knows_the_web_view() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let window = src.join("editor_window");
    for file in sources_of(&src)
        .iter()
        .filter(|file| !file.starts_with(&window))
    {
        let text = fs::read_to_string(file).expect("source files are readable");
        for line in text.lines() {
            for path in ["wry::", "tao::"] {
                assert!(!names(line, path), "{} names {path}", file.display());
            }
        }
    }
}

#[test]
fn the_headless_build_has_no_window_crate() {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let tree = std::process::Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--no-default-features",
            "--edges",
            "normal,build",
            "--prefix",
            "none",
        ])
        .args(["--manifest-path", manifest])
        .output()
        .expect("cargo tree runs");
    assert!(
        tree.status.success(),
        "{}",
        String::from_utf8_lossy(&tree.stderr)
    );
    let text = String::from_utf8_lossy(&tree.stdout);
    let window: Vec<&str> = text
        .lines()
        .filter(|line| {
            ["bevy", "egui", "wry", "winit", "wgpu", "tao"]
                .iter()
                .any(|name| line.starts_with(name))
        })
        .collect();
    assert!(window.is_empty(), "the headless build pulls in {window:?}");
}
