//! Reviews, tables and files on the command line: the real binary with a built-in backend.

use crate::build::Build;
use crate::command_line::{BuiltinProcess, command, run, run_project, stderr, stdout};
use comfyui_orchestrator::project::{DataType, FanOutSource, FilePattern, MergeMode};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tempfile::TempDir;

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

/// A table of pictures, looked at by a person: the run waits without a process, and goes on with the answer.
#[test]
fn a_run_waits_for_a_person_and_goes_on_with_the_answer() {
    let folder = TempDir::new().expect("a folder");
    let server = BuiltinProcess::start(&folder.path().join("server"));
    let mut build = Build::new();
    let rows = build.table("color,width\n16711680,64\n65280,\n255,48\n16777215,40\n");
    let plain = build.plain(&["color", "width"]);
    let review = build.review("Which colours?");
    let output = build.output("{label:color}.{ext}");
    build.link((rows, 0), (plain, 0));
    build.link((rows, 1), (plain, 1));
    build.link((plain, 0), (review, 0));
    build.link((review, 0), (output, 0));
    let project = build.write(folder.path());
    let (data, out) = (folder.path().join("data"), folder.path().join("out"));
    let ran = run_project(&data, &project, &server.url, &out, &[]);
    assert_eq!(ran.status.code(), Some(3), "{}", stderr(&ran));
    assert!(
        stderr(&ran).contains("4 items wait for you"),
        "{}",
        stderr(&ran)
    );
    assert_eq!(names(&out), Vec::<String>::new());

    let listed = run(&data, &["runs", "review", "last", "--json"]);
    let widths: Vec<u32> = stdout(&listed)
        .lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let file = line["files"][0].as_str().expect("a file");
            image::image_dimensions(file).expect("a picture").0
        })
        .collect();
    assert_eq!(
        widths,
        [64, 32, 48, 40],
        "the empty cell leaves the workflow's width"
    );
    let refused = run(&data, &["runs", "review", "last", "--pick", "9"]);
    assert!(
        stderr(&refused).contains("there is no item 9"),
        "{}",
        stderr(&refused)
    );

    let redone = run(
        &data,
        &[
            "runs",
            "review",
            "last",
            "--redo",
            "2",
            "--set",
            "width=80",
            "--backend",
            &server.url,
        ],
    );
    assert_eq!(redone.status.code(), Some(3), "{}", stderr(&redone));
    let answered = run(
        &data,
        &[
            "runs",
            "review",
            "last",
            "--pick",
            "2-3",
            "--backend",
            &server.url,
        ],
    );
    assert!(answered.status.success(), "{}", stderr(&answered));
    assert_eq!(names(&out), ["255.png", "65280.png"]);
    let width = image::image_dimensions(out.join("65280.png"))
        .expect("a picture")
        .0;
    assert_eq!(width, 80, "made again with the other width");
}

/// What comes after the Review waits for it, too, once the run was cancelled and taken up again.
#[test]
fn a_run_that_was_cancelled_waits_for_the_person_again() {
    let folder = TempDir::new().expect("a folder");
    let server = BuiltinProcess::start(&folder.path().join("server"));
    let (data, out) = (folder.path().join("data"), folder.path().join("out"));
    let scene = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/scenes/pick-then-finish.orchestrator.json"
    );
    let waits = |arguments: &[&str]| {
        let mut child = command(&data)
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let begun = Instant::now();
        let status = loop {
            match child.try_wait().expect("a child") {
                Some(status) => break status,
                None if begun.elapsed() > Duration::from_mins(2) => {
                    child.kill().expect("killed");
                    panic!("{arguments:?} does not end");
                }
                None => std::thread::sleep(Duration::from_millis(50)),
            }
        };
        let output = child.wait_with_output().expect("its words");
        assert_eq!(status.code(), Some(3), "{arguments:?}: {}", stderr(&output));
        assert!(
            stderr(&output).contains("8 items wait for you"),
            "{arguments:?}: {}",
            stderr(&output)
        );
        let listed = stdout(&run(&data, &["runs", "list"]));
        assert!(listed.contains("waits for you"), "{arguments:?}: {listed}");
    };
    let out_text = out.to_string_lossy().into_owned();
    waits(&["run", scene, "--backend", &server.url, "--out", &out_text]);
    for again in ["retry", "resume"] {
        let cancelled = run(&data, &["runs", "cancel", "last"]);
        assert!(cancelled.status.success(), "{}", stderr(&cancelled));
        waits(&["runs", again, "last"]);
        waits(&["runs", again, "last"]);
    }
    let answered = run(&data, &["runs", "review", "last", "--pick", "1,2"]);
    assert!(answered.status.success(), "{}", stderr(&answered));
    // Nothing is left to do again: it ends all the same.
    let retried = run(&data, &["runs", "retry", "last"]);
    assert!(retried.status.success(), "{}", stderr(&retried));
}

/// Files found by a pattern, the sharpest of them kept.
#[test]
fn files_become_items_and_the_best_is_kept() {
    let folder = TempDir::new().expect("a folder");
    let server = BuiltinProcess::start(&folder.path().join("server"));
    let shots = folder.path().join("inputs/shots/day 1");
    std::fs::create_dir_all(&shots).expect("a folder");
    for (name, step) in [
        ("shot 2.png", 8_u32),
        ("shot 10.png", 2),
        ("shot 1.png", 64),
    ] {
        let picture = image::RgbImage::from_fn(64, 64, |x, y| {
            let light = if (x / step + y / step) % 2 == 0 {
                255
            } else {
                0
            };
            image::Rgb([light, light, light])
        });
        picture.save(shots.join(name)).expect("written");
    }
    std::fs::write(shots.join("notes.txt"), "no picture").expect("written");
    let mut build = Build::new();
    let pattern = FanOutSource::Files(FilePattern {
        axis: "shot".to_owned(),
        pattern: "shots/**/shot*.png".to_owned(),
        data_type: DataType::Image,
    });
    let files = build.fan_out(pattern);
    let invert = build.inverted();
    let merge = build.merge(MergeMode::Best {
        expression: "image.sharpness".to_owned(),
        keep: 1,
    });
    let output = build.output("best.{ext}");
    let all = build.output("all/{index}.{ext}");
    build.link((files, 0), (invert, 0));
    build.link((invert, 0), (merge, 0));
    build.link((merge, 0), (output, 0));
    build.link((invert, 0), (all, 0));
    let project = build.write(folder.path());
    let (data, out) = (folder.path().join("data"), folder.path().join("out"));
    let ran = run_project(&data, &project, &server.url, &out, &["--json"]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    assert_eq!(names(&out.join("all")).len(), 3);
    let said = stdout(&ran);
    assert!(said.contains("day 1/shot 10.png"), "the label is the name");
    let sharpest = image::open(out.join("best.png"))
        .expect("a picture")
        .to_rgb8();
    // The finest chequerboard, inverted.
    assert_eq!(sharpest.get_pixel(0, 0).0, [0, 0, 0]);
    assert_eq!(sharpest.get_pixel(2, 0).0, [255, 255, 255]);
    assert_eq!(sharpest.get_pixel(4, 0).0, [0, 0, 0]);
}

#[test]
fn the_best_by_rating_is_what_a_person_liked_best() {
    let folder = TempDir::new().expect("a folder");
    let server = BuiltinProcess::start(&folder.path().join("server"));
    let mut build = Build::new();
    let rows = build.table("color\n16711680\n65280\n255\n");
    let plain = build.plain(&["color"]);
    let review = build.review("");
    let merge = build.merge(MergeMode::Best {
        expression: "rating".to_owned(),
        keep: 1,
    });
    let output = build.output("{label:color}.{ext}");
    build.link((rows, 0), (plain, 0));
    build.link((plain, 0), (review, 0));
    build.link((review, 0), (merge, 0));
    build.link((merge, 0), (output, 0));
    let project = build.write(folder.path());
    let (data, out) = (folder.path().join("data"), folder.path().join("out"));
    let ran = run_project(&data, &project, &server.url, &out, &[]);
    assert_eq!(ran.status.code(), Some(3), "{}", stderr(&ran));
    assert!(stderr(&ran).contains("3 items wait for you"));
    // One is rated, the others are not: they count as 0.
    let arguments = ["runs", "review", "last", "--rate", "2=4", "--pick", "all"];
    let answered = run(&data, &arguments);
    assert!(answered.status.success(), "{}", stderr(&answered));
    assert_eq!(names(&out), ["65280.png"]);
}

#[test]
fn a_list_is_not_made_again_as_a_whole_and_says_so() {
    let folder = TempDir::new().expect("a folder");
    let server = BuiltinProcess::start(&folder.path().join("server"));
    let mut build = Build::new();
    let rows = build.table("color\n255\n65280\n");
    let plain = build.plain(&["color"]);
    let merge = build.merge(MergeMode::default());
    let review = build.review("");
    build.link((rows, 0), (plain, 0));
    build.link((plain, 0), (merge, 0));
    build.link((merge, 0), (review, 0));
    let project = build.write(folder.path());
    let data = folder.path().join("data");
    let ran = run(&data, &["run", &project, "--backend", &server.url]);
    assert_eq!(ran.status.code(), Some(3), "{}", stderr(&ran));
    assert!(
        stderr(&ran).contains("1 item waits for you"),
        "{}",
        stderr(&ran)
    );
    let arguments = ["runs", "review", "last", "--redo", "1", "--set", "color=1"];
    let redo = run(&data, &arguments);
    assert!(!redo.status.success());
    assert!(
        stderr(&redo).contains("is a list that \"Merge\" made"),
        "{}",
        stderr(&redo)
    );
}
