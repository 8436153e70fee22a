//! `lightningd --help`.

use crate::environment::Environment;
use crate::table::{Fallback, Group, ROWS, Row};

const NAME_COLUMN: usize = 34;
const BOLD: &str = "\x1b[1m";
const CYAN: &str = "\x1b[36m";
const PLAIN: &str = "\x1b[0m";

/// The whole page, wrapped to the environment's width.
pub(crate) fn page(environment: &Environment) -> String {
    let paint = |style: &str, text: &str| {
        if environment.color {
            format!("{style}{text}{PLAIN}")
        } else {
            text.to_owned()
        }
    };
    let mut page = format!(
        "{} lightningd [OPTION]...\n\n\
         Runs a Lightning node. Every option can also stand in a configuration file, one to a line and\n\
         without the dashes: <lightning-dir>/config for all networks, <lightning-dir>/<network>/config for\n\
         one. The command line wins over the second, and that over the first. Lines that begin with # are\n\
         comments; include FILE reads another file.\n",
        paint(BOLD, "Usage:")
    );
    for group in Group::ALL {
        page.push_str(&format!("\n{}\n", paint(BOLD, group.title())));
        for row in ROWS.iter().filter(|r| r.group == group && !r.hidden) {
            let name = synopsis(row);
            let padding = " ".repeat(NAME_COLUMN.saturating_sub(name.chars().count() + 2));
            let mut lines =
                lightningd_rpc::commands::wrap(&explanation(row), environment.width - NAME_COLUMN)
                    .into_iter();
            page.push_str(&format!("  {}", paint(CYAN, &name)));
            if name.chars().count() + 2 < NAME_COLUMN {
                page.push_str(&format!("{padding}{}", lines.next().unwrap_or_default()));
            }
            page.push('\n');
            for line in lines {
                page.push_str(&format!("{:NAME_COLUMN$}{line}\n", ""));
            }
        }
    }
    page.push_str(
        "\nlightning-cli talks to the running node; lightning-cli help lists its commands.\n",
    );
    page
}

fn synopsis(row: &Row) -> String {
    let short = row.short.map_or(String::new(), |s| format!("-{s}, "));
    let value = if row.takes_value() {
        format!("={}", row.argument)
    } else {
        String::new()
    };
    format!("{short}--{}{value}", row.name)
}

fn explanation(row: &Row) -> String {
    let default = match row.default {
        Fallback::Unset | Fallback::Is("") => String::new(),
        Fallback::Is(text) => format!(" [{text}]"),
        Fallback::ByNetwork { bitcoin, test } => format!(" [{bitcoin}; on test networks {test}]"),
        Fallback::Computed(words) => format!(" [{words}]"),
    };
    let multi = if row.multi {
        " May be given more than once."
    } else {
        ""
    };
    format!("{}{multi}{default}", row.help)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn every_visible_option_is_on_the_page_with_its_default() {
        let page = page(&Environment::at(Path::new("/")));
        for row in ROWS {
            assert_eq!(
                page.contains(&format!("--{}", row.name)),
                !row.hidden || row.name == "help",
                "{}",
                row.name
            );
        }
        assert!(page.contains("[34; on test networks 6]"));
        assert!(!page.contains('\x1b'));
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in [80, 100] {
            let page = page(&Environment {
                width,
                ..Environment::at(Path::new("/"))
            });
            let body = page.lines().skip_while(|l| !l.starts_with("General"));
            assert!(body.clone().count() > ROWS.len());
            for line in body {
                assert!(line.chars().count() <= width, "{line}");
            }
        }
    }

    #[test]
    fn colors_are_only_for_terminals() {
        let page = page(&Environment {
            color: true,
            ..Environment::at(Path::new("/"))
        });
        assert!(page.contains("\x1b[1mLogging\x1b[0m"));
    }
}
