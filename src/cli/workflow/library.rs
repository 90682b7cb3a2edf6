//! `workflow library …`: workflows kept for later.

use super::sources::{name_of, write_text};
use crate::cli::data_dir::data_dir;
use crate::engine::{database_path, library_workflow};
use crate::fleet::{BackendConfig, SaveMode, SavedWorkflows};
use crate::store::{LibraryChange, LibraryEntry, LibraryQuery, LibraryWorkflowId, Store};
use crate::workflow::{EmbeddedError, find_workflow, may_hold_workflow};
use anyhow::{Context as _, bail};
use clap::Subcommand;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};
use url::Url;

/// Deepest folder that an import goes into.
const MAX_DEPTH: usize = 32;
/// Most files that one import looks at.
const MAX_FILES: usize = 200_000;
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
    /// Put every workflow that was saved on a ComfyUI server into the library. What is there already becomes a new version where
    /// it differs.
    Pull {
        /// The server's address; how to say who we are is taken from the registered server of that address.
        #[arg(value_parser = crate::cli::parse_address)]
        server: Url,
        /// The folder of the library to put them into (default: the server's name).
        #[arg(long, value_name = "FOLDER")]
        into: Option<String>,
    },
    /// Save a workflow of the library on a ComfyUI server, where its editor lists it.
    Push {
        /// Its folder and name, as `list` shows them.
        path: String,
        /// The server's address; how to say who we are is taken from the registered server of that address.
        #[arg(value_parser = crate::cli::parse_address)]
        server: Url,
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
        LibraryCommand::Import { from, into } => return import(&store, &from, &into).await,
        LibraryCommand::Pull { server, into } => return pull(&store, &server, into).await,
        LibraryCommand::Push {
            path,
            server,
            replace,
        } => push(&store, &path, &server, replace).await?,
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

/// What an import did.
#[derive(Default)]
struct Tally {
    added: usize,
    renewed: usize,
    unchanged: usize,
    without: usize,
    faulty: Vec<String>,
}

impl Tally {
    fn count(&mut self, change: LibraryChange) {
        match change {
            LibraryChange::Added => self.added += 1,
            LibraryChange::NewVersion => self.renewed += 1,
            LibraryChange::Unchanged => self.unchanged += 1,
        }
    }

    /// Prints what was done. Fails when nothing was.
    fn tell(&self) -> ExitCode {
        for fault in &self.faulty {
            eprintln!("{fault}");
        }
        println!(
            "{} added, {} new versions, {} unchanged; {} files hold no workflow, {} cannot be read",
            self.added,
            self.renewed,
            self.unchanged,
            self.without,
            self.faulty.len()
        );
        if self.added + self.renewed + self.unchanged > 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

async fn import(store: &Store, from: &Path, into: &str) -> anyhow::Result<ExitCode> {
    let mut files = Vec::new();
    if from.is_dir() {
        gather(from, from, 0, &mut files)?;
    } else {
        files.push((from.to_path_buf(), String::new()));
    }
    files.sort();
    let mut stems: BTreeMap<PathBuf, usize> = BTreeMap::new();
    for (path, _) in &files {
        *stems.entry(path.with_extension("")).or_default() += 1;
    }
    let mut tally = Tally::default();
    for (path, folder) in files {
        let found = File::open(&path)
            .map_err(EmbeddedError::from)
            .and_then(|file| find_workflow(BufReader::new(file)));
        let found = match found {
            Ok(found) => found,
            // Most pictures hold none, and most JSON files are something else.
            Err(EmbeddedError::NoWorkflow { .. } | EmbeddedError::UnknownKind) => {
                tally.without += 1;
                continue;
            }
            Err(error) => {
                tally.faulty.push(format!("{}: {error}", name_of(&path)));
                continue;
            }
        };
        // `shot.png` and `shot.json` beside each other are two workflows, not two versions of one.
        let is_alone = stems.get(&path.with_extension("")) == Some(&1);
        let name = if is_alone {
            path.file_stem()
        } else {
            path.file_name()
        };
        let name = name.unwrap_or_default().to_string_lossy();
        let folder = format!("{into}/{folder}");
        let workflow = library_workflow(&folder, &name, &found.document, &found.text, now_ms());
        let (_, change) = store
            .put_in_library(workflow, LibraryWorkflowId::new_now())
            .await?;
        tally.count(change);
    }
    Ok(tally.tell())
}

/// The registered server of this address, or a plain one.
async fn server_at(store: &Store, address: &Url) -> anyhow::Result<BackendConfig> {
    let name = address.host_str().unwrap_or("server").to_owned();
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
    let saved = SavedWorkflows::of(&config)?;
    let mut tally = Tally::default();
    for path in saved.list().await? {
        let bytes = saved.read(&path).await?;
        let found = match find_workflow(std::io::Cursor::new(bytes)) {
            Ok(found) => found,
            Err(error) => {
                tally.faulty.push(format!("{path}: {error}"));
                continue;
            }
        };
        let (folder, file) = path.rsplit_once('/').unwrap_or(("", &path));
        let name = Path::new(file).file_stem().unwrap_or_default();
        let workflow = library_workflow(
            &format!("{into}/{folder}"),
            &name.to_string_lossy(),
            &found.document,
            &found.text,
            now_ms(),
        );
        let (_, change) = store
            .put_in_library(workflow, LibraryWorkflowId::new_now())
            .await?;
        tally.count(change);
    }
    Ok(tally.tell())
}

async fn push(store: &Store, path: &str, address: &Url, replace: bool) -> anyhow::Result<()> {
    let entry = named(store, path).await?;
    let text = store
        .library_text(entry.workflow_id, None)
        .await?
        .with_context(|| format!("{path} has no text"))?;
    let saved = SavedWorkflows::of(&server_at(store, address).await?)?;
    let mode = if replace {
        SaveMode::Replace
    } else {
        SaveMode::KeepExisting
    };
    let file = format!("{}.json", entry.path());
    saved.write(&file, &text, mode).await.with_context(|| {
        format!("{file} was not saved on {address}; --replace replaces one that is there")
    })?;
    println!("Saved on {address} as {file}");
    Ok(())
}

/// Every file below a folder that may hold a workflow, with its folder relative to the root. Links are not followed.
fn gather(
    root: &Path,
    folder: &Path,
    depth: usize,
    files: &mut Vec<(PathBuf, String)>,
) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(folder)
        .with_context(|| format!("cannot look into {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let kind = entry.file_type()?;
        let path = entry.path();
        if kind.is_dir() && depth < MAX_DEPTH {
            gather(root, &path, depth + 1, files)?;
        } else if kind.is_file() && may_hold(&path) {
            if files.len() >= MAX_FILES {
                bail!(
                    "{} has more than {MAX_FILES} files; import parts of it",
                    root.display()
                );
            }
            let below = folder.strip_prefix(root).unwrap_or(Path::new(""));
            files.push((path, below.to_string_lossy().into_owned()));
        }
    }
    Ok(())
}

fn may_hold(path: &Path) -> bool {
    path.extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(may_hold_workflow)
}

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}
