//! The two standard streams. Whoever reads them may leave early (`| head -1`): that ends no run and is no panic.

use std::io::{self, ErrorKind, Write};

/// Writes a result to standard output. False when it could not be written, though somebody was there to read it.
#[must_use]
pub fn show(text: &str) -> bool {
    let written = write(io::stdout().lock(), text);
    written.map_err(|error| tell(&format!("error: standard output cannot be written: {error}"))).is_ok()
}

/// Writes a line about the run to standard error.
pub fn tell(line: &str) {
    // Nobody is left to be told of a failure.
    let _ = write(io::stderr().lock(), &format!("{line}\n"));
}

fn write(mut to: impl Write, text: &str) -> io::Result<()> {
    match to.write_all(text.as_bytes()).and_then(|()| to.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::write;
    use std::io::{self, ErrorKind, Write};

    struct Fails(ErrorKind);

    impl Write for Fails {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn write_to_reader_that_left_is_fine() {
        assert!(write(Fails(ErrorKind::BrokenPipe), "a").is_ok());
        assert!(write(Fails(ErrorKind::StorageFull), "a").is_err());
    }
}
