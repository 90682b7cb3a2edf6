//! What the web frontend asks for, and hostile prompts.

use serde_json::{Value, json};

use super::client::{Running, body_of, picture};

#[tokio::test]
async fn the_frontend_finds_its_files_and_settings() {
    let pages = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(pages.path().join("web/extensions/core")).unwrap();
    std::fs::write(
        pages.path().join("web/index.html"),
        "<title>ComfyUI</title>",
    )
    .unwrap();
    std::fs::write(pages.path().join("web/extensions/core/a.js"), "").unwrap();
    std::fs::write(pages.path().join("secret.txt"), "secret").unwrap();
    let server =
        Running::start_with(|options| options.frontend_dir = Some(pages.path().join("web"))).await;
    assert_eq!(
        server.get("/").await,
        (200, json!("<title>ComfyUI</title>"))
    );
    assert_eq!(
        server.get("/extensions").await,
        (200, json!(["/extensions/core/a.js"]))
    );
    assert_eq!(server.get("/%2e%2e/secret.txt").await.0, 404);
    assert_eq!(server.get("/..%2fsecret.txt").await.0, 404);

    assert_eq!(
        server.get("/users").await,
        (200, json!({ "storage": "server", "migrated": false }))
    );
    assert_eq!(
        server
            .post("/api/settings", &json!({ "Comfy.A": 1 }))
            .await
            .0,
        200
    );
    assert_eq!(server.post("/settings/Comfy.B", &json!([2])).await.0, 200);
    assert_eq!(
        server.get("/settings").await.1,
        json!({ "Comfy.A": 1, "Comfy.B": [2] })
    );
    assert_eq!(server.get("/settings/Comfy.C").await.1, Value::Null);

    let list = "/api/userdata?dir=workflows&recurse=true&split=false&full_info=true";
    assert_eq!(server.get(list).await, (404, json!("Directory not found")));
    let file = "/api/userdata/workflows%2Fa.json";
    let write = format!("{file}?overwrite=false&full_info=true");
    let (status, info) = server.post(&write, &json!({ "x": 1 })).await;
    assert_eq!(
        (status, &info["path"], &info["size"]),
        (200, &json!("workflows/a.json"), &json!(7))
    );
    assert_eq!(
        server.post(&write, &json!({})).await,
        (409, json!("File already exists"))
    );
    assert_eq!(server.get(file).await, (200, json!({ "x": 1 })));
    assert_eq!(server.get(list).await.1[0]["path"], "a.json");
    assert_eq!(
        server
            .post(&format!("{file}/move/workflows%2Fb.json"), &json!(null))
            .await,
        (200, json!("workflows/b.json"))
    );
    assert_eq!(
        server
            .client
            .delete(server.url("/userdata/workflows%2Fb.json"))
            .send()
            .await
            .unwrap()
            .status(),
        204
    );
    assert_eq!(server.get(file).await.0, 404);
    assert_eq!(server.get("/userdata/..%2F..%2Fsecret").await.0, 403);
    assert_eq!(
        server
            .post("/userdata/..%252F..%252Fevil", &json!(1))
            .await
            .0,
        403
    );

    for path in [
        "/queue",
        "/api/queue",
        "/models/checkpoints",
        "/api/embeddings",
        "/i18n",
        "/internal/logs",
        "/api/jobs",
    ] {
        assert_eq!(server.get(path).await.0, 200, "{path}");
    }
    assert_eq!(server.get("/models/nosuch").await, (404, json!("")));
    assert_eq!(
        server
            .get("/view_metadata/checkpoints?filename=x.safetensors")
            .await
            .0,
        404
    );
    assert_eq!(
        server.get("/api/system_stats").await.1["system"]["comfyui_version"],
        "0.8.0"
    );
    let foreign = server
        .client
        .post(server.url("/prompt"))
        .header("origin", "http://evil.example")
        .body("{}");
    assert_eq!(
        body_of(foreign.send().await.unwrap()).await,
        (403, json!(""))
    );
}

#[tokio::test]
async fn hostile_prompts_are_answered_and_do_no_harm() {
    let server = Running::start().await;
    // A chain of 20,000 nodes, deeper than any call stack.
    let mut chain = json!({ "0": { "class_type": "PrimitiveInt", "inputs": { "value": 1 } } });
    for index in 1..20_000 {
        let from = (index - 1).to_string();
        chain[index.to_string()] = json!({ "class_type": "OrchestratorSleep", "inputs": { "seconds": "x", "steps": 1, "seed": 0, "anything": [from, 0] } });
    }
    chain["end"] = json!({ "class_type": "PreviewAny", "inputs": { "source": ["19999", 0] } });
    let (status, answer) = server.post("/prompt", &json!({ "prompt": chain })).await;
    assert_eq!(
        (status, answer["node_errors"].as_object().unwrap().len()),
        (400, 19_999)
    );

    let nested = format!(
        "{{\"prompt\": {}{}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let answer = server
        .client
        .post(server.url("/prompt"))
        .body(nested)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 500);
    for (body, wanted) in [
        (json!(5), 500),
        (json!([]), 400),
        (json!({ "prompt": null }), 500),
        (json!({ "prompt": "" }), 400),
        (json!({ "prompt": { "1": null } }), 500),
        (json!({ "prompt": { "1": [] } }), 400),
        (json!({ "prompt": {}, "number": "x" }), 500),
        (json!({ "prompt": picture(1, 1), "extra_data": [] }), 500),
        (
            json!({ "prompt": picture(1, 1), "partial_execution_targets": [1] }),
            400,
        ),
        (
            json!({ "prompt": { "1": { "class_type": "PreviewAny", "inputs": { "source": [[], {}] } } } }),
            400,
        ),
        (
            json!({ "prompt": { "1": { "class_type": "PreviewAny", "inputs": { "source": ["1", -1] } } } }),
            400,
        ),
        (
            json!({ "prompt": { "1": { "class_type": "PreviewAny", "inputs": [] } } }),
            400,
        ),
    ] {
        assert_eq!(server.post("/prompt", &body).await.0, wanted, "{body}");
    }
    for (path, body) in [
        ("/queue", json!([])),
        ("/history", json!({ "delete": 1 })),
        ("/free", json!(null)),
        ("/settings", json!(1)),
    ] {
        assert_eq!(server.post(path, &body).await.0, 500, "{path}");
    }
    assert_eq!(server.get("/history?max_items=x").await.0, 500);
    assert_eq!(
        server.get("/history?max_items=-5&offset=99").await,
        (200, json!({}))
    );
    assert_eq!(
        server.get("/queue").await.1,
        json!({ "queue_running": [], "queue_pending": [] })
    );
}
