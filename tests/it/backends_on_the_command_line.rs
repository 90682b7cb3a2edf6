//! Servers as the command line names, registers and remembers them; runs that were cut off; https with a base path.

use crate::command_line::{BuiltinProcess, command, refuses, run, small_scene, stderr, stdout};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// Longest pause between two looks of a pipe at its ends.
const PIPE_PAUSE: Duration = Duration::from_millis(2);

/// Where the requests of a connection go, and what is done to them first.
type Prepare = dyn Fn(Vec<u8>) -> Result<Vec<u8>, &'static [u8]> + Send + Sync;

/// Passes bytes on in both directions until one end is closed.
fn pipe(mut client: impl Read + Write, server: &str, prepare: &Prepare) -> Option<()> {
    let mut server = TcpStream::connect(server).ok()?;
    server.set_read_timeout(Some(PIPE_PAUSE)).ok()?;
    let mut buffer = vec![0; 1 << 16];
    let mut is_first = true;
    loop {
        match client.read(&mut buffer) {
            Ok(0) => return None,
            Ok(length) => match prepare(buffer[..length].to_vec()) {
                Ok(bytes) => {
                    is_first = false;
                    server.write_all(&bytes).ok()?;
                }
                // Only a connection's first request is judged: it may not be split, and no later one differs.
                Err(answer) if is_first => {
                    client.write_all(answer).ok()?;
                    return client.flush().ok();
                }
                Err(_) => server.write_all(&buffer[..length]).ok()?,
            },
            Err(error) if is_pause(&error) => {}
            Err(_) => {
                server.shutdown(Shutdown::Both).ok();
                return None;
            }
        }
        match server.read(&mut buffer) {
            Ok(0) => return client.flush().ok(),
            Ok(length) => {
                client.write_all(&buffer[..length]).ok()?;
                client.flush().ok()?;
            }
            Err(error) if is_pause(&error) => {}
            Err(_) => return None,
        }
    }
}

fn is_pause(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
    )
}

fn host_of(url: &str) -> String {
    url.trim_start_matches("http://")
        .trim_end_matches('/')
        .to_owned()
}

/// A door before a server that lets nobody in without this header.
fn guarded(server_url: &str, header: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = host_of(server_url);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = server.clone();
            std::thread::spawn(move || {
                client.set_read_timeout(Some(PIPE_PAUSE)).ok()?;
                pipe(client, &server, &move |bytes| {
                    if String::from_utf8_lossy(&bytes).contains(header) {
                        Ok(bytes)
                    } else {
                        Err(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                    }
                })
            });
        }
    });
    url
}

/// The server behind TLS, below the path `/comfy`.
pub fn behind_tls(server_url: &str, address: &str) -> u16 {
    let files = tls_folder();
    let chain: Vec<_> = CertificateDer::pem_file_iter(files.join("localhost.pem"))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let key = PrivateKeyDer::from_pem_file(files.join("localhost.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind((address, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = host_of(server_url);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let (server, config) = (server.clone(), config.clone());
            std::thread::spawn(move || {
                client.set_read_timeout(Some(PIPE_PAUSE)).ok()?;
                let connection = rustls::ServerConnection::new(config).ok()?;
                let stream = rustls::StreamOwned::new(connection, client);
                pipe(stream, &server, &|bytes| Ok(without_base_path(bytes)))
            });
        }
    });
    port
}

/// `GET /comfy/prompt` → `GET /prompt`. What asks for anything else gets a page that is not there.
fn without_base_path(bytes: Vec<u8>) -> Vec<u8> {
    const METHODS: [&[u8]; 2] = [b"GET /", b"POST /"];
    for method in METHODS {
        if bytes.starts_with(method) {
            return match bytes[method.len()..].strip_prefix(b"comfy/") {
                Some(rest) => [method, rest].concat(),
                None => [method, b"outside-the-base-path", &bytes[method.len()..]].concat(),
            };
        }
    }
    bytes
}

fn tls_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/tls")
}

fn files_below(folder: &Path) -> usize {
    let mut count = 0;
    let mut open = vec![folder.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                open.push(entry.path());
            } else {
                count += 1;
            }
        }
    }
    count
}

#[test]
fn a_run_whose_program_was_killed_is_listed_as_interrupted_and_goes_on_with_its_own_servers() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let server = BuiltinProcess::start(&folder.path().join("server"));
    let scene = small_scene(folder.path());
    let out = folder.path().join("out");
    let mut child = command(&data)
        .args(["run", &scene, "--json", "--backend", &server.url, "--out"])
        .arg(&out)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut done = 0;
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while done < 4 {
        let line = lines.next().unwrap().unwrap();
        done += usize::from(line.contains("\"item_done\""));
    }
    assert!(stdout(&run(&data, &["runs", "list"])).contains("running"));
    child.kill().unwrap();
    child.wait().unwrap();

    let listed = stdout(&run(&data, &["runs", "list"]));
    assert!(listed.contains("interrupted"), "{listed}");
    assert!(listed.contains("runs resume"), "{listed}");
    let listed = stdout(&run(&data, &["runs", "list", "--json"]));
    let listed: serde_json::Value = serde_json::from_str(listed.trim()).unwrap();
    assert_eq!(
        (&listed["state"], &listed["interrupted"]),
        (&serde_json::json!("running"), &serde_json::json!(true))
    );
    assert!(stdout(&run(&data, &["runs", "show", "last"])).contains("interrupted"));

    // Its server needs no naming again.
    let resumed = run(&data, &["runs", "resume", "last"]);
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    assert_eq!(files_below(&out), 13);
    let listed = stdout(&run(&data, &["runs", "list"]));
    assert!(
        listed.contains("completed") && !listed.contains("resume"),
        "{listed}"
    );
}

#[test]
fn a_server_that_wants_a_token_gets_it_from_the_environment_and_from_nowhere_else() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let server = BuiltinProcess::start(&folder.path().join("server"));
    let door = guarded(&server.url, "authorization: Bearer s3cr3t-of-the-test");
    let scene = small_scene(folder.path());
    let with_token = |arguments: &[&str]| -> Output {
        command(&data)
            .args(arguments)
            .env("TEST_DOOR_TOKEN", "s3cr3t-of-the-test")
            .output()
            .unwrap()
    };
    let out = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let steps = ["--set", "Paint a harbour.steps=2"];

    refuses(&run(&data, &["backend", "check", &door]), &["401"]);
    refuses(
        &run(
            &data,
            &[
                "backend",
                "check",
                &door,
                "--auth",
                "bearer:env:TEST_DOOR_TOKEN",
            ],
        ),
        &["TEST_DOOR_TOKEN", "is not set"],
    );
    let refused = run(
        &data,
        &[
            "backend",
            "check",
            &door,
            "--auth",
            "bearer:s3cr3t-of-the-test",
        ],
    );
    refuses(&refused, &["env:NAME"]);
    assert!(!stderr(&refused).contains("s3cr3t"), "{}", stderr(&refused));
    let check = with_token(&[
        "backend",
        "check",
        &door,
        "--auth",
        "bearer:env:TEST_DOOR_TOKEN",
    ]);
    assert!(check.status.success(), "{}", stderr(&check));

    // Named for one run.
    let auth = format!("{door}=bearer:env:TEST_DOOR_TOKEN");
    let (named_out, registered_out) = (out("named"), out("registered"));
    let mut named = vec!["run", &scene, "--out", &named_out, "--backend", &door];
    named.extend(["--backend-auth", &auth]);
    named.extend(steps);
    let done = with_token(&named);
    assert!(done.status.success(), "{}", stderr(&done));
    assert_eq!(files_below(&folder.path().join("named")), 13);
    refuses(
        &with_token(&["run", &scene, "--backend-auth", &auth]),
        &["--backend-auth number 1", "no --backend names"],
    );

    // Registered.
    let add = with_token(&[
        "backend",
        "add",
        &door,
        "--name",
        "studio",
        "--tag",
        "big",
        "--auth",
        "bearer:env:TEST_DOOR_TOKEN",
    ]);
    assert!(add.status.success(), "{}", stderr(&add));
    assert!(stdout(&add).contains("classes"), "{}", stdout(&add));
    let listed = stdout(&run(&data, &["backend", "list"]));
    for part in ["studio", &door, "bearer:env:TEST_DOOR_TOKEN", "#big"] {
        assert!(listed.contains(part), "{part} is missing in: {listed}");
    }
    let mut registered = vec!["run", &scene, "--out", &registered_out];
    registered.extend(steps);
    let done = with_token(&registered);
    assert!(done.status.success(), "{}", stderr(&done));
    assert_eq!(files_below(&folder.path().join("registered")), 13);
    refuses(&run(&data, &["backend", "remove", "nobody"]), &["studio"]);
    assert!(
        run(&data, &["backend", "remove", "studio"])
            .status
            .success()
    );
    refuses(&with_token(&["run", &scene]), &["no backend"]);

    for entry in std::fs::read_dir(&data).unwrap().flatten() {
        let bytes = std::fs::read(entry.path()).unwrap_or_default();
        let holds = bytes.windows(6).any(|window| window == b"s3cr3t");
        assert!(!holds, "the secret is in {}", entry.path().display());
    }
}

/// The platform's trusted certificates can be given by environment variable on Linux only.
#[cfg(target_os = "linux")]
#[test]
fn a_server_behind_https_and_a_base_path_runs_a_project_if_its_certificate_is_trusted() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let server = BuiltinProcess::start(&folder.path().join("server"));
    let url = format!(
        "https://localhost:{}/comfy",
        behind_tls(&server.url, "127.0.0.1")
    );
    let scene = small_scene(folder.path());
    let trusting = |arguments: &[&str]| -> Output {
        command(&data)
            .args(arguments)
            .env("SSL_CERT_FILE", tls_folder().join("ca.pem"))
            .output()
            .unwrap()
    };

    let refused = run(&data, &["backend", "check", &url]);
    refuses(
        &refused,
        &["certificate", "not trusted", "--accept-any-certificate"],
    );
    assert!(!stderr(&refused).contains("is running"), "it does answer");
    let any = run(
        &data,
        &["backend", "check", &url, "--accept-any-certificate"],
    );
    assert!(any.status.success(), "{}", stderr(&any));
    let check = trusting(&["backend", "check", &url]);
    assert!(check.status.success(), "{}", stderr(&check));
    // A certificate is for a name: this one is not for that one.
    let other = format!(
        "https://127.0.0.2:{}/comfy",
        behind_tls(&server.url, "127.0.0.2")
    );
    refuses(&trusting(&["backend", "check", &other]), &["certificate"]);

    // HTTP, uploads, downloads and the socket.
    let out = folder.path().join("out");
    let done = trusting(&[
        "run",
        &scene,
        "--backend",
        &url,
        "--set",
        "Paint a harbour.steps=2",
        "--out",
        &out.to_string_lossy(),
    ]);
    assert!(done.status.success(), "{}", stderr(&done));
    assert_eq!(files_below(&out), 13);
}
