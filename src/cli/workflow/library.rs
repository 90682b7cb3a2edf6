//! `workflow library …`: workflows kept for later.

use super::sources::write_text;
use crate::cli::data_dir::data_dir;
use crate::engine::{
    LibraryTally, database_path, import_into_library, pull_into_library, push_from_library,
};
use crate::fleet::{BackendConfig, SaveMode};
use crate::store::{LibraryEntry, LibraryQuery, Store};
use anyhow::{Context as _, bail};
use clap::Subcommand;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};
use url::Url;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum LibraryCommand {
    /// Put every workflow of a folder into the library, also those inside pictures and videos; subfolders become folders. What
    /// is there already becomes a new version where it differs.
    Import {
        /// The folder, or one file.
        from: PathBuf,
        /// The folder of the library to put them into (default: the top).
        #[arg(long, default_value = "", value_name = "FOLDER")]
        into: String,
    },
    /// Put every workflow that was saved on a backend into the library. What is there already becomes a new version where
    /// it differs.
    Pull {
        /// The backend's address; how to say who we are is taken from the registered backend of that address.
        #[arg(value_parser = crate::cli::parse_address)]
        backend: Url,
        /// The folder of the library to put them into (default: the backend's name).
        #[arg(long, value_name = "FOLDER")]
        into: Option<String>,
    },
    /// Save a workflow of the library on a backend, where its editor lists it.
    Push {
        /// Its folder and name, as `list` shows them.
        path: String,
        /// The backend's address; how to say who we are is taken from the registered backend of that address.
        #[arg(value_parser = crate::cli::parse_address)]
        backend: Url,
        /// Replace the one of the same name there.
        #[arg(long)]
        replace: bool,
    },
    /// List the library as a tree.
    List {
        /// Only what is in this folder or below.
        #[arg(long)]
        folder: Option<String>,
        /// Only what has this tag.
        #[arg(long)]
        tag: Option<String>,
        /// Print one JSON document per line.
        #[arg(long)]
        json: bool,
    },
    /// Find workflows by words in their place, tags, titles, classes, models and prompt texts.
    Search {
        /// Words or parts of words; each must be there.
        #[arg(required = true)]
        words: Vec<String>,
        /// Print one JSON document per line.
        #[arg(long)]
        json: bool,
    },
    /// Write a workflow of the library as the file it was.
    Export {
        /// Its folder and name, as `list` shows them.
        path: String,
        /// An earlier version, by its number.
        #[arg(long)]
        version: Option<u32>,
        /// The file to write (default: standard output).
        #[arg(short, long, value_name = "OUT")]
        out: Option<PathBuf>,
    },
    /// Give a workflow of the library these tags in place of those it has; none takes them all away.
    Tag {
        /// Its folder and name, as `list` shows them.
        path: String,
        /// The tags.
        tags: Vec<String>,
    },
    /// Move or rename a workflow of the library.
    Move {
        /// Its folder and name, as `list` shows them.
        path: String,
        /// Its new folder and name.
        to: String,
    },
    /// Take a workflow out of the library, with its earlier versions.
    Remove {
        /// Its folder and name, as `list` shows them.
        path: String,
    },
}

pub(super) async fn library(
    asked_dir: Option<PathBuf>,
    command: LibraryCommand,
) -> anyhow::Result<ExitCode> {
    let store = Store::open(&database_path(&data_dir(asked_dir)?))?;
    match command {
        LibraryCommand::Import { from, into } => {
            let tally = import_into_library(&store, &from, &into, now_ms()).await?;
            return Ok(tell_tally(&tally));
        }
        LibraryCommand::Pull { backend, into } => return pull(&store, &backend, into).await,
        LibraryCommand::Push {
            path,
            backend,
            replace,
        } => push(&store, &path, &backend, replace).await?,
        LibraryCommand::List { folder, tag, json } => {
            let query = LibraryQuery {
                words: String::new(),
                tag,
                folder,
            };
            let found = store.library(query).await?;
            if found.is_empty() && !json {
                println!(
                    "The library is empty, or nothing in it fits. Fill it with: workflow library import FOLDER"
                );
            }
            tell(&found, json)?;
        }
        LibraryCommand::Search { words, json } => {
            let query = LibraryQuery {
                words: words.join(" "),
                ..LibraryQuery::default()
            };
            let found = store.library(query).await?;
            tell(&found, json)?;
            if found.is_empty() {
                return Ok(ExitCode::FAILURE);
            }
        }
        LibraryCommand::Export { path, version, out } => {
            let entry = named(&store, &path).await?;
            let Some(text) = store.library_text(entry.workflow_id, version).await? else {
                let versions = store.library_versions(entry.workflow_id).await?;
                let numbers: Vec<String> =
                    versions.iter().map(|one| one.number.to_string()).collect();
                bail!("{path} has no such version; it has: {}", numbers.join(", "));
            };
            write_text(out.as_deref(), &text)?;
        }
        LibraryCommand::Tag { path, tags } => {
            let entry = named(&store, &path).await?;
            store.set_library_tags(entry.workflow_id, tags).await?;
        }
        LibraryCommand::Move { path, to } => {
            let entry = named(&store, &path).await?;
            let (folder, name) = to.rsplit_once('/').unwrap_or(("", &to));
            if name.trim().is_empty() {
                bail!("{to} does not end with a name");
            }
            if !store
                .relocate_in_library(entry.workflow_id, folder, name)
                .await?
            {
                bail!("{to} is taken by another workflow");
            }
        }
        LibraryCommand::Remove { path } => {
            let entry = named(&store, &path).await?;
            store.remove_from_library(entry.workflow_id).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn named(store: &Store, path: &str) -> anyhow::Result<LibraryEntry> {
    let wanted = path.trim_matches('/');
    store
        .library(LibraryQuery::default())
        .await?
        .into_iter()
        .find(|entry| entry.path() == wanted)
        .with_context(|| {
            format!("the library has no {path}; `workflow library list` shows what it has")
        })
}

fn tell(entries: &[LibraryEntry], as_json: bool) -> anyhow::Result<()> {
    for entry in entries {
        if as_json {
            println!("{}", serde_json::to_string(entry)?);
            continue;
        }
        let version = match entry.version {
            1 => String::new(),
            number => format!("  (version {number})"),
        };
        let tags: Vec<String> = entry.tags.iter().map(|tag| format!("  #{tag}")).collect();
        println!("{}{version}{}", entry.path(), tags.concat());
    }
    Ok(())
}

/// Prints what was done. Fails when nothing was.
fn tell_tally(tally: &LibraryTally) -> ExitCode {
    for fault in &tally.faulty {
        eprintln!("{fault}");
    }
    println!(
        "{} added, {} new versions, {} unchanged; {} files hold no workflow, {} cannot be read",
        tally.added,
        tally.renewed,
        tally.unchanged,
        tally.without,
        tally.faulty.len()
    );
    if tally.taken() > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The registered backend of this address, or a plain one.
async fn server_at(store: &Store, address: &Url) -> anyhow::Result<BackendConfig> {
    let name = address.host_str().unwrap_or("backend").to_owned();
    let plain = BackendConfig::new(&name, address.clone());
    let registered = store.backends().await?;
    Ok(registered
        .into_iter()
        .find(|backend| backend.id == plain.id || backend.url == *address)
        .unwrap_or(plain))
}

async fn pull(store: &Store, address: &Url, into: Option<String>) -> anyhow::Result<ExitCode> {
    let config = server_at(store, address).await?;
    let into = into.unwrap_or_else(|| config.name.replace('/', "_"));
    let tally = pull_into_library(store, &config, None, &into, now_ms()).await?;
    Ok(tell_tally(&tally))
}

async fn push(store: &Store, path: &str, address: &Url, replace: bool) -> anyhow::Result<()> {
    let entry = named(store, path).await?;
    let mode = if replace {
        SaveMode::Replace
    } else {
        SaveMode::KeepExisting
    };
    let config = server_at(store, address).await?;
    let file = push_from_library(store, entry.workflow_id, &config, mode)
        .await
        .with_context(|| format!("nothing was saved on {address} (--replace replaces)"))?;
    println!("Saved on {address} as {file}");
    Ok(())
}

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}
