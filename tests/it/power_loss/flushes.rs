//! The system calls of a run: each flush comes before what rests on it.

use super::files::{Contents, Files};
use crate::command_line::command;
use crate::needed::skip_without;
use crate::processes::{Desk, Server};
use comfyui_orchestrator::engine::database_path;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A flush of a file or folder, by the lines at which it began and ended.
struct Flush {
    path: String,
    begin: usize,
    end: usize,
}

/// What a trace of system calls says.
#[derive(Default)]
struct Trace {
    flushes: Vec<Flush>,
    /// Writes to the write-ahead log: the line at which each ended, and what it wrote.
    logged: Vec<(usize, String)>,
    /// Requests with prompts, by the lines at which they began.
    posts: Vec<(usize, String)>,
    /// Files that got their name: the line, what they were called before, and their new path.
    named: Vec<(usize, String, String)>,
}

impl Trace {
    fn read(text: &str) -> Self {
        let mut trace = Self::default();
        let mut begun: BTreeMap<&str, (usize, String)> = BTreeMap::new();
        for (number, line) in text.lines().enumerate() {
            let Some((thread, call)) = line.split_once(' ') else {
                continue;
            };
            let call = call.trim_start();
            if let Some(call) = call.strip_suffix("<unfinished ...>") {
                begun.insert(thread, (number, call.to_owned()));
                // A request counts from where it begins.
                continue;
            }
            let (begin, call) = match call.strip_prefix("<... ") {
                Some(rest) => match begun.remove(thread) {
                    Some((begin, call)) => (begin, call + rest),
                    None => continue,
                },
                None => (number, call.to_owned()),
            };
            trace.note(begin, number, &call);
        }
        trace
    }

    fn note(&mut self, begin: usize, end: usize, call: &str) {
        let of_descriptor = call
            .split_once('<')
            .and_then(|(_, rest)| rest.split_once('>'))
            .map_or("", |(path, _)| path);
        let texts: Vec<&str> = call.split('"').skip(1).step_by(2).collect();
        if call.starts_with("fsync") || call.starts_with("fdatasync") {
            assert!(call.trim_end().ends_with("= 0"), "{call}");
            self.flushes.push(Flush {
                path: of_descriptor.to_owned(),
                begin,
                end,
            });
        } else if call.starts_with("pwrite64") && of_descriptor.ends_with("-wal") {
            self.logged.push((end, call.to_owned()));
        } else if call.contains("POST /prompt") {
            self.posts.push((begin, call.to_owned()));
        } else if (call.starts_with("rename") || call.starts_with("link"))
            && let [before, after] = texts[..]
        {
            self.named.push((end, before.to_owned(), after.to_owned()));
        }
    }

    /// The line at which the log first said something.
    fn first_said(&self, what: &str) -> usize {
        let found = self.logged.iter().find(|(_, bytes)| bytes.contains(what));
        found
            .unwrap_or_else(|| panic!("{what} is not in the log"))
            .0
    }

    fn is_flushed(&self, is_it: impl Fn(&str) -> bool, after: usize, before: usize) -> bool {
        self.flushes
            .iter()
            .any(|flush| is_it(&flush.path) && flush.begin > after && flush.end < before)
    }

    /// The bytes of a file, then its name, were flushed before the log named it.
    fn check_file(&self, path: &Path, said: &str) {
        let path = path.to_str().unwrap();
        let folder = path.rsplit_once('/').unwrap().0;
        let said = self.first_said(said);
        let named = self.named.iter().find(|(_, _, after)| after == path);
        let (line, before, _) = named.unwrap_or_else(|| panic!("{path} was given no name"));
        assert!(
            self.is_flushed(|flushed| flushed == before, 0, *line),
            "{path} got its name before its bytes were flushed"
        );
        assert!(
            self.is_flushed(|flushed| flushed == folder, *line, said),
            "the log named {path} before its name was flushed"
        );
    }
}

#[test]
fn each_flush_comes_before_what_rests_on_it() {
    let folder = TempDir::new().unwrap();
    let traced = folder.path().join("trace.txt");
    let server = Server::new(folder.path().join("server"), 0);
    let desk = Desk::new(&folder.path().join("run"), 1);
    let plain = command(&desk.data);
    let ran = Command::new("strace")
        .args(["-f", "-y", "-s", "40000"])
        .args(["-e", "trace=fsync,fdatasync,pwrite64,write,writev,sendto,sendmsg,rename,renameat,renameat2,link,linkat"])
        .arg("-o")
        .arg(&traced)
        .arg(plain.get_program())
        .args(plain.get_args())
        .args(["run", &desk.project, "--backend", &server.url(), "--out"])
        .arg(&desk.out)
        .stdin(Stdio::null())
        .output();
    let is_traced = ran.as_ref().is_ok_and(|ran| ran.status.success());
    if ran
        .as_ref()
        .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
    {
        skip_without("strace");
        return;
    }
    if !is_traced && desk.run().is_none() {
        println!("skipped: strace may not trace here");
        return;
    }
    assert!(is_traced, "{ran:?}");
    let trace = Trace::read(&std::fs::read_to_string(&traced).unwrap());
    let contents = Contents::of(&Files::read(&database_path(&desk.data)));
    let is_log = |path: &str| path.ends_with("orchestrator.sqlite-wal");
    let placed = contents.placed();
    for attempt_id in &placed {
        let written = trace.first_said(attempt_id);
        let sent = trace
            .posts
            .iter()
            .find(|(_, call)| call.contains(attempt_id));
        let (sent, _) = sent.unwrap_or_else(|| panic!("{attempt_id} was not seen to be sent"));
        assert!(
            trace.is_flushed(is_log, written, *sent),
            "{attempt_id} was sent before the log was flushed"
        );
    }
    for name in &contents.artifacts {
        let path = desk.data.join("artifacts").join(&name[..2]).join(name);
        trace.check_file(&path, &name[..64]);
    }
    let written = contents.written();
    for path in &written {
        trace.check_file(path, path.file_name().unwrap().to_str().unwrap());
    }
    println!(
        "{} prompts, {} artifacts and {} written files: each flushed before what rests on it ({} flushes)",
        placed.len(),
        contents.artifacts.len(),
        written.len(),
        trace.flushes.len()
    );
}
