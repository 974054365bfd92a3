//! What is thrown at the lines between a job and who asks it: by the fuzzer, and by a test that changes what was well
//! written.

use super::message::{Answer, Ask, read_line};

/// Any bytes as what comes out of a socket: one line of bounded length, which is a question, an answer or neither; what
/// is read is written as a line that reads as the same.
pub fn lines(bytes: &[u8]) {
    let Ok(line) = read_line(bytes) else {
        return;
    };
    assert!(line.len() <= bytes.len().min(64 << 10));
    if let Ok(ask) = Ask::parse(&line) {
        assert_eq!(Ask::parse(&ask.to_line()), Ok(ask));
    }
    if let Ok(answer) = Answer::parse(&line) {
        assert_eq!(Answer::parse(&answer.to_line()), Ok(answer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::mutants::each_mutant;

    #[test]
    fn what_comes_out_of_a_socket_is_understood_or_refused() {
        let directory = Some("/save \"points\"\n".to_owned());
        let stop = Ask::Stop {
            directory,
            drain: true,
        };
        let seeds = [
            Ask::Describe.to_line(),
            Ask::Checkpoint { full: false }.to_line(),
            Ask::Savepoint { directory: None }.to_line(),
            stop.to_line(),
            Answer::Savepoint("/s".to_owned()).to_line(),
            Answer::Refused("no".to_owned()).to_line(),
            r#"{"checkpoint":12,"path":"/c"}"#.to_owned(),
            r#"{"job":"000000000000000000000000000000ab","name":"n","status":"RUNNING","process":7,"started":-1}"#.to_owned(),
        ];
        each_mutant(&seeds.map(String::into_bytes), 4_000, lines);
    }
}
