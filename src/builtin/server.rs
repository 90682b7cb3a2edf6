//! Starting, serving and ending one built-in backend.

use std::{
    collections::HashMap,
    fs::File,
    future::Future,
    io,
    net::SocketAddr,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    thread,
};

use axum::serve::Listener;
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{execute, folders::Folders, host::Host, http, options::ServerOptions};

/// Why a built-in backend could not start or go on.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}: {source}; choose another port or end what listens there")]
    Bind {
        /// The wanted address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The data folder cannot be made or emptied.
    #[error("cannot prepare the data folder {}: {source}; choose a folder that can be written", folder.display())]
    DataFolder {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file for the ids of prompts cannot be written.
    #[error("cannot write {}: {source}; choose a file that can be written", file.display())]
    PostsFile {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The worker thread could not be started.
    #[error("cannot start the worker thread: {0}")]
    Worker(io::Error),
    /// Accepting connections failed.
    #[error("the server on {address} ended: {source}")]
    Serve {
        /// Where it listened.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A node ended the server on purpose, as a crashing ComfyUI process would end.
    #[error("a node ended the server on {address}, as it was asked to")]
    EndedByNode {
        /// Where it listened.
        address: SocketAddr,
    },
}

/// A built-in backend that listens; [`Server::serve`] makes it answer.
pub struct Server {
    host: Arc<Host>,
    listener: TcpListener,
    address: SocketAddr,
}

/// A line to a running server, for tests and for whoever started it.
#[derive(Clone)]
pub struct ServerHandle {
    host: Arc<Host>,
}

impl ServerHandle {
    /// How often each prompt id was POSTed to `/prompt`, accepted or not. Ids that the server chose are included.
    #[must_use]
    pub fn posts_by_prompt_id(&self) -> HashMap<String, u64> {
        self.host.posts()
    }

    /// Takes a node class away, as a ComfyUI lacks it that was started again without the custom node that brings it. Whoever
    /// read the list of classes before does not know.
    pub fn remove_class(&self, name: &str) {
        self.host.remove_class(name);
    }

    /// Ends the server as a killed process ends: connections are cut without a close frame, the running prompt is
    /// dropped, queue and history are gone.
    pub fn stop_abruptly(&self) {
        self.host.stop();
    }
}

impl Server {
    /// Prepares the data folder and listens.
    pub async fn bind(options: ServerOptions) -> Result<Self, ServerError> {
        let folder_error = |source| ServerError::DataFolder {
            folder: options.data_dir.clone(),
            source,
        };
        let bind_error = |source| ServerError::Bind {
            address: options.address,
            source,
        };
        // Listen first: a second server on the same folder must not empty the temp folder of the first.
        let listener = TcpListener::bind(options.address)
            .await
            .map_err(bind_error)?;
        let address = listener.local_addr().map_err(bind_error)?;
        let folders = Folders::open(&options.data_dir).map_err(folder_error)?;
        let posts_file = match &options.posts_file {
            None => None,
            Some(file) => Some(
                File::options()
                    .create(true)
                    .append(true)
                    .open(file)
                    .map_err(|source| ServerError::PostsFile {
                        file: file.clone(),
                        source,
                    })?,
            ),
        };
        Ok(Self {
            host: Host::new(options, folders, posts_file),
            listener,
            address,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// A line to it that outlives [`Self::serve`].
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        ServerHandle {
            host: Arc::clone(&self.host),
        }
    }

    /// Answers until `shutdown` completes, [`ServerHandle::stop_abruptly`] is called, or a node ends the server. Like
    /// ComfyUI it sends no close frames. Returns when the worker thread has ended.
    pub async fn serve(
        self,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ServerError> {
        let Self {
            host,
            listener,
            address,
        } = self;
        let worker_host = Arc::clone(&host);
        let worker = thread::Builder::new()
            .name(format!("builtin {}", address.port()))
            .spawn(move || execute::work(&worker_host))
            .map_err(ServerError::Worker)?;
        let listener = CuttableListener {
            listener,
            cut: host.cut.clone(),
        };
        let ended = host.cut.clone();
        let served = tokio::select! {
            served = axum::serve(listener, http::router(Arc::clone(&host)))
                .with_graceful_shutdown(ended.cancelled_owned()) => served,
            () = shutdown => Ok(()),
        };
        host.stop();
        let joined = tokio::task::spawn_blocking(move || worker.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!(%address, "the worker thread of the built-in backend failed");
        }
        served.map_err(|source| ServerError::Serve { address, source })?;
        if host.crashed.load(Ordering::SeqCst) {
            return Err(ServerError::EndedByNode { address });
        }
        Ok(())
    }
}

/// Accepts connections that break when the server is cut.
struct CuttableListener {
    listener: TcpListener,
    cut: CancellationToken,
}

impl Listener for CuttableListener {
    type Io = CuttableStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, address) = Listener::accept(&mut self.listener).await;
        // Small messages in both directions: waiting to fill packets would only add delay.
        let _ = stream.set_nodelay(true);
        let stream = CuttableStream {
            stream,
            cut: Box::pin(self.cut.clone().cancelled_owned()),
        };
        (stream, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

struct CuttableStream {
    stream: TcpStream,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl CuttableStream {
    fn poll_cut(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.cut.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionReset.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for CuttableStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_cut(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for CuttableStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_cut(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_cut(context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
