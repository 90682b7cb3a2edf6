//! `run --plan`: what is said before a run against what the run then does.

use crate::build::Build;
use crate::command_line::{BuiltinProcess, run, run_project, stderr, stdout};
use crate::whole_runs::files_below;
use comfyui_orchestrator::engine::database_path;
use comfyui_orchestrator::project::{
    Affinity, CachePolicy, DataType, FanOutSource, FilePattern, InputValue, MergeMode, Node,
    NodeId, NodeKind, PortId, WorkflowFile, WorkflowName,
};
use comfyui_orchestrator::store::{Store, wait};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Where projects are planned and run.
struct Place {
    folder: TempDir,
    server: BuiltinProcess,
}

impl Place {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let server = BuiltinProcess::start(&folder.path().join("server"));
        Self { folder, server }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn plan(&self, project: &str) -> String {
        self.plan_that_ends(project, 0)
    }

    fn plan_that_ends(&self, project: &str, exit_code: i32) -> String {
        let planned = run(
            &self.data(),
            &["run", project, "--plan", "--backend", &self.server.url],
        );
        assert_eq!(
            planned.status.code(),
            Some(exit_code),
            "{}",
            stderr(&planned)
        );
        stdout(&planned)
    }

    /// Runs a project and says how many prompts were sent.
    fn sent(&self, project: &str, exit_code: i32) -> usize {
        let out = self.folder.path().join("out");
        let ran = run_project(&self.data(), project, &self.server.url, &out, &["--json"]);
        assert_eq!(ran.status.code(), Some(exit_code), "{}", stderr(&ran));
        stdout(&ran).matches("\"event\":\"attempt_placed\"").count()
    }
}

/// Pictures of so many colours, 0 to `count`.
fn pictures(build: &mut Build, count: u32) -> usize {
    let numbers = build.fan_out(FanOutSource::Range {
        axis: "n".to_owned(),
        start: 0.0,
        step: 1.0,
        count,
    });
    let plain = build.plain(&["color"]);
    build.link((numbers, 0), (plain, 0));
    plain
}

fn written(build: &Build, folder: &Path, name: &str) -> String {
    let folder = folder.join(name);
    std::fs::create_dir_all(&folder).unwrap();
    build.write(&folder)
}

#[test]
fn a_plan_keeps_only_files_that_are_known() {
    let place = Place::new();
    let shots = place.folder.path().join("looked/inputs/shots");
    std::fs::create_dir_all(&shots).unwrap();
    for light in [10, 200] {
        let picture = image::RgbImage::from_pixel(32, 32, image::Rgb([light, light, light]));
        picture.save(shots.join(format!("{light}.png"))).unwrap();
    }
    let mut build = Build::new();
    let files = build.fan_out(FanOutSource::Files(FilePattern {
        axis: "shot".to_owned(),
        pattern: "shots/*.png".to_owned(),
        data_type: DataType::Image,
    }));
    let sheets = build.merge(MergeMode::All);
    let last = build.inverted();
    build.link((files, 0), (sheets, 0));
    build.link((sheets, 1), (last, 0));
    let project = written(&build, place.folder.path(), "looked");
    let plan = place.plan(&project);
    assert!(plan.starts_with("0 cached, 1 will run."), "{plan}");
    let store = Store::open(&database_path(&place.data())).unwrap();
    let kept = files_below(&place.data().join("artifacts"));
    assert_eq!(kept.len(), 3, "two pictures and a sheet of them: {kept:?}");
    for file in &kept {
        let hash = file.split('.').next().unwrap().parse().unwrap();
        assert!(wait(store.artifact(hash)).unwrap().is_some(), "{file}");
    }
    drop(store);
    // What a plan brought goes as soon as nobody works.
    let pruned = run(&place.data(), &["cache", "prune", "--max-size", "0"]);
    assert!(
        stdout(&pruned).contains("3 files removed"),
        "{}",
        stdout(&pruned)
    );
}

#[test]
fn what_hangs_on_a_condition_is_counted_on_one_side() {
    let place = Place::new();
    let project = |other_side: u32| {
        let mut build = Build::new();
        let plain = pictures(&mut build, 4);
        let condition = build.add(Node::condition(
            NodeId::new_now(),
            "labels.n == \"0\"",
            DataType::Image,
            &mut PortId::new_now,
        ));
        build.link((plain, 0), (condition, 0));
        let one = build.inverted();
        build.link((condition, 0), (one, 0));
        let either = build.merge(MergeMode::Either);
        build.link((one, 0), (either, 0));
        let mut at = (condition, 1);
        for _ in 0..other_side {
            let next = build.inverted();
            build.link(at, (next, 0));
            at = (next, 0);
        }
        build.link(at, (either, 0));
        let last = build.inverted();
        build.link((either, 0), (last, 0));
        written(&build, place.folder.path(), &format!("sides{other_side}"))
    };
    // Either way each picture is inverted once on its side: 4 + 4 + 4.
    let even = project(1);
    let plan = place.plan(&even);
    assert!(plan.starts_with("0 cached, 12 will run."), "{plan}");
    assert!(
        plan.contains(
            "at most 4 will run because what it is made from runs, if \"Condition\" sends it here"
        ),
        "{plan}"
    );
    assert_eq!(place.sent(&even, 0), 12);
    assert!(place.plan(&even).starts_with("12 cached, 0 will run."));

    // Three of the other side are inverted twice: what is there of the pictures decides it now.
    let uneven = project(2);
    let plan = place.plan(&uneven);
    let said = plan.lines().next().unwrap_or_default().to_owned();
    let sent = place.sent(&uneven, 0);
    assert!(
        said.contains(&format!(", {sent} will run")),
        "{plan} and {sent} were sent"
    );
}

#[test]
fn a_merge_of_which_a_part_is_there_is_not_taken_for_the_part() {
    let place = Place::new();
    let project = |count: u32, mode: MergeMode| {
        let mut build = Build::new();
        let plain = pictures(&mut build, count);
        let merged = build.merge(mode.clone());
        let last = build.inverted();
        build.link((plain, 0), (merged, 0));
        build.link((merged, 0), (last, 0));
        written(
            &build,
            place.folder.path(),
            &format!("{count}{mode:?}").replace([' ', '"', ':'], ""),
        )
    };
    let best = || MergeMode::Best {
        expression: "image.brightness".to_owned(),
        keep: 1,
    };
    assert_eq!(place.sent(&project(2, best()), 0), 3);
    let four = project(4, best());
    let plan = place.plan(&four);
    // The best of four may be the best of the two that are there, of which the rest is there, too.
    assert!(plan.starts_with("2 cached, 2 to 3 will run."), "{plan}");
    assert!((2..=3).contains(&place.sent(&four, 0)));
}

#[test]
fn what_hangs_on_a_person_or_cannot_run_is_not_promised() {
    let place = Place::new();
    let mut build = Build::new();
    let plain = pictures(&mut build, 3);
    let review = build.review("Which?");
    let last = build.inverted();
    build.link((plain, 0), (review, 0));
    build.link((review, 0), (last, 0));
    let reviewed = written(&build, place.folder.path(), "reviewed");
    let plan = place.plan(&reviewed);
    assert!(plan.starts_with("0 cached, 3 to 6 will run."), "{plan}");
    assert_eq!(place.sent(&reviewed, 3), 3);
    let plan = place.plan(&reviewed);
    assert!(plan.starts_with("3 cached, at most 3 will run."), "{plan}");
    assert!(plan.contains("if it is picked in \"Review\""), "{plan}");

    // A node that always runs: what is made from it may be there already.
    let mut build = Build::new();
    let plain = pictures(&mut build, 2);
    let last = build.inverted();
    build.link((plain, 0), (last, 0));
    for node in build.project.nodes.values_mut() {
        if let NodeKind::Workflow(settings) = &mut node.kind
            && settings.workflow.as_str() == "plain"
        {
            settings.cache = CachePolicy::Never;
        }
    }
    let always = written(&build, place.folder.path(), "always");
    let plan = place.plan(&always);
    assert!(plan.starts_with("0 cached, 2 to 4 will run."), "{plan}");
    assert_eq!(place.sent(&always, 0), 4);
    assert_eq!(place.sent(&always, 0), 2);

    // A picture that is not there.
    let mut build = Build::new();
    let mut input = Node::input_file(NodeId::new_now(), "", DataType::Image, &mut PortId::new_now);
    if let NodeKind::Input(settings) = &mut input.kind {
        settings.value = InputValue::File("nowhere.png".to_owned());
    }
    let input = build.add(input);
    let first = build.inverted();
    let second = build.inverted();
    build.link((input, 0), (first, 0));
    build.link((first, 0), (second, 0));
    let absent = written(&build, place.folder.path(), "absent");
    let plan = place.plan_that_ends(&absent, 1);
    assert!(
        plan.starts_with("0 cached, 0 will run, 2 cannot run."),
        "{plan}"
    );
    assert!(plan.contains("nowhere.png"), "{plan}");
    assert_eq!(place.sent(&absent, 1), 0);
}

#[test]
fn everything_that_is_wrong_is_said_at_once_and_before_anything_is_sent() {
    let place = Place::new();
    let mut build = Build::new();
    // This one could run.
    pictures(&mut build, 1);
    let mut input = Node::input_file(NodeId::new_now(), "", DataType::Image, &mut PortId::new_now);
    input.title = "Photo".to_owned();
    if let NodeKind::Input(settings) = &mut input.kind {
        settings.value = InputValue::File("nowhere.png".to_owned());
    }
    let input = build.add(input);
    let inverted = build.inverted();
    build.link((input, 0), (inverted, 0));
    let files = build.fan_out(FanOutSource::Files(FilePattern {
        axis: "file".to_owned(),
        pattern: "no-folder/*.png".to_owned(),
        data_type: DataType::Image,
    }));
    let each = build.inverted();
    build.link((files, 0), (each, 0));
    let tagged = build.plain(&["color"]);
    build.edit(tagged, |node| {
        node.title = "Tagged".to_owned();
        if let NodeKind::Workflow(settings) = &mut node.kind {
            settings.affinity = Affinity::Tags(["video".to_owned()].into());
        }
    });
    let name = WorkflowName::new("strange").unwrap();
    let text = r#"{"1": {"class_type": "NobodyHasThis", "inputs": {}}}"#;
    let file = WorkflowFile::new(text);
    build.project.workflows.insert(name.clone(), file);
    let strange = build.plain(&[]);
    build.edit(strange, |node| {
        node.title = "Strange".to_owned();
        node.outputs.clear();
        if let NodeKind::Workflow(settings) = &mut node.kind {
            settings.workflow = name.clone();
        }
    });
    let wrong = written(&build, place.folder.path(), "wrong");
    let out = place.folder.path().join("out");
    let ran = run_project(&place.data(), &wrong, &place.server.url, &out, &[]);
    assert_eq!(ran.status.code(), Some(1));
    let told = stderr(&ran);
    for words in [
        "\"Photo\"",
        "nowhere.png",
        "no-folder",
        "\"Tagged\" can run nowhere: no backend has the tag video",
        "\"Strange\" can run on no backend",
        "NobodyHasThis",
    ] {
        assert!(told.contains(words), "\"{words}\" in {told}");
    }
    assert_eq!(told.matches("nowhere.png").count(), 1, "{told}");
    let listed = run(&place.data(), &["runs", "list"]);
    assert!(!stdout(&listed).contains("Built"), "{}", stdout(&listed));

    // The plan says of each what can become of it, and where a node wants to be counts.
    let plan = place.plan_that_ends(&wrong, 1);
    for words in [
        "1 will run because no equal item was made before",
        "nowhere.png",
        "no-folder",
        "lacks the tag video",
        "NobodyHasThis",
    ] {
        assert!(plan.contains(words), "\"{words}\" in {plan}");
    }
    assert!(plan.starts_with("0 cached, 1 will run, "), "{plan}");
}
