//! The command line. Few enough options to read by hand, so that the runner builds in a moment.

use std::path::PathBuf;

pub const HELP: &str = "\
cargo xtask fuzz [--smoke] [--seconds N] [-- [--jobs N] [--target NAME]...]

  --smoke          every target, a minute each unless --seconds says otherwise (also the default)
  --seconds N      seconds for each target
  --jobs N         how many targets at a time (default: one for each core)
  --target NAME    only this one, or those that begin with NAME_; may be repeated
  --input FILE     run --target once on FILE and show what it prints
  --list           print the targets
  --write-seeds    write tests/fuzz/seeds anew from valid messages

Inputs that are worth keeping stay in tests/fuzz/corpus, what a target fails on in
tests/fuzz/artifacts.";

/// What is asked for.
pub enum Wish {
    Help,
    List,
    Seeds,
    Input(PathBuf),
    Fuzz,
}

pub struct Arguments {
    pub wish: Wish,
    pub seconds: u32,
    pub jobs: usize,
    /// Empty: all.
    pub targets: Vec<String>,
}

impl Arguments {
    /// # Errors
    /// What cannot be understood, for a person.
    pub fn read(words: impl IntoIterator<Item = String>) -> Result<Arguments, String> {
        let mut out = Arguments {
            wish: Wish::Fuzz,
            seconds: 60,
            jobs: std::thread::available_parallelism().map_or(1, usize::from),
            targets: vec![],
        };
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--smoke" | "--" => {}
                "--seconds" => out.seconds = number(&word, &value()?)?,
                "--jobs" => out.jobs = number(&word, &value()?)?.max(1) as usize,
                "--target" => out.targets.push(value()?),
                "--input" => out.wish = Wish::Input(value()?.into()),
                "--list" => out.wish = Wish::List,
                "--write-seeds" => out.wish = Wish::Seeds,
                "--help" | "-h" => out.wish = Wish::Help,
                name if !name.starts_with('-') => out.targets.push(name.to_owned()),
                unknown => return Err(format!("unknown option {unknown}; --help lists them")),
            }
        }
        Ok(out)
    }
}

fn number(option: &str, text: &str) -> Result<u32, String> {
    text.parse()
        .map_err(|_| format!("{option} takes a number, not {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Arguments, String> {
        Arguments::read(words.iter().map(|word| (*word).to_owned()))
    }

    #[test]
    fn targets_may_be_named_with_or_without_the_option() {
        let read = read(&["--smoke", "--seconds", "5", "--target", "a", "b"]).unwrap();
        assert_eq!(
            (read.seconds, read.targets),
            (5, vec!["a".to_owned(), "b".to_owned()])
        );
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for words in [&["--second"][..], &["--seconds"], &["--seconds", "x"]] {
            assert!(read(words).is_err(), "{words:?}");
        }
    }
}
