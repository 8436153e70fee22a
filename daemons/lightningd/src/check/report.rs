//! What was found, for people and for programs.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// What is looked at, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// A start would go on with what is there, and can use each file.
    Files,
    /// Its files, its tables, every record of it.
    Database,
    /// `hsm_secret` is there, can be read, and is the database's.
    Seed,
    /// `hsm-journal` is there, whole, and written with this seed.
    Journal,
    /// Neither the database nor the journal is an older copy than the other.
    Moment,
    /// The blocks that the node has seen are in bitcoind's chain.
    Chain,
    /// No channel was spent while the node was off.
    Funding,
}

impl Check {
    fn name(self) -> &'static str {
        match self {
            Check::Files => "files",
            Check::Database => "database",
            Check::Seed => "seed",
            Check::Journal => "journal",
            Check::Moment => "moment",
            Check::Chain => "chain",
            Check::Funding => "funding",
        }
    }
}

/// What came of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// All is well; what there is.
    Well(String),
    /// What is wrong, and what to do.
    Wrong { what: String, advice: String },
    /// Why not, and what to do about that.
    NotChecked { why: String, advice: String },
}

impl Finding {
    pub fn wrong(what: impl ToString, advice: impl Into<String>) -> Finding {
        Finding::Wrong {
            what: what.to_string(),
            advice: advice.into(),
        }
    }

    /// Something else is in the way that has its own finding.
    pub fn not_checked(why: impl ToString) -> Finding {
        Finding::NotChecked {
            why: why.to_string(),
            advice: "Mend what is wrong above, then check again".to_owned(),
        }
    }
}

/// All findings.
pub struct Report {
    folder: PathBuf,
    findings: Vec<(Check, Finding)>,
}

impl Report {
    pub fn new(folder: &Path) -> Report {
        Report {
            folder: folder.to_owned(),
            findings: Vec::new(),
        }
    }

    pub fn add(&mut self, check: Check, finding: Finding) {
        self.findings.push((check, finding));
    }

    /// Everything was checked, and nothing is wrong.
    #[must_use]
    pub fn is_well(&self) -> bool {
        let well = |finding: &Finding| matches!(finding, Finding::Well(_));
        self.findings.iter().all(|(_, finding)| well(finding))
    }

    /// A list for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{}\n\n", self.folder.display());
        for (check, finding) in &self.findings {
            let (status, what, advice) = parts(finding);
            let _ = writeln!(text, "{status:<12} {:<9} {what}", check.name());
            if let Some(advice) = advice {
                let _ = writeln!(text, "{:<12} {:<9} To do: {advice}.", "", "");
            }
        }
        text.push_str(match self.is_well() {
            true => "\nAll is well.\n",
            false => "\nNot all is well. Nothing was changed.\n",
        });
        text
    }

    /// The same for programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let checks = self.findings.iter().map(|(check, finding)| {
            let (status, what, advice) = parts(finding);
            let mut entry = json!({"check": check.name(), "status": status, "what": what});
            if let Some(advice) = advice {
                entry["advice"] = json!(advice);
            }
            entry
        });
        json!({
            "ok": self.is_well(),
            "folder": self.folder.display().to_string(),
            "checks": checks.collect::<Vec<_>>(),
        })
    }
}

fn parts(finding: &Finding) -> (&'static str, &str, Option<&str>) {
    match finding {
        Finding::Well(what) => ("ok", what, None),
        Finding::Wrong { what, advice } => ("wrong", what, Some(advice)),
        Finding::NotChecked { why, advice } => ("not checked", why, Some(advice)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_well_only_if_everything_was_checked_and_nothing_is_wrong() {
        let mut report = Report::new(Path::new("/node"));
        report.add(Check::Database, Finding::Well("3 channels".to_owned()));
        assert!(report.is_well());
        assert!(report.text().contains("All is well"));
        report.add(Check::Chain, Finding::not_checked("no bitcoind"));
        assert!(!report.is_well());
        let mut report = Report::new(Path::new("/node"));
        report.add(Check::Seed, Finding::wrong("it is gone", "Put it back"));
        assert!(!report.is_well());
        let text = report.text();
        assert!(text.contains("it is gone") && text.contains("To do: Put it back."));
        assert_eq!(report.json()["checks"][0]["status"], "wrong");
    }
}
