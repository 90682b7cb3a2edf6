//! The work of a run on this machine, through its one door: load, decide, draw a contact sheet, write.

use crate::media::{declared_png, encoded, gradient};
use comfyui_orchestrator::artifacts::{Artifact, ArtifactStore, ContentHash, Measures};
use comfyui_orchestrator::engine::local::{LocalContext, check_expression, perform};
use comfyui_orchestrator::engine::machine::{LocalOutcome, LocalTask, LocalWork};
use comfyui_orchestrator::engine::{
    Failure, FailureClass, IndexPath, ItemId, Labels, ListElement, RunFolders, RunId, Value,
};
use comfyui_orchestrator::media::{decode, read_png_text};
use comfyui_orchestrator::project::{
    ContactSheet, DataType, InputValue, Integer, Literal, Node, NodeId, NodeKind, OnFailure,
    OutputNode, Project, ProjectId,
};
use image::ImageFormat;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A project with one Output node, a place for artifacts, and folders.
struct Workplace {
    folder: tempfile::TempDir,
    artifacts: ArtifactStore,
    project: Project,
    folders: RunFolders,
    run_id: RunId,
    node_id: NodeId,
}

impl Workplace {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let artifacts = ArtifactStore::open(&folder.path().join("artifacts")).unwrap();
        let folders = RunFolders {
            output: folder.path().join("output"),
            inputs: folder.path().join("inputs"),
        };
        fs::create_dir_all(&folders.inputs).unwrap();
        let node_id = NodeId::new_now();
        let mut project = Project::new(ProjectId::new_now(), "Cats");
        project.nodes.insert(
            node_id,
            Node {
                id: node_id,
                title: "Save".to_owned(),
                pos_world: [0.0; 2],
                width_world: 200.0,
                kind: NodeKind::Output(OutputNode::default()),
                inputs: Vec::new(),
                outputs: Vec::new(),
                on_failure: OnFailure::Continue,
            },
        );
        Self {
            folder,
            artifacts,
            project,
            folders,
            run_id: RunId::new_now(),
            node_id,
        }
    }

    fn perform(&self, labels: &Labels, task: LocalTask) -> Result<LocalOutcome, Failure> {
        let path = IndexPath::default();
        let work = LocalWork {
            item_id: ItemId::derive(self.run_id, self.node_id, &path),
            run_id: self.run_id,
            node_id: self.node_id,
            path,
            labels: labels.clone(),
            task,
            order: 1,
        };
        let context = LocalContext {
            artifacts: &self.artifacts,
            project: &self.project,
            folders: &self.folders,
            run_created_ms: 1_700_000_000_000,
        };
        perform(&work, context)
    }

    fn picture(&self, width: u32, height: u32, tint: u8) -> Arc<Artifact> {
        let png = encoded(&gradient(width, height, tint), ImageFormat::Png);
        Arc::new(
            self.artifacts
                .store_bytes(&png, DataType::Image, "a.png")
                .unwrap(),
        )
    }

    fn load(&self, name: &str, data_type: DataType) -> Result<Value, String> {
        let value = InputValue::File(name.to_owned());
        match self.perform(&Labels::new(), LocalTask::Load { value, data_type }) {
            Ok(LocalOutcome::Loaded(value)) => Ok(value),
            Ok(other) => panic!("{other:?}"),
            Err(failure) => Err(failure.message),
        }
    }

    fn write(&self, template: &str, value: Value, labels: &Labels) -> Result<Vec<String>, String> {
        let task = LocalTask::Write {
            template: template.to_owned(),
            value,
            ordinal: 3,
        };
        match self.perform(labels, task) {
            Ok(LocalOutcome::Written(paths)) => Ok(paths
                .iter()
                .map(|path| {
                    let below = Path::new(path).strip_prefix(&self.folders.output).unwrap();
                    below.to_string_lossy().replace('\\', "/")
                })
                .collect()),
            Ok(other) => panic!("{other:?}"),
            Err(failure) => {
                let is_waited_for = failure.class == FailureClass::Disk;
                assert!(is_waited_for || failure.class == FailureClass::Local);
                assert_eq!(
                    is_waited_for,
                    ["full", "read-only", "no permission"]
                        .iter()
                        .any(|cause| failure.message.contains(cause)),
                    "{}",
                    failure.message
                );
                Err(failure.message)
            }
        }
    }

    fn output_files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut pending = vec![self.folders.output.clone()];
        while let Some(folder) = pending.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    pending.push(path);
                } else {
                    files.push(path);
                }
            }
        }
        files.sort();
        files
    }
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .map(|(axis, value)| ((*axis).to_owned(), (*value).to_owned()))
        .collect()
}

fn text(text: &str) -> Value {
    Value::Literal(Literal::Text(text.to_owned()))
}

fn measured(data_type: DataType) -> Arc<Artifact> {
    Arc::new(Artifact {
        hash: ContentHash::of(b""),
        data_type,
        extension: "png".to_owned(),
        byte_len: 0,
        measures: Measures {
            width_px: Some(512),
            height_px: Some(768),
            duration_s: (data_type == DataType::Video).then_some(2.5),
            brightness: Some(0.25),
            sharpness: Some(0.125),
        },
        origin: None,
    })
}

fn decide(expression: &str, value: Value, labels: &Labels) -> Result<bool, String> {
    let workplace = Workplace::new();
    let task = LocalTask::Decide {
        rating: None,
        expression: expression.to_owned(),
        value,
    };
    match workplace.perform(labels, task) {
        Ok(LocalOutcome::Decided(answer)) => Ok(answer),
        Ok(other) => panic!("{other:?}"),
        Err(failure) => Err(failure.message),
    }
}

#[test]
fn conditions_see_measures_values_and_labels() {
    let image = || Value::Artifact(measured(DataType::Image));
    let batch = || Value::Batch(vec![measured(DataType::Image), measured(DataType::Image)].into());
    let list = || {
        let element = |seed: &str| ListElement {
            value: image(),
            path: IndexPath::default(),
            labels: labels(&[("seed", seed)]),
        };
        Value::List(vec![element("1"), element("2"), element("3")].into())
    };
    let seeds = labels(&[("seed", "18446744073709551615"), ("style", "noir")]);
    for (expression, value, expected) in [
        ("image.sharpness > 0.1", image(), true),
        ("image.brightness > 0.5", image(), false),
        ("width == 512 && height > width", image(), true),
        ("image.width > 511.5", image(), true),
        ("image.sharpness < 1", image(), true),
        ("double(width) / double(height) > 0.6", image(), true),
        (
            "video.duration >= 2.5",
            Value::Artifact(measured(DataType::Video)),
            true,
        ),
        (
            "duration > 3.0",
            Value::Artifact(measured(DataType::Video)),
            false,
        ),
        ("image.width == 512 && count == 2", batch(), true),
        ("images.all(i, i.sharpness > 0.1)", list(), true),
        (
            "count == 3 && images.exists(i, i.labels.seed == '2')",
            list(),
            true,
        ),
        ("text.contains('cat')", text("a cat"), true),
        ("text.matches('^a.*t$')", text("a cat"), true),
        ("size(text) > 10", text("a cat"), false),
        ("number > 3", Value::Literal(Literal::Number(3.5)), true),
        (
            "number == 4",
            Value::Literal(Literal::Integer(Integer::from(4_i64))),
            true,
        ),
        ("boolean", Value::Literal(Literal::Boolean(true)), true),
        (
            "json.tags[1] == 'b'",
            Value::Literal(Literal::Json(serde_json::json!({"tags": ["a", "b"]}))),
            true,
        ),
        ("seed > 5 && labels.style == 'noir'", Value::Trigger, true),
        (
            "has(labels.style) && !has(labels.other)",
            Value::Trigger,
            true,
        ),
    ] {
        assert_eq!(check_expression(expression), Ok(()), "{expression}");
        assert_eq!(
            decide(expression, value, &seeds),
            Ok(expected),
            "{expression}"
        );
    }
}

#[test]
fn a_condition_that_cannot_be_evaluated_says_what_is_known() {
    let image = Value::Artifact(measured(DataType::Image));
    let seed = labels(&[("seed", "7")]);
    for (expression, value, must_say) in [
        (
            "image.sharpness > 0.1",
            text("a cat"),
            ["needs \"image\"", "text = \"a cat\"", "seed = 7"],
        ),
        (
            "image.rating > 3",
            image.clone(),
            ["\"rating\"", "image.sharpness = 0.125", "width = 512"],
        ),
        (
            "labels.style == 'noir'",
            image.clone(),
            ["\"style\"", "labels.seed = \"7\"", "image.height = 768"],
        ),
        (
            "width / 2.0 > 1.0",
            image.clone(),
            ["do not go together", "double(", "width = 512"],
        ),
        ("width", image.clone(), ["512", "true or false", "compare"]),
        (
            "width / 0 > 1",
            image.clone(),
            ["width / 0", "ivision", "known here"],
        ),
    ] {
        let message = decide(expression, value, &seed).unwrap_err();
        assert!(message.contains(&format!("\"{expression}\"")), "{message}");
        for part in must_say {
            assert!(message.contains(part), "{part:?} is missing in: {message}");
        }
    }
    for (expression, must_say) in [
        ("", "empty"),
        ("  ", "empty"),
        ("image.sharpness >", "cannot be read"),
        ("imgae.sharpness > 1", "\"imgae\""),
        ("images.all(i, j.width > 1)", "\"j\""),
    ] {
        let message = check_expression(expression).unwrap_err();
        assert!(message.contains(must_say), "{message}");
    }
}

#[test]
fn hostile_conditions_end_soon_and_never_bring_the_program_down() {
    let nested_loops = "images.all(a, images.all(b, images.all(c, true)))";
    assert!(
        check_expression(nested_loops)
            .unwrap_err()
            .contains("loops")
    );
    for expression in [
        "(".repeat(499) + "1" + &")".repeat(499),
        "[".repeat(499) + &"]".repeat(499),
        "!".repeat(998) + "1",
        "-".repeat(998) + "1",
        vec!["1"; 499].join("+"),
        vec!["true"; 160].join("&&"),
        "true?".repeat(140) + "1" + &":1".repeat(140),
        "a.".repeat(400) + "a",
        "labels".to_owned() + &"[0]".repeat(300),
        "x".repeat(100_000),
        "'".repeat(999),
        "\u{202e}\0\u{feff}".repeat(100),
    ] {
        // Whatever the answer: it comes.
        let checked = check_expression(&expression);
        let decided = decide(&expression, Value::Trigger, &Labels::new());
        assert!(decided.is_ok() || !decided.unwrap_err().is_empty());
        assert!(checked.is_ok() || !checked.unwrap_err().is_empty());
    }
    let large = Value::Batch(vec![measured(DataType::Image); 1001].into());
    let message = decide("count > 1", large, &Labels::new()).unwrap_err();
    assert!(message.contains("1001"), "{message}");
}

#[test]
fn inputs_come_from_the_inputs_folder_or_a_full_path() {
    let workplace = Workplace::new();
    let inputs = &workplace.folders.inputs;
    let png = encoded(&gradient(40, 30, 0), ImageFormat::Png);
    fs::create_dir(inputs.join("faces")).unwrap();
    fs::write(inputs.join("faces/a.png"), &png).unwrap();
    for name in ["faces/a.png", "faces\\a.png", "./faces/a.png"] {
        let Value::Artifact(artifact) = workplace.load(name, DataType::Image).unwrap() else {
            panic!("no artifact");
        };
        assert_eq!(artifact.measures.width_px, Some(40));
        assert_eq!(workplace.artifacts.read(&artifact, 1 << 20).unwrap(), png);
    }
    let outside = workplace.folder.path().join("outside.png");
    fs::write(&outside, &png).unwrap();
    let full = outside.to_string_lossy().into_owned();
    workplace.load(&full, DataType::Image).unwrap();

    for name in [
        "../outside.png",
        "faces/../../outside.png",
        "..\\outside.png",
        "C:outside.png",
        "",
    ] {
        let message = workplace.load(name, DataType::Image).unwrap_err();
        assert!(message.contains("inputs folder"), "{name}: {message}");
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&outside, inputs.join("link.png")).unwrap();
        let message = workplace.load("link.png", DataType::Image).unwrap_err();
        assert!(message.contains("leads out"), "{message}");
        let message = workplace.load("/dev/zero", DataType::Text).unwrap_err();
        assert!(message.contains("not a file"), "{message}");
    }
    let message = workplace.load("missing.png", DataType::Image).unwrap_err();
    assert!(
        message.contains("is not there") && message.contains("missing.png"),
        "{message}"
    );
    let message = workplace.load("faces", DataType::Image).unwrap_err();
    assert!(message.contains("not a file"), "{message}");

    fs::write(inputs.join("bomb.png"), declared_png(60_000, 60_000)).unwrap();
    let message = workplace.load("bomb.png", DataType::Image).unwrap_err();
    assert!(
        message.contains("60000 × 60000") && message.contains("bomb.png"),
        "{message}"
    );
    fs::write(inputs.join("page.png"), "<html>not found</html>").unwrap();
    let message = workplace.load("page.png", DataType::Image).unwrap_err();
    assert!(message.contains("<html>"), "{message}");

    let loaded = |content: &[u8], data_type| {
        fs::write(inputs.join("value"), content).unwrap();
        workplace.load("value", data_type)
    };
    assert_eq!(
        loaded(b"\xef\xbb\xbfa cat\n", DataType::Text),
        Ok(text("a cat\n"))
    );
    assert_eq!(
        loaded(b" 18446744073709551615\n", DataType::Integer),
        Ok(Value::Literal(Literal::Integer(Integer::from(u64::MAX))))
    );
    assert_eq!(
        loaded(b"2.5", DataType::Number),
        Ok(Value::Literal(Literal::Number(2.5)))
    );
    assert_eq!(
        loaded(b"true", DataType::Boolean),
        Ok(Value::Literal(Literal::Boolean(true)))
    );
    for (content, data_type) in [
        (&b"\xff\xfe"[..], DataType::Text),
        (b"1e5", DataType::Integer),
        (b"18446744073709551616", DataType::Integer),
        (b"NaN", DataType::Number),
        (b"yes", DataType::Boolean),
        (b"{", DataType::Json),
        ("[".repeat(100_000).as_bytes(), DataType::Json),
    ] {
        let message = loaded(content, data_type).unwrap_err();
        assert!(message.contains(data_type.title()), "{message}");
    }
}

#[test]
fn outputs_are_written_once_and_never_over_anything() {
    let workplace = Workplace::new();
    let template = OutputNode::default().template;
    let noir = labels(&[("style", "noir")]);
    let picture = workplace.picture(20, 10, 0);
    let written = workplace
        .write(&template, Value::Artifact(picture.clone()), &noir)
        .unwrap();
    assert_eq!(written, ["Cats/Save/style=noir_0003.png"]);

    // Again after a crash: the same file, no second one.
    for _ in 0..2 {
        let again = workplace.write(&template, Value::Artifact(picture.clone()), &noir);
        assert_eq!(again.unwrap(), written);
    }
    let path = workplace.folders.output.join(&written[0]);
    assert_eq!(workplace.output_files(), std::slice::from_ref(&path));

    // Our provenance is in it, and the pixels are the stored ones.
    let bytes = fs::read(&path).unwrap();
    let texts = read_png_text(Cursor::new(&bytes)).unwrap();
    let provenance: serde_json::Value = serde_json::from_str(&texts[0].text).unwrap();
    assert_eq!(texts[0].keyword, "orchestrator");
    assert_eq!(provenance["project"]["name"], "Cats");
    assert_eq!(provenance["labels"]["style"], "noir");
    assert_eq!(provenance["run"]["id"], workplace.run_id.to_string());
    let stored = workplace.artifacts.read(&picture, u64::MAX).unwrap();
    assert_eq!(decode(&bytes).unwrap(), decode(&stored).unwrap());

    // Another picture under the same name stands beside it; so does one beside a person's own file or folder.
    let other = workplace.picture(20, 10, 99);
    let beside = workplace.write(&template, Value::Artifact(other), &noir);
    assert_eq!(beside.unwrap(), ["Cats/Save/style=noir_0003 (2).png"]);
    fs::create_dir(workplace.folders.output.join("notes.txt")).unwrap();
    fs::write(workplace.folders.output.join("notes (2).txt"), "mine").unwrap();
    let notes = workplace.write("notes.{ext}", text("theirs"), &noir);
    assert_eq!(notes.unwrap(), ["notes (3).txt"]);
    assert_eq!(
        fs::read_to_string(workplace.folders.output.join("notes (2).txt")).unwrap(),
        "mine"
    );
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn every_kind_of_value_becomes_a_file() {
    let workplace = Workplace::new();
    let none = Labels::new();
    let read = |path: &str| fs::read_to_string(workplace.folders.output.join(path)).unwrap();
    let number = Value::Literal(Literal::Integer(Integer::from(u64::MAX)));
    assert_eq!(
        workplace.write("n/{index}", number, &none).unwrap(),
        ["n/3.txt"]
    );
    assert_eq!(read("n/3.txt"), "18446744073709551615");
    let json = Value::Literal(Literal::Json(serde_json::json!({"b": 1, "a": [2]})));
    assert_eq!(
        workplace.write("{index:03}", json, &none).unwrap(),
        ["003.json"]
    );
    assert!(read("003.json").starts_with("{\n  \"b\": 1"));
    assert_eq!(
        workplace.write("t", Value::Trigger, &none).unwrap(),
        [""; 0]
    );

    let element = |seed: &str, value| ListElement {
        value,
        path: IndexPath::default(),
        labels: labels(&[("seed", seed)]),
    };
    let (one, two) = (workplace.picture(4, 4, 1), workplace.picture(4, 4, 2));
    let list = Value::List(
        vec![
            element("8", Value::Artifact(one.clone())),
            element("9", Value::Batch(vec![one, two].into())),
        ]
        .into(),
    );
    assert_eq!(
        workplace
            .write("{label}_{index}.{ext}", list, &none)
            .unwrap(),
        ["seed=8_0.png", "seed=9_1.png", "seed=9_2.png"]
    );
    let message = workplace.write("../{index}", text("x"), &none).unwrap_err();
    assert!(message.contains("has the folder \"..\""), "{message}");

    // What the store lost is told by name.
    let gone = workplace.picture(4, 4, 3);
    fs::remove_file(workplace.artifacts.path(&gone)).unwrap();
    let message = workplace
        .write("g", Value::Artifact(gone), &none)
        .unwrap_err();
    assert!(message.contains("gone"), "{message}");
}

#[test]
fn an_output_folder_that_cannot_be_written_is_told() {
    let mut workplace = Workplace::new();
    let blocked = workplace.folder.path().join("a file");
    fs::write(&blocked, "").unwrap();
    workplace.folders.output = blocked.join("output");
    let message = workplace
        .write("{index}", text("x"), &Labels::new())
        .unwrap_err();
    assert!(
        message.contains("a file lies where a folder is needed"),
        "{message}"
    );
    assert!(message.contains("a file/output"), "{message}");
    #[cfg(target_os = "linux")]
    {
        // Not even root can make a folder there.
        workplace.folders.output = "/proc/output".into();
        let message = workplace.write("{index}", text("x"), &Labels::new());
        assert!(message.unwrap_err().contains("/proc/output"));
    }
}

/// A disk of 64 KiB, where the system lets us make one.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_and_nothing_half_written_stays() {
    use std::process::{Command, Stdio};
    let mut workplace = Workplace::new();
    let disk = workplace.folder.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let is_mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
        .arg(&disk)
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !is_mounted {
        println!("skipped: no small disk can be mounted without privileges");
        return;
    }
    workplace.folders.output = disk.join("output");
    let outcome = workplace.write("{index}", text(&"x".repeat(100_000)), &Labels::new());
    let left = workplace.output_files();
    let small = workplace.write("{index}", text("small"), &Labels::new());
    Command::new("umount").arg(&disk).status().unwrap();
    let message = outcome.unwrap_err();
    assert!(message.contains("the disk is full"), "{message}");
    assert_eq!(left, Vec::<PathBuf>::new());
    assert_eq!(small.unwrap(), ["3.txt"]);
}

fn sheet(
    workplace: &Workplace,
    sheet: ContactSheet,
    elements: Vec<ListElement>,
) -> Result<Arc<Artifact>, String> {
    let task = LocalTask::DrawSheet {
        sheet,
        elements: elements.into(),
    };
    match workplace.perform(&Labels::new(), task) {
        Ok(LocalOutcome::SheetDrawn(Value::Artifact(artifact))) => Ok(artifact),
        Ok(other) => panic!("{other:?}"),
        Err(failure) => Err(failure.message),
    }
}

#[test]
fn a_contact_sheet_shows_every_picture_with_its_labels() {
    let workplace = Workplace::new();
    let element = |number: u32, value| ListElement {
        value,
        path: IndexPath::default(),
        labels: labels(&[
            ("seed", &(1000 + number).to_string()),
            ("style", "film noir, rainy street at night"),
        ]),
    };
    let picture = |number: u32| Value::Artifact(workplace.picture(300, 200, (number * 20) as u8));
    let elements: Vec<ListElement> = (0..7)
        .map(|number| element(number, picture(number)))
        .collect();
    let columns = |columns, cell_px| ContactSheet { columns, cell_px };
    let drawn = sheet(&workplace, columns(3, 256), elements.clone()).unwrap();
    let png = workplace.artifacts.read(&drawn, u64::MAX).unwrap();
    if let Some(folder) = std::env::var_os("ORCHESTRATOR_TEST_PICTURES") {
        fs::write(Path::new(&folder).join("contact-sheet.png"), &png).unwrap();
    }
    let picture_of_sheet = decode(&png).unwrap().into_rgb8();
    // Three columns of cells as wide as asked, with gaps and margins.
    assert!((3 * 256..3 * 256 + 120).contains(&picture_of_sheet.width()));
    // Each of the seven tints is on it; an eighth is not.
    for number in 0..8_u8 {
        let is_there = picture_of_sheet
            .pixels()
            .any(|pixel| pixel.0[2] == number * 20 && pixel.0[0] > 200 && pixel.0[1] < 60);
        assert_eq!(is_there, number < 7, "picture {number}");
    }
    // The same list gives the same file.
    assert_eq!(sheet(&workplace, columns(3, 256), elements).unwrap(), drawn);

    // Near-square when the columns are left to us; one picture; a video in between; far more than fit.
    let square: Vec<ListElement> = (0..16)
        .map(|number| {
            element(
                number,
                Value::Artifact(workplace.picture(64, 64, number as u8)),
            )
        })
        .collect();
    let measures = sheet(&workplace, columns(0, 128), square.clone())
        .unwrap()
        .measures;
    let aspect = f64::from(measures.width_px.unwrap()) / f64::from(measures.height_px.unwrap());
    assert!((0.7..1.3).contains(&aspect), "{aspect}");
    sheet(&workplace, ContactSheet::default(), square[..1].to_vec()).unwrap();
    let video = workplace
        .artifacts
        .store_bytes(b"\0\0\0\x18ftypisom\0\0\0\0", DataType::Video, "v.mp4")
        .unwrap();
    let mixed = vec![
        square[0].clone(),
        element(1, Value::Artifact(Arc::new(video))),
    ];
    sheet(&workplace, ContactSheet::default(), mixed).unwrap();
    let many = vec![square[0].clone(); 3000];
    let measures = sheet(&workplace, columns(1, 1024), many).unwrap().measures;
    assert!(measures.height_px.unwrap() <= 12_000);

    let message = sheet(&workplace, ContactSheet::default(), Vec::new()).unwrap_err();
    assert!(message.contains("no picture"), "{message}");
}
