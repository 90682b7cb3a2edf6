//! A proxy between engine and server that treats one kind of request badly, in every way at every kind: nothing is lost,
//! nothing is done twice.

use crate::small_projects::one_for_each_file;
use crate::whole_runs::{BuiltinServer, assert_posted_once, run_to_end, start_server};
use comfyui_orchestrator::engine::{FailureClass, RunEvent, RunEventBody, RunState};
use comfyui_orchestrator::fleet::BackendConfig;
use serde_json::json;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What is done to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Everything comes late.
    Latency(Duration),
    /// The connection ends after so many bytes.
    CutAfter(usize),
    /// Nothing comes any more, and nobody says so.
    BlackHole,
    /// The connection is reset.
    Reset,
    /// Everything comes byte by byte.
    OneByteSlices,
    /// So many bytes in a hundredth of a second.
    Slow(usize),
}

/// Which way a fault works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// On what we send.
    Request,
    /// On the answer: the server has heard us.
    Answer,
}

struct FaultProxy {
    address: SocketAddr,
    /// The heads of the requests that were treated badly or followed on that path.
    heads: Arc<Mutex<Vec<String>>>,
}

impl FaultProxy {
    /// Treats requests whose path begins with `path` badly, `times` times.
    async fn start(
        server: SocketAddr,
        path: &'static str,
        fault: Fault,
        way: Way,
        times: u32,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let left = Arc::new(AtomicU32::new(times));
        let known = heads.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(server).await else {
                    continue;
                };
                let connection = Connection {
                    client,
                    server,
                    path,
                    fault,
                    way,
                    left: left.clone(),
                    heads: known.clone(),
                    is_bad: false,
                    passed_bytes: 0,
                };
                tokio::spawn(connection.pass());
            }
        });
        Self { address, heads }
    }
}

struct Connection {
    client: TcpStream,
    server: TcpStream,
    path: &'static str,
    fault: Fault,
    way: Way,
    left: Arc<AtomicU32>,
    heads: Arc<Mutex<Vec<String>>>,
    /// Whether the request at hand is treated badly.
    is_bad: bool,
    passed_bytes: usize,
}

impl Connection {
    async fn pass(mut self) -> Option<()> {
        self.client.set_nodelay(true).ok()?;
        self.server.set_nodelay(true).ok()?;
        let (mut sent, mut answered) = (vec![0; 1 << 15], vec![0; 1 << 15]);
        loop {
            tokio::select! {
                length = self.client.read(&mut sent) => {
                    let bytes = sent.get(..length.ok()?).filter(|bytes| !bytes.is_empty())?;
                    self.look_at(bytes);
                    let is_bad = self.is_bad && self.way == Way::Request;
                    deliver(&mut self.server, bytes, is_bad.then_some(self.fault), &mut self.passed_bytes).await?;
                }
                length = self.server.read(&mut answered) => {
                    let bytes = answered.get(..length.ok()?).filter(|bytes| !bytes.is_empty())?;
                    let is_bad = self.is_bad && self.way == Way::Answer;
                    let fault = is_bad.then_some(self.fault);
                    if fault == Some(Fault::Reset) {
                        self.client.set_zero_linger().ok()?;
                        return None;
                    }
                    deliver(&mut self.client, bytes, fault, &mut self.passed_bytes).await?;
                }
            }
        }
    }

    /// Decides at the head of a request what becomes of it.
    fn look_at(&mut self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        let Some(target) = ["GET ", "POST "]
            .iter()
            .find_map(|method| text.strip_prefix(method))
        else {
            return;
        };
        self.is_bad = false;
        self.passed_bytes = 0;
        if !target.starts_with(self.path) {
            return;
        }
        let head = text.split("\r\n\r\n").next().unwrap_or_default();
        self.heads.lock().unwrap().push(head.to_ascii_lowercase());
        self.is_bad = self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            })
            .is_ok();
    }
}

/// Passes bytes on, well or badly; none when the connection is to end.
async fn deliver(
    to: &mut TcpStream,
    bytes: &[u8],
    fault: Option<Fault>,
    passed_bytes: &mut usize,
) -> Option<()> {
    match fault {
        None => to.write_all(bytes).await.ok()?,
        Some(Fault::Latency(delay)) => {
            tokio::time::sleep(delay).await;
            to.write_all(bytes).await.ok()?;
        }
        Some(Fault::CutAfter(limit)) => {
            let room = limit.saturating_sub(*passed_bytes).min(bytes.len());
            to.write_all(&bytes[..room]).await.ok()?;
            *passed_bytes += room;
            if room < bytes.len() {
                return None;
            }
        }
        Some(Fault::BlackHole) => std::future::pending().await,
        Some(Fault::Reset) => {
            to.set_zero_linger().ok()?;
            return None;
        }
        Some(Fault::OneByteSlices) => {
            for byte in bytes {
                to.write_all(std::slice::from_ref(byte)).await.ok()?;
                tokio::task::yield_now().await;
            }
        }
        Some(Fault::Slow(bytes_per_tick)) => {
            for slice in bytes.chunks(bytes_per_tick) {
                to.write_all(slice).await.ok()?;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
    Some(())
}

/// Pictures of noise, so that their files are larger than one packet.
fn noise(folder: &TempDir, count: u32) -> Vec<PathBuf> {
    (0..count)
        .map(|number| {
            let mut state = u64::from(number) + 1;
            let picture = image::RgbImage::from_fn(48, 48, |_, _| {
                image::Rgb([(); 3].map(|()| {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    (state >> 56) as u8
                }))
            });
            let path = folder.path().join(format!("noise {number}.png"));
            picture.save(&path).unwrap();
            path
        })
        .collect()
}

/// A run of three pictures that go up, are inverted and come back, through the proxy.
async fn run_through(
    path: &'static str,
    fault: Fault,
    way: Way,
    times: u32,
) -> (Vec<RunEvent>, FaultProxy) {
    let folder = TempDir::new().unwrap();
    let server = start_server(folder.path(), "a", 0, None).await;
    let proxy = FaultProxy::start(server.address, path, fault, way, times).await;
    let through = BuiltinServer {
        config: BackendConfig::new("a", format!("http://{}", proxy.address).parse().unwrap()),
        handle: server.handle.clone(),
        address: server.address,
    };
    let files = noise(&folder, 3);
    let files: Vec<&std::path::Path> = files.iter().map(PathBuf::as_path).collect();
    let project = one_for_each_file(
        &json!({
            "1": {"class_type": "LoadImage", "inputs": {"image": "example.png"}},
            "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
            "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "passed"}},
        }),
        ("1", "image"),
        &files,
    );
    let (view, log) = run_to_end(folder.path(), &[&through], project).await;
    assert_eq!(
        view.state,
        Some(RunState::Completed),
        "{path} {fault:?} {way:?}: {log:#?}"
    );
    let mut written = 0;
    for entry in std::fs::read_dir(folder.path().join("out")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        let before = image::open(folder.path().join(&name)).unwrap().to_rgb8();
        let after = image::open(entry.path()).unwrap().to_rgb8();
        let is_inverse = before
            .iter()
            .zip(after.iter())
            .all(|(before, after)| after.abs_diff(255 - before) <= 1);
        assert!(is_inverse, "{path} {fault:?} {way:?}: {name}");
        written += 1;
    }
    assert_eq!(written, 3, "{path} {fault:?} {way:?}");
    assert_posted_once(&log, &[&server.handle]);
    (log, proxy)
}

const PATHS: [&str; 5] = ["/prompt", "/ws", "/view", "/history", "/upload"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_to_requests_and_answers_each_output_is_made_once() {
    let mut runs = Vec::new();
    for path in PATHS {
        for way in [Way::Request, Way::Answer] {
            for (fault, times) in [
                (Fault::Latency(Duration::from_millis(300)), u32::MAX),
                (Fault::CutAfter(100), 2),
                (Fault::Reset, 2),
                (Fault::OneByteSlices, u32::MAX),
                (Fault::Slow(400), u32::MAX),
            ] {
                runs.push(tokio::spawn(run_through(path, fault, way, times)));
            }
        }
    }
    for run in runs {
        run.await.unwrap();
    }
}

/// Silence is noticed by time limits, the longest of which is a minute.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_is_noticed_and_what_it_hid_is_found_again() {
    let mut runs = Vec::new();
    for path in PATHS {
        for way in [Way::Request, Way::Answer] {
            runs.push(tokio::spawn(run_through(path, Fault::BlackHole, way, 1)));
        }
    }
    for run in runs {
        run.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_that_broke_goes_on_where_it_broke() {
    let (_, proxy) = run_through("/view", Fault::CutAfter(3_000), Way::Answer, 3).await;
    let heads = proxy.heads.lock().unwrap().clone();
    let resumed = heads
        .iter()
        .filter(|head| head.contains("range: bytes=") && head.contains("if-range:"))
        .count();
    assert!(resumed >= 1, "{heads:#?}");
}

/// The failed attempts of an item, and how long after each the next one was placed, in milliseconds.
fn failures_and_pauses(log: &[RunEvent]) -> Vec<(FailureClass, u64)> {
    let mut item_of = BTreeMap::new();
    let mut failed = BTreeMap::new();
    let mut found = Vec::new();
    for event in log {
        match &event.body {
            RunEventBody::AttemptPlaced {
                attempt_id,
                item_id,
                ..
            } => {
                item_of.insert(*attempt_id, *item_id);
                if let Some((class, at_ms)) = failed.remove(item_id) {
                    found.push((class, event.at_ms - at_ms));
                }
            }
            RunEventBody::AttemptFailed {
                attempt_id,
                failure,
            } => {
                failed.insert(item_of[attempt_id], (failure.class, event.at_ms));
            }
            _ => {}
        }
    }
    assert!(failed.is_empty(), "not sent again: {failed:?}");
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_broke_is_sent_again_after_a_pause() {
    let (log, proxy) = run_through("/upload", Fault::CutAfter(2_000), Way::Request, 2).await;
    let failures = failures_and_pauses(&log);
    assert_eq!(failures.len(), 2, "{failures:?}");
    for (class, pause_ms) in failures {
        assert_eq!(class, FailureClass::Transfer);
        assert!((1_000..10_000).contains(&pause_ms), "{pause_ms}");
    }
    // Three pictures, and two that did not arrive.
    assert_eq!(proxy.heads.lock().unwrap().len(), 5);
}

/// Cut off more often than a download goes on by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_that_keeps_breaking_is_made_again_after_a_pause() {
    let (log, proxy) = run_through("/view", Fault::CutAfter(100), Way::Answer, 40).await;
    let failures = failures_and_pauses(&log);
    assert!(!failures.is_empty(), "{:#?}", proxy.heads.lock().unwrap());
    for (class, pause_ms) in failures {
        assert_eq!(class, FailureClass::Transfer);
        assert!(pause_ms >= 1_000, "{pause_ms}");
    }
}
