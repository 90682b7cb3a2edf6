//! What a client hears of its prompts: order, previews, cache, interrupts, the queue, failures, restarts.

use std::{collections::HashMap, time::Duration};

use comfyui_orchestrator::builtin::{Server, ServerError, ServerOptions};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::client::{Heard, PATIENCE, Running, body_of, picture, shorts, sleep};

#[tokio::test]
async fn a_run_is_told_in_order_and_leaves_files_and_history() {
    let server = Running::start().await;
    let mut socket = server.socket("me").await;
    let hello = socket.hear().await.unwrap();
    assert_eq!(
        hello,
        Heard::Text(
            "status".into(),
            json!({ "status": { "exec_info": { "queue_remaining": 0 } }, "sid": "me" })
        )
    );
    let id = server.submit(picture(1, 2), "me").await;
    let heard = socket.hear_run().await;
    assert_eq!(
        shorts(&heard),
        [
            "status 1",
            "status 1",
            "execution_start",
            "execution_cached []",
            "progress_state 1 running 0.0",
            "executing \"1\"",
            "progress_state 1 running 1",
            "progress 1 of 2",
            "binary 1",
            "progress_state 1 running 2",
            "progress 2 of 2",
            "binary 1",
            "progress_state 1 finished 2",
            "progress_state 1 finished 2, 2 running 0.0",
            "executing \"2\"",
            "executed \"2\"",
            "progress_state 1 finished 2, 2 finished 1.0",
            "execution_success",
            "status 0",
            "executing null",
        ]
    );
    let entry = server.finished(&id).await;
    assert_eq!(entry["status"]["status_str"], "success");
    let file = json!({ "filename": "a_00001_.png", "subfolder": "sub", "type": "output" });
    assert_eq!(entry["outputs"]["2"]["images"], json!([file]));
    assert!(
        server
            .folder
            .path()
            .join("output/sub/a_00001_.png")
            .is_file()
    );
    assert_eq!(server.handle.posts_by_prompt_id(), HashMap::from([(id, 1)]));

    let png = std::fs::read(server.folder.path().join("output/sub/a_00001_.png")).unwrap();
    let reader = png::Decoder::new(std::io::Cursor::new(png))
        .read_info()
        .unwrap();
    let text = &reader.info().uncompressed_latin1_text[0];
    assert_eq!(text.keyword, "prompt");
    assert_eq!(
        serde_json::from_str::<Value>(&text.text).unwrap(),
        picture(1, 2)
    );
    assert!(
        text.text
            .starts_with(r#"{"1": {"class_type": "OrchestratorPicture", "inputs": {"seed": 1, "#)
    );
}

#[tokio::test]
async fn clients_with_the_flag_get_previews_with_ids_before_the_progress() {
    let server = Running::start().await;
    let mut socket = server.socket("me").await;
    socket
        .send(json!({ "type": "feature_flags", "data": { "supports_preview_metadata": true } }))
        .await;
    socket.hear().await.unwrap();
    let Some(Heard::Text(kind, flags)) = socket.hear().await else {
        panic!()
    };
    assert_eq!(
        (kind.as_str(), &flags),
        ("feature_flags", &server.get("/features").await.1)
    );
    // Only the first message counts.
    socket
        .send(json!({ "type": "feature_flags", "data": { "supports_preview_metadata": false } }))
        .await;
    let id = server.submit(picture(2, 1), "me").await;
    let heard = socket.hear_run().await;
    let frame = heard.iter().find_map(|message| match message {
        Heard::Binary(frame) => Some(frame.clone()),
        Heard::Text(..) => None,
    });
    let names = shorts(&heard);
    let at = names.iter().position(|name| name == "binary 4").unwrap();
    assert_eq!(names[at + 1], "progress 1 of 1");
    let frame = frame.unwrap();
    let length = u32::from_be_bytes(frame[4..8].try_into().unwrap()) as usize;
    let metadata: Value = serde_json::from_slice(&frame[8..8 + length]).unwrap();
    assert_eq!(
        metadata,
        json!({
            "node_id": "1", "prompt_id": id, "display_node_id": "1", "parent_node_id": null,
            "real_node_id": "1", "image_type": "image/jpeg",
        })
    );
    let preview = image::load_from_memory(&frame[8 + length..]).unwrap();
    assert_eq!((preview.width(), preview.height()), (96, 64));
}

#[tokio::test]
async fn equal_seeds_give_equal_bytes_on_every_server_and_other_seeds_do_not() {
    let (first, second) = (Running::start().await, Running::start().await);
    let mut files = Vec::new();
    for (server, seed) in [(&first, 5), (&second, 5), (&second, 6)] {
        let id = server.submit(picture(seed, 3), "x").await;
        let entry = server.finished(&id).await;
        let file = &entry["outputs"]["2"]["images"][0];
        let path = format!(
            "/view?filename={}&subfolder=sub&type=output&channel=rgb",
            file["filename"].as_str().unwrap()
        );
        let response = first.client.get(server.url(&path)).send().await.unwrap();
        files.push(response.bytes().await.unwrap());
    }
    assert_eq!(files[0], files[1]);
    assert_ne!(files[1], files[2]);
}

#[tokio::test]
async fn a_cached_run_reports_old_names_and_writes_nothing() {
    let server = Running::start().await;
    let mut socket = server.socket("me").await;
    socket.hear().await.unwrap();
    server.submit(picture(1, 1), "me").await;
    socket.hear_run().await;
    let file = server.folder.path().join("output/sub/a_00001_.png");
    std::fs::remove_file(&file).unwrap();

    server.submit(picture(1, 1), "me").await;
    let heard = socket.hear_run().await;
    assert_eq!(
        shorts(&heard),
        [
            "status 1",
            "status 1",
            "execution_start",
            r#"execution_cached ["1","2"]"#,
            "executed \"2\"",
            "progress_state 2 finished 1",
            "execution_success",
            "status 0",
            "executing null",
        ]
    );
    assert!(!file.exists());
    let (status, _) = server
        .get("/view?filename=a_00001_.png&subfolder=sub")
        .await;
    assert_eq!(status, 404);

    // Another prefix runs the save node only; forgetting the cache runs everything.
    let mut renamed = picture(1, 1);
    renamed["2"]["inputs"]["filename_prefix"] = json!("b");
    server.submit(renamed.clone(), "me").await;
    let names = shorts(&socket.hear_run().await);
    assert!(
        names.contains(&r#"execution_cached ["1"]"#.to_owned()),
        "{names:?}"
    );
    assert_eq!(
        server
            .post("/free", &json!({ "free_memory": true }))
            .await
            .0,
        200
    );
    server.submit(renamed, "me").await;
    let names = shorts(&socket.hear_run().await);
    assert!(
        names.contains(&"execution_cached []".to_owned()),
        "{names:?}"
    );
    assert!(server.folder.path().join("output/b_00002_.png").is_file());
}

#[tokio::test]
async fn an_interrupt_ends_the_running_prompt_and_no_other() {
    let server = Running::start().await;
    let mut socket = server.socket("me").await;
    // Nothing runs: the next prompt is not hit.
    server.post("/interrupt", &json!({})).await;
    let long = server.submit(sleep(60.0, 600, 1), "me").await;
    let next = server.submit(sleep(0.1, 1, 2), "me").await;
    loop {
        if socket
            .hear()
            .await
            .unwrap()
            .short()
            .starts_with("progress ")
        {
            break;
        }
    }
    // Not the running one: nothing happens.
    server
        .post("/interrupt", &json!({ "prompt_id": next }))
        .await;
    let (_, queue) = server.get("/queue").await;
    assert_eq!(queue["queue_running"][0][1], json!(long));
    assert_eq!(queue["queue_pending"][0][1], json!(next));
    server
        .post("/interrupt", &json!({ "prompt_id": long }))
        .await;
    let entry = server.finished(&long).await;
    assert_eq!(entry["status"]["status_str"], "error");
    assert_eq!(entry["status"]["completed"], false);
    let last = entry["status"]["messages"]
        .as_array()
        .unwrap()
        .last()
        .unwrap()
        .clone();
    assert_eq!(last[0], "execution_interrupted");
    assert_eq!(
        (&last[1]["node_id"], &last[1]["node_type"]),
        (&json!("1"), &json!("OrchestratorSleep"))
    );
    assert_eq!(
        server.get(&format!("/api/jobs/{long}")).await.1["status"],
        "failed"
    );
    assert_eq!(
        server.finished(&next).await["outputs"]["2"]["text"],
        json!(["done"])
    );
    // The whole history, a page of it, and forgetting it.
    let (_, all) = server.get("/history").await;
    assert_eq!(
        all.as_object().unwrap().keys().collect::<Vec<_>>(),
        [&long, &next]
    );
    let (_, page) = server.get("/api/history?max_items=1").await;
    assert_eq!(
        page.as_object().unwrap().keys().collect::<Vec<_>>(),
        [&next]
    );
    server.post("/history", &json!({ "delete": [long] })).await;
    assert_eq!(server.get(&format!("/history/{long}")).await.1, json!({}));
}

#[tokio::test]
async fn the_queue_runs_the_lowest_number_first() {
    let server = Running::start().await;
    // Longer than everything below takes; it is interrupted when that is done.
    server.submit(sleep(60.0, 600, 0), "x").await;
    // Once the worker has it, everything else waits, whatever its number.
    while server.get("/queue").await.1["queue_running"] == json!([]) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let submit = async |id: &str, more: Value| {
        let mut body = json!({ "prompt": sleep(0.0, 1, 1), "prompt_id": id, "client_id": "x",
            "extra_data": { "api_key_comfy_org": "secret", "auth_token_comfy_org": "secret" } });
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        server.post("/prompt", &body).await
    };
    assert_eq!(submit("a", json!({})).await.1["number"].to_string(), "1");
    assert_eq!(
        submit("front", json!({ "front": true })).await.1["number"].to_string(),
        "-2"
    );
    assert_eq!(
        submit("given", json!({ "number": -5 })).await.1["number"].to_string(),
        "-5.0"
    );
    assert_eq!(submit("gone", json!({})).await.0, 200);
    // The same place and id while it waits: 500, and queued all the same.
    assert_eq!(submit("given", json!({ "number": -5 })).await.0, 500);
    assert_eq!(
        server
            .post("/queue", &json!({ "delete": ["gone", "unknown"] }))
            .await,
        (200, json!(""))
    );
    let (_, queue) = server.get("/queue").await;
    assert_eq!(queue["queue_pending"].as_array().unwrap().len(), 4);
    assert!(!queue.to_string().contains("secret"));
    assert_eq!(
        server.get("/prompt").await.1,
        json!({ "exec_info": { "queue_remaining": 5 } })
    );
    server.post("/interrupt", &json!({})).await;
    server.finished("a").await;
    let (_, history) = server.get("/history").await;
    let ids: Vec<&String> = history.as_object().unwrap().keys().skip(1).collect();
    assert_eq!(ids, ["given", "front", "a"]);
    assert_eq!(server.handle.posts_by_prompt_id()["given"], 2);
}

#[tokio::test]
async fn messages_go_to_their_client_and_without_one_partly_to_everybody() {
    let server = Running::start().await;
    let mut owner = server.socket("owner").await;
    let mut other = server.socket("other").await;
    owner.hear().await.unwrap();
    other.hear().await.unwrap();
    server.submit(picture(1, 1), "owner").await;
    owner.hear_run().await;
    let heard: Vec<String> = vec![
        other.hear().await.unwrap().short(),
        other.hear().await.unwrap().short(),
        other.hear().await.unwrap().short(),
    ];
    assert_eq!(heard, ["status 1", "status 1", "status 0"]);
    assert!(other.is_silent().await);

    let (_, answer) = server
        .post("/prompt", &json!({ "prompt": picture(2, 1) }))
        .await;
    server.finished(answer["prompt_id"].as_str().unwrap()).await;
    let mut heard = Vec::new();
    loop {
        let message = other.hear().await.unwrap().short();
        heard.push(message.clone());
        if message == "status 0" {
            break;
        }
    }
    assert_eq!(
        heard,
        [
            "status 1",
            "status 1",
            "progress_state 1 running 0.0",
            "progress_state 1 running 1",
            "progress 1 of 1",
            "binary 1",
            "progress_state 1 finished 1",
            "progress_state 1 finished 1, 2 running 0.0",
            "progress_state 1 finished 1, 2 finished 1.0",
            "status 0",
        ]
    );
    assert!(other.is_silent().await);
}

#[tokio::test]
async fn a_reconnect_replays_nothing_and_one_id_twice_is_a_trap() {
    let server = Running::start().await;
    let mut older = server.socket("one").await;
    older.hear().await.unwrap();
    server.submit(sleep(1.0, 4, 1), "one").await;
    while !older.hear().await.unwrap().short().starts_with("progress ") {}
    let mut newer = server.socket("one").await;
    assert_eq!(newer.hear().await.unwrap().short(), "status 1");
    assert_eq!(
        newer.hear().await,
        Some(Heard::Text("executing".into(), json!({ "node": "1" })))
    );
    newer.hear_run().await;
    drop(older);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let id = server.submit(sleep(0.0, 1, 2), "one").await;
    server.finished(&id).await;
    assert!(newer.is_silent().await);
}

#[tokio::test]
async fn failures_look_like_comfyuis() {
    let server = Running::start().await;
    let fail = |mode: &str| {
        json!({
            "1": { "class_type": "EmptyImage", "inputs": { "width": 8, "height": 8, "batch_size": 1, "color": 0 } },
            "2": { "class_type": "OrchestratorFail", "inputs": { "mode": mode, "message": "no luck", "after_seconds": 0, "anything": ["1", 0] } },
            "3": { "class_type": "PreviewAny", "inputs": { "source": ["2", 0] } },
            "4": { "class_type": "PreviewImage", "inputs": { "images": ["1", 0] } },
        })
    };
    let mut socket = server.socket("me").await;
    let id = server.submit(fail("error"), "me").await;
    let heard = socket.hear_run().await;
    let Some(Heard::Text(_, data)) = heard
        .iter()
        .find(|message| message.short() == "execution_error")
    else {
        panic!()
    };
    assert_eq!(data["exception_type"], "RuntimeError");
    assert_eq!(data["exception_message"], "no luck\n");
    assert_eq!(
        (&data["node_id"], &data["node_type"]),
        (&json!("2"), &json!("OrchestratorFail"))
    );
    assert_eq!(data["executed"], json!(["1", "4"]));
    assert_eq!(data["current_inputs"]["message"], json!(["no luck"]));
    assert!(data["traceback"].is_array());
    let entry = server.finished(&id).await;
    assert_eq!(
        entry["status"]["messages"]
            .as_array()
            .unwrap()
            .last()
            .unwrap()[1],
        *data
    );
    // What was made before is kept, and the job tells the error.
    assert_eq!(entry["outputs"]["4"]["images"][0]["type"], "temp");
    assert_eq!(
        server.get(&format!("/api/jobs/{id}")).await.1["execution_error"],
        *data
    );
    assert_eq!(
        server.get("/api/jobs?status=completed").await.1["pagination"]["total"],
        0
    );
    assert_eq!(server.get("/api/jobs?status=bogus").await.0, 400);

    let id = server.submit(fail("out of memory"), "me").await;
    let entry = server.finished(&id).await;
    let error = entry["status"]["messages"]
        .as_array()
        .unwrap()
        .last()
        .unwrap()[1]
        .clone();
    assert_eq!(error["exception_type"], "torch.OutOfMemoryError");
    assert!(
        error["exception_message"]
            .as_str()
            .unwrap()
            .starts_with("no luck\nThis error means you ran out of memory")
    );

    // "exit" cuts every connection, as a crash does; a little later, so that the answer to the submission gets out.
    let mut exit = fail("exit");
    exit["2"]["inputs"]["after_seconds"] = json!(0.3);
    server.submit(exit, "me").await;
    while socket.hear().await.is_some() {}
    let ended = timeout(PATIENCE, server.task).await.unwrap().unwrap();
    assert!(
        matches!(ended, Err(ServerError::EndedByNode { .. })),
        "{ended:?}"
    );
}

#[tokio::test]
async fn a_killed_server_forgets_its_queue_and_can_start_again_at_the_same_place() {
    let server = Running::start().await;
    let mut socket = server.socket("me").await;
    server.submit(json!({
        "1": { "class_type": "OrchestratorFail", "inputs": { "mode": "hang", "message": "", "after_seconds": 0 } },
        "2": { "class_type": "PreviewAny", "inputs": { "source": ["1", 0] } },
    }), "me").await;
    while !socket
        .hear()
        .await
        .unwrap()
        .short()
        .starts_with("executing")
    {}
    server.handle.stop_abruptly();
    while socket.hear().await.is_some() {}
    timeout(PATIENCE, server.task)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(
        server
            .client
            .get(format!("{}/queue", server.base))
            .send()
            .await
            .is_err()
    );

    let mut options = ServerOptions::new(server.folder.path());
    options.address = server.base.trim_start_matches("http://").parse().unwrap();
    let again = Server::bind(options).await.unwrap();
    let taken = Server::bind(ServerOptions {
        address: again.local_addr(),
        ..ServerOptions::new(server.folder.path())
    })
    .await;
    assert!(
        taken
            .err()
            .unwrap()
            .to_string()
            .contains("choose another port")
    );
    tokio::spawn(again.serve(std::future::pending()));
    let queue = server
        .client
        .get(format!("{}/queue", server.base))
        .send()
        .await
        .unwrap();
    assert_eq!(
        body_of(queue).await,
        (200, json!({ "queue_running": [], "queue_pending": [] }))
    );
}
