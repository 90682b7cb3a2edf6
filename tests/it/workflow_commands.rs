//! `workflow …` and `run` on workflow files, through the real binary.

use super::command_line::{BuiltinProcess, command, refuses, run, stderr, stdout};
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use tempfile::TempDir;

struct Desk {
    folder: TempDir,
    data: PathBuf,
}

impl Desk {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let data = folder.path().join("data");
        Self { folder, data }
    }

    fn at(&self, name: &str) -> String {
        self.folder.path().join(name).to_string_lossy().into_owned()
    }

    fn write(&self, name: &str, json: &Value) -> String {
        std::fs::write(self.at(name), json.to_string()).unwrap();
        self.at(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        run(&self.data, arguments)
    }

    #[track_caller]
    fn succeeds(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "{}{}",
            stdout(&output),
            stderr(&output)
        );
        stdout(&output)
    }
}

fn shot() -> Value {
    json!({
        "3": {"class_type": "OrchestratorPicture", "inputs": {"seed": 18_446_744_073_709_551_615_u64, "text": "a pier", "width": 64,
            "height": 48, "steps": 2, "style": "harbour", "detail": 0.5}, "_meta": {"title": "Sketch"}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "pier"}, "_meta": {"title": "Result"}},
    })
}

fn only_picture(folder: &Path) -> PathBuf {
    let mut open = vec![folder.to_path_buf()];
    let mut found = Vec::new();
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).unwrap().flatten() {
            if entry.path().is_dir() {
                open.push(entry.path());
            } else {
                found.push(entry.path());
            }
        }
    }
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[test]
fn a_workflow_goes_both_ways_runs_and_comes_back_out_of_its_picture() {
    let desk = Desk::new();
    let server = BuiltinProcess::start(&desk.folder.path().join("server"));
    let api = desk.write("shot.json", &shot());
    let ui = desk.at("drawn.json");

    // Nobody was ever asked which classes there are.
    refuses(
        &desk.run(&["workflow", "convert", &api, "--to", "ui"]),
        &["--backend URL", "--object-info FILE"],
    );
    desk.succeeds(&[
        "workflow",
        "convert",
        &api,
        "--to",
        "ui",
        "--backend",
        &server.url,
        "-o",
        &ui,
    ]);
    let drawn: Value = serde_json::from_slice(&std::fs::read(&ui).unwrap()).unwrap();
    assert_eq!(drawn["nodes"].as_array().unwrap().len(), 2);
    let back = desk.succeeds(&[
        "workflow",
        "convert",
        &ui,
        "--to",
        "api",
        "--backend",
        &server.url,
    ]);
    assert_eq!(serde_json::from_str::<Value>(&back).unwrap(), shot());
    // A file of the editor that is asked for in the editor's format is not touched.
    let same = desk.succeeds(&["workflow", "convert", &ui, "--to", "ui"]);
    assert_eq!(same.as_bytes(), std::fs::read(&ui).unwrap());
    let equal = desk.run(&["workflow", "diff", &api, &ui, "--backend", &server.url]);
    assert_eq!(equal.status.code(), Some(0), "{}", stdout(&equal));

    // The editor's file runs as it is, with a parameter set.
    let out = desk.at("out");
    desk.succeeds(&[
        "run",
        &ui,
        "--backend",
        &server.url,
        "--set",
        "drawn.Steps=3",
        "--out",
        &out,
    ]);
    let picture = only_picture(Path::new(&out));
    let picture = picture.to_string_lossy();
    let extracted = desk.succeeds(&["workflow", "extract", &picture]);
    assert_eq!(serde_json::from_str::<Value>(&extracted).unwrap(), drawn);
    let sent = desk.succeeds(&["workflow", "extract", &picture, "--what", "prompt"]);
    let sent: Value = serde_json::from_str(&sent).unwrap();
    assert_eq!(sent["3"]["inputs"]["steps"], 3);
    assert_eq!(
        sent["3"]["inputs"]["seed"],
        json!(18_446_744_073_709_551_615_u64)
    );

    // The server was seen, so its classes are known while it is away.
    drop(server);
    let offline = desk.succeeds(&["workflow", "convert", &picture, "--to", "api"]);
    assert_eq!(serde_json::from_str::<Value>(&offline).unwrap(), shot());
    let told = desk.succeeds(&["workflow", "inspect", &picture]);
    for words in [
        "PNG picture",
        "editor format",
        "Steps",
        "[1 to ",
        "#3 \"Sketch\"",
        "Result",
    ] {
        assert!(told.contains(words), "\"{words}\" in {told}");
    }
    let told = desk.succeeds(&["workflow", "inspect", &picture, "--json"]);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["exact"], true);
    assert_eq!(told["classes"]["OrchestratorPicture"], 1);
    assert_eq!(told["outputs"][0]["value_type"], "image");
}

#[test]
fn servers_are_judged_and_differences_named() {
    let desk = Desk::new();
    let server = BuiltinProcess::start(&desk.folder.path().join("server"));
    let api = desk.write("shot.json", &shot());
    let ready = desk.succeeds(&["workflow", "preflight", &api, "--backend", &server.url]);
    assert!(ready.contains("ready"), "{ready}");
    let mut wrong = shot();
    wrong["3"]["inputs"]["steps"] = json!(1_000_000);
    wrong["3"]["inputs"]["style"] = json!("baroque");
    wrong["7"] = json!({"class_type": "SuperLoader", "inputs": {"model": "sd\\xl.safetensors"}});
    let wrong = desk.write("wrong.json", &wrong);
    let refusal = desk.run(&["workflow", "preflight", &wrong, "--backend", &server.url]);
    refuses(
        &refusal,
        &[
            "SuperLoader",
            "#7",
            "steps",
            "1000000",
            "above its largest value",
            "baroque",
            "harbour",
        ],
    );
    // One that is off is a row of its own, not the end.
    let both = desk.run(&[
        "workflow",
        "preflight",
        &wrong,
        "--json",
        "--backend",
        &server.url,
        "--backend",
        "127.0.0.1:9",
    ]);
    let rows: Value = serde_json::from_str(&stdout(&both)).unwrap();
    assert_eq!(rows[0]["reasons"].as_array().unwrap().len(), 3);
    assert_eq!(rows[0]["reasons"][0]["kind"], "missing_class");
    assert!(
        rows[1]["error"].as_str().unwrap().contains("127.0.0.1:9"),
        "{rows}"
    );
    refuses(&desk.run(&["workflow", "preflight", &api]), &["--backend"]);

    let differ = desk.run(&["workflow", "diff", &api, &wrong]);
    assert_eq!(differ.status.code(), Some(1));
    let told = stdout(&differ);
    assert_eq!(told.lines().count(), 3, "{told}");
    for line in [
        "steps of #3 \"Sketch\" (OrchestratorPicture): 2 → 1000000",
        "#7 SuperLoader was added",
    ] {
        assert!(told.contains(line), "\"{line}\" in {told}");
    }
    let broken = desk.write("broken.json", &json!({"nodes": 3}));
    let unreadable = desk.run(&["workflow", "diff", &api, &broken]);
    assert_eq!(unreadable.status.code(), Some(2), "{}", stderr(&unreadable));
    assert!(stderr(&unreadable).contains("broken.json"));
}

#[test]
fn standard_input_and_strange_files_are_taken_for_what_they_are() {
    let desk = Desk::new();
    let mut child = command(&desk.data)
        .args(["workflow", "inspect", "-", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let written = child
        .stdin
        .take()
        .unwrap()
        .write_all(shot().to_string().as_bytes());
    written.unwrap();
    let output = child.wait_with_output().unwrap();
    let told: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(
        (&told["format"], &told["nodes"]),
        (&json!("api"), &json!(2))
    );

    std::fs::write(
        desk.at("film.mp4"),
        b"\0\0\0\x10ftypisom\0\0\0\0\0\0\xff\xffmoov",
    )
    .unwrap();
    std::fs::write(desk.at("page.json"), "<html>not found</html>").unwrap();
    std::fs::write(desk.at("song.mp3"), b"ID3\x04\0\0\x7f\x7f\x7f\x7f").unwrap();
    std::fs::write(desk.at("notes.txt"), "remember the milk").unwrap();
    std::fs::write(desk.at("a.zip"), b"PK\x03\x04\0\0").unwrap();
    for (file, fragments) in [
        ("film.mp4", &["film.mp4", "MP4 file is damaged"][..]),
        ("page.json", &["page.json", "damaged"]),
        ("song.mp3", &["song.mp3", "MP3"]),
        ("notes.txt", &["notes.txt", "not JSON"]),
        ("a.zip", &["a.zip", "none of the files"]),
        ("gone.png", &["gone.png", "cannot open"]),
    ] {
        for task in ["inspect", "extract"] {
            refuses(&desk.run(&["workflow", task, &desk.at(file)]), fragments);
        }
    }
    refuses(&desk.run(&["run", &desk.at("film.mp4")]), &["MP4"]);
}

#[test]
fn a_workflow_is_replaced_and_what_became_of_its_parameters_is_told() {
    let desk = Desk::new();
    let scene = include_str!("../../scenes/harbour-at-dusk.orchestrator.json");
    std::fs::write(desk.at("scene.orchestrator.json"), scene).unwrap();
    let project = desk.at("scene");
    desk.succeeds(&[
        "project",
        "import",
        &desk.at("scene.orchestrator.json"),
        &project,
    ]);
    let file = Path::new(&project).join("workflows/Upscale and sharpen.json");
    let text = std::fs::read_to_string(&file).unwrap();
    let mut renumbered: Value = serde_json::from_str(&text).unwrap();
    // Rebuilt in ComfyUI: other numbers, and the sharpening is gone.
    let nodes = renumbered.as_object_mut().unwrap();
    nodes.remove("3");
    let mut scale = nodes.remove("2").unwrap();
    scale["inputs"]["scale_by"] = json!(3.0);
    nodes.insert("20".to_owned(), scale);
    nodes["4"]["inputs"]["images"] = json!(["20", 0]);
    let new = desk.write("new.json", &renumbered);
    let replace = |extra: &[&str]| {
        let mut arguments = vec!["project", "replace", &project, "Upscale and sharpen", &new];
        arguments.extend(extra);
        desk.run(&arguments)
    };
    let told = replace(&["--dry-run"]);
    assert_eq!(
        std::fs::read_to_string(&file).unwrap(),
        text,
        "only looked at"
    );
    refuses(
        &told,
        &[
            "scale_by of #2 \"Upscale\" (ImageScaleBy): 1.5 → 3.0",
            "#3 \"Sharpen\" (ImageSharpen) was removed",
            "broken: \"Upscale and sharpen\", \"sharpness\"",
        ],
    );
    refuses(&replace(&[]), &["broken"]);
    let now: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(now, renumbered);
    refuses(
        &desk.run(&["project", "validate", &project]),
        &["sharpness"],
    );
    refuses(
        &desk.run(&["project", "replace", &project, "Nowhere", &new]),
        &["Soft glow"],
    );
}
