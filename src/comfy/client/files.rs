//! Files: fetch, upload, and the user's own.

use super::{Client, ComfyError, json, limits};
use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use reqwest::header::{
    CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, IF_RANGE, RANGE,
};
use reqwest::multipart::{Form, Part};
use reqwest::{Method, Response, StatusCode};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::timeout;

/// One of the server's three folders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FolderType {
    /// What loaders read.
    Input,
    /// What is kept.
    Output,
    /// Previews; emptied when the server starts.
    Temp,
}

impl FolderType {
    /// As ComfyUI writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
            Self::Temp => "temp",
        }
    }

    /// From what ComfyUI writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "input" => Some(Self::Input),
            "output" => Some(Self::Output),
            "temp" => Some(Self::Temp),
            _ => None,
        }
    }
}

/// A file on a server. Names come from the server: never use them as a local path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StoredFile {
    /// Its name.
    pub filename: String,
    /// Its folder below the folder type's root, empty at the top.
    pub subfolder: String,
    /// Which root.
    pub folder: FolderType,
}

impl StoredFile {
    /// How a loader's input names it: `in.png`, `sub/in.png`, `a.png [output]`.
    #[must_use]
    pub fn loader_value(&self) -> String {
        let mut value = String::new();
        if !self.subfolder.is_empty() {
            value.push_str(&self.subfolder);
            value.push('/');
        }
        value.push_str(&self.filename);
        if self.folder != FolderType::Input {
            value.push_str(" [");
            value.push_str(self.folder.as_str());
            value.push(']');
        }
        value
    }
}

impl fmt::Display for StoredFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.folder.as_str(), self.subfolder)?;
        if !self.subfolder.is_empty() {
            f.write_str("/")?;
        }
        f.write_str(&self.filename)
    }
}

/// A file to upload.
#[derive(Clone, Debug)]
pub struct Upload {
    /// The name it should have; the server may choose another.
    pub filename: String,
    /// Folder below the folder type's root, empty for the top.
    pub subfolder: String,
    /// Which root.
    pub folder: FolderType,
    /// Whether a file of that name is replaced. If not, and its content differs, the server chooses another name.
    pub overwrite: bool,
    /// Its content.
    pub content: UploadContent,
}

/// Content to upload.
#[derive(Clone, Debug)]
pub enum UploadContent {
    /// From memory.
    Bytes(Bytes),
    /// From a local file, streamed.
    File(PathBuf),
}

/// A file on its way here, chunk by chunk. The whole may not exceed the limit given to [`Client::view`].
#[derive(Debug)]
pub struct Download {
    response: Response,
    url: String,
    request: String,
    what: String,
    limit_bytes: u64,
    /// Where in the file the chunks begin. 0 although another offset was asked for when the server cannot resume, or the
    /// file changed meanwhile: then drop what you have.
    pub start: u64,
    /// The file's full size in bytes, when the server says so.
    pub total_bytes: Option<u64>,
    /// What the server takes it for, for example `image/png`.
    pub content_type: String,
    /// The file's version by the server; hand it to [`Client::view`] when resuming.
    pub etag: Option<String>,
    received_bytes: u64,
}

impl Download {
    /// The next chunk; none at the end.
    ///
    /// # Errors
    /// [`ComfyError::TooLarge`] past the limit, [`ComfyError::TimedOut`] after [`limits::CHUNK_TIMEOUT`] of silence,
    /// [`ComfyError::Broken`] when the connection ends early: resume from `start` plus what came.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ComfyError> {
        let chunk = timeout(limits::CHUNK_TIMEOUT, self.response.chunk())
            .await
            .map_err(|_| ComfyError::TimedOut {
                url: self.url.clone(),
                request: self.request.clone(),
                timeout_s: limits::CHUNK_TIMEOUT.as_secs(),
            })?
            .map_err(|error| ComfyError::Broken {
                url: self.url.clone(),
                request: self.request.clone(),
                reason: super::innermost(&error),
            })?;
        if let Some(chunk) = &chunk {
            self.received_bytes += chunk.len() as u64;
            if self.start + self.received_bytes > self.limit_bytes {
                return Err(self.too_large());
            }
        }
        Ok(chunk)
    }

    /// All chunks in one.
    pub async fn bytes(mut self) -> Result<Bytes, ComfyError> {
        let mut all = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            all.extend_from_slice(&chunk);
        }
        Ok(all.freeze())
    }

    /// The chunks as a stream; ends after the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, ComfyError>> + Send {
        futures_util::stream::try_unfold(self, |mut download| async move {
            Ok(download.chunk().await?.map(|chunk| (chunk, download)))
        })
    }

    fn too_large(&self) -> ComfyError {
        ComfyError::TooLarge {
            url: self.url.clone(),
            what: self.what.clone(),
            limit_bytes: self.limit_bytes,
        }
    }
}

/// What a server says of a file without sending it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileState {
    /// The file's version by the server. ComfyUI makes it of the time of the last change in nanoseconds and the size
    /// (aiohttp's `FileResponse`), so it changes with every writing of the file.
    pub etag: Option<String>,
    /// Its size in bytes.
    pub byte_len: Option<u64>,
}

/// A file of the server's user folder.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct UserFile {
    /// Its path below the listed folder, with `/`.
    pub path: String,
    /// Size in bytes.
    #[serde(default, rename = "size", deserialize_with = "json::count")]
    pub size_bytes: u64,
    /// When it was changed: Unix time, in the server's unit (seconds before about 0.3.50, milliseconds since).
    #[serde(default, deserialize_with = "json::number")]
    pub modified: f64,
}

/// Whether writing a user file may replace one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserFileWrite {
    /// Only a new file; [`ComfyError::status`] is 409 when it exists.
    Create,
    /// Replace it if it exists.
    Overwrite,
}

#[derive(Deserialize)]
struct WireUploaded {
    name: String,
    #[serde(default)]
    subfolder: String,
    #[serde(default, rename = "type")]
    folder: String,
}

impl Client {
    /// Fetches a file, chunk by chunk, up to `limit_bytes` in all. To resume a broken download, give the number of bytes
    /// that are here as `offset` and the [`Download::etag`] of before, and look at [`Download::start`].
    ///
    /// # Errors
    /// [`ComfyError::Missing`] when it is not there: a fully cached run can name files that were deleted since.
    pub async fn view(
        &self,
        file: &StoredFile,
        offset: u64,
        etag: Option<&str>,
        limit_bytes: u64,
    ) -> Result<Download, ComfyError> {
        let mut request = self.get(&["view"]);
        request.builder = request.builder.query(&names_of(file));
        if offset > 0 {
            request.builder = request.builder.header(RANGE, format!("bytes={offset}-"));
            if let Some(etag) = etag {
                request.builder = request.builder.header(IF_RANGE, etag);
            }
        }
        // No total time: a large file over a slow line is legitimate. Silence is what is limited.
        let name = request.name.clone();
        let response = timeout(limits::CHUNK_TIMEOUT, request.builder.send())
            .await
            .map_err(|_| ComfyError::TimedOut {
                url: self.endpoint.to_string(),
                request: name.clone(),
                timeout_s: limits::CHUNK_TIMEOUT.as_secs(),
            })?
            .map_err(|error| self.transport(&name, limits::CHUNK_TIMEOUT, &error))?;
        if !response.status().is_success() {
            let error = self.refusal(name, response).await;
            return Err(self.missing(error, || format!("file {file}")));
        }
        let header = |name| header_text(response.headers(), name);
        let content_type = header(CONTENT_TYPE).unwrap_or_default();
        let etag = header(ETAG).filter(|etag| etag.len() <= limits::ETAG_BYTES);
        let (start, total_bytes) = if response.status() == StatusCode::PARTIAL_CONTENT {
            content_range(&header(CONTENT_RANGE).unwrap_or_default()).ok_or_else(|| {
                ComfyError::Malformed {
                    url: self.endpoint.to_string(),
                    request: name.clone(),
                    reason: "a partial answer that does not say which part it is".to_owned(),
                }
            })?
        } else {
            (0, response.content_length())
        };
        let download = Download {
            response,
            url: self.endpoint.to_string(),
            request: name,
            what: format!("file {file}"),
            limit_bytes,
            start,
            total_bytes,
            content_type,
            etag,
            received_bytes: 0,
        };
        if download
            .total_bytes
            .is_some_and(|total| total > limit_bytes)
        {
            return Err(download.too_large());
        }
        Ok(download)
    }

    /// Asks whether a file is there, and in which version. Sends no content.
    ///
    /// # Errors
    /// [`ComfyError::Missing`] when it is not there.
    pub async fn file_state(&self, file: &StoredFile) -> Result<FileState, ComfyError> {
        let mut request = self.request(Method::HEAD, &["view"]);
        request.builder = request.builder.query(&names_of(file));
        let response = self
            .send(request)
            .await
            .map_err(|error| self.missing(error, || format!("file {file}")))?;
        let header = |name| header_text(response.headers(), name);
        Ok(FileState {
            etag: header(ETAG).filter(|etag| etag.len() <= limits::ETAG_BYTES),
            byte_len: header(CONTENT_LENGTH).and_then(|length| length.parse().ok()),
        })
    }

    /// Uploads a file of any type. Use the name in the answer, not the one sent.
    ///
    /// # Errors
    /// [`ComfyError::TooLarge`] when the server would not take it; [`ComfyError::BadRequest`] for a name with a folder in it.
    pub async fn upload_image(&self, upload: Upload) -> Result<StoredFile, ComfyError> {
        self.upload("image", upload, None).await
    }

    /// Puts the alpha channel of the uploaded picture on the picture `original`, which is on the server already.
    pub async fn upload_mask(
        &self,
        upload: Upload,
        original: &StoredFile,
    ) -> Result<StoredFile, ComfyError> {
        let reference = serde_json::json!({
            "filename": original.filename,
            "subfolder": original.subfolder,
            "type": original.folder.as_str(),
        });
        self.upload("mask", upload, Some(reference.to_string()))
            .await
    }

    async fn upload(
        &self,
        page: &str,
        upload: Upload,
        original_ref: Option<String>,
    ) -> Result<StoredFile, ComfyError> {
        if upload.filename.is_empty() || upload.filename.contains(['/', '\\', '\0']) {
            return Err(ComfyError::BadRequest {
                reason: format!(
                    "cannot upload a file under the name {:?}: give a plain file name and put folders into the subfolder",
                    upload.filename
                ),
            });
        }
        let local = |path: &PathBuf, source| ComfyError::LocalFile {
            path: path.clone(),
            source,
        };
        let (part, size_bytes) = match &upload.content {
            UploadContent::Bytes(bytes) => {
                let size = bytes.len() as u64;
                (Part::stream_with_length(bytes.clone(), size), size)
            }
            UploadContent::File(path) => {
                let file = tokio::fs::File::open(path)
                    .await
                    .map_err(|error| local(path, error))?;
                let size = file
                    .metadata()
                    .await
                    .map_err(|error| local(path, error))?
                    .len();
                let stream = tokio_util::io::ReaderStream::new(file);
                let body = reqwest::Body::wrap_stream(stream);
                (Part::stream_with_length(body, size), size)
            }
        };
        // A server that refuses by size hangs up in the middle of the body, which looks like a broken line. So ask first.
        if size_bytes >= limits::CHECK_UPLOAD_LIMIT_BYTES
            && let Some(limit_bytes) = self.features().await?.max_upload_bytes
            && size_bytes > limit_bytes
        {
            return Err(ComfyError::TooLarge {
                url: self.endpoint.to_string(),
                what: format!("{} for an upload to {page}s", upload.filename),
                limit_bytes,
            });
        }
        let mut form = Form::new()
            .part("image", part.file_name(upload.filename.clone()))
            .text("type", upload.folder.as_str())
            .text("subfolder", upload.subfolder);
        if upload.overwrite {
            form = form.text("overwrite", "true");
        }
        if let Some(reference) = original_ref {
            form = form.text("original_ref", reference);
        }
        let mut request = self.request(Method::POST, &["upload", page]);
        request.builder = request.builder.multipart(form);
        request.timeout = limits::UPLOAD_TIMEOUT
            + Duration::from_secs(size_bytes / limits::SLOWEST_UPLOAD_BYTES_PER_S);
        let name = request.name.clone();
        let stored: WireUploaded = self.json(request).await?;
        if stored.name.is_empty() {
            return Err(ComfyError::Malformed {
                url: self.endpoint.to_string(),
                request: name,
                reason: "it gives no name for the stored file".to_owned(),
            });
        }
        Ok(StoredFile {
            filename: stored.name,
            subfolder: stored.subfolder,
            folder: FolderType::parse(&stored.folder).unwrap_or(upload.folder),
        })
    }

    /// Files below a folder of the server's user folder, for example `workflows`. Empty when the folder does not exist.
    pub async fn userdata_list(&self, folder: &str) -> Result<Vec<UserFile>, ComfyError> {
        let mut request = self.get(&["userdata"]);
        request.builder =
            request
                .builder
                .query(&[("dir", folder), ("recurse", "true"), ("full_info", "true")]);
        match self.json(request).await {
            Err(ComfyError::Status { status: 404, .. }) => Ok(Vec::new()),
            other => other,
        }
    }

    /// A file of the server's user folder, for example `workflows/a.json`.
    pub async fn userdata_get(&self, path: &str) -> Result<Bytes, ComfyError> {
        let request = self.get(&["userdata", path]);
        let (name, limit) = (request.name.clone(), request.timeout);
        let response = self
            .send(request)
            .await
            .map_err(|error| self.missing(error, || format!("user file {path}")))?;
        self.body(&name, response, limit, limits::USER_FILE_BYTES)
            .await
    }

    /// Writes a file of the server's user folder.
    pub async fn userdata_put(
        &self,
        path: &str,
        content: Bytes,
        write: UserFileWrite,
    ) -> Result<(), ComfyError> {
        let mut request = self.request(Method::POST, &["userdata", path]);
        request.builder = request
            .builder
            .query(&[("overwrite", write == UserFileWrite::Overwrite)])
            .body(content);
        self.send_only(request).await
    }

    /// Deletes a file of the server's user folder.
    pub async fn userdata_delete(&self, path: &str) -> Result<(), ComfyError> {
        self.send_only(self.request(Method::DELETE, &["userdata", path]))
            .await
            .map_err(|error| self.missing(error, || format!("user file {path}")))
    }
}

/// How a file is named in a query.
fn names_of(file: &StoredFile) -> [(&'static str, &str); 3] {
    [
        ("filename", file.filename.as_str()),
        ("subfolder", file.subfolder.as_str()),
        ("type", file.folder.as_str()),
    ]
}

fn header_text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned)
}

/// Start and full size from `bytes 100-199/1234` (size `*` when unknown).
fn content_range(header: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = header.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.parse().ok()?, total.parse().ok()))
}
