//! Workflows found in pictures, videos, sounds and models, made here byte by byte as their writers make them.

use comfyui_orchestrator::workflow::{
    Container, Embedded, EmbeddedError, WorkflowDocument, find_workflow, parse_parameters,
};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{Cursor, Read, Seek, SeekFrom, Write as _};

fn workflow() -> String {
    json!({"version": 0.4, "links": [], "nodes": [{"id": 7, "type": "KSampler", "title": "Ünïcode \" '"}], "future": {"kept": 1}})
        .to_string()
}

fn prompt() -> String {
    // As Python writes it.
    r#"{"7": {"class_type": "KSampler", "inputs": {"seed": 18446744073709551615, "is_changed": NaN}}}"#
        .to_owned()
}

fn chunk(name: &[u8], content: &[u8]) -> Vec<u8> {
    let mut chunk = (content.len() as u32).to_be_bytes().to_vec();
    chunk.extend_from_slice(name);
    chunk.extend_from_slice(content);
    chunk.extend_from_slice(&[0; 4]);
    chunk
}

fn deflated(text: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn png(chunks: &[Vec<u8>]) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    file.extend(chunk(b"IHDR", &[0; 13]));
    file.extend(chunk(b"IDAT", &[9; 40]));
    file.extend(chunks.concat());
    file.extend(chunk(b"IEND", &[]));
    file
}

fn named(name: &str, between: &[u8], text: &[u8]) -> Vec<u8> {
    [name.as_bytes(), between, text].concat()
}

/// A TIFF block with ASCII entries, values behind the directory.
fn exif(entries: &[(u16, &[u8], u16)]) -> Vec<u8> {
    let mut block = b"II*\0\x08\0\0\0".to_vec();
    block.extend((entries.len() as u16).to_le_bytes());
    let mut values_at = 8 + 2 + entries.len() * 12 + 4;
    let mut values = Vec::new();
    for (tag, value, of_type) in entries {
        block.extend(tag.to_le_bytes());
        block.extend(of_type.to_le_bytes());
        block.extend((value.len() as u32).to_le_bytes());
        block.extend((values_at as u32).to_le_bytes());
        values.extend_from_slice(value);
        values_at += value.len();
    }
    block.extend([0; 4]);
    block.extend(values);
    block
}

fn comfy_exif() -> Vec<u8> {
    let prompt = format!("prompt:{}\0", prompt());
    let workflow = format!("workflow:{}\0", workflow());
    exif(&[
        (0x0110, prompt.as_bytes(), 2),
        (0x010F, workflow.as_bytes(), 2),
    ])
}

fn webp(exif: &[u8]) -> Vec<u8> {
    let mut body = b"WEBPVP8L\x03\0\0\0abc\0EXIF".to_vec();
    body.extend((exif.len() as u32).to_le_bytes());
    body.extend_from_slice(exif);
    if exif.len() % 2 == 1 {
        body.push(0);
    }
    let mut file = b"RIFF".to_vec();
    file.extend((body.len() as u32).to_le_bytes());
    file.extend(body);
    file
}

fn jpeg(exif: &[u8]) -> Vec<u8> {
    let mut file = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xe1".to_vec();
    file.extend(((exif.len() + 8) as u16).to_be_bytes());
    file.extend_from_slice(b"Exif\0\0");
    file.extend_from_slice(exif);
    file.extend_from_slice(b"\xff\xda\x00\x02pixels\xff\xd9");
    file
}

fn atom(name: &[u8], content: &[u8]) -> Vec<u8> {
    let mut atom = (content.len() as u32 + 8).to_be_bytes().to_vec();
    atom.extend_from_slice(name);
    atom.extend_from_slice(content);
    atom
}

fn data_atom(text: &str) -> Vec<u8> {
    atom(b"data", &[b"\0\0\0\x01\0\0\0\0", text.as_bytes()].concat())
}

/// As ffmpeg with `use_metadata_tags` writes it.
fn mp4_with_keys(entries: &[(&str, String)]) -> Vec<u8> {
    let mut keys = vec![0; 4];
    keys.extend((entries.len() as u32).to_be_bytes());
    let mut list = Vec::new();
    for (number, (key, value)) in (1_u32..).zip(entries) {
        keys.extend((key.len() as u32 + 8).to_be_bytes());
        keys.extend_from_slice(b"mdta");
        keys.extend_from_slice(key.as_bytes());
        list.extend(atom(&number.to_be_bytes(), &data_atom(value)));
    }
    let handler = atom(b"hdlr", b"\0\0\0\0\0\0\0\0mdta\0\0\0\0\0\0\0\0\0\0\0\0\0");
    let meta = [
        vec![0; 4],
        handler,
        atom(b"keys", &keys),
        atom(b"ilst", &list),
    ]
    .concat();
    let moov = atom(
        b"moov",
        &[
            atom(b"mvhd", &[0; 100]),
            atom(b"udta", &atom(b"meta", &meta)),
        ]
        .concat(),
    );
    [
        atom(b"ftyp", b"isomisomiso2"),
        atom(b"mdat", &[1; 5000]),
        moov,
    ]
    .concat()
}

/// As video nodes write it: one comment that holds both.
fn mp4_with_comment(comment: &str) -> Vec<u8> {
    let list = atom(b"ilst", &atom(b"\xa9cmt", &data_atom(comment)));
    let meta = [atom(b"hdlr", &[0; 25]), list].concat();
    let moov = atom(b"moov", &atom(b"udta", &atom(b"meta", &meta)));
    // A 64-bit size, as films have.
    let mut film = vec![0, 0, 0, 1];
    film.extend_from_slice(b"mdat");
    film.extend(116_u64.to_be_bytes());
    film.extend([7; 100]);
    [atom(b"ftyp", b"qt  \0\0\0\0"), film, moov].concat()
}

fn avif(exif: &[u8]) -> Vec<u8> {
    let infe = atom(b"infe", b"\x02\0\0\0\0\x05\0\0Exif\0");
    let iinf = atom(b"iinf", &[&b"\0\0\0\0\0\x01"[..], &infe].concat());
    let item = [&[0; 4][..], exif].concat();
    let make = |offset: u32| {
        let mut iloc = b"\0\0\0\0\x44\0\0\x01\0\x05\0\0\0\x01".to_vec();
        iloc.extend(offset.to_be_bytes());
        iloc.extend((item.len() as u32).to_be_bytes());
        let meta = [vec![0; 4], iinf.clone(), atom(b"iloc", &iloc)].concat();
        [atom(b"ftyp", b"avif\0\0\0\0"), atom(b"meta", &meta)].concat()
    };
    let offset = make(0).len() as u32 + 8;
    [make(offset), atom(b"mdat", &item)].concat()
}

fn element(id: &[u8], content: &[u8]) -> Vec<u8> {
    let mut element = id.to_vec();
    element.push(0x08);
    element.extend(&(content.len() as u64).to_be_bytes()[4..]);
    element.extend_from_slice(content);
    element
}

fn webm(tags: &[(&str, &str)]) -> Vec<u8> {
    let tags: Vec<u8> = tags
        .iter()
        .flat_map(|(name, value)| {
            let simple = [
                element(&[0x45, 0xA3], name.as_bytes()),
                element(&[0x44, 0x87], value.as_bytes()),
            ]
            .concat();
            element(&[0x73, 0x73], &element(&[0x67, 0xC8], &simple))
        })
        .collect();
    let body = [
        element(&[0x1F, 0x43, 0xB6, 0x75], &[3; 300]),
        element(&[0x12, 0x54, 0xC3, 0x67], &tags),
    ]
    .concat();
    // A segment of unknown length, as live recordings have.
    let mut segment = vec![
        0x18, 0x53, 0x80, 0x67, 0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
    ];
    segment.extend(body);
    [element(&[0x1A, 0x45, 0xDF, 0xA3], &[0; 10]), segment].concat()
}

fn vorbis(comments: &[(&str, &str)]) -> Vec<u8> {
    let mut block = 4_u32.to_le_bytes().to_vec();
    block.extend_from_slice(b"Lavf");
    block.extend((comments.len() as u32).to_le_bytes());
    for (key, value) in comments {
        let comment = format!("{key}={value}");
        block.extend((comment.len() as u32).to_le_bytes());
        block.extend(comment.into_bytes());
    }
    block
}

fn flac(comments: &[(&str, &str)]) -> Vec<u8> {
    let block = vorbis(comments);
    let mut file = b"fLaC\0\0\0\x22".to_vec();
    file.extend([0; 34]);
    file.push(0x84);
    file.extend(&(block.len() as u32).to_be_bytes()[1..]);
    file.extend(block);
    file.extend([0xFF, 0xF8, 1, 2, 3]);
    file
}

fn ogg(comments: &[(&str, &str)]) -> Vec<u8> {
    let page = |packet: &[u8], parts: &mut Vec<u8>| {
        // A packet over several pages, as long comments are.
        let mut segments: Vec<&[u8]> = packet.chunks(255).collect();
        if packet.len().is_multiple_of(255) {
            segments.push(&[]);
        }
        for page in segments.chunks(3) {
            parts.extend_from_slice(b"OggS\0\0");
            parts.extend([0; 8]);
            parts.extend(77_u32.to_le_bytes());
            parts.extend([0; 8]);
            parts.push(page.len() as u8);
            parts.extend(page.iter().map(|segment| segment.len() as u8));
            parts.extend(page.concat());
        }
    };
    let mut file = Vec::new();
    page(b"OpusHead\x01\x02abcdefghij", &mut file);
    page(
        &[b"OpusTags".to_vec(), vorbis(comments)].concat(),
        &mut file,
    );
    page(&[5; 100], &mut file);
    file
}

fn syncsafe(length: usize) -> [u8; 4] {
    [21, 14, 7, 0].map(|shift| ((length >> shift) & 0x7F) as u8)
}

fn mp3(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut frames = Vec::new();
    for (key, value) in entries {
        let mut frame = vec![3];
        frame.extend_from_slice(key.as_bytes());
        frame.push(0);
        frame.extend_from_slice(value.as_bytes());
        frames.extend_from_slice(b"TXXX");
        frames.extend(syncsafe(frame.len()));
        frames.extend([0, 0]);
        frames.extend(frame);
    }
    frames.extend([0; 64]);
    let mut file = b"ID3\x04\0\0".to_vec();
    file.extend(syncsafe(frames.len()));
    file.extend(frames);
    file.extend([0xFF, 0xFB, 0x90, 0x44]);
    file
}

/// UTF-16 with a byte order mark, in version 2.3, as other programs write it.
fn mp3_wide(key: &str, value: &str) -> Vec<u8> {
    let wide = |text: &str| -> Vec<u8> {
        [0xFEFF]
            .into_iter()
            .chain(text.encode_utf16())
            .flat_map(u16::to_le_bytes)
            .collect()
    };
    let frame = [vec![1], wide(key), vec![0, 0], wide(value)].concat();
    let mut file = b"ID3\x03\0\0".to_vec();
    file.extend(syncsafe(frame.len() + 10));
    file.extend_from_slice(b"TXXX");
    file.extend((frame.len() as u32).to_be_bytes());
    file.extend([0, 0]);
    file.extend(frame);
    file
}

fn svg() -> Vec<u8> {
    let both = json!({"prompt": serde_json::from_str::<Value>(&prompt().replace("NaN", "1")).unwrap(),
        "workflow": serde_json::from_str::<Value>(&workflow()).unwrap()});
    format!("<?xml version=\"1.0\"?>\n<svg width=\"8\">\n<metadata>\n<![CDATA[\n{both}\n]]></metadata><path d=\"M0 0\"/></svg>")
        .into_bytes()
}

fn glb() -> Vec<u8> {
    let json = json!({"asset": {"version": "2.0", "extras": {"prompt": prompt(), "workflow": workflow()}}}).to_string();
    let mut file = b"glTF\x02\0\0\0\0\0\0\0".to_vec();
    file.extend((json.len() as u32).to_le_bytes());
    file.extend_from_slice(b"JSON");
    file.extend(json.into_bytes());
    file
}

fn safetensors() -> Vec<u8> {
    let header = json!({"__metadata__": {"prompt": prompt(), "workflow": workflow()},
        "latent_tensor": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}})
    .to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.into_bytes());
    file.extend([0; 4]);
    file
}

/// One file of every kind that holds both forms.
fn files() -> Vec<(&'static str, Container, Vec<u8>)> {
    let (workflow, prompt) = (workflow(), prompt());
    let both =
        json!({ "prompt": prompt, "workflow": serde_json::from_str::<Value>(&workflow).unwrap() })
            .to_string();
    let pairs = [("prompt", prompt.as_str()), ("workflow", workflow.as_str())];
    let upper = [("PROMPT", prompt.as_str()), ("WORKFLOW", workflow.as_str())];
    let ascii = |text: &str| {
        let mut escaped = String::new();
        for character in text.chars() {
            if character.is_ascii() {
                escaped.push(character);
            } else {
                write!(escaped, "\\u{:04x}", character as u32).unwrap();
            }
        }
        escaped.into_bytes()
    };
    vec![
        (
            "PNG with tEXt",
            Container::Png,
            png(&[
                chunk(b"tEXt", &named("prompt", b"\0", &ascii(&prompt))),
                chunk(b"tEXt", &named("workflow", b"\0", &ascii(&workflow))),
            ]),
        ),
        (
            "PNG with zTXt and iTXt",
            Container::Png,
            png(&[
                chunk(
                    b"zTXt",
                    &named("prompt", b"\0\0", &deflated(prompt.as_bytes())),
                ),
                chunk(
                    b"iTXt",
                    &named(
                        "workflow",
                        b"\0\x01\0en\0Arbeit\0",
                        &deflated(workflow.as_bytes()),
                    ),
                ),
            ]),
        ),
        (
            "animated PNG",
            Container::Png,
            png(&[
                chunk(b"comf", &named("prompt", b"\0", &ascii(&prompt))),
                chunk(b"comf", &named("workflow", b"\0", &ascii(&workflow))),
            ]),
        ),
        ("WebP", Container::Webp, webp(&comfy_exif())),
        (
            "WebP with a mark",
            Container::Webp,
            webp(&[&b"Exif\0\0"[..], &comfy_exif()].concat()),
        ),
        ("JPEG", Container::Jpeg, jpeg(&comfy_exif())),
        ("AVIF", Container::Avif, avif(&comfy_exif())),
        (
            "MP4 with keys",
            Container::Mp4,
            mp4_with_keys(&[("prompt", prompt.clone()), ("workflow", workflow.clone())]),
        ),
        (
            "MOV with a comment",
            Container::Mp4,
            mp4_with_comment(&both),
        ),
        ("WebM", Container::Webm, webm(&upper)),
        (
            "WebM with a comment",
            Container::Webm,
            webm(&[("COMMENT", &both)]),
        ),
        ("FLAC", Container::Flac, flac(&pairs)),
        ("Opus", Container::Ogg, ogg(&upper)),
        ("MP3", Container::Mp3, mp3(&pairs)),
        (
            "MP3 of version 2.3",
            Container::Mp3,
            mp3_wide("workflow", &workflow),
        ),
        ("SVG", Container::Svg, svg()),
        ("GLB", Container::Glb, glb()),
        ("latent", Container::Safetensors, safetensors()),
        ("JSON", Container::Json, workflow.into_bytes()),
    ]
}

#[test]
fn the_workflow_is_found_in_every_kind_of_file() {
    for (name, container, file) in files() {
        let embedded = Embedded::read(Cursor::new(&file)).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(embedded.container, container, "{name}");
        let found = embedded
            .document()
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        let WorkflowDocument::Ui(ui) = &found.document else {
            panic!("{name}: the workflow wins over the prompt");
        };
        let expected: Value = serde_json::from_str(&workflow()).unwrap();
        assert_eq!(serde_json::to_value(ui).unwrap(), expected, "{name}");
        assert_eq!(
            serde_json::from_str::<Value>(&found.text).unwrap(),
            expected
        );
        if !matches!(name, "MP3 of version 2.3" | "JSON") {
            assert!(embedded.prompt().is_some(), "{name}: {embedded:?}");
        }
    }
}

#[test]
fn a_prompt_alone_does_and_a_broken_workflow_gives_way_to_it() {
    let only = png(&[chunk(b"tEXt", &named("prompt", b"\0", prompt().as_bytes()))]);
    let found = find_workflow(Cursor::new(only)).unwrap();
    let WorkflowDocument::Api(api) = found.document else {
        panic!("a prompt");
    };
    assert_eq!(
        api.nodes["7"].inputs["seed"],
        json!(18_446_744_073_709_551_615_u64)
    );
    let broken = png(&[
        chunk(b"tEXt", b"workflow\0{\"nodes\": "),
        chunk(b"tEXt", &named("prompt", b"\0", prompt().as_bytes())),
    ]);
    assert!(matches!(
        find_workflow(Cursor::new(broken)).unwrap().document,
        WorkflowDocument::Api(_)
    ));
    let none = png(&[chunk(b"tEXt", b"Software\0GIMP")]);
    let error = find_workflow(Cursor::new(none)).unwrap_err();
    assert!(
        matches!(
            error,
            EmbeddedError::NoWorkflow {
                container: Container::Png
            }
        ),
        "{error}"
    );
    for other in [
        &b"GIF89a\x01\0"[..],
        b"PK\x03\x04",
        b"\0\0\0\0",
        b"",
        b"%PDF-1.7\n\xe2",
    ] {
        let error = find_workflow(Cursor::new(other)).unwrap_err().to_string();
        assert!(error.contains("JSON"), "{error}");
    }
}

#[test]
fn how_a1111_made_a_picture_is_read() {
    let text = "masterpiece, a cat\n(on a mat:1.2)\nNegative prompt: blurry,\nlowres\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 18446744073709551615, Size: 512x768, Model: v1-5, Lora hashes: \"a: 12, b: \\\"34\\\"\", Version: v1.10";
    let parameters = parse_parameters(text).unwrap();
    assert_eq!(parameters.positive, "masterpiece, a cat\n(on a mat:1.2)");
    assert_eq!(parameters.negative, "blurry,\nlowres");
    assert_eq!(parameters.setting("seed"), Some("18446744073709551615"));
    assert_eq!(parameters.setting("Lora hashes"), Some("a: 12, b: \"34\""));
    assert_eq!(parameters.setting("Version"), Some("v1.10"));
    let bare = parse_parameters("a cat\nSteps: 4, Seed: 1").unwrap();
    assert_eq!(
        (bare.positive.as_str(), bare.negative.as_str()),
        ("a cat", "")
    );
    for other in ["", "a cat", "{\"Steps\": 1}", "Steps: 4"] {
        assert_eq!(parse_parameters(other), None, "{other}");
    }
    let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let comment = [&b"UNICODE\0"[..], &wide].concat();
    let picture = jpeg(&exif(&[(0x9286, &comment, 7)]));
    let embedded = Embedded::read(Cursor::new(picture)).unwrap();
    assert_eq!(embedded.parameters(), Some(parameters.clone()));
    assert!(matches!(
        embedded.document(),
        Err(EmbeddedError::NoWorkflow { .. })
    ));
    let picture = png(&[chunk(b"tEXt", &named("parameters", b"\0", text.as_bytes()))]);
    assert_eq!(
        Embedded::read(Cursor::new(picture)).unwrap().parameters(),
        Some(parameters)
    );
}

/// A file that is large without lying anywhere: zeros between a head and a tail. Counts what is read of it.
struct Film {
    head: Vec<u8>,
    len: u64,
    at: u64,
    read: u64,
}

impl Read for Film {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let left = usize::try_from(self.len - self.at).unwrap_or(usize::MAX);
        let count = buffer.len().min(left);
        for (place, byte) in (self.at..).zip(&mut buffer[..count]) {
            *byte = self.head.get(place as usize).copied().unwrap_or(0);
        }
        self.at += count as u64;
        self.read += count as u64;
        Ok(count)
    }
}

impl Seek for Film {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.at = match to {
            SeekFrom::Start(at) => at,
            SeekFrom::End(back) => self.len.saturating_add_signed(back),
            SeekFrom::Current(on) => self.at.saturating_add_signed(on),
        };
        Ok(self.at)
    }
}

#[test]
fn hostile_files_cost_little_and_never_panic() {
    // A text that inflates to a gigabyte.
    let bomb = png(&[chunk(
        b"zTXt",
        &named("workflow", b"\0\0", &deflated(&vec![b' '; 200 << 20])),
    )]);
    assert!(bomb.len() < 1 << 20);
    let error = find_workflow(Cursor::new(bomb)).unwrap_err();
    assert!(matches!(error, EmbeddedError::TooLarge { .. }), "{error}");

    // A film of 40 GB: its pixels are stepped over.
    let mut head = atom(b"ftyp", b"isomisomiso2");
    head.extend([0, 0, 0, 1]);
    head.extend_from_slice(b"mdat");
    head.extend((40_u64 << 30).to_be_bytes());
    let len = head.len() as u64 - 16 + (40 << 30);
    let mut film = Film {
        head,
        len,
        at: 0,
        read: 0,
    };
    assert!(matches!(
        Embedded::read(&mut film).unwrap().document(),
        Err(EmbeddedError::NoWorkflow { .. })
    ));
    assert!(film.read < 10_000, "{} bytes", film.read);

    // Sizes that promise more than there is, nothing, or themselves.
    for size in [0_u32, 1, 7, 8, 9, 0x7FFF_FFFF, 0xFFFF_FFFF] {
        for (_, _, file) in files() {
            for at in [0, 4, 8, 12, 16, 20, 33, 40] {
                for order in [size.to_be_bytes(), size.to_le_bytes()] {
                    let mut file = file.clone();
                    if let Some(place) = file.get_mut(at..at + 4) {
                        place.copy_from_slice(&order);
                    }
                    Embedded::read(Cursor::new(file)).ok();
                }
            }
        }
    }
    // Cut off anywhere, and with bytes changed anywhere.
    let mut random = fastrand::Rng::with_seed(7);
    for (name, _, file) in files() {
        for end in 0..file.len() {
            let cut = Embedded::read(Cursor::new(&file[..end]));
            if let Ok(found) = cut.and_then(|embedded| embedded.document()) {
                assert!(
                    found.text.len() <= end,
                    "{name}: more was found than there is"
                );
            }
        }
        for _ in 0..2000 {
            let mut file = file.clone();
            for _ in 0..random.usize(1..6) {
                let at = random.usize(..file.len());
                file[at] = random.u8(..);
            }
            Embedded::read(Cursor::new(file))
                .and_then(|embedded| embedded.document())
                .ok();
        }
    }
    // A million empty boxes end soon.
    let boxes = [
        atom(b"ftyp", b"isomisom"),
        atom(b"free", &[]).repeat(1_000_000),
    ]
    .concat();
    let error = find_workflow(Cursor::new(boxes)).unwrap_err();
    assert!(error.to_string().contains("parts"), "{error}");
}

#[test]
fn a_drawing_of_a_million_parts_is_read_in_one_pass() {
    let parts = "<![CDATA[]]>".repeat(1_000_000);
    let file = format!(
        "<svg><metadata>{parts}{}</metadata></svg>",
        json!({"workflow": workflow(), "prompt": prompt()})
    );
    let found = find_workflow(Cursor::new(file.into_bytes())).unwrap();
    assert!(matches!(found.document, WorkflowDocument::Ui(_)));
}

#[test]
fn texts_that_lie_over_each_other_are_not_read_again_and_again() {
    // A thousand texts, each the whole block of zeros.
    let block_len = 4_000_000_u32;
    let mut block = b"II*\0\x08\0\0\0".to_vec();
    block.extend(1000_u16.to_le_bytes());
    for _ in 0..1000 {
        block.extend(0x010F_u16.to_le_bytes());
        block.extend(2_u16.to_le_bytes());
        block.extend((block_len - 20_000).to_le_bytes());
        block.extend(20_000_u32.to_le_bytes());
    }
    block.resize(block_len as usize, 0);
    let refused = find_workflow(Cursor::new(webp(&block)));
    assert!(
        matches!(&refused, Err(EmbeddedError::Damaged { reason, .. }) if reason.contains("overlap")),
        "{refused:?}"
    );
}

#[test]
fn a_comment_of_millions_of_values_is_kept_as_text_only() {
    let comment = format!(r#"{{"x":[{}0]}}"#, "0,".repeat(5_000_000));
    let file = png(&[
        chunk(b"tEXt", &named("comment", b"\0", comment.as_bytes())),
        chunk(b"tEXt", &named("workflow", b"\0", workflow().as_bytes())),
    ]);
    let found = Embedded::read(Cursor::new(file)).unwrap();
    assert_eq!(found.text("comment"), Some(comment.as_str()));
    assert!(found.document().is_ok());
}
