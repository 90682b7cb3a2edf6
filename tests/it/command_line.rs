//! The command line as a person uses it: the real binary, good input and bad.

use comfyui_orchestrator::project::{
    Edit, Project, ProjectId, read_portable_form, write_portable_form,
};
use comfyui_orchestrator::store::project_folder::{self, Overwrite, ProjectPlace};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

const SCENE: &str = include_str!("../../scenes/harbour-at-dusk.orchestrator.json");

pub fn command(data_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_comfyui-orchestrator"));
    command
        .arg("--data-dir")
        .arg(data_dir)
        .env_remove("ORCHESTRATOR_LOG")
        .stdin(Stdio::null());
    command
}

pub fn run(data_dir: &Path, arguments: &[&str]) -> Output {
    command(data_dir)
        .args(arguments)
        .output()
        .expect("the binary starts")
}

/// `run PROJECT --backend URL --out FOLDER` and what else is given.
pub fn run_project(data_dir: &Path, project: &str, url: &str, out: &Path, more: &[&str]) -> Output {
    command(data_dir)
        .args(["run", project, "--backend", url, "--out"])
        .arg(out)
        .args(more)
        .output()
        .expect("the binary starts")
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The command fails, and says a sentence that contains every one of `fragments`.
#[track_caller]
pub fn refuses(output: &Output, fragments: &[&str]) {
    assert!(
        !output.status.success(),
        "exit code 0 although it failed: {}",
        stdout(output)
    );
    let said = format!("{}{}", stderr(output), stdout(output));
    for fragment in fragments {
        assert!(
            said.contains(fragment),
            "\"{fragment}\" is missing in: {said}"
        );
    }
    assert!(!said.contains("panicked"), "{said}");
}

/// A built-in backend in a process of its own, ended with the test.
pub struct BuiltinProcess {
    child: Child,
    pub url: String,
}

impl BuiltinProcess {
    pub fn start(data_dir: &Path) -> Self {
        let mut child = command(data_dir)
            .args(["builtin", "--port", "0"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("it says where it is");
        let url = line
            .trim()
            .rsplit(' ')
            .next()
            .expect("an address")
            .to_owned();
        Self { child, url }
    }

    /// What it answers to a GET, head and body.
    pub fn get(&self, path: &str) -> String {
        let address = self.url.trim_start_matches("http://").trim_end_matches('/');
        let mut stream = TcpStream::connect(address).unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for BuiltinProcess {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A server that answers every request with one status and body.
fn answering(status: &'static str, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    std::thread::spawn(move || {
        for stream in listener.incoming().take(64) {
            let Ok(mut stream) = stream else { return };
            let mut request = [0_u8; 4096];
            let length = stream.read(&mut request).unwrap_or(0);
            if length == 0 {
                continue;
            }
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).ok();
        }
    });
    url
}

/// The sample with small pictures, as a portable file.
pub fn small_scene(folder: &Path) -> String {
    let mut project = read_portable_form(SCENE.as_bytes()).expect("the sample is readable");
    for file in project.workflows.values_mut() {
        file.text = file
            .text
            .replace("768", "64")
            .replace("\"height\": 512", "\"height\": 48")
            .into();
    }
    let path = folder.join("small.orchestrator.json");
    std::fs::write(&path, write_portable_form(&project).expect("writable")).expect("written");
    path.to_string_lossy().into_owned()
}

#[test]
fn a_project_is_made_packed_unpacked_and_checked() {
    let folder = TempDir::new().expect("a folder");
    let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let data = folder.path().join("data");
    let new = run(&data, &["project", "new", &at("Empty")]);
    assert!(new.status.success(), "{}", stderr(&new));
    refuses(
        &run(&data, &["project", "new", &at("Empty")]),
        &["not empty"],
    );
    refuses(
        &run(&data, &["project", "validate", &at("Empty")]),
        &["no nodes"],
    );

    std::fs::write(at("scene.orchestrator.json"), SCENE).expect("written");
    let import = run(
        &data,
        &[
            "project",
            "import",
            &at("scene.orchestrator.json"),
            &at("Scene"),
        ],
    );
    assert!(import.status.success(), "{}", stderr(&import));
    let validate = run(&data, &["project", "validate", &at("Scene")]);
    assert!(validate.status.success(), "{}", stdout(&validate));
    let export = run(
        &data,
        &[
            "project",
            "export",
            &at("Scene"),
            &at("again.orchestrator.json"),
        ],
    );
    assert!(export.status.success(), "{}", stderr(&export));
    assert_eq!(
        std::fs::read_to_string(at("again.orchestrator.json")).expect("written"),
        SCENE,
        "a round trip changes nothing"
    );
}

#[test]
fn a_run_on_a_server_process_writes_its_files_and_is_listed() {
    let folder = TempDir::new().expect("a folder");
    let data = folder.path().join("data");
    let server = BuiltinProcess::start(&folder.path().join("server"));
    let scene = small_scene(folder.path());
    let more = ["--set", "Paint a harbour.steps=2", "--json"];
    let out = folder.path().join("out");
    let output = run_project(&data, &scene, &server.url, &out, &more);
    assert!(output.status.success(), "{}", stderr(&output));
    let events: Vec<serde_json::Value> = stdout(&output)
        .lines()
        .map(|line| serde_json::from_str(line).expect("one JSON document a line"))
        .collect();
    assert_eq!(events.first().expect("events")["event"], "run_created");
    let last = events.last().expect("events");
    assert_eq!(
        (last["event"].as_str(), last["state"].as_str()),
        (Some("run_state_changed"), Some("completed"))
    );
    let written: usize = events
        .iter()
        .filter(|event| event["event"] == "files_written")
        .map(|event| event["paths"].as_array().map_or(0, Vec::len))
        .sum();
    assert_eq!(written, 13);

    let list = run(&data, &["runs", "list"]);
    assert!(stdout(&list).contains("completed"), "{}", stdout(&list));
    let show = run(&data, &["runs", "show", "last"]);
    assert!(
        stdout(&show).contains("Paint a harbour"),
        "{}",
        stdout(&show)
    );
    refuses(
        &run(&data, &["runs", "show", "ffffffff"]),
        &["no run ffffffff", "runs list"],
    );

    let check = run(&data, &["backend", "check", &server.url]);
    assert!(stdout(&check).contains("classes"), "{}", stdout(&check));
    refuses(
        &run_project(
            &data,
            &scene,
            &server.url,
            &out,
            &["--set", "Nobody.steps=2"],
        ),
        &["no node is called"],
    );
    refuses(
        &run_project(
            &data,
            &scene,
            &server.url,
            &out,
            &["--set", "Paint a harbour.stepz=2"],
        ),
        &["has no parameter \"stepz\"", "steps"],
    );
    // Twice the same address: the second server says so instead of stealing the port.
    let port = server
        .url
        .rsplit(':')
        .next()
        .expect("a port")
        .trim_end_matches('/')
        .to_owned();
    refuses(
        &run(
            &folder.path().join("server-2"),
            &["builtin", "--port", &port],
        ),
        &[&port, "in use"],
    );
}

#[test]
fn unreadable_projects_are_refused_with_a_sentence_and_left_as_they_are() {
    let folder = TempDir::new().expect("a folder");
    let data = folder.path().join("data");
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        path.to_string_lossy().into_owned()
    };
    refuses(
        &run(&data, &["run", "/nowhere/at/all"]),
        &["/nowhere/at/all"],
    );
    let not_json = file("broken.orchestrator.json", b"{ this is not JSON");
    refuses(
        &run(&data, &["run", &not_json]),
        &["broken.orchestrator.json"],
    );
    assert_eq!(
        std::fs::read(&not_json).expect("still there"),
        b"{ this is not JSON"
    );

    let newer = SCENE.replacen("\"format_version\": 1", "\"format_version\": 99", 1);
    assert_ne!(newer, SCENE);
    refuses(
        &run(
            &data,
            &["run", &file("newer.orchestrator.json", newer.as_bytes())],
        ),
        &["99", "newer"],
    );
    let unknown = SCENE.replacen("\"condition\"", "\"teleporter\"", 1);
    assert_ne!(unknown, SCENE);
    refuses(
        &run(
            &data,
            &[
                "run",
                &file("unknown.orchestrator.json", unknown.as_bytes()),
            ],
        ),
        &["teleporter"],
    );

    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    refuses(
        &run(
            &data,
            &["run", &file("deep.orchestrator.json", deep.as_bytes())],
        ),
        &["deep"],
    );
    let huge = folder.path().join("huge.orchestrator.json");
    let sparse = std::fs::File::create(&huge).expect("created");
    sparse.set_len(200 << 20).expect("sparse");
    refuses(
        &run(&data, &["run", &huge.to_string_lossy()]),
        &["huge.orchestrator.json", "more than"],
    );
}

#[test]
fn graphs_that_cannot_run_are_refused_before_anything_starts() {
    let folder = TempDir::new().expect("a folder");
    let data = folder.path().join("data");
    let save = |name: &str, text: &str| {
        let path = folder.path().join(format!("{name}.orchestrator.json"));
        std::fs::write(&path, text).expect("written");
        path.to_string_lossy().into_owned()
    };
    let validate = |path: &str| run(&data, &["project", "validate", path]);

    // A parameter that its workflow no longer has.
    let gone = save("gone", &SCENE.replace("\\\"alpha\\\"", "\\\"beta\\\""));
    refuses(&validate(&gone), &["alpha", "ImageSharpen"]);
    // A workflow in the editor's format that was emptied there.
    let mut project = read_portable_form(SCENE.as_bytes()).expect("readable");
    for file in project.workflows.values_mut() {
        file.text =
            r#"{"version":0.4,"nodes":[],"links":[],"last_node_id":0,"last_link_id":0}"#.into();
    }
    refuses(
        &validate(&save(
            "editor",
            &write_portable_form(&project).expect("writable"),
        )),
        &["steps", "no longer has #1", "Save"],
    );
    // A circle, made by hand: the editor refuses to make one.
    let mut circle: serde_json::Value = serde_json::from_str(SCENE).expect("JSON");
    let text = {
        let nodes = circle["nodes"].as_object().or(None).cloned();
        let find = |title: &str| -> serde_json::Value {
            let all: Vec<serde_json::Value> = match &nodes {
                Some(map) => map.values().cloned().collect(),
                None => circle["nodes"].as_array().expect("nodes").clone(),
            };
            all.into_iter()
                .find(|node| node["title"] == title)
                .expect("the node")
        };
        let (up, condition) = (find("Upscale and sharpen"), find("Bright enough?"));
        // The condition is fed by the workflow that it feeds.
        let links = circle["links"].as_array_mut().expect("links");
        let into = links
            .iter_mut()
            .find(|link| link["to"]["node"] == condition["id"])
            .expect("the condition's link");
        into["from"] = serde_json::json!({ "node": up["id"], "port": up["outputs"][0]["id"] });
        serde_json::to_string(&circle).expect("JSON")
    };
    refuses(&validate(&save("circle", &text)), &["circle"]);
    // A link of types that do not fit.
    let wrong = SCENE.replacen("\"data_type\": \"integer\"", "\"data_type\": \"latent\"", 1);
    assert_ne!(wrong, SCENE);
    refuses(&validate(&save("wrong", &wrong)), &["Latent"]);
}

#[test]
fn servers_that_are_no_comfyui_are_named_for_what_they_are() {
    let folder = TempDir::new().expect("a folder");
    let data = folder.path().join("data");
    let scene = small_scene(folder.path());
    refuses(&run(&data, &["run", &scene]), &["no backend", "--backend"]);
    refuses(
        &run(&data, &["run", &scene, "--backend", "http://127.0.0.1:9"]),
        &["no backend can be reached", "127.0.0.1:9"],
    );
    refuses(
        &run(&data, &["backend", "check", "http://127.0.0.1:9"]),
        &["cannot reach"],
    );
    let page = answering("200 OK", "<html><title>Router</title></html>");
    refuses(
        &run(&data, &["backend", "check", &page]),
        &["web page", "ComfyUI address"],
    );
    refuses(
        &run(
            &data,
            &["backend", "check", &answering("401 Unauthorized", "")],
        ),
        &["401", "authentication"],
    );
    refuses(
        &run(
            &data,
            &["backend", "check", &answering("413 Payload Too Large", "")],
        ),
        &["413"],
    );
    refuses(
        &run(
            &data,
            &[
                "backend",
                "check",
                &answering("500 Internal Server Error", "oops"),
            ],
        ),
        &["500", "oops"],
    );
    refuses(
        &run(&data, &["backend", "check", "ftp://127.0.0.1"]),
        &["http"],
    );
}

#[test]
fn an_output_folder_that_cannot_be_written_fails_the_run_with_a_sentence() {
    let folder = TempDir::new().expect("a folder");
    let data = folder.path().join("data");
    let server = BuiltinProcess::start(&folder.path().join("server"));
    let scene = small_scene(folder.path());
    // A file lies where the folder should be; root may write everywhere, so permissions would prove nothing.
    let out = folder.path().join("out");
    std::fs::write(&out, b"in the way").expect("written");
    let output = run(
        &data,
        &[
            "run",
            &scene,
            "--backend",
            &server.url,
            "--out",
            &out.to_string_lossy(),
            "--set",
            "Paint a harbour.steps=1",
        ],
    );
    refuses(&output, &["out", "Failed"]);
    assert_eq!(std::fs::read(&out).expect("still there"), b"in the way");
}

#[test]
fn a_database_of_the_future_or_of_somebody_else_is_left_alone() {
    let folder = TempDir::new().expect("a folder");
    let data = folder.path().join("data");
    std::fs::create_dir_all(&data).expect("made");
    let database = data.join("orchestrator.sqlite");
    let garbage = b"this is no database at all, but it is somebody's file. ".repeat(40);
    std::fs::write(&database, &garbage).expect("written");
    refuses(&run(&data, &["runs", "list"]), &["orchestrator.sqlite"]);
    assert_eq!(std::fs::read(&database).expect("still there"), garbage);

    std::fs::remove_file(&database).expect("removed");
    assert!(run(&data, &["runs", "list"]).status.success());
    let connection = rusqlite::Connection::open(&database).expect("opened");
    connection
        .pragma_update(None, "user_version", 99)
        .expect("set");
    drop(connection);
    refuses(&run(&data, &["runs", "list"]), &["Update the program"]);
}

#[test]
fn a_project_folder_that_is_damaged_is_never_written_over() {
    let folder = TempDir::new().expect("a folder");
    let place = ProjectPlace::Folder(folder.path().join("Mine"));
    let mut project = Project::new(ProjectId::new_now(), "Mine");
    project_folder::save(&place, &project, &Overwrite::Nothing).expect("saved");
    std::fs::write(place.main_file(), "(damaged").expect("written");
    project
        .apply(Edit::RenameProject("Other".to_owned()))
        .expect("renamed");
    assert!(project_folder::save(&place, &project, &Overwrite::Anything).is_err());
    assert_eq!(
        std::fs::read_to_string(place.main_file()).expect("still there"),
        "(damaged"
    );
    let data = folder.path().join("data");
    refuses(
        &run(
            &data,
            &["project", "validate", &place.folder().to_string_lossy()],
        ),
        &["project.ron"],
    );
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let folder = TempDir::new().expect("a folder");
    let mut child = command(folder.path())
        .args(["project", "new", "--help"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", stderr(&output));

    // The same for lines of our own, as in `runs list | head`.
    let mut child = command(folder.path())
        .args(["runs", "list"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
}
