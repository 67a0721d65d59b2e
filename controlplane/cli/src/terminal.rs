//! The user's terminal: raw while a remote one is shown in it, and its size.

use std::io::{IsTerminal, Read};

use rustix::termios::{self, OptionalActions, Termios};
use tokio::sync::mpsc;

/// Bytes read from the keyboard at once.
const INPUT_BYTES: usize = 4096;
/// Pieces of input that may wait for the network.
const INPUT_QUEUE_MAX: usize = 16;

/// Raw mode; the terminal is as before when this is dropped.
pub struct Raw {
    before: Termios,
}

impl Raw {
    /// `None` when standard input is no terminal.
    #[must_use]
    pub fn enter() -> Option<Self> {
        let stdin = std::io::stdin();
        let before = termios::tcgetattr(&stdin).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(&stdin, OptionalActions::Now, &raw).ok()?;
        Some(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(std::io::stdin(), OptionalActions::Flush, &self.before);
    }
}

/// Whether standard input is a terminal.
#[must_use]
pub fn is_interactive() -> bool {
    std::io::stdin().is_terminal()
}

/// Columns and rows of the terminal.
#[must_use]
pub fn size() -> Option<(u16, u16)> {
    let size = termios::tcgetwinsize(std::io::stdout()).ok()?;
    Some((size.ws_col, size.ws_row))
}

/// Standard input as pieces; ends at its end. Read by a thread of its own, which nothing waits for: a read of a
/// keyboard cannot be interrupted.
#[must_use]
pub fn input() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(INPUT_QUEUE_MAX);
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut buffer = [0; INPUT_BYTES];
        while let Ok(count @ 1..) = stdin.read(&mut buffer) {
            if sender.blocking_send(buffer[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}
