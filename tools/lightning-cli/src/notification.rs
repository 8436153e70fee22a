//! Progress of a command, shown while its reply is awaited, on lines that begin with `#`.

use std::io::{self, Write};

use lightningd_options::LogLevel;
use lightningd_rpc::token::Token;
use serde_json::Value;

use crate::flags::Notifications;
use crate::show::printable;

const BAR_WIDTH: u64 = 60;

pub struct Screen<'a, W> {
    out: &'a mut W,
    shown: Notifications,
    /// The cursor stands behind an unfinished bar.
    in_bar: bool,
}

impl<'a, W: Write> Screen<'a, W> {
    pub fn new(out: &'a mut W, shown: Notifications) -> Screen<'a, W> {
        Screen {
            out,
            shown,
            in_bar: false,
        }
    }

    /// Shows one. What is not understood is skipped.
    pub fn notification(
        &mut self,
        method: Option<Token<'_>>,
        params: Option<Token<'_>>,
    ) -> io::Result<()> {
        let (Some(method), Some(params)) =
            (method.and_then(Token::text), params.and_then(Token::value))
        else {
            return Ok(());
        };
        match method.as_str() {
            "message" => self.message(&params),
            "progress" if self.shown != Notifications::None => self.progress(&params),
            _ => Ok(()),
        }
    }

    /// To be called before anything else is shown.
    pub fn finish(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.in_bar) {
            writeln!(self.out)
        } else {
            Ok(())
        }
    }

    fn message(&mut self, params: &Value) -> io::Result<()> {
        let level = params["level"].as_str().and_then(LogLevel::from_name);
        match (
            level.filter(|l| self.shown.shows(*l)),
            params["message"].as_str(),
        ) {
            (Some(_), Some(text)) => {
                self.finish()?;
                writeln!(self.out, "# {}", printable(text))
            }
            _ => Ok(()),
        }
    }

    fn progress(&mut self, params: &Value) -> io::Result<()> {
        let count =
            |of: &Value| Some((of["num"].as_u64()?.saturating_add(1), of["total"].as_u64()?));
        let Some((num, total)) = count(params) else {
            return Ok(());
        };
        let stage =
            count(&params["stage"]).map_or(String::new(), |(n, of)| format!("Stage {n}/{of} "));
        let filled = BAR_WIDTH
            .saturating_mul(num.min(total))
            .checked_div(total)
            .unwrap_or(BAR_WIDTH);
        let bar: String = (0..BAR_WIDTH)
            .map(|i| if i < filled { '=' } else { ' ' })
            .collect();
        write!(self.out, "\r# {stage}{num}/{total} |{bar}|")?;
        self.in_bar = true;
        if num >= total {
            return self.finish();
        }
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(shown: Notifications, lines: &[(&str, &str)]) -> String {
        let mut out = Vec::new();
        let mut screen = Screen::new(&mut out, shown);
        for (method, params) in lines {
            let method = format!("\"{method}\"");
            screen
                .notification(Token::parse(&method), Token::parse(params))
                .unwrap();
        }
        screen.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn messages_of_the_level_and_above_are_lines_that_begin_with_a_hash() {
        let lines = [
            ("message", r#"{"id":1,"level":"debug","message":"no"}"#),
            (
                "message",
                r#"{"id":1,"level":"info","message":"yes\u001b[2J"}"#,
            ),
            ("message", r#"{"id":1,"level":"loud","message":"no"}"#),
            ("other", "{}"),
        ];
        assert_eq!(screen(Notifications::Info, &lines), "# yes\u{fffd}[2J\n");
        assert_eq!(screen(Notifications::None, &lines), "");
    }

    #[test]
    fn a_bar_grows_and_ends_with_its_line() {
        let half = screen(
            Notifications::Info,
            &[(
                "progress",
                r#"{"num":0,"total":2,"stage":{"num":1,"total":3}}"#,
            )],
        );
        assert_eq!(
            half,
            format!("\r# Stage 2/3 1/2 |{}{}|\n", "=".repeat(30), " ".repeat(30))
        );
        let full = screen(
            Notifications::Info,
            &[
                ("progress", r#"{"num":1,"total":2}"#),
                ("message", r#"{"level":"info","message":"x"}"#),
            ],
        );
        assert_eq!(full, format!("\r# 2/2 |{}|\n# x\n", "=".repeat(60)));
    }

    #[test]
    fn odd_numbers_do_no_harm() {
        for params in [
            r#"{"num":18446744073709551615,"total":0}"#,
            r#"{"num":5,"total":1}"#,
            r#"{"num":-1,"total":1}"#,
            "[]",
        ] {
            screen(Notifications::Io, &[("progress", params)]);
        }
    }
}
