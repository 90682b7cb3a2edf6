//! Project files: both formats, hostile bytes, folders on disk.

use crate::project::{Bench, Ids, PROMPT, file, name};
use comfyui_orchestrator::project::{
    DataType, Edit, FORMAT_VERSION, FormatError, InputValue, Literal, MAX_PROJECT_BYTES, MergeNode,
    Node, NodeId, NodeKind, PortId, Project, ProjectId, portable_schema, read_folder_form,
    read_portable_form, write_folder_form, write_portable_form,
};
use comfyui_orchestrator::store::project_folder::{
    KEPT_VERSIONS, Overwrite, ProjectFolderError, ProjectPlace, discard_recovery, open,
    read_recovery, read_version, save, versions, write_recovery,
};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A project with every kind of node.
fn sample() -> Project {
    let mut bench = Bench::new();
    let seeds = bench.seeds("F", 3);
    let draw = bench.draw("draw");
    let merge = bench.merge("Merge", MergeNode::default());
    let output = bench.output();
    let id = bench.ids.node();
    let condition = Node::condition(id, "width > 10", DataType::Image, &mut || bench.ids.port());
    let condition = bench.add(condition);
    let id = bench.ids.node();
    let input = Node::input_file(id, "a.png", DataType::Image, &mut || bench.ids.port());
    bench.add(input);
    bench.link((seeds, "F"), (draw, "seed"));
    bench.link((draw, "image"), (condition, "value"));
    bench.link((condition, "true"), (merge, "values"));
    bench.link((merge, "list"), (output, "value"));
    bench.project
}

fn read_ron(text: &str) -> Result<Project, FormatError> {
    read_folder_form(text.as_bytes(), BTreeMap::new())
}

fn read_json(text: &str) -> Result<Project, FormatError> {
    read_portable_form(text.as_bytes())
}

#[test]
fn a_portable_file_restores_workflows_to_the_byte() {
    let mut project = sample();
    let odd =
        "{\r\n\t\"3\" : {\"class_type\":\"A\",\"inputs\":{\"x\":1.0000000000000000001e0}}}\n\n";
    let add = Edit::AddWorkflow {
        name: name("odd name (1)"),
        file: file(odd),
    };
    project.apply(add).unwrap();
    let text = write_portable_form(&project).unwrap();
    let again = read_json(&text).unwrap();
    assert_eq!(again, project);
    assert_eq!(again.workflows[&name("odd name (1)")].text.as_ref(), odd);
    assert_eq!(write_portable_form(&again).unwrap(), text);
    // An editor may have put a byte order mark in front.
    assert_eq!(read_json(&format!("\u{feff}{text}")).unwrap(), project);
}

#[test]
fn numbers_survive_exactly() {
    let mut ids = Ids::default();
    let mut project = Project::new(ProjectId::from_uuid(uuid::Uuid::nil()), "numbers");
    let mut numbers = vec![0.1 + 0.2, f64::MIN_POSITIVE, f64::MAX, -0.0, 5e-324, 1e21];
    let mut bits: u64 = 0x9E37_79B9_7F4A_7C15;
    while numbers.len() < 2_000 {
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let number = f64::from_bits(bits);
        if number.is_finite() {
            numbers.push(number);
        }
    }
    for number in numbers {
        let literal = Literal::Number(number);
        let node = Node::input_literal(ids.node(), literal, &mut || ids.port());
        project.apply(Edit::AddNode(Box::new(node))).unwrap();
    }
    for literal in [
        Literal::Integer(u64::MAX.into()),
        Literal::Integer(i64::MIN.into()),
        Literal::Json(serde_json::json!([null, {}, [], u64::MAX, "\u{7f}"])),
    ] {
        let node = Node::input_literal(ids.node(), literal, &mut || ids.port());
        project.apply(Edit::AddNode(Box::new(node))).unwrap();
    }
    let ron = write_folder_form(&project).unwrap();
    assert_eq!(read_ron(&ron).unwrap(), project);
    let json = write_portable_form(&project).unwrap();
    let again = read_json(&json).unwrap();
    let number = |project: &Project, id| match &project.nodes[&id].kind {
        NodeKind::Input(input) => match &input.value {
            InputValue::Literal(Literal::Number(number)) => Some(number.to_bits()),
            _ => None,
        },
        _ => None,
    };
    let changed = project
        .nodes
        .keys()
        .filter(|id| number(&project, **id) != number(&again, **id))
        .count();
    assert_eq!(changed, 0, "of {} numbers", project.nodes.len());
    assert_eq!(again, project);
}

#[test]
fn files_of_newer_versions_are_refused_by_their_version() {
    let project = sample();
    let newer = FormatError::NewerVersion { found: 99 };
    let ron = write_folder_form(&project).unwrap();
    let ron = ron.replace("format_version: 1", "format_version: 99");
    assert_eq!(read_ron(&ron).unwrap_err(), newer);
    // A newer file may have anything in it.
    let ron = ron.replace("kind: merge(", "kind: wormhole(");
    assert_eq!(read_ron(&ron).unwrap_err(), newer);
    let ron = "(format_version: 99, constellations: [(name: \"x\")])";
    assert_eq!(read_ron(ron).unwrap_err(), newer);
    let json = write_portable_form(&project).unwrap();
    let json = json.replace("\"format_version\": 1", "\"format_version\": 99");
    assert_eq!(read_json(&json).unwrap_err(), newer);
    let json = r#"{"format_version": 99, "constellations": {"deep": [1, {"x": null}]}}"#;
    assert_eq!(read_json(json).unwrap_err(), newer);
    assert!(newer.to_string().contains("version 99"));
    assert_eq!(FORMAT_VERSION, 1);
}

#[test]
fn unknown_node_kinds_are_named() {
    let project = sample();
    let expected = FormatError::UnknownNodeKind {
        kind: "wormhole".to_owned(),
    };
    let ron = write_folder_form(&project).unwrap();
    let ron = ron.replace("kind: merge(", "kind: wormhole(");
    assert_eq!(read_ron(&ron).unwrap_err(), expected);
    let json = write_portable_form(&project).unwrap();
    let json = json.replace("\"merge\": {", "\"wormhole\": {");
    assert_eq!(read_json(&json).unwrap_err(), expected);
}

#[test]
fn hostile_bytes_give_an_error_and_never_a_crash() {
    let deep = 100_000;
    let nested = |open: &str, close: &str| format!("{}{}", open.repeat(deep), close.repeat(deep));
    let texts = [
        String::new(),
        "\u{0}".to_owned(),
        "<html><body>404</body></html>".to_owned(),
        "null".to_owned(),
        "[]".to_owned(),
        nested("[", "]"),
        nested("(", ")"),
        nested("{\"a\":", "}"),
        nested("(a:", ")"),
        nested("Some(", ")"),
        nested("/*", "*/"),
        format!("(format_version: 1, id: {}", nested("[", "]")),
        format!("(format_version: 2, x: {})", nested("[", "]")),
        format!("(format_version: 2, x: {})", nested("Some(", ")")),
        format!("{{\"format_version\": 1, \"nodes\": {}}}", nested("[", "]")),
        "#![enable(implicit_some)]".repeat(deep),
        "(".repeat(deep),
        "\"".to_owned(),
        "r##########\"".to_owned(),
    ];
    for text in &texts {
        for error in [read_ron(text).unwrap_err(), read_json(text).unwrap_err()] {
            let message = error.to_string();
            assert!(message.len() < 1_000, "{message}");
        }
    }
    assert!(read_folder_form(&[0xff, 0xfe, 0x00], BTreeMap::new()).is_err());
    assert!(read_portable_form(&[0xff, 0xfe, 0x00]).is_err());
    let large = vec![b' '; MAX_PROJECT_BYTES + 1];
    let too_large = FormatError::TooLarge { bytes: large.len() };
    assert_eq!(read_portable_form(&large).unwrap_err(), too_large);
    assert_eq!(
        read_folder_form(&large, BTreeMap::new()).unwrap_err(),
        too_large
    );

    // JSON inside a value: too deep to be kept, and no JSON.
    let project = sample();
    let ron = write_folder_form(&project).unwrap();
    for value in [
        nested("[", "]"),
        "[".repeat(100) + &"]".repeat(100),
        "{".to_owned(),
    ] {
        let text = ron.replace("file(\"a.png\")", &format!("literal(json({value:?}))"));
        assert_ne!(text, ron);
        assert!(read_ron(&text).is_err());
    }
    for (from, to) in [
        ("width_world: 240.0", "width_world: inf"),
        ("pos_world: (0.0, 0.0)", "pos_world: (0.0, NaN)"),
        ("nodes:", "extra: 1, nodes:"),
    ] {
        let text = ron.replace(from, to);
        assert_ne!(text, ron, "{from}");
        assert!(read_ron(&text).is_err(), "{to}");
    }
}

#[test]
fn a_truncated_or_flipped_file_never_panics() {
    let project = sample();
    let ron = write_folder_form(&project).unwrap();
    let json = write_portable_form(&project).unwrap();
    for end in (0..ron.len() - 2).step_by(7) {
        assert!(read_folder_form(&ron.as_bytes()[..end], BTreeMap::new()).is_err());
    }
    for end in (0..json.len() - 2).step_by(11) {
        assert!(read_portable_form(&json.as_bytes()[..end]).is_err());
    }
    let mut bytes = ron.into_bytes();
    for place in (0..bytes.len()).step_by(13) {
        let was = bytes[place];
        for flip in [0x01, 0x20, 0x80] {
            bytes[place] = was ^ flip;
            // It may still be a project, with another title; it must be one that can be written.
            if let Ok(project) = read_folder_form(&bytes, BTreeMap::new()) {
                write_folder_form(&project).unwrap();
            }
        }
        bytes[place] = was;
    }
}

#[test]
fn two_things_with_one_id_are_refused() {
    let mut ids = Ids::default();
    let mut project = Project::new(ProjectId::from_uuid(uuid::Uuid::nil()), "twins");
    let (first, second) = (ids.node(), ids.node());
    for id in [first, second] {
        let node = Node::condition(id, "true", DataType::Any, &mut || ids.port());
        project.apply(Edit::AddNode(Box::new(node))).unwrap();
    }
    let ron = write_folder_form(&project).unwrap();
    let ron = ron.replace(&second.to_string(), &first.to_string());
    assert!(matches!(
        read_ron(&ron).unwrap_err(),
        FormatError::DuplicateId { what: "nodes", .. }
    ));
}

#[test]
fn ten_thousand_nodes_open_and_save() {
    let mut project = Project::new(ProjectId::new_now(), "large");
    for _ in 0..10_000 {
        let id = NodeId::new_now();
        let node = Node::merge(
            id,
            MergeNode::default(),
            DataType::Image,
            &mut PortId::new_now,
        );
        project.apply(Edit::AddNode(Box::new(node))).unwrap();
    }
    let ron = write_folder_form(&project).unwrap();
    assert_eq!(read_ron(&ron).unwrap(), project);
}

/// The committed schema describes what is written. `UPDATE_SCHEMA=1` writes it anew.
#[test]
fn the_schema_in_docs_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/project.schema.json");
    let text = serde_json::to_string_pretty(&portable_schema()).unwrap() + "\n";
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &text).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap().replace("\r\n", "\n");
    assert!(
        committed == text,
        "docs/project.schema.json is not current; run this test with UPDATE_SCHEMA=1"
    );
}

fn list(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn renamed(project: &Project, name: &str) -> Project {
    let mut project = project.clone();
    project.apply(Edit::RenameProject(name.to_owned())).unwrap();
    project
}

#[test]
fn a_project_folder_is_saved_and_opened_by_any_of_its_paths() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().join("new/My project");
    let place = ProjectPlace::for_saving(&folder);
    let project = sample();
    let stamp = save(&place, &project, &Overwrite::Nothing).unwrap();
    assert_eq!(list(&folder), ["project.ron", "workflows"]);
    let draw = fs::read_to_string(folder.join("workflows/draw.json")).unwrap();
    assert_eq!(draw, PROMPT);
    for path in [folder.clone(), folder.join("project.ron")] {
        let opened = open(&path).unwrap();
        assert_eq!(opened.project, project);
        assert_eq!(opened.stamp, stamp);
        assert_eq!(opened.skipped, []);
    }
    // Saving what is there already writes nothing.
    save(&place, &project, &Overwrite::Unchanged(stamp)).unwrap();
    assert_eq!(list(&folder), ["project.ron", "workflows"]);
    assert!(matches!(
        save(&place, &project, &Overwrite::Nothing),
        Err(ProjectFolderError::Exists { .. })
    ));

    let portable = temp.path().join("one.orchestrator.json");
    let place = ProjectPlace::for_saving(&portable);
    save(&place, &project, &Overwrite::Nothing).unwrap();
    assert_eq!(open(&portable).unwrap().project, project);

    let other = temp.path().join("notes.txt");
    fs::write(&other, "hello").unwrap();
    assert!(matches!(
        open(&other),
        Err(ProjectFolderError::NotAProject { .. })
    ));
    for missing in [temp.path().join("nothing"), temp.path().to_owned()] {
        let error = open(&missing).unwrap_err();
        assert!(
            matches!(error, ProjectFolderError::NotFound { .. }),
            "{error}"
        );
        let shown = error.to_string();
        assert!(shown.contains(missing.to_str().unwrap()), "{shown}");
    }
}

#[test]
fn the_last_ten_versions_can_be_read_again() {
    let temp = tempfile::tempdir().unwrap();
    for path in [
        temp.path().join("folder"),
        temp.path().join("p.orchestrator.json"),
    ] {
        let place = ProjectPlace::for_saving(&path);
        let mut overwrite = Overwrite::Nothing;
        for number in 0..15 {
            let project = renamed(&sample(), &format!("state {number}"));
            let stamp = save(&place, &project, &overwrite).unwrap();
            overwrite = Overwrite::Unchanged(stamp);
        }
        let kept = versions(&place).unwrap();
        assert_eq!(kept.len(), KEPT_VERSIONS);
        let names: Vec<String> = kept
            .iter()
            .map(|version| read_version(version).unwrap().name)
            .collect();
        assert_eq!(names.first().unwrap(), "state 13");
        assert_eq!(names.last().unwrap(), "state 4");
        // Whole, with its workflows.
        let whole = read_version(&kept[0]).unwrap();
        assert_eq!(whole.workflows, sample().workflows);
    }
}

#[test]
fn what_cannot_be_read_is_never_overwritten() {
    let temp = tempfile::tempdir().unwrap();
    let newer = write_folder_form(&sample())
        .unwrap()
        .replace("format_version: 1", "format_version: 2");
    for (number, broken) in ["(((", "", newer.as_str()].into_iter().enumerate() {
        let folder = temp.path().join(number.to_string());
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("project.ron"), broken).unwrap();
        assert!(open(&folder).is_err());
        let place = ProjectPlace::for_saving(&folder);
        for overwrite in [Overwrite::Nothing, Overwrite::Anything] {
            let error = save(&place, &sample(), &overwrite).unwrap_err();
            assert!(
                matches!(error, ProjectFolderError::NotOverwritten { .. }),
                "{error}"
            );
        }
        assert_eq!(
            fs::read_to_string(folder.join("project.ron")).unwrap(),
            broken
        );
        assert_eq!(list(&folder), ["project.ron"]);
    }
    let place = ProjectPlace::for_saving(&temp.path().join("p.orchestrator.json"));
    fs::write(place.main_file(), "{\"format_version\": 7}").unwrap();
    let error = save(&place, &sample(), &Overwrite::Anything)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("was not overwritten") && error.contains("version 7"),
        "{error}"
    );
}

#[test]
fn changes_by_others_are_not_lost() {
    let temp = tempfile::tempdir().unwrap();
    let place = ProjectPlace::for_saving(temp.path());
    let project = sample();
    let mine = save(&place, &project, &Overwrite::Nothing).unwrap();
    // Somebody saves the project.
    let theirs = renamed(&project, "theirs");
    save(&place, &theirs, &Overwrite::Unchanged(mine.clone())).unwrap();
    let ours = renamed(&project, "ours");
    let error = save(&place, &ours, &Overwrite::Unchanged(mine)).unwrap_err();
    assert!(
        matches!(error, ProjectFolderError::ChangedOnDisk { .. }),
        "{error}"
    );
    assert_eq!(open(temp.path()).unwrap().project, theirs);
    save(&place, &ours, &Overwrite::Anything).unwrap();
    assert_eq!(read_version(&versions(&place).unwrap()[0]).unwrap(), theirs);

    // Somebody edits a workflow in ComfyUI and adds another, while we change the graph.
    let opened = open(temp.path()).unwrap();
    let workflow = temp.path().join("workflows/draw.json");
    fs::write(&workflow, "{\"edited\": 1}").unwrap();
    fs::write(temp.path().join("workflows/added.json"), "{}").unwrap();
    let stamp = save(
        &place,
        &renamed(&opened.project, "again"),
        &Overwrite::Unchanged(opened.stamp),
    )
    .unwrap();
    assert_eq!(fs::read_to_string(&workflow).unwrap(), "{\"edited\": 1}");
    assert!(
        open(temp.path())
            .unwrap()
            .project
            .workflows
            .contains_key(&name("added"))
    );
    // If we changed it too, nobody wins silently.
    let mut both = opened.project;
    let replace = Edit::ReplaceWorkflow {
        name: name("draw"),
        file: file("{\"edited\": 2}"),
    };
    both.apply(replace).unwrap();
    let error = save(&place, &both, &Overwrite::Unchanged(stamp)).unwrap_err();
    assert!(
        matches!(error, ProjectFolderError::ChangedOnDisk { .. }),
        "{error}"
    );

    // A workflow that we remove goes, unless somebody changed it.
    let opened = open(temp.path()).unwrap();
    let mut fewer = opened.project.clone();
    fewer.apply(Edit::RemoveWorkflow(name("added"))).unwrap();
    save(&place, &fewer, &Overwrite::Unchanged(opened.stamp)).unwrap();
    assert_eq!(list(&temp.path().join("workflows")), ["draw.json"]);
    assert!(
        read_version(&versions(&place).unwrap()[0])
            .unwrap()
            .workflows
            .contains_key(&name("added"))
    );
}

#[test]
fn unusable_workflow_files_are_skipped_and_left_alone() {
    let temp = tempfile::tempdir().unwrap();
    let place = ProjectPlace::for_saving(temp.path());
    let stamp = save(&place, &sample(), &Overwrite::Nothing).unwrap();
    let bad = temp.path().join("workflows/bad.json");
    fs::write(&bad, [0xff, 0xfe]).unwrap();
    fs::write(temp.path().join("workflows/notes.txt"), "hi").unwrap();
    fs::create_dir(temp.path().join("workflows/folder.json")).unwrap();
    let opened = open(temp.path()).unwrap();
    assert_eq!(opened.project, sample());
    let skipped: Vec<_> = opened
        .skipped
        .iter()
        .map(|file| file.path.clone())
        .collect();
    assert_eq!(
        skipped,
        [bad.clone(), temp.path().join("workflows/folder.json")]
    );
    let mut project = sample();
    let add = Edit::AddWorkflow {
        name: name("bad"),
        file: file("{}"),
    };
    project.apply(add).unwrap();
    let error = save(&place, &project, &Overwrite::Unchanged(stamp)).unwrap_err();
    assert!(
        matches!(error, ProjectFolderError::WorkflowInTheWay { .. }),
        "{error}"
    );
    assert_eq!(fs::read(&bad).unwrap(), [0xff, 0xfe]);
}

#[test]
fn unsaved_work_waits_in_the_recovery_file() {
    let temp = tempfile::tempdir().unwrap();
    for path in [
        temp.path().join("folder"),
        temp.path().join("p.orchestrator.json"),
    ] {
        let place = ProjectPlace::for_saving(&path);
        let stamp = save(&place, &sample(), &Overwrite::Nothing).unwrap();
        assert_eq!(read_recovery(&place).unwrap(), None);
        let work = renamed(&sample(), "unsaved");
        write_recovery(&place, &work).unwrap();
        assert_eq!(open(&path).unwrap().project, sample());
        assert_eq!(read_recovery(&place).unwrap().unwrap().project, work);
        // A save makes it needless.
        save(&place, &work, &Overwrite::Unchanged(stamp)).unwrap();
        assert_eq!(read_recovery(&place).unwrap(), None);
        write_recovery(&place, &work).unwrap();
        discard_recovery(&place).unwrap();
        discard_recovery(&place).unwrap();
        assert_eq!(read_recovery(&place).unwrap(), None);
    }
}

#[cfg(unix)]
#[test]
fn links_do_not_lead_out_of_the_project_folder() {
    use std::os::unix::fs::symlink;
    let temp = tempfile::tempdir().unwrap();
    let outside = temp.path().join("outside");
    let project = sample();
    save(
        &ProjectPlace::for_saving(&outside),
        &project,
        &Overwrite::Nothing,
    )
    .unwrap();
    let untouched = fs::read_to_string(outside.join("project.ron")).unwrap();
    let changed = renamed(&project, "changed");

    // The main file is a link.
    let folder = temp.path().join("main");
    fs::create_dir(&folder).unwrap();
    symlink(outside.join("project.ron"), folder.join("project.ron")).unwrap();
    assert!(open(&folder).is_err());
    let place = ProjectPlace::for_saving(&folder);
    save(&place, &changed, &Overwrite::Anything).unwrap_err();

    // The workflows folder is a link.
    let folder = temp.path().join("workflows");
    fs::create_dir(&folder).unwrap();
    symlink(outside.join("workflows"), folder.join("workflows")).unwrap();
    let place = ProjectPlace::for_saving(&folder);
    save(&place, &changed, &Overwrite::Nothing).unwrap_err();
    assert_eq!(list(&folder), ["workflows"]);

    // A single workflow, the versions folder, the recovery file.
    let folder = temp.path().join("single");
    let place = ProjectPlace::for_saving(&folder);
    let stamp = save(&place, &project, &Overwrite::Nothing).unwrap();
    fs::remove_file(folder.join("workflows/draw.json")).unwrap();
    symlink(
        outside.join("workflows/draw.json"),
        folder.join("workflows/draw.json"),
    )
    .unwrap();
    let opened = open(&folder).unwrap();
    assert_eq!(opened.skipped.len(), 1);
    assert!(opened.project.workflows.is_empty());
    save(&place, &project, &Overwrite::Unchanged(stamp)).unwrap_err();
    fs::remove_file(folder.join("workflows/draw.json")).unwrap();
    symlink(&outside, folder.join(".versions")).unwrap();
    save(&place, &changed, &Overwrite::Anything).unwrap_err();
    fs::remove_file(folder.join(".versions")).unwrap();
    let recovery = folder.join(".recovery.orchestrator.json");
    symlink(outside.join("project.ron"), &recovery).unwrap();
    write_recovery(&place, &changed).unwrap_err();
    read_recovery(&place).unwrap_err();
    assert_eq!(
        fs::read_to_string(outside.join("project.ron")).unwrap(),
        untouched
    );
    assert_eq!(list(&outside), ["project.ron", "workflows"]);
}
