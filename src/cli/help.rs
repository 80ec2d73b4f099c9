//! The end of `clickedge --help`: examples, signals and exit codes.

use std::fmt::Write;

use crate::runtime::Class;

/// Columns that help may fill.
pub(super) const WIDTH: usize = 100;

const EXAMPLES: &str = "\
Examples:
  clickedge generate config --profile demo > clickedge.toml
                                                create a short configuration; without the profile,
                                                one with every key explained
  clickedge generate links > links.ndjson       create a first catalog
  clickedge check clickedge.toml                validate it
  clickedge catalog import --from dub dub.json -o links.ndjson
                                                turn another service's export into a catalog
  clickedge serve --config clickedge.toml       answer clicks
  clickedge lookup go.brand.com/spring --explain    where a link leads, and why
  clickedge upgrade --config clickedge.toml     replace the running process, failing no request
  clickedge feed verify s3://bucket/prefix      prove that a feed is complete and without duplicates
  clickedge feed test brand                     deliver sample events, and read them back
  clickedge top                                 the status of the running edge, live
  clickedge tap --sample 100                    one event of a hundred, as they are made
  clickedge spool ls                            list what is pending on this edge, with its age

Signals of `serve`:
  SIGTERM, SIGINT   stop: finish requests; the next start delivers what waits
  SIGQUIT           last stop, as `clickedge drain`: deliver what waits; see [shutdown]
  SIGHUP            reload the configuration and all files that it names, or nothing

Exit codes:
   0   success
";

pub(super) fn after() -> String {
    let mut text = EXAMPLES.to_owned();
    for class in Class::ALL {
        write_wrapped(
            &mut text,
            &format!("  {}", class.exit_code()),
            &format!("{}: {}", class.name(), class.meaning()),
        );
    }
    text.truncate(text.trim_end().len());
    text
}

/// Writes the text behind its label; lines after the first are indented.
fn write_wrapped(out: &mut String, label: &str, text: &str) {
    let mut line = format!("{label}  ");
    let indent = " ".repeat(line.len());
    for word in text.split(' ') {
        if line.len() + 1 + word.len() > WIDTH {
            _ = writeln!(out, "{line}");
            line.clone_from(&indent);
        }
        line.push(' ');
        line.push_str(word);
    }
    _ = writeln!(out, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_is_listed_with_its_code() {
        let text = after();
        for class in Class::ALL {
            assert!(text.contains(&format!("\n  {}   {}: ", class.exit_code(), class.name())), "{text}");
        }
        assert!(text.lines().all(|line| line.len() <= WIDTH), "{text}");
    }
}
