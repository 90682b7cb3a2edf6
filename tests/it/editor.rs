//! The window of ComfyUI's editor: what it lets a page do, and what passes between it and the app.

#[cfg(all(feature = "editor", target_os = "linux"))]
mod drafts;
#[cfg(all(feature = "editor", target_os = "linux"))]
mod hostile_page;
#[cfg(all(feature = "editor", target_os = "linux"))]
pub mod in_a_window;
#[cfg(all(feature = "editor", target_os = "linux"))]
mod puppet;
#[cfg(all(feature = "editor", target_os = "linux"))]
mod shown;
#[cfg(all(feature = "editor", target_os = "linux"))]
mod taken_over;

use comfyui_orchestrator::editor::message::{
    FromWindow, LineError, PROTOCOL_VERSION, ToWindow, WindowGeometry, read_line, write_line,
};
use comfyui_orchestrator::editor::origin::PageOrigin;
use comfyui_orchestrator::editor::page::{
    Gate, MAX_BYTES, MAX_MESSAGE_BYTES, MAX_MESSAGES, MAX_SAVES, PageMessage, PageRefusal,
};
use comfyui_orchestrator::editor::placement::{MIN_SIZE, Placement, Screen};
use serde_json::value::RawValue;
use std::io::BufReader;

fn origin() -> PageOrigin {
    PageOrigin::of(&"http://10.0.0.7:8188/comfy/".parse().unwrap()).unwrap()
}

#[test]
fn a_page_stays_with_its_server() {
    let origin = origin();
    for own in [
        "http://10.0.0.7:8188/",
        "http://10.0.0.7:8188/other?x=1#y",
        "about:blank",
        "about:srcdoc",
    ] {
        assert!(origin.may_load(own), "{own}");
    }
    for foreign in [
        "http://10.0.0.7:8189/",
        "https://10.0.0.7:8188/",
        "http://10.0.0.7.example.org:8188/",
        "http://10.0.0.7:8188@example.org/",
        "http://example.org/http://10.0.0.7:8188/",
        "file:///etc/passwd",
        "data:text/html,<script>1</script>",
        "javascript:alert(1)",
        "blob:http://10.0.0.7:8188/1f",
        "about:config",
        "ftp://10.0.0.7:8188/",
        "",
        "\u{0}",
    ] {
        assert!(!origin.may_load(foreign), "{foreign}");
        assert!(!origin.is_own(foreign), "{foreign}");
    }
    // An empty document may be shown, but nobody speaks for it.
    assert!(!origin.is_own("about:blank"));
    for no_page in [
        "file:///tmp/a.html",
        "data:text/html,x",
        "ws://10.0.0.7:8188/",
    ] {
        assert!(
            PageOrigin::of(&no_page.parse().unwrap()).is_err(),
            "{no_page}"
        );
    }
}

#[test]
fn a_message_counts_only_from_the_main_frame_of_the_server_and_of_a_known_shape() {
    let page = "http://10.0.0.7:8188/";
    let mut gate = Gate::new(origin(), "secret".to_owned());
    let mut now_ms = 0;
    let mut admit = |address: &str, body: &str| {
        now_ms += 1_000;
        gate.admit(address, body, now_ms)
    };
    let loaded = r#"{"token":"secret","message":"loaded"}"#;
    assert!(matches!(admit(page, loaded), Ok(PageMessage::Loaded)));
    assert!(matches!(
        admit("http://evil.example/", loaded),
        Err(PageRefusal::ForeignOrigin(_))
    ));
    for wrong in [
        r#"{"token":"guess","message":"loaded"}"#,
        r#"{"message":"loaded"}"#,
        r#"{"token":"secret","message":"loaded","more":1}"#,
        r#"{"token":"secret","message":{"open_file":{"path":"/etc/passwd"}}}"#,
        r#"{"token":"secret","message":{"save":{"number":7,"target":"node","workflow":{}}}}"#,
        r#"{"token":"secret","message":{"save":{"number":7,"target":"../x","workflow":{},"prompt":{}}}}"#,
        "loaded",
        "",
        "[[[[[[",
        "\u{0}",
    ] {
        assert!(
            matches!(admit(page, wrong), Err(PageRefusal::Malformed(_))),
            "{wrong}"
        );
    }
    // A draft is never looked into on the way; who does look refuses such depth.
    let depth = 100_000;
    let draft = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let deep = format!(r#"{{"token":"secret","message":{{"changed":{{"draft":{draft}}}}}}}"#);
    if let Ok(PageMessage::Changed { draft: Some(draft) }) = admit(page, &deep) {
        assert!(comfyui_orchestrator::workflow::read(draft.get().as_bytes()).is_err());
    }
    let huge = format!(
        r#"{{"token":"secret","message":{{"load_failed":{{"text":"{}"}}}}}}"#,
        "x".repeat(MAX_MESSAGE_BYTES)
    );
    assert!(matches!(admit(page, &huge), Err(PageRefusal::TooLarge(_))));
    let save = r#"{"token":"secret","message":{"save":{"number":7,"target":"node","workflow":{"seed":18446744073709551615},"prompt":{}}}}"#;
    let Ok(PageMessage::Save { workflow, .. }) = admit(page, save) else {
        panic!("a sound save is taken");
    };
    assert_eq!(workflow.get(), r#"{"seed":18446744073709551615}"#);
}

#[test]
fn a_flood_is_cut_off_and_forgiven_after_a_while() {
    let mut gate = Gate::new(origin(), "secret".to_owned());
    let loaded = r#"{"token":"secret","message":"loaded"}"#;
    let admitted = (0..10_000)
        .filter(|_| gate.admit("http://10.0.0.7:8188/", loaded, 5).is_ok())
        .count();
    assert_eq!(admitted, MAX_MESSAGES);
    assert!(gate.admit("http://10.0.0.7:8188/", loaded, 20_000).is_ok());
}

#[test]
fn what_a_page_sends_is_bounded_in_bytes_and_in_saves() {
    let page = "http://10.0.0.7:8188/";
    let mut gate = Gate::new(origin(), "secret".to_owned());
    let draft = format!(
        r#"{{"token":"secret","message":{{"changed":{{"draft":"{}"}}}}}}"#,
        "x".repeat(40 << 20)
    );
    let admitted = (0..20)
        .filter(|_| gate.admit(page, &draft, 5).is_ok())
        .count();
    assert!(
        admitted * draft.len() < MAX_BYTES + draft.len(),
        "{admitted}"
    );
    assert!(matches!(
        gate.admit(page, &draft, 6),
        Err(PageRefusal::Flood)
    ));
    // Slowly, as a person would save at most, and as a page would.
    let save = r#"{"token":"secret","message":{"save":{"number":7,"target":"new_workflow","workflow":{},"prompt":{}}}}"#;
    let taken = (0..30)
        .filter(|second| gate.admit(page, save, 100_000 + second * 1_000).is_ok())
        .count();
    assert_eq!(taken, MAX_SAVES);
    let loaded = r#"{"token":"secret","message":"loaded"}"#;
    assert!(
        gate.admit(page, loaded, 131_000).is_ok(),
        "others are heard"
    );
    assert!(gate.admit(page, save, 200_000).is_ok());
}

#[test]
fn both_sides_read_what_the_other_wrote_and_refuse_everything_else() {
    let draft = RawValue::from_string("{\n \"nodes\": []\r\n}".to_owned()).unwrap();
    let mut pipe = Vec::new();
    write_line(
        &mut pipe,
        &FromWindow::Hello {
            version: PROTOCOL_VERSION,
        },
    )
    .unwrap();
    write_line(&mut pipe, &FromWindow::Changed { draft: Some(draft) }).unwrap();
    let geometry = WindowGeometry {
        x: -3.5,
        y: 0.0,
        width: 800.0,
        height: 600.0,
    };
    write_line(&mut pipe, &FromWindow::Geometry(geometry)).unwrap();
    assert_eq!(String::from_utf8_lossy(&pipe).lines().count(), 3);

    let mut reader = BufReader::new(pipe.as_slice());
    assert!(matches!(
        read_line(&mut reader).unwrap(),
        Some(FromWindow::Hello {
            version: PROTOCOL_VERSION
        })
    ));
    let Some(FromWindow::Changed { draft: Some(draft) }) = read_line(&mut reader).unwrap() else {
        panic!("the draft comes through");
    };
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(draft.get()).unwrap(),
        serde_json::json!({"nodes": []})
    );
    assert!(matches!(
        read_line(&mut reader).unwrap(),
        Some(FromWindow::Geometry(read)) if read == geometry
    ));
    assert!(read_line::<FromWindow>(&mut reader).unwrap().is_none());

    let mut nonsense = BufReader::new(&b"{\"run\":\"rm -rf\"}\n"[..]);
    assert!(matches!(
        read_line::<ToWindow>(&mut nonsense),
        Err(LineError::Unknown(_))
    ));
}

#[test]
fn a_window_comes_back_to_its_place_only_where_a_screen_is() {
    let left = Screen {
        corner: [-1920.0, 0.0],
        size: [1920.0, 1080.0],
    };
    let right = Screen {
        corner: [0.0, 0.0],
        size: [2560.0, 1440.0],
    };
    let at = |x, y, width, height| {
        Some(WindowGeometry {
            x,
            y,
            width,
            height,
        })
    };
    let place = |last| Placement::of(last, &[left, right]);
    let sized = |size| Placement { size, corner: None };
    assert_eq!(place(None), sized([1400.0, 900.0]));
    let there = place(at(-1800.0, 30.0, 900.0, 700.0));
    assert_eq!(
        (there.size, there.corner),
        ([900.0, 700.0], Some([-1800.0, 30.0]))
    );
    // Over both screens: its title is seen.
    assert!(place(at(-300.0, 30.0, 900.0, 700.0)).corner.is_some());
    // The screen is gone; the title would be above the edge; a minimised window of Windows.
    for lost in [
        at(3000.0, 30.0, 900.0, 700.0),
        at(100.0, -40.0, 900.0, 700.0),
        at(-32_000.0, -32_000.0, 900.0, 700.0),
    ] {
        assert_eq!(place(lost), sized([900.0, 700.0]));
    }
    // No larger than its screen, or any screen, and large enough to be used.
    let large = Placement {
        size: [1920.0, 1080.0],
        corner: Some([-1900.0, 0.0]),
    };
    assert_eq!(place(at(-1900.0, 0.0, 2000.0, 2000.0)), large);
    assert_eq!(
        place(at(9000.0, 0.0, 9000.0, 9000.0)),
        sized([2560.0, 1440.0])
    );
    let small = Placement {
        size: MIN_SIZE,
        corner: Some([0.0, 0.0]),
    };
    assert_eq!(place(at(0.0, 0.0, 1.0, -5.0)), small);
    let unknown = Placement::of(at(0.0, 0.0, 1e300, 700.0), &[]);
    assert!(unknown.size[0] < 20_000.0 && unknown.corner.is_none());
}

/// Starts a program that says this on its error stream and ends, and gives what the app hears of it.
#[cfg(unix)]
fn heard_of_a_program_that_ends(
    folder: &std::path::Path,
    last_words: &str,
) -> comfyui_orchestrator::editor::process::EditorEvent {
    use comfyui_orchestrator::editor::message::{Appearance, EditorGraph, OpenWindow};
    use comfyui_orchestrator::editor::process::EditorProcess;
    let program = folder.join("window");
    std::fs::write(folder.join("words"), last_words).unwrap();
    let script = format!(
        "#!/bin/sh\ncat '{}/words' >&2\nexit 127\n",
        folder.display()
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(
        &program,
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let order = OpenWindow {
        url: "http://127.0.0.1:9/".parse().unwrap(),
        node_title: "Portrait".to_owned(),
        backend_name: "Workstation".to_owned(),
        workflow: EditorGraph::Ui(RawValue::from_string("{}".to_owned()).unwrap()),
        draft: None,
        profile_dir: folder.to_owned(),
        appearance: Appearance::Dark,
        geometry: None,
    };
    let window = EditorProcess::start(&program, order, || {}).unwrap();
    let begin = std::time::Instant::now();
    loop {
        if let Some(event) = window.poll() {
            return event;
        }
        assert!(begin.elapsed().as_secs() < 60, "nothing was heard");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[cfg(unix)]
#[test]
fn a_system_without_the_web_view_is_told_what_to_install() {
    use comfyui_orchestrator::editor::process::{EditorError, EditorEvent};
    let folder = tempfile::tempdir().unwrap();
    // As glibc and musl say it.
    for words in [
        "/opt/o/comfyui-orchestrator-editor: error while loading shared libraries: libwebkit2gtk-4.1.so.0: cannot open shared \
         object file: No such file or directory\n",
        "Error loading shared library libwebkit2gtk-4.1.so.0: No such file or directory (needed by /opt/o/editor)\n\
         Error relocating /opt/o/editor: webkit_web_view_new: symbol not found\n",
    ] {
        let event = heard_of_a_program_that_ends(folder.path(), words);
        let EditorEvent::NotStarted(error) = event else {
            panic!("{event:?}");
        };
        assert_eq!(
            error,
            EditorError::NoLibrary {
                library: "libwebkit2gtk-4.1.so.0".to_owned()
            }
        );
        assert!(error.to_string().contains("WebKitGTK 4.1"), "{error}");
        let remedy = error.remedy().unwrap();
        assert!(
            remedy.contains("apt install libwebkit2gtk-4.1-0"),
            "{remedy}"
        );
    }
    // Any other end says what is known of it.
    let event = heard_of_a_program_that_ends(
        folder.path(),
        "Trace/breakpoint trap\nnote: run with more\n",
    );
    let EditorEvent::NotStarted(error) = event else {
        panic!("{event:?}");
    };
    assert!(
        error.to_string().contains("Trace/breakpoint trap"),
        "{error}"
    );
    assert_eq!(error.remedy(), None);
}
