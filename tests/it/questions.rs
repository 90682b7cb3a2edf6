//! Items that have no place left ask a person: in the pure machine over every restart, and on real servers by the command
//! line.

use crate::command_line::{command, run, stderr, stdout};
use crate::engine_driver::{Graph, World, backend_id, online};
use crate::run_semantics::item_id;
use crate::small_projects::numbered;
use crate::whole_runs::{files_below, start_server};
use comfyui_orchestrator::engine::machine::{Availability, Input, Machine};
use comfyui_orchestrator::engine::{
    Answer, AnswerOrigin, AnswerReach, FailureClass, ItemState, Question, QuestionCause, RunEvent,
    RunEventBody, RunState, RunView, RunWish,
};
use comfyui_orchestrator::project::{
    Affinity, Fallback, NodeKind, Project, RetryPolicy, write_portable_form,
};
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use tempfile::TempDir;

/// `F(count) → W → O`, where W is tied to machine 0 and asks.
fn tied(count: u32) -> Graph {
    let mut graph = Graph::new();
    let fan_out = graph.fan_out("F", count);
    let workflow = graph.workflow("W", &["seed"]);
    let output = graph.output("O");
    graph.edit_workflow(workflow).affinity = Affinity::Backend(backend_id(0));
    graph.edit_workflow(workflow).fallback = Fallback::AskUser;
    graph.link(fan_out, "F", workflow, "seed");
    graph.link(workflow, "image", output, "value");
    graph
}

fn question(world: &World, name: &str) -> Question {
    let view = RunView::of(&world.log);
    (*view.questions[&item_id(world, name)]).clone()
}

fn answer(world: &mut World, name: &str, answer: Answer, reach: AnswerReach) {
    let item_ids = vec![item_id(world, name)];
    world.wish(RunWish::Answer {
        item_ids,
        answer,
        reach,
    });
}

fn reason(question: &Question, answer: Answer) -> &str {
    question
        .alternatives
        .iter()
        .find(|alternative| alternative.answer == answer)
        .map_or("", |alternative| &alternative.reason)
}

#[test]
fn an_item_whose_machine_failed_it_asks_while_the_others_go_on() {
    let graph = tied(3);
    let mut world = World::with_backends(&graph, 2);
    world.fails = [("W F:1".to_owned(), (FailureClass::NodeError, 1))].into();
    world.start();
    world.run();
    assert_eq!(
        world.run_state,
        RunState::Running,
        "it waits for the answer"
    );
    assert_eq!(world.files("O"), 2, "the others went on");
    assert_eq!(world.item("W F:1").state, ItemState::Asking);
    let asked = question(&world, "W F:1");
    assert_eq!(asked.cause, QuestionCause::Failed);
    assert_eq!(asked.failure.message, "W F:1 went wrong");
    let elsewhere = Answer::RunOn(backend_id(1));
    assert!(
        reason(&asked, elsewhere).contains("although it is not the backend the node is tied to")
    );
    assert!(reason(&asked, Answer::RunOn(backend_id(0))).contains("failed there"));
    assert_eq!(asked.alternatives[0].answer, Answer::Retry);

    // The same question after a restart at any moment; what was asked is not asked anew.
    for length in 0..=world.log.len() {
        let log = world.log[..length].to_vec();
        let mut again = World::with_backends(&graph, 2);
        again.fails.clone_from(&world.fails);
        again.take_in_log(log);
        again.restart();
        let already = world.log[..length]
            .iter()
            .any(|event| matches!(event.body, RunEventBody::ItemAsks { .. }));
        if already {
            again.fails.clear();
            again.run();
            assert_eq!(again.item("W F:1").state, ItemState::Asking, "{length}");
            assert_eq!(question(&again, "W F:1"), asked, "{length}");
        }
    }

    answer(&mut world, "W F:1", elsewhere, AnswerReach::TheseItems);
    let sent = world.submitted.back().unwrap();
    assert_eq!(
        sent.backend_id,
        backend_id(1),
        "although the node is tied to another"
    );
    world.run();
    assert_eq!(world.run_state, RunState::Completed);
    assert_eq!(world.files("O"), 3);
}

#[test]
fn an_answer_for_the_run_answers_what_follows_but_does_not_try_for_ever() {
    let graph = tied(4);
    let mut world = World::with_backends(&graph, 2);
    world.fails = (0..4)
        .map(|index| (format!("W F:{index}"), (FailureClass::Timeout, 1)))
        .collect();
    world
        .fails
        .insert("W F:3".to_owned(), (FailureClass::Timeout, 9));
    world.start();
    while world.item("W F:0").state != ItemState::Asking {
        assert!(world.execute(|_| true));
    }
    answer(&mut world, "W F:0", Answer::Retry, AnswerReach::ThisRun);
    world.run();
    assert_eq!(world.count("W", ItemState::Done), 3);
    let asked = question(&world, "W F:3");
    assert_eq!(asked.cause, QuestionCause::TriesUsedUp, "not for ever");
    let standing = |log: &[RunEvent]| {
        log.iter()
            .filter(|event| {
                matches!(
                    event.body,
                    RunEventBody::ItemAnswered {
                        origin: AnswerOrigin::Standing,
                        ..
                    }
                )
            })
            .count()
    };
    assert!(standing(&world.log) >= 3, "answered as before");
    world.restart();
    world.step(Input::Backend(online(1)));
    world.run();
    assert_eq!(world.item("W F:3").state, ItemState::Asking);
    answer(&mut world, "W F:3", Answer::Skip, AnswerReach::TheseItems);
    world.run();
    assert_eq!(
        world.run_state,
        RunState::Completed,
        "what is skipped is no failure"
    );
    assert_eq!(world.files("O"), 3);
    assert!(world.item("O F:3").reason.contains("skipped by choice"));
}

#[test]
fn what_no_machine_can_take_asks_at_once_and_what_none_answers_for_after_a_minute() {
    let graph = tied(2);
    let workflow = graph
        .project
        .nodes
        .values()
        .find(|node| matches!(node.kind, NodeKind::Workflow(_)))
        .map(|node| node.id)
        .unwrap();
    let mut world = World::with_backends(&graph, 2);
    let hash = world.plan.workflow_hash(workflow).unwrap();
    let mut unable = online(0);
    unable.unable = [(hash, "lacks flux1-dev.safetensors".to_owned())].into();
    world.step(Input::Backend(unable));
    world.start();
    world.run();
    assert_eq!(world.count("W", ItemState::Asking), 2);
    let asked = question(&world, "W F:0");
    assert_eq!(asked.cause, QuestionCause::NoPlace);
    assert_eq!(asked.impossible[0].backend_name, "machine-0");
    answer(&mut world, "W F:0", Answer::Fail, AnswerReach::TheseItems);
    // The model was put there meanwhile.
    world.step(Input::Backend(online(0)));
    answer(&mut world, "W F:1", Answer::Retry, AnswerReach::TheseItems);
    world.run();
    assert_eq!(world.count("W", ItemState::Failed), 1);
    assert_eq!(world.run_state, RunState::CompletedWithFailures);

    let mut world = World::with_backends(&graph, 2);
    let mut gone = online(0);
    gone.availability = Availability::Offline {
        reason: "connection refused".to_owned(),
    };
    world.step(Input::Backend(gone));
    world.start();
    let begun_ms = world.now_ms;
    world.run();
    assert_eq!(world.count("W", ItemState::Asking), 2);
    assert!(
        world.now_ms >= begun_ms + 60_000,
        "a server may be starting again"
    );
    let asked = question(&world, "W F:0");
    assert!(asked.failure.message.contains("connection refused"));
    let elsewhere = Answer::RunOn(backend_id(1));
    answer(&mut world, "W F:0", elsewhere, AnswerReach::ThisRun);
    world.run();
    assert_eq!(world.run_state, RunState::Completed);
}

#[test]
fn out_of_memory_is_tried_once_more_there_before_anybody_is_asked() {
    let mut graph = tied(1);
    for node in graph.project.nodes.values_mut() {
        if let NodeKind::Workflow(workflow) = &mut node.kind {
            workflow.affinity = Affinity::Any;
        }
    }
    let mut world = World::with_backends(&graph, 2);
    world.fails = [("W F:0".to_owned(), (FailureClass::OutOfMemory, 2))].into();
    world.start();
    while world.answer_local() {}
    let first = world.submitted[0].backend_id;
    world.execute(|_| true);
    assert_eq!(world.submitted[0].backend_id, first, "there, not elsewhere");
    world.run();
    assert_eq!(world.item("W F:0").state, ItemState::Asking);
    assert_eq!(world.item("W F:0").attempts, 2);
    // It can be called off while it asks.
    let asking = item_id(&world, "W F:0");
    world.wish(RunWish::CancelItem(asking));
    assert_eq!(world.item("W F:0").state, ItemState::Cancelled);
    assert!(RunView::of(&world.log).questions.is_empty());
    let mut again = Machine::new();
    again.restore(world.run_id, world.plan.clone(), world.log.clone());
    assert_eq!(
        again.item_state(world.run_id, item_id(&world, "W F:0")),
        Some(ItemState::Cancelled)
    );
}

/// A picture that the server called "bad" does not make.
fn failing_on_bad() -> Value {
    json!({
        "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": 0}},
        "2": {"class_type": "OrchestratorFail", "inputs": {"mode": "error", "message": "on purpose", "after_seconds": 0.0, "only_on": "bad", "anything": ["1", 0]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "passed"}},
    })
}

/// The project as a portable file: its workflow wants machines with the tag `mine`, and asks.
fn asking_project(folder: &Path, count: u32) -> String {
    let mut project: Project = numbered(
        &failing_on_bad(),
        ("1", "color"),
        count,
        RetryPolicy::default(),
    );
    for node in project.nodes.values_mut() {
        if let NodeKind::Workflow(workflow) = &mut node.kind {
            workflow.affinity = Affinity::Tags(["mine".to_owned()].into());
            workflow.fallback = Fallback::AskUser;
        }
    }
    let path = folder.join("asking.orchestrator.json");
    std::fs::write(&path, write_portable_form(&project).unwrap()).unwrap();
    path.to_string_lossy().into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_shows_the_questions_and_takes_the_answers() {
    let folder = TempDir::new().unwrap();
    let bad = start_server(folder.path(), "bad", 0, None).await;
    let good = start_server(folder.path(), "good", 0, None).await;
    let project = asking_project(folder.path(), 3);
    let (data, out) = (folder.path().join("data"), folder.path().join("out"));
    let told = tokio::task::spawn_blocking(move || {
        let at = |server: &str, arguments: &[&str]| {
            let url = format!("http://{server}");
            let mut all = vec!["backend", "add", &url];
            all.extend(arguments);
            let added = run(&data, &all);
            assert!(added.status.success(), "{}", stderr(&added));
        };
        at(
            &bad.address.to_string(),
            &["--name", "bad", "--tag", "mine"],
        );
        at(&good.address.to_string(), &["--name", "good"]);
        let out_text = out.to_string_lossy().into_owned();
        let ran = run(&data, &["run", &project, "--out", &out_text]);
        assert_eq!(ran.status.code(), Some(3), "{}", stderr(&ran));
        let said = stderr(&ran);
        assert!(
            said.contains("asks: OrchestratorFail #2 (RuntimeError): on purpose"),
            "{said}"
        );
        assert!(
            said.contains("Run it on good (done in about")
                && said.contains("although it lacks the tag mine"),
            "{said}"
        );
        assert!(
            said.contains("3 items ask what is to become of them"),
            "{said}"
        );
        let listed = run(&data, &["runs", "questions", "last", "--json"]);
        let questions: Vec<Value> = stdout(&listed)
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(questions.len(), 3, "{questions:?}");
        assert_eq!(questions[1]["question"]["cause"], "failed");
        assert!(stdout(&run(&data, &["runs", "list"])).contains("asks you"));

        let refused = run(&data, &["runs", "answer", "last", "1", "--on", "nobody"]);
        assert!(
            stderr(&refused).contains("there are: bad, good"),
            "{}",
            stderr(&refused)
        );
        let one = run(&data, &["runs", "answer", "last", "n=1", "--skip"]);
        assert_eq!(one.status.code(), Some(3), "{}", stderr(&one));
        let rest = run(
            &data,
            &["runs", "answer", "last", "1", "--on", "good", "--always"],
        );
        assert!(rest.status.success(), "{}", stderr(&rest));
        assert_eq!(files_below(&out).len(), 2);
        let nothing = run(&data, &["runs", "answer", "last", "all", "--retry"]);
        assert!(
            stderr(&nothing).contains("asks nothing"),
            "{}",
            stderr(&nothing)
        );

        // At a terminal the question is answered where it is read. `script` gives the program one.
        if !Path::new("/usr/bin/script").exists() {
            println!("skipped: there is no `script` to make a terminal with");
            return String::new();
        }
        let again = folder.path().join("again").to_string_lossy().into_owned();
        let program = command(&data);
        let line = format!(
            "'{}' --data-dir '{}' run '{project}' --out '{again}'",
            program.get_program().to_string_lossy(),
            data.display(),
        );
        let mut child = std::process::Command::new("/usr/bin/script")
            .args(["-qec", &line, "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut typed = child.stdin.take().unwrap();
        // Not a number, then the machine that works, for the rest of the run.
        typed.write_all(b"what\n2a\n").unwrap();
        let output = child.wait_with_output().unwrap();
        drop(typed);
        assert!(output.status.success(), "{}", stdout(&output));
        stdout(&output)
    })
    .await
    .unwrap();
    if !told.is_empty() {
        assert!(told.contains("Which?"), "{told}");
        assert!(told.contains("Type the number"), "{told}");
    }
    drop(good);
}
