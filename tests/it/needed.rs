//! Programs and drivers that some tests need and a machine may lack.

#[cfg(all(feature = "editor", target_os = "linux"))]
use std::process::{Child, Command};

/// Says that a test is skipped because this is not here. Where everything was installed this must not happen: with
/// `REQUIRE_TEST_PROGRAMS` set, as `.ci/run` does, it is a failure.
pub fn skip_without(what: &str) {
    assert!(
        std::env::var_os("REQUIRE_TEST_PROGRAMS").is_none(),
        "there is no {what} here, and REQUIRE_TEST_PROGRAMS is set; `make deps` installs it"
    );
    println!("skipped: there is no {what} here");
}

/// Starts a program; none where it is not installed. Every other trouble with it is a failure.
#[cfg(all(feature = "editor", target_os = "linux"))]
pub fn spawn(command: &mut Command) -> Option<Child> {
    match command.spawn() {
        Ok(child) => Some(child),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            skip_without(&command.get_program().to_string_lossy());
            None
        }
        Err(error) => panic!("{command:?}: {error}"),
    }
}
