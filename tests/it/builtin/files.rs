//! Uploads, views and pictures that cannot be read.

use image::AnimationDecoder;
use serde_json::json;

use super::client::{Running, png_bytes};

#[tokio::test]
async fn uploads_get_a_free_name_inside_their_folder() {
    let server = Running::start().await;
    let (red, blue) = (
        png_bytes(4, 4, [255, 0, 0, 128]),
        png_bytes(4, 4, [0, 0, 255, 255]),
    );
    let stored = |name: &str, subfolder: &str, place: &str| {
        (
            200,
            json!({ "name": name, "subfolder": subfolder, "type": place }),
        )
    };
    assert_eq!(
        server.upload("/upload/image", "in.png", &red, &[]).await,
        stored("in.png", "", "input")
    );
    assert_eq!(
        server.upload("/upload/image", "in.png", &red, &[]).await,
        stored("in.png", "", "input")
    );
    assert_eq!(
        server.upload("/upload/image", "in.png", &blue, &[]).await,
        stored("in (1).png", "", "input")
    );
    assert_eq!(
        server
            .upload(
                "/api/upload/image",
                "in.png",
                &blue,
                &[("overwrite", "true")]
            )
            .await,
        stored("in.png", "", "input")
    );
    assert_eq!(
        server
            .upload(
                "/upload/image",
                "in.png",
                &red,
                &[("subfolder", "sub"), ("type", "temp")]
            )
            .await,
        stored("in.png", "sub", "temp")
    );
    assert_eq!(
        server
            .upload("/upload/image", "clip.mp4", b"film", &[])
            .await,
        stored("clip.mp4", "", "input")
    );
    let reference = r#"{"filename": "in.png", "subfolder": "", "type": "input"}"#;
    let fields = [("original_ref", reference), ("subfolder", "clipspace")];
    assert_eq!(
        server
            .upload("/upload/mask", "mask.png", &red, &fields)
            .await,
        stored("mask.png", "clipspace", "input")
    );
    let masked = image::open(server.folder.path().join("input/clipspace/mask.png"))
        .unwrap()
        .into_rgba8();
    assert_eq!(masked.get_pixel(0, 0).0, [0, 0, 255, 128]);

    for (name, fields, status) in [
        ("../evil.png", [("type", "input")], 400),
        ("in.png", [("subfolder", "../../out")], 400),
        ("in.png", [("subfolder", "/tmp")], 400),
        ("in.png", [("type", "bogus")], 500),
        ("a/b.png", [("type", "input")], 500),
    ] {
        assert_eq!(
            server.upload("/upload/image", name, &red, &fields).await.0,
            status,
            "{name} {fields:?}"
        );
    }
    let empty = reqwest::multipart::Form::new().text("type", "input");
    let answer = server
        .client
        .post(server.url("/upload/image"))
        .multipart(empty)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 400);
    let film = vec![7; 5 * 1024 * 1024];
    assert_eq!(
        server.upload("/upload/image", "film.mp4", &film, &[]).await,
        stored("film.mp4", "", "input")
    );
    let large = vec![0; 100 * 1024 * 1024 + 1];
    assert_eq!(
        server
            .upload("/upload/image", "large.bin", &large, &[])
            .await,
        (413, json!("Maximum request body size 104857600 exceeded."))
    );

    // A picture and its alpha, from a subfolder and from another place.
    let load = |name: &str| {
        json!({
            "1": { "class_type": "LoadImage", "inputs": { "image": name } },
            "2": { "class_type": "MaskPreview", "inputs": { "mask": ["1", 1] } },
            "3": { "class_type": "SaveImage", "inputs": { "images": ["1", 0], "filename_prefix": "loaded" } },
        })
    };
    for name in ["clipspace/mask.png", "sub/in.png [temp]"] {
        let id = server.submit(load(name), "x").await;
        let entry = server.finished(&id).await;
        let shown = &entry["outputs"]["2"];
        assert_eq!(shown["animated"], json!([false]));
        let file = shown["images"][0]["filename"].as_str().unwrap();
        let mask = image::open(server.folder.path().join("temp").join(file))
            .unwrap()
            .into_luma8();
        // 1 - 128/255, truncated as ComfyUI truncates.
        assert_eq!(mask.get_pixel(0, 0).0, [126]);
    }
}

#[tokio::test]
async fn pictures_that_cannot_be_read_or_written_fail_clearly() {
    let server = Running::start().await;
    let load = |name: &str| {
        json!({
            "1": { "class_type": "LoadImage", "inputs": { "image": name } },
            "2": { "class_type": "PreviewImage", "inputs": { "images": ["1", 0] } },
        })
    };
    // A valid header that declares 60,000 x 60,000 pixels, and no data.
    let mut bomb = png_bytes(1, 1, [0; 4]);
    bomb[16..20].copy_from_slice(&60_000_u32.to_be_bytes());
    bomb[20..24].copy_from_slice(&60_000_u32.to_be_bytes());
    let checksum = crc32(&bomb[12..29]);
    bomb[29..33].copy_from_slice(&checksum.to_be_bytes());
    let input = server.folder.path().join("input");
    std::fs::write(input.join("bomb.png"), bomb).unwrap();
    std::fs::write(input.join("broken.png"), "no picture").unwrap();
    let error = server.error_of(load("bomb.png")).await;
    assert_eq!(error["exception_type"], "PIL.Image.DecompressionBombError");
    let error = server.error_of(load("broken.png")).await;
    assert_eq!(error["exception_type"], "PIL.UnidentifiedImageError");
    assert_eq!(
        error["exception_message"],
        "cannot identify image file 'input/broken.png'\n"
    );

    let save = |prefix: &str, width: u32| {
        json!({
            "1": { "class_type": "EmptyImage", "inputs": { "width": width, "height": width, "batch_size": 1, "color": 255 } },
            "2": { "class_type": "SaveImage", "inputs": { "images": ["1", 0], "filename_prefix": prefix } },
        })
    };
    for prefix in ["../evil", "/tmp/evil", "a/../../evil", "..\\evil"] {
        let error = server.error_of(save(prefix, 8)).await;
        assert!(
            error["exception_message"]
                .as_str()
                .unwrap()
                .contains("outside the output folder"),
            "{error}"
        );
    }
    assert!(!server.folder.path().join("evil_00001_.png").exists());
    let error = server.error_of(save("large", 16_384)).await;
    assert!(
        error["exception_message"]
            .as_str()
            .unwrap()
            .contains("Use a smaller size"),
        "{error}"
    );
    // The server goes on.
    let id = server.submit(save("%width%x%height%", 8), "x").await;
    assert_eq!(
        server.finished(&id).await["outputs"]["2"]["images"][0]["filename"],
        "8x8_00001_.png"
    );
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            if sum & 1 == 1 {
                sum >> 1 ^ 0xEDB8_8320
            } else {
                sum >> 1
            }
        })
    })
}

#[tokio::test]
async fn files_are_viewed_whole_in_part_and_reencoded_but_never_from_outside() {
    let server = Running::start().await;
    let bytes = png_bytes(8, 8, [10, 20, 30, 40]);
    std::fs::write(server.folder.path().join("output/a.png"), &bytes).unwrap();
    std::fs::write(server.folder.path().join("output/page.html"), "<script>").unwrap();
    let ask = async |query: &str, headers: &[(&'static str, &str)]| {
        let mut request = server.client.get(server.url(&format!("/view?{query}")));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    };
    let header = |response: &reqwest::Response, name: &str| {
        response.headers()[name].to_str().unwrap().to_owned()
    };
    let whole = ask("filename=a.png", &[]).await;
    assert_eq!(
        (
            header(&whole, "content-type").as_str(),
            header(&whole, "content-disposition").as_str()
        ),
        ("image/png", "filename=\"a.png\"")
    );
    let etag = header(&whole, "etag");
    assert!(whole.headers().contains_key("last-modified"));
    assert_eq!(whole.bytes().await.unwrap(), bytes);
    let part = ask("filename=a.png&type=output", &[("range", "bytes=1-3")]).await;
    assert_eq!(
        (part.status().as_u16(), header(&part, "content-range")),
        (206, format!("bytes 1-3/{}", bytes.len()))
    );
    assert_eq!(part.bytes().await.unwrap(), bytes[1..4]);
    assert_eq!(
        ask("filename=a.png", &[("range", "bytes=99999-")])
            .await
            .status(),
        416
    );
    assert_eq!(
        ask("filename=a.png", &[("if-none-match", &etag)])
            .await
            .status(),
        304
    );
    let head = server
        .client
        .head(server.url("/view?filename=a.png"))
        .send()
        .await
        .unwrap();
    assert_eq!(
        (head.status().as_u16(), header(&head, "content-length")),
        (200, bytes.len().to_string())
    );
    assert_eq!(
        header(&ask("filename=page.html", &[]).await, "content-type"),
        "application/octet-stream"
    );
    for (query, kind, format) in [
        ("preview=webp;80", "image/webp", image::ImageFormat::WebP),
        ("preview=jpeg;50", "image/jpeg", image::ImageFormat::Jpeg),
        ("channel=rgb", "image/png", image::ImageFormat::Png),
        ("channel=a", "image/png", image::ImageFormat::Png),
    ] {
        let answer = ask(&format!("filename=a.png&{query}"), &[]).await;
        assert_eq!(header(&answer, "content-type"), kind);
        let picture =
            image::load_from_memory_with_format(&answer.bytes().await.unwrap(), format).unwrap();
        assert_eq!((picture.width(), picture.height()), (8, 8));
    }
    for (query, status) in [
        ("", 404),
        ("filename=", 400),
        ("filename=b.png", 404),
        ("filename=../output/a.png", 400),
        ("filename=/etc/passwd", 400),
        ("filename=a.png&type=bogus", 400),
        ("filename=a.png&subfolder=../..", 403),
        ("filename=passwd&subfolder=/etc", 403),
        ("filename=%00", 404),
        ("filename=page.html&preview=webp", 500),
    ] {
        assert_eq!(ask(query, &[]).await.status(), status, "{query}");
    }
}

#[tokio::test]
async fn a_batch_becomes_one_animated_file() {
    let server = Running::start().await;
    let prompt = json!({
        "1": { "class_type": "EmptyImage", "inputs": { "width": 10, "height": 6, "batch_size": 2, "color": 0xFF_0000 } },
        "2": { "class_type": "EmptyImage", "inputs": { "width": 5, "height": 3, "batch_size": 1, "color": 0x00_00FF } },
        "3": { "class_type": "ImageBatch", "inputs": { "image1": ["1", 0], "image2": ["2", 0] } },
        "4": { "class_type": "SaveAnimatedWEBP", "inputs": { "images": ["3", 0], "filename_prefix": "w", "fps": 10.0, "lossless": true, "quality": 80, "method": "default" } },
        "5": { "class_type": "SaveAnimatedPNG", "inputs": { "images": ["3", 0], "filename_prefix": "p", "fps": 10.0, "compress_level": 4 } },
        "6": { "class_type": "GetImageSize", "inputs": { "image": ["3", 0] } },
        "7": { "class_type": "PreviewAny", "inputs": { "source": ["6", 2] } },
    });
    let id = server.submit(prompt, "x").await;
    let outputs = server.finished(&id).await["outputs"].clone();
    assert_eq!(
        outputs["4"],
        json!({ "images": [{ "filename": "w_00001_.webp", "subfolder": "", "type": "output" }], "animated": [true] })
    );
    assert_eq!(outputs["7"]["text"], json!(["3"]));
    let read = |name: &str| {
        std::io::Cursor::new(std::fs::read(server.folder.path().join("output").join(name)).unwrap())
    };
    let webp = image::codecs::webp::WebPDecoder::new(read("w_00001_.webp")).unwrap();
    let png = image::codecs::png::PngDecoder::new(read("p_00001_.png"))
        .unwrap()
        .apng()
        .unwrap();
    for frames in [webp.into_frames(), png.into_frames()] {
        let frames = frames.collect_frames().unwrap();
        let colors: Vec<[u8; 4]> = frames
            .iter()
            .map(|frame| frame.buffer().get_pixel(9, 5).0)
            .collect();
        assert_eq!(
            colors,
            [[255, 0, 0, 255], [255, 0, 0, 255], [0, 0, 255, 255]]
        );
        assert_eq!(frames[0].delay().numer_denom_ms(), (100, 1));
    }
}
