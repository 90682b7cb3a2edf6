//! The library: workflows kept for later, in folders, with tags, earlier versions and words to find them by.

use super::Store;
use super::error::StoreError;
use super::worker::CallError;
use crate::artifacts::ContentHash;
use crate::project::id::id_type;
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use rusqlite::{Connection, OptionalExtension as _, Row, params, params_from_iter};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::{Read as _, Write as _};
use std::str::FromStr;
use uuid::Uuid;

/// Versions of a workflow that are kept; the oldest go first.
pub const MAX_LIBRARY_VERSIONS: u32 = 50;
/// Bytes that a workflow is found by.
const MAX_WORDS_BYTES: usize = 256 * 1024;
/// Largest workflow that is unpacked.
const MAX_UNPACKED_BYTES: u64 = 64 * 1024 * 1024;
/// Words of one search.
const MAX_SEARCH_WORDS: usize = 32;

id_type!(
    /// A workflow of the library. Stays the same through new versions, moves and renames.
    LibraryWorkflowId
);

/// A workflow to be put into the library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLibraryWorkflow {
    /// Its folder: names between `/`, empty for the top.
    pub folder: String,
    /// Its name, unique in the folder.
    pub name: String,
    /// The file, byte for byte.
    pub text: String,
    /// The prompt that ComfyUI's own page made of it, when it was saved from there.
    pub page_prompt: Option<String>,
    /// What it is found by besides its place and tags: titles, classes, models, prompt texts.
    pub words: String,
    /// Unix time in milliseconds now.
    pub added_ms: u64,
}

/// What putting a workflow into the library did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LibraryChange {
    /// There was none of that name in the folder.
    Added,
    /// It is a new version of the one that was there.
    NewVersion,
    /// It is what was there.
    Unchanged,
}

/// A workflow of the library, for lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LibraryEntry {
    /// Its identity.
    pub workflow_id: LibraryWorkflowId,
    /// Its folder: names between `/`, empty for the top.
    pub folder: String,
    /// Its name.
    pub name: String,
    /// Its tags, sorted.
    pub tags: Vec<String>,
    /// Number of its present version, from 1.
    pub version: u32,
    /// Unix time in milliseconds when the present version was put in.
    pub added_ms: u64,
    /// A picture that shows what it makes: the one that a person chose, else the last that it made in a run here, in whichever
    /// project and version.
    pub thumbnail: Option<ContentHash>,
}

impl LibraryEntry {
    /// Folder and name with `/` between them.
    #[must_use]
    pub fn path(&self) -> String {
        if self.folder.is_empty() {
            self.name.clone()
        } else {
            format!("{}/{}", self.folder, self.name)
        }
    }
}

/// What is looked for in the library. Everything given must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LibraryQuery {
    /// Words, or parts of words: each is somewhere in place, tags, titles, classes, models or prompt texts.
    pub words: String,
    /// A tag it has.
    pub tag: Option<String>,
    /// The folder it is in, or below.
    pub folder: Option<String>,
}

/// A workflow as it was put into the library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LibraryFile {
    /// The file, byte for byte.
    pub text: String,
    /// The prompt that ComfyUI's own page made of it, when it was saved from there.
    pub page_prompt: Option<String>,
}

/// An earlier or the present version of a workflow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LibraryVersion {
    /// Its number, from 1.
    pub number: u32,
    /// Unix time in milliseconds when it was put in.
    pub added_ms: u64,
}

fn unreadable(error: impl ToString) -> StoreError {
    StoreError::unreadable("a workflow of the library", error)
}

fn packed(text: &str) -> Result<Vec<u8>, CallError> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    let packed = encoder
        .write_all(text.as_bytes())
        .and_then(|()| encoder.finish());
    Ok(packed.map_err(unreadable)?)
}

/// A folder in its one form: no empty names, no spaces around them.
fn tidy_folder(folder: &str) -> String {
    let names: Vec<&str> = folder
        .split(['/', '\\'])
        .map(str::trim)
        .filter(|name| !name.is_empty() && *name != "." && *name != "..")
        .collect();
    names.join("/")
}

fn words_of(folder: &str, name: &str, words: &str) -> String {
    let mut all = format!("{folder} {name} {words}").to_lowercase();
    all.truncate(all.floor_char_boundary(MAX_WORDS_BYTES));
    all
}

pub(super) fn put(
    connection: &mut Connection,
    workflow: &NewLibraryWorkflow,
    fresh: LibraryWorkflowId,
) -> Result<(LibraryWorkflowId, LibraryChange), CallError> {
    let folder = tidy_folder(&workflow.folder);
    let words = words_of(&folder, &workflow.name, &workflow.words);
    let hash = ContentHash::of(workflow.text.as_bytes()).to_string();
    let transaction = connection.transaction()?;
    let known: Option<String> = transaction
        .query_row(
            "SELECT workflow_id FROM library_workflows WHERE folder = ?1 AND name = ?2",
            [&folder, &workflow.name],
            |row| row.get(0),
        )
        .optional()?;
    let workflow_id = match known {
        Some(text) => parse_id(&text)?,
        None => fresh,
    };
    let id = workflow_id.to_string();
    let present: Option<(u32, String)> = transaction
        .query_row(
            "SELECT number, hash FROM library_versions WHERE workflow_id = ?1 ORDER BY number DESC LIMIT 1",
            [&id],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    let change = match &present {
        None => LibraryChange::Added,
        Some((_, present)) if *present == hash => LibraryChange::Unchanged,
        Some(_) => LibraryChange::NewVersion,
    };
    transaction.execute(
        "INSERT INTO library_workflows (workflow_id, folder, name, words) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (workflow_id) DO UPDATE SET words = ?4",
        [&id, &folder, &workflow.name, &words],
    )?;
    let packed_prompt = workflow.page_prompt.as_deref().map(packed).transpose()?;
    if change == LibraryChange::Unchanged {
        // The page has seen this very text now, perhaps for the first time.
        if let Some(packed_prompt) = packed_prompt {
            transaction.execute(
                "UPDATE library_versions SET packed_prompt = ?2 WHERE workflow_id = ?1
                 AND number = (SELECT max(number) FROM library_versions WHERE workflow_id = ?1)",
                params![id, packed_prompt],
            )?;
        }
    } else {
        let number = present.map_or(1, |(number, _)| number + 1);
        transaction.execute(
            "INSERT INTO library_versions (workflow_id, number, added_ms, hash, packed, packed_prompt)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![id, number, workflow.added_ms as i64, hash, packed(&workflow.text)?, packed_prompt],
        )?;
        transaction.execute(
            "DELETE FROM library_versions WHERE workflow_id = ?1 AND number + ?2 <= ?3",
            params![id, MAX_LIBRARY_VERSIONS, number],
        )?;
    }
    transaction.commit()?;
    Ok((workflow_id, change))
}

fn parse_id(text: &str) -> Result<LibraryWorkflowId, StoreError> {
    text.parse().map_err(unreadable)
}

fn entry(row: &Row<'_>) -> Result<LibraryEntry, CallError> {
    let tags: Option<String> = row.get(5)?;
    let thumbnail: Option<String> = row.get(6)?;
    Ok(LibraryEntry {
        workflow_id: parse_id(&row.get::<_, String>(0)?)?,
        folder: row.get(1)?,
        name: row.get(2)?,
        version: row.get(3)?,
        added_ms: row.get::<_, i64>(4)? as u64,
        tags: tags
            .map(|tags| tags.split('\n').map(str::to_owned).collect())
            .unwrap_or_default(),
        thumbnail: thumbnail
            .map(|hash| hash.parse().map_err(unreadable))
            .transpose()?,
    })
}

pub(super) fn find(
    connection: &Connection,
    query: &LibraryQuery,
) -> Result<Vec<LibraryEntry>, CallError> {
    let mut sql = "SELECT workflow_id, folder, name,
            (SELECT max(number) FROM library_versions AS v WHERE v.workflow_id = w.workflow_id),
            (SELECT max(added_ms) FROM library_versions AS v WHERE v.workflow_id = w.workflow_id),
            (SELECT group_concat(tag, char(10)) FROM (SELECT tag FROM library_tags AS t
                WHERE t.workflow_id = w.workflow_id ORDER BY tag)),
            coalesce(thumbnail, (SELECT artifact FROM library_versions AS v
                JOIN workflow_pictures AS p ON p.workflow = v.hash
                WHERE v.workflow_id = w.workflow_id ORDER BY p.made_ms DESC LIMIT 1))
         FROM library_workflows AS w WHERE true"
        .to_owned();
    let mut values: Vec<String> = Vec::new();
    for word in query.words.split_whitespace().take(MAX_SEARCH_WORDS) {
        values.push(word.to_lowercase());
        sql.push_str(
            " AND (instr(words, ?) > 0 OR EXISTS (SELECT 1 FROM library_tags AS t
                WHERE t.workflow_id = w.workflow_id AND instr(lower(t.tag), ?) > 0))",
        );
        values.push(word.to_lowercase());
    }
    if let Some(tag) = &query.tag {
        sql.push_str(
            " AND EXISTS (SELECT 1 FROM library_tags AS t WHERE t.workflow_id = w.workflow_id AND t.tag = ?)",
        );
        values.push(tag.clone());
    }
    if let Some(folder) = query.folder.as_deref().map(tidy_folder)
        && !folder.is_empty()
    {
        sql.push_str(" AND (folder = ? OR substr(folder, 1, length(?) + 1) = ? || '/')");
        values.extend([folder.clone(), folder.clone(), folder]);
    }
    sql.push_str(" ORDER BY folder COLLATE NOCASE, folder, name COLLATE NOCASE, name");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(entry(row)?);
    }
    Ok(found)
}

fn unpacked(packed: &[u8]) -> Result<String, CallError> {
    let mut text = String::new();
    ZlibDecoder::new(packed)
        .take(MAX_UNPACKED_BYTES)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    Ok(text)
}

pub(super) fn file(
    connection: &Connection,
    workflow_id: LibraryWorkflowId,
    version: Option<u32>,
) -> Result<Option<LibraryFile>, CallError> {
    let packed: Option<(Vec<u8>, Option<Vec<u8>>)> = connection
        .prepare_cached(
            "SELECT packed, packed_prompt FROM library_versions
             WHERE workflow_id = ?1 AND (?2 IS NULL OR number = ?2) ORDER BY number DESC LIMIT 1",
        )?
        .query_row(params![workflow_id.to_string(), version], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    packed
        .map(|(text, page_prompt)| {
            Ok(LibraryFile {
                text: unpacked(&text)?,
                page_prompt: page_prompt.as_deref().map(unpacked).transpose()?,
            })
        })
        .transpose()
}

/// The workflow of which a version has this very text; the one it was put into last when there are several.
pub(super) fn holding(
    connection: &Connection,
    text: &str,
) -> Result<Option<LibraryEntry>, CallError> {
    let hash = ContentHash::of(text.as_bytes()).to_string();
    let workflow_id: Option<String> = connection
        .prepare_cached(
            "SELECT workflow_id FROM library_versions WHERE hash = ?1 ORDER BY added_ms DESC LIMIT 1",
        )?
        .query_row([hash], |row| row.get(0))
        .optional()?;
    let Some(workflow_id) = workflow_id else {
        return Ok(None);
    };
    one(connection, parse_id(&workflow_id)?)
}

/// The workflow of this id.
pub(super) fn one(
    connection: &Connection,
    workflow_id: LibraryWorkflowId,
) -> Result<Option<LibraryEntry>, CallError> {
    let entries = find(connection, &LibraryQuery::default())?;
    Ok(entries
        .into_iter()
        .find(|entry| entry.workflow_id == workflow_id))
}

pub(super) fn versions(
    connection: &Connection,
    workflow_id: LibraryWorkflowId,
) -> Result<Vec<LibraryVersion>, CallError> {
    let mut statement = connection.prepare_cached(
        "SELECT number, added_ms FROM library_versions WHERE workflow_id = ?1 ORDER BY number DESC",
    )?;
    let rows = statement.query_map([workflow_id.to_string()], |row| {
        Ok(LibraryVersion {
            number: row.get(0)?,
            added_ms: row.get::<_, i64>(1)? as u64,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn set_tags(
    connection: &mut Connection,
    workflow_id: LibraryWorkflowId,
    tags: &[String],
) -> Result<bool, CallError> {
    let id = workflow_id.to_string();
    let transaction = connection.transaction()?;
    let is_there = transaction
        .prepare("SELECT 1 FROM library_workflows WHERE workflow_id = ?1")?
        .exists([&id])?;
    if is_there {
        transaction.execute("DELETE FROM library_tags WHERE workflow_id = ?1", [&id])?;
        for tag in tags {
            // A line break would be taken for the end of the tag.
            let tag = tag.replace(['\n', '\r'], " ");
            let tag = tag.trim();
            if !tag.is_empty() {
                transaction.execute(
                    "INSERT INTO library_tags (workflow_id, tag) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
                    [&id, tag],
                )?;
            }
        }
        transaction.commit()?;
    }
    Ok(is_there)
}

/// Moves or renames. False when another has that place, or when there is none of that id.
pub(super) fn relocate(
    connection: &Connection,
    workflow_id: LibraryWorkflowId,
    folder: &str,
    name: &str,
) -> Result<bool, CallError> {
    let folder = tidy_folder(folder);
    // The words begin with the place, which may stay in them: it was there once.
    let place = format!("{folder} {name} ").to_lowercase();
    let changed = connection.execute(
        "UPDATE OR IGNORE library_workflows SET folder = ?2, name = ?3, words = ?4 || words WHERE workflow_id = ?1",
        [&workflow_id.to_string(), &folder, name, &place],
    )?;
    Ok(changed > 0)
}

pub(super) fn set_thumbnail(
    connection: &Connection,
    workflow_id: LibraryWorkflowId,
    thumbnail: Option<ContentHash>,
) -> Result<bool, CallError> {
    let changed = connection.execute(
        "UPDATE library_workflows SET thumbnail = ?2 WHERE workflow_id = ?1",
        params![
            workflow_id.to_string(),
            thumbnail.map(|hash| hash.to_string())
        ],
    )?;
    Ok(changed > 0)
}

pub(super) fn remove(
    connection: &Connection,
    workflow_id: LibraryWorkflowId,
) -> Result<bool, CallError> {
    let removed = connection.execute(
        "DELETE FROM library_workflows WHERE workflow_id = ?1",
        [workflow_id.to_string()],
    )?;
    Ok(removed > 0)
}

impl Store {
    /// Puts a workflow into the library: a new one, or a new version of the one of that name in that folder. `fresh` becomes
    /// its id when it is new.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn put_in_library(
        &self,
        workflow: NewLibraryWorkflow,
        fresh: LibraryWorkflowId,
    ) -> Result<(LibraryWorkflowId, LibraryChange), StoreError> {
        self.writer
            .call(move |connection| put(connection, &workflow, fresh))
            .await
    }

    /// The workflows of the library that fit, by folder and name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn library(&self, query: LibraryQuery) -> Result<Vec<LibraryEntry>, StoreError> {
        self.reader
            .call(move |connection| find(connection, &query))
            .await
    }

    /// The file of a workflow byte for byte, of its present version or of another; none when it is not there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn library_text(
        &self,
        workflow_id: LibraryWorkflowId,
        version: Option<u32>,
    ) -> Result<Option<String>, StoreError> {
        let file = self.library_file(workflow_id, version).await?;
        Ok(file.map(|file| file.text))
    }

    /// A workflow with what ComfyUI's page made of it, of its present version or of another; none when it is not there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn library_file(
        &self,
        workflow_id: LibraryWorkflowId,
        version: Option<u32>,
    ) -> Result<Option<LibraryFile>, StoreError> {
        self.reader
            .call(move |connection| file(connection, workflow_id, version))
            .await
    }

    /// A workflow by its id; none when it is not there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn library_entry(
        &self,
        workflow_id: LibraryWorkflowId,
    ) -> Result<Option<LibraryEntry>, StoreError> {
        self.reader
            .call(move |connection| one(connection, workflow_id))
            .await
    }

    /// The workflow of which a version has this very text; the one it was put into last when there are several.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn library_holding(
        &self,
        text: std::sync::Arc<str>,
    ) -> Result<Option<LibraryEntry>, StoreError> {
        self.reader
            .call(move |connection| holding(connection, &text))
            .await
    }

    /// The versions of a workflow that are kept, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn library_versions(
        &self,
        workflow_id: LibraryWorkflowId,
    ) -> Result<Vec<LibraryVersion>, StoreError> {
        self.reader
            .call(move |connection| versions(connection, workflow_id))
            .await
    }

    /// Gives a workflow these tags in place of those it has. False when it is not there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn set_library_tags(
        &self,
        workflow_id: LibraryWorkflowId,
        tags: Vec<String>,
    ) -> Result<bool, StoreError> {
        self.writer
            .call(move |connection| set_tags(connection, workflow_id, &tags))
            .await
    }

    /// Moves or renames a workflow. False when it is not there, or another has that place.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn relocate_in_library(
        &self,
        workflow_id: LibraryWorkflowId,
        folder: &str,
        name: &str,
    ) -> Result<bool, StoreError> {
        let (folder, name) = (folder.to_owned(), name.to_owned());
        self.writer
            .call(move |connection| relocate(connection, workflow_id, &folder, &name))
            .await
    }

    /// Sets the picture that shows what a workflow makes; with none, it is the last that it made. False when it is not
    /// there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn set_library_thumbnail(
        &self,
        workflow_id: LibraryWorkflowId,
        thumbnail: Option<ContentHash>,
    ) -> Result<bool, StoreError> {
        self.writer
            .call(move |connection| set_thumbnail(connection, workflow_id, thumbnail))
            .await
    }

    /// Takes a workflow out of the library, with all its versions. False when it was not there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn remove_from_library(
        &self,
        workflow_id: LibraryWorkflowId,
    ) -> Result<bool, StoreError> {
        self.writer
            .call(move |connection| remove(connection, workflow_id))
            .await
    }
}
