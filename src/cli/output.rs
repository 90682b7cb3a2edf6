//! Lines for whoever reads the program's output.

use std::fmt;
use std::io::{self, Write};
use std::process;

/// Prints a line and hands it on at once, so that a program that follows a run sees each as it comes.
pub(super) fn line(words: fmt::Arguments<'_>) {
    let mut output = io::stdout().lock();
    let written = writeln!(output, "{words}").and_then(|()| output.flush());
    if let Err(error) = written {
        if error.kind() != io::ErrorKind::BrokenPipe {
            eprintln!("error: nothing more can be printed: {error}");
            process::exit(1);
        }
        // The reader has what it wanted. What runs is in the database and goes on with `runs resume`.
        process::exit(0);
    }
}
