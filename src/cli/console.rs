//! What is said, where: results on standard output, all else on standard error.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sarcomere::Error;

/// Prints a line on standard output. Whoever stops reading (`| head`) ends the program in peace.
pub fn print(line: &str) {
    if writeln!(std::io::stdout().lock(), "{line}").is_err() {
        std::process::exit(0);
    }
}

/// Says something beside the results.
pub fn note(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Says in one line what went wrong.
pub fn complain(error: &Error) {
    let line = error.to_string().replace(['\n', '\r'], " ");
    let mark = if colors(&std::io::stderr()) { "\x1b[1;31merror\x1b[0m" } else { "error" };
    note(&format!("{mark}: {line}"));
}

/// Bold, where the reader is a terminal that wants it.
pub fn bold(text: &str) -> String {
    if colors(&std::io::stdout()) { format!("\x1b[1m{text}\x1b[0m") } else { text.to_string() }
}

fn colors(stream: &impl IsTerminal) -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    stream.is_terminal() && !refused && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
}

/// A bar on standard error, if that is a terminal; it goes away when dropped.
pub struct Progress(ProgressBar);

impl Progress {
    /// A bar that names what is being done.
    pub fn new(doing: impl Into<String>) -> Self {
        let target =
            if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target).with_message(doing.into());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        Self(bar)
    }

    /// Names what is being done now.
    pub fn doing(&self, what: impl Into<String>) {
        self.0.set_message(what.into());
    }

    /// How much is done.
    pub fn at(&self, done: usize, of: usize) {
        if of > 1 && self.0.length().is_none() {
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {bar:30} {pos}/{len}, {eta} left") {
                self.0.set_style(style);
            }
            self.0.set_length(of as u64);
        }
        self.0.set_position(done as u64);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Lines of a table: the first row is its head; the first column stands left, the others right.
pub fn table(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let wide = |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|t| t.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(wide).collect();
    let cell = |(c, text): (usize, &String)| {
        let space = " ".repeat(widths[c] - text.chars().count());
        if c == 0 { format!("{text}{space}") } else { format!("{space}{text}") }
    };
    let line = |row: &Vec<String>| row.iter().enumerate().map(cell).collect::<Vec<_>>().join("  ");
    rows.iter().map(|row| line(row).trim_end().to_string()).collect()
}
