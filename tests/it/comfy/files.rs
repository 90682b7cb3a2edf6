//! Files brought, fetched and looked through.

use super::picture;
use crate::scripted_server::{Answer, ScriptedServer};
use comfyui_orchestrator::comfy::{ComfyError, FolderType, Upload, UploadContent, UserFileWrite};
use serde_json::json;

#[tokio::test]
async fn downloads_are_limited_and_resume_where_they_broke() {
    let server = ScriptedServer::start().await;
    let client = server.client();
    server.answer(
        "GET /view",
        [
            Answer::text(200, "0123456789")
                .with("etag", "\"v1\"")
                .with("content-type", "image/png"),
            Answer::text(206, "456789")
                .with("content-range", "bytes 4-9/10")
                .with("etag", "\"v1\""),
            Answer::text(200, "abcdefghij").with("etag", "\"v2\""),
            Answer::text(200, "0123456789"),
            Answer::text(206, "???"),
        ],
    );
    let whole = client.view(&picture("a b.png"), 0, None, 10).await.unwrap();
    assert_eq!(
        (whole.start, whole.total_bytes, whole.content_type.as_str()),
        (0, Some(10), "image/png")
    );
    let etag = whole.etag.clone();
    assert_eq!(whole.bytes().await.unwrap(), "0123456789");

    let rest = client
        .view(&picture("a b.png"), 4, etag.as_deref(), 10)
        .await
        .unwrap();
    assert_eq!((rest.start, rest.total_bytes), (4, Some(10)));
    assert_eq!(rest.bytes().await.unwrap(), "456789");
    // The file changed meanwhile: the whole of it comes.
    let changed = client
        .view(&picture("a b.png"), 4, etag.as_deref(), 10)
        .await
        .unwrap();
    assert_eq!(changed.start, 0);
    assert!(matches!(
        client.view(&picture("a"), 0, None, 9).await,
        Err(ComfyError::TooLarge { .. })
    ));
    assert!(matches!(
        client.view(&picture("a"), 1, None, 9).await,
        Err(ComfyError::Malformed { .. })
    ));

    let heard = server.heard();
    assert_eq!(
        heard[0].line,
        "GET /view?filename=a+b.png&subfolder=sub+folder&type=output"
    );
    assert!(!heard[0].headers.contains_key("range"));
    assert_eq!(heard[1].headers["range"], "bytes=4-");
    assert_eq!(heard[1].headers["if-range"], "\"v1\"");
}

#[tokio::test]
async fn uploads_come_from_memory_and_from_files() {
    let server = ScriptedServer::start().await;
    let client = server.client();
    let stored = Answer::json(&json!({"name": "in (1).png", "subfolder": "sub", "type": "input"}));
    server.answer("POST /upload/image", [stored.clone()]);
    server.answer("POST /upload/mask", [stored]);
    let upload = |content| Upload {
        filename: "in.png".to_owned(),
        subfolder: "sub".to_owned(),
        folder: FolderType::Input,
        overwrite: true,
        content,
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), b"from a file").unwrap();
    let given = client
        .upload_image(upload(UploadContent::File(file.path().to_owned())))
        .await
        .unwrap();
    assert_eq!(given.loader_value(), "sub/in (1).png");
    let body = String::from_utf8_lossy(&server.heard()[0].body).into_owned();
    for part in [
        "from a file",
        "name=\"image\"; filename=\"in.png\"",
        "name=\"subfolder\"\r\n\r\nsub",
        "name=\"type\"\r\n\r\ninput",
        "name=\"overwrite\"\r\n\r\ntrue",
    ] {
        assert!(body.contains(part), "{part} is not in {body}");
    }
    client
        .upload_mask(
            upload(UploadContent::Bytes("alpha".into())),
            &picture("o.png"),
        )
        .await
        .unwrap();
    let body = String::from_utf8_lossy(&server.heard()[1].body).into_owned();
    assert!(
        body.contains(r#"{"filename":"o.png","subfolder":"sub folder","type":"output"}"#),
        "{body}"
    );

    let gone = file.path().with_extension("gone");
    let error = client
        .upload_image(upload(UploadContent::File(gone.clone())))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, ComfyError::LocalFile { path, .. } if *path == gone),
        "{error}"
    );
}

#[tokio::test]
async fn user_files_are_listed_read_written_and_deleted() {
    let server = ScriptedServer::start().await;
    let client = server.client();
    assert_eq!(client.userdata_list("workflows").await.unwrap(), []);
    server.answer(
        "GET /userdata",
        [Answer::json(
            &json!([{"path": "a.json", "size": 8, "modified": 1_795_237_482.35}]),
        )],
    );
    server.answer(
        "GET /userdata/workflows%2Fa.json",
        [Answer::text(200, "{\"x\": 1}")],
    );
    server.answer(
        "POST /userdata/workflows%2Fa.json",
        [
            Answer::text(409, "File already exists"),
            Answer::json(&json!({})),
        ],
    );
    server.answer(
        "DELETE /userdata/workflows%2Fa.json",
        [Answer::text(204, "")],
    );
    assert_eq!(
        client.userdata_list("workflows").await.unwrap()[0].path,
        "a.json"
    );
    assert_eq!(
        client.userdata_get("workflows/a.json").await.unwrap(),
        "{\"x\": 1}"
    );
    let put = |write| client.userdata_put("workflows/a.json", "{}".into(), write);
    assert_eq!(
        put(UserFileWrite::Create).await.unwrap_err().status(),
        Some(409)
    );
    put(UserFileWrite::Overwrite).await.unwrap();
    assert!(
        server
            .heard()
            .last()
            .unwrap()
            .line
            .ends_with("?overwrite=true")
    );
    client.userdata_delete("workflows/a.json").await.unwrap();
    assert!(matches!(
        client.userdata_get("gone").await,
        Err(ComfyError::Missing { .. })
    ));
}
