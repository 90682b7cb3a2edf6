//! Files given on the command line, and what is known of node classes.

use super::ClassArguments;
use crate::cli::backend::unregistered;
use crate::cli::data_dir::data_dir;
use crate::fleet;
use crate::store::Store;
use crate::workflow::{
    Embedded, EmbeddedWorkflow, MAX_TEXT_BYTES, ObjectInfo, Sketch, WorkflowDocument, sketch,
};
use anyhow::{Context as _, bail};
use std::fs::File;
use std::io::{BufReader, Cursor, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// Everything a file says in texts; `-` is standard input.
pub(in crate::cli) fn read_embedded(path: &Path) -> anyhow::Result<Embedded> {
    let embedded = if path == Path::new("-") {
        let mut bytes = Vec::new();
        // A stream cannot be stepped over, so what comes from there must fit into memory.
        let limit = 4 * MAX_TEXT_BYTES as u64;
        std::io::stdin().take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            bail!("standard input gave more than {limit} bytes; name the file instead");
        }
        Embedded::read(Cursor::new(bytes))
    } else {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        Embedded::read(BufReader::new(file))
    };
    embedded.with_context(|| name_of(path))
}

/// The workflow in a file.
pub(in crate::cli) fn read_workflow(path: &Path) -> anyhow::Result<EmbeddedWorkflow> {
    read_embedded(path)?
        .document()
        .with_context(|| name_of(path))
}

/// The name of a file in a message.
pub(super) fn name_of(path: &Path) -> String {
    if path == Path::new("-") {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    }
}

/// What is known of node classes: of the file or backend named, else of every backend that was ever seen.
pub(in crate::cli) async fn known_classes(
    asked_dir: Option<PathBuf>,
    arguments: &ClassArguments,
) -> anyhow::Result<Option<ObjectInfo>> {
    if let Some(path) = &arguments.object_info {
        let bytes =
            std::fs::read(path).with_context(|| format!("cannot open {}", path.display()))?;
        let object_info = ObjectInfo::parse(&bytes).with_context(|| path.display().to_string())?;
        return Ok(Some(object_info));
    }
    if let Some(url) = &arguments.backend {
        // A registered one is asked in the way it is registered.
        let registered = match open_store(asked_dir)? {
            Some(store) => store.backends().await?,
            None => Vec::new(),
        };
        let config = registered
            .into_iter()
            .find(|config| config.url == *url)
            .unwrap_or_else(|| unregistered(url.clone()));
        return Ok(Some(fleet::capabilities(&config).await?.object_info));
    }
    remembered_classes(asked_dir).await
}

/// What every backend that was ever seen said of its node classes. Opens no database that is not there.
pub(in crate::cli) async fn remembered_classes(
    asked_dir: Option<PathBuf>,
) -> anyhow::Result<Option<ObjectInfo>> {
    let Some(store) = open_store(asked_dir)? else {
        return Ok(None);
    };
    Ok(crate::engine::remembered_object_info(&store).await?)
}

/// The database, if there is one.
pub(super) fn open_store(asked_dir: Option<PathBuf>) -> anyhow::Result<Option<Store>> {
    let path = crate::engine::database_path(&data_dir(asked_dir)?);
    Ok(if path.exists() {
        Some(Store::open(&path)?)
    } else {
        None
    })
}

/// A workflow as a prompt, as far as its classes are known.
pub(super) fn sketch_of(
    path: &Path,
    document: &WorkflowDocument,
    object_info: Option<&ObjectInfo>,
) -> anyhow::Result<Sketch> {
    sketch(document, object_info).with_context(|| name_of(path))
}

/// Writes a text to a file beside its place and renames it, or to standard output.
pub(super) fn write_text(out: Option<&Path>, text: &str) -> anyhow::Result<()> {
    let Some(path) = out.filter(|path| *path != Path::new("-")) else {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        return Ok(());
    };
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    // As any program's new file: the user's umask decides who may read it.
    #[cfg(unix)]
    let permissions = {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::Permissions::from_mode(0o666)
    };
    #[cfg(unix)]
    builder.permissions(permissions);
    let mut file = builder
        .tempfile_in(folder)
        .with_context(|| format!("cannot write into {}", folder.display()))?;
    file.write_all(text.as_bytes())?;
    file.persist(path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}
