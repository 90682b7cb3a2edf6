//! Files that lie on a backend already: named where they lie while they are the same files, brought anew otherwise, and
//! never taken for what merely bears the same name.

use crate::small_projects::{chain, one_for_each_file};
use crate::whole_runs::{BuiltinServer, assert_posted_once, run_in, start_engine, start_server};
use comfyui_orchestrator::engine::{
    Engine, FailureClass, ResumePolicy, RunEvent, RunEventBody, RunState,
};
use comfyui_orchestrator::fleet::BackendConfig;
use comfyui_orchestrator::project::Project;
use serde_json::{Value, json};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

fn picture(color: u32) -> Value {
    json!({
        "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": color}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "same"}},
    })
}

fn inverted(prefix: &str) -> Value {
    json!({
        "1": {"class_type": "LoadImage", "inputs": {"image": "none.png"}},
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": prefix}},
    })
}

fn scaled(prefix: &str) -> Value {
    json!({
        "1": {"class_type": "LoadImage", "inputs": {"image": "none.png"}},
        "2": {"class_type": "ImageScaleBy", "inputs": {"image": ["1", 0], "upscale_method": "nearest-exact", "scale_by": 2.0}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": prefix}},
    })
}

async fn completed(engine: &Engine, folder: &Path, project: Project) -> Vec<RunEvent> {
    let (view, log) = run_in(engine, folder, project).await;
    assert_eq!(view.state, Some(RunState::Completed), "{log:#?}");
    log
}

/// A run of a process of its own, with results kept in `folder`.
async fn run_alone(folder: &Path, server: &BuiltinServer, project: Project) -> Vec<RunEvent> {
    let engine = start_engine(folder, &[server], ResumePolicy::Leave).await;
    let log = completed(&engine, folder, project).await;
    engine.stop().await;
    log
}

/// The colour in the middle of the file that a run wrote.
fn color_of(log: &[RunEvent]) -> [u8; 3] {
    let paths: Vec<&String> = log
        .iter()
        .filter_map(|event| match &event.body {
            RunEventBody::FilesWritten { paths, .. } => Some(paths),
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(paths.len(), 1, "{paths:?}");
    let picture = image::open(paths[0]).unwrap().to_rgb8();
    picture
        .get_pixel(picture.width() / 2, picture.height() / 2)
        .0
}

fn failed_attempts(log: &[RunEvent]) -> Vec<FailureClass> {
    log.iter()
        .filter_map(|event| match &event.body {
            RunEventBody::AttemptFailed { failure, .. } => Some(failure.class),
            _ => None,
        })
        .collect()
}

/// What was uploaded to a backend.
fn uploads(server_dir: &Path) -> Vec<PathBuf> {
    let folder = fs::read_dir(server_dir.join("input/orchestrator"));
    folder
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .collect()
}

fn empty(folder: &Path) {
    fs::remove_dir_all(folder).unwrap();
    fs::create_dir(folder).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_file_under_an_old_name_is_not_taken_for_the_old_one() {
    let folder = TempDir::new().unwrap();
    let (mine, theirs) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let a = start_server(folder.path(), "a", 0, None).await;
    let server_dir = folder.path().join("a");
    let load = ("1", "image");
    let blue = picture(0x00_00FF);
    let log = run_alone(mine.path(), &a, chain(&blue, &scaled("x"), load)).await;
    assert_eq!(color_of(&log), [0, 0, 255]);
    assert_eq!(uploads(&server_dir), Vec::<PathBuf>::new(), "read in place");

    // The folder is emptied, and somebody else's green picture gets the name of the blue one.
    empty(&server_dir.join("output"));
    let green = picture(0x00_FF00);
    run_alone(theirs.path(), &a, chain(&green, &scaled("y"), load)).await;
    assert!(server_dir.join("output/same_00001_.png").exists());

    let inverse = chain(&blue, &inverted("z"), load);
    let log = run_alone(mine.path(), &a, inverse.clone()).await;
    assert_eq!(color_of(&log), [255, 255, 0], "the inverse of blue");
    assert_eq!(failed_attempts(&log), []);
    assert_eq!(uploads(&server_dir).len(), 1);
    // Nor is anything wrong kept for later.
    let log = run_alone(mine.path(), &a, inverse).await;
    assert_eq!(color_of(&log), [255, 255, 0]);
    assert_posted_once_at_all(&a);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_gone_from_a_backend_is_brought_again() {
    let folder = TempDir::new().unwrap();
    let a = start_server(folder.path(), "a", 0, None).await;
    let server_dir = folder.path().join("a");
    let engine = start_engine(folder.path(), &[&a], ResumePolicy::Leave).await;
    let load = ("1", "image");
    let blue = picture(0x00_00FF);
    completed(&engine, folder.path(), chain(&blue, &scaled("x"), load)).await;
    empty(&server_dir.join("output"));
    // The first is uploaded now, and the second finds it there.
    for (prefix, scale) in [("y", 3.0), ("z", 4.0)] {
        let mut larger = scaled(prefix);
        larger["2"]["inputs"]["scale_by"] = json!(scale);
        let log = completed(&engine, folder.path(), chain(&blue, &larger, load)).await;
        assert_eq!(color_of(&log), [0, 0, 255]);
        assert_eq!(failed_attempts(&log), []);
        assert_eq!(uploads(&server_dir).len(), 1);
    }
    // Until the input folder is emptied, too.
    empty(&server_dir.join("input"));
    let log = completed(&engine, folder.path(), chain(&blue, &inverted("w"), load)).await;
    assert_eq!(color_of(&log), [255, 255, 0]);
    assert_eq!(failed_attempts(&log), []);
    assert_eq!(uploads(&server_dir).len(), 1);
    assert_posted_once_at_all(&a);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loader_that_takes_uploads_only_gets_uploads() {
    let folder = TempDir::new().unwrap();
    let mut a = start_server(folder.path(), "a", 0, None).await;
    let server_dir = folder.path().join("a");
    let address = start_picky_proxy(a.address).await;
    a.config = BackendConfig::new("a", format!("http://{address}").parse().unwrap());
    let engine = start_engine(folder.path(), &[&a], ResumePolicy::Leave).await;
    let load = ("1", "image");
    let project = chain(&picture(0x00_00FF), &scaled("x"), load);
    let log = completed(&engine, folder.path(), project).await;
    assert_eq!(color_of(&log), [0, 0, 255]);
    assert_eq!(failed_attempts(&log), [FailureClass::Transfer]);
    assert_eq!(uploads(&server_dir).len(), 1);
    // It is known from now on.
    let project = chain(&picture(0x00_FF00), &scaled("y"), load);
    let log = completed(&engine, folder.path(), project).await;
    assert_eq!(failed_attempts(&log), []);
    assert_posted_once(&log, &[]);
    assert_posted_once_at_all(&a);
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_ours_is_brought_once_for_many_items() {
    let folder = TempDir::new().unwrap();
    let a = start_server(folder.path(), "a", 0, None).await;
    let file = folder.path().join("mine.png");
    image::RgbImage::from_pixel(8, 8, image::Rgb([9, 8, 7]))
        .save(&file)
        .unwrap();
    let engine = start_engine(folder.path(), &[&a], ResumePolicy::Leave).await;
    for prefix in ["x", "y"] {
        let project = one_for_each_file(&scaled(prefix), ("1", "image"), &[&file]);
        completed(&engine, folder.path(), project).await;
    }
    assert_eq!(uploads(&folder.path().join("a")).len(), 1);
    engine.stop().await;
}

fn assert_posted_once_at_all(server: &BuiltinServer) {
    let posts = server.handle.posts_by_prompt_id();
    assert!(posts.values().all(|count| *count == 1), "{posts:?}");
}

/// A backend whose loaders do not know `[output]`, as loaders of custom nodes that list the input folder only.
async fn start_picky_proxy(server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(server).await.unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            tokio::spawn(
                async move { tokio::io::copy(&mut from_server, &mut to_client).await.ok() },
            );
            tokio::spawn(async move {
                let mut buffer = vec![0; 1 << 16];
                while let Ok(count @ 1..) = from_client.read(&mut buffer).await {
                    let bytes = &mut buffer[..count];
                    let known = b" [output]";
                    let found = bytes.windows(known.len()).position(|part| part == known);
                    if let Some(place) = found {
                        bytes[place..place + known.len()].copy_from_slice(b" [nobody]");
                    }
                    if to_server.write_all(bytes).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}
