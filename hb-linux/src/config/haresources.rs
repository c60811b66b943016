//! haresources: which resources move together, and which node they prefer.

use hb_proto::config::{MAX_GROUPS, MAX_RESOURCES};

use super::address::{is_host_address, looks_like_address};
use super::diagnostic::{Report, quoted};
use super::source::without_comment;
use super::{AddressSpec, GroupLine, ResourceLine};

impl ResourceLine {
    /// The resource as the file writes it: its name everywhere.
    #[must_use]
    pub fn written(&self) -> &str {
        match self {
            Self::Address { written, .. } | Self::Script { written, .. } => written,
        }
    }
}

impl GroupLine {
    /// The group's name: its first resource as written. Empty only for a group without resources,
    /// which loading refuses.
    #[must_use]
    pub fn name(&self) -> &str {
        self.resources.first().map_or("", ResourceLine::written)
    }
}

/// The words of a line and its continuations, each with the number of the line where it stands.
type LogicalLine<'a> = Vec<(usize, &'a str)>;

/// Reads the text. `nodes` are the names of ha.cf; `None` when those are in doubt themselves, and any
/// name passes.
pub(super) fn parse(text: &str, nodes: Option<[&str; 2]>, report: &mut Report) -> Vec<GroupLine> {
    let mut groups = Vec::new();
    for logical in logical_lines(text, report) {
        if let Some(group) = parse_group(&logical, nodes, report) {
            groups.push(group);
        }
    }
    if let Some(first_extra) = groups.get(MAX_GROUPS) {
        report.error(
            first_extra.line,
            format!(
                "{} resource groups; {MAX_GROUPS} at most: put resources that may move together on \
                 one line",
                groups.len()
            ),
        );
    }
    check_duplicates(&groups, report);
    if groups.is_empty() && !text.lines().any(|line| !without_comment(line).is_empty()) {
        report.warning(
            None,
            "no resource group: the nodes watch each other, but there is nothing to take over; \
             expected a line such as `linuxha1 192.168.85.3 httpd`",
        );
    }
    groups
}

fn logical_lines<'a>(text: &'a str, report: &mut Report) -> Vec<LogicalLine<'a>> {
    let mut lines: Vec<LogicalLine<'a>> = Vec::new();
    let mut continued = None;
    for (index, line) in text.lines().enumerate() {
        let body = without_comment(line);
        let (body, continues) = match body.strip_suffix('\\') {
            Some(body) => (body, true),
            None => (body, false),
        };
        let words = body.split_whitespace().map(|word| (index + 1, word));
        match lines.last_mut() {
            Some(logical) if continued.is_some() => logical.extend(words),
            _ => lines.push(words.collect()),
        }
        continued = continues.then_some(index + 1);
    }
    if let Some(last) = continued {
        report.error(last, "the line ends with `\\`, but the file ends here; remove the `\\`");
    }
    lines.retain(|words| !words.is_empty());
    lines
}

fn parse_group(
    logical: &[(usize, &str)],
    nodes: Option<[&str; 2]>,
    report: &mut Report,
) -> Option<GroupLine> {
    let (&(line, node), words) = logical.split_first()?;
    let known = match nodes {
        Some(nodes) => nodes.into_iter().find(|name| name.eq_ignore_ascii_case(node)),
        None => Some(node),
    };
    if let (None, Some([one, other])) = (known, nodes) {
        let hint = if looks_like_address(node) {
            "; a line begins with the node that the group prefers, its resources follow"
        } else {
            ""
        };
        report.error(
            line,
            format!("read {} as node; ha.cf names {one} and {other}{hint}", quoted(node)),
        );
    }
    let mut resources = Vec::new();
    for &(line, word) in words {
        match parse_resource(word) {
            Ok((resource, warning)) => {
                if let Some(warning) = warning {
                    report.warning(line, warning);
                }
                resources.push(resource);
            }
            Err(message) => report.error(line, message),
        }
    }
    let count = words.len();
    if count == 0 {
        report.error(
            line,
            format!("{} has no resources; expected at least one behind the node", quoted(node)),
        );
        return None;
    }
    if count > MAX_RESOURCES {
        report.error(
            line,
            format!("{count} resources in one group; {MAX_RESOURCES} at most: split the line"),
        );
    }
    // A group whose resources are all broken has been reported; it must not pass as an empty one.
    (!resources.is_empty()).then(|| GroupLine {
        line,
        node: known.unwrap_or(node).to_owned(),
        resources,
    })
}

/// One word: a bare address, `IPaddr::ADDRESS`, `SCRIPT` or `SCRIPT::ARG::ARG`.
fn parse_resource(word: &str) -> Result<(ResourceLine, Option<String>), String> {
    let written = word.to_owned();
    let address = match word.strip_prefix("IPaddr::") {
        Some(argument) => Some(argument),
        None if word == "IPaddr" => {
            return Err("IPaddr lacks its address; expected IPaddr::192.168.85.3".to_owned());
        }
        None => looks_like_address(word).then_some(word),
    };
    if let Some(argument) = address {
        let (spec, warning) = AddressSpec::parse(argument)?;
        return Ok((ResourceLine::Address { written, spec }, warning));
    }
    let (script, arguments) = match word.split_once("::") {
        Some((script, arguments)) => (script, Some(arguments)),
        None => (word, None),
    };
    if script.is_empty() || script.starts_with(['.', '-']) || script.contains(['/', '\\', ':']) {
        return Err(format!(
            "read {} as script; expected the name of a script in resource.d or init.d, without a \
             path, its arguments behind `::`",
            quoted(script)
        ));
    }
    let args = match arguments {
        None => Vec::new(),
        // The `::` inside an IPv6 address (`IPv6addr::2001:db8::3/64`) separates no arguments.
        Some(one) if is_ipv6_argument(one) => vec![one.to_owned()],
        Some(many) => many.split("::").map(ToOwned::to_owned).collect(),
    };
    if args.iter().any(String::is_empty) {
        return Err(format!(
            "{}: an argument is empty; expected SCRIPT::ARGUMENT, one `::` between two",
            quoted(word)
        ));
    }
    Ok((ResourceLine::Script { written, script: script.to_owned(), args }, None))
}

fn is_ipv6_argument(text: &str) -> bool {
    let head = text.split('/').next().unwrap_or_default();
    head.parse().is_ok_and(is_host_address)
}

fn check_duplicates(groups: &[GroupLine], report: &mut Report) {
    for (index, group) in groups.iter().enumerate() {
        if let Some(first) = groups[..index].iter().find(|other| other.name() == group.name()) {
            report.error(
                group.line,
                format!(
                    "the group {} stands in line {} already; a group's first resource is its name \
                     and must be unique",
                    quoted(group.name()),
                    first.line
                ),
            );
        }
    }
    let all: Vec<(usize, &ResourceLine)> = groups
        .iter()
        .flat_map(|group| group.resources.iter().map(move |resource| (group.line, resource)))
        .collect();
    for (index, (line, resource)) in all.iter().enumerate() {
        for (first, other) in &all[..index] {
            match (resource, other) {
                (ResourceLine::Address { spec, .. }, ResourceLine::Address { spec: same, .. })
                    if spec.ip == same.ip =>
                {
                    report.error(
                        *line,
                        format!(
                            "{} stands in line {first} already; an address has one place",
                            spec.ip
                        ),
                    );
                    break;
                }
                (
                    ResourceLine::Script { written, script, args },
                    ResourceLine::Script { script: same, args: same_args, .. },
                ) if script == same && args == same_args => {
                    report.warning(
                        *line,
                        format!(
                            "{} stands in line {first} already: stopping it for one group stops it \
                             for the other, too",
                            quoted(written)
                        ),
                    );
                    break;
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::diagnostic::{Diagnostic, Severity};
    use super::*;

    fn read(text: &str) -> (Vec<GroupLine>, Vec<Diagnostic>) {
        let mut report = Report::new(Path::new("haresources"));
        let groups = parse(text, Some(["linuxha1", "linuxha2"]), &mut report);
        (groups, report.into_diagnostics())
    }

    fn only_error(text: &str) -> Diagnostic {
        let (_, found) = read(text);
        let errors: Vec<_> =
            found.iter().filter(|d| d.severity == Severity::Error).cloned().collect();
        assert_eq!(errors.len(), 1, "{text:?}: {found:?}");
        errors[0].clone()
    }

    #[test]
    fn the_guides_lines() {
        let (groups, found) = read("linuxha1 192.168.85.3 httpd smb maid::vacuum\n");
        assert_eq!(found, []);
        assert_eq!(groups[0].name(), "192.168.85.3");
        let written: Vec<_> = groups[0].resources.iter().map(ResourceLine::written).collect();
        assert_eq!(written, ["192.168.85.3", "httpd", "smb", "maid::vacuum"]);
        assert!(matches!(&groups[0].resources[3], ResourceLine::Script { script, args, .. }
            if script == "maid" && args == &["vacuum"]));

        for line in [
            "linuxha1 IPaddr::192.168.85.3 httpd smb",
            "linuxha1 192.168.85.3/27 httpd smb",
            "linuxha1 IPaddr::192.168.85.3/27/eth0 httpd smb",
        ] {
            let (groups, found) = read(line);
            assert_eq!(found, [], "{line}");
            assert!(matches!(groups[0].resources[0], ResourceLine::Address { .. }), "{line}");
        }
        let (_, found) = read("linuxha1 192.168.85.3/5/192.168.85.16 httpd smb");
        assert_eq!(found[0].severity, Severity::Warning);
        assert!(found[0].message.contains("host bits"), "{}", found[0]);
    }

    #[test]
    fn continuations_comments_and_case() {
        let (groups, found) = read(
            "# all of it\n\nLinuxHA2 10.0.0.7 \\  # goes on\n  httpd \\\n\tsmb # done\nlinuxha1 fd00::3/64 db::1\n",
        );
        assert_eq!(found, []);
        assert_eq!((groups[0].line, groups[0].node.as_str()), (3, "linuxha2"));
        assert_eq!(groups[0].resources.len(), 3);
        assert_eq!(groups[1].line, 6);
        assert!(matches!(groups[1].resources[0], ResourceLine::Address { .. }));
        assert!(
            matches!(&groups[1].resources[1], ResourceLine::Script { script, .. } if script == "db")
        );
        // A comment that ends with a backslash goes on nowhere.
        assert_eq!(read("# a \\\nlinuxha1 httpd\n").0.len(), 1);
    }

    #[test]
    fn an_ipv6_argument_stays_whole() {
        let (groups, _) =
            read("linuxha1 IPv6addr::2001:db8::3/64 Filesystem::/dev/sdb1::/data::ext4");
        let args = |resource: &ResourceLine| match resource {
            ResourceLine::Script { args, .. } => args.clone(),
            ResourceLine::Address { .. } => panic!("an address"),
        };
        assert_eq!(args(&groups[0].resources[0]), ["2001:db8::3/64"]);
        assert_eq!(args(&groups[0].resources[1]), ["/dev/sdb1", "/data", "ext4"]);
    }

    #[test]
    fn errors_name_line_and_reason() {
        for (text, line, expected) in [
            ("linuxha1\n", 1, "no resources"),
            ("\nlinuxha3 httpd\n", 2, "linuxha1 and linuxha2"),
            ("192.168.85.3 httpd\n", 1, "begins with the node"),
            ("linuxha1 192.168.85.300\n", 1, "IP address"),
            ("linuxha1 IPaddr\n", 1, "lacks its address"),
            ("linuxha1 IPaddr::httpd\n", 1, "IP address"),
            ("linuxha1 IPaddr::10.0.0.1::x\n", 1, "IP address"),
            ("linuxha1 /etc/init.d/httpd\n", 1, "without a path"),
            ("linuxha1 ../x\n", 1, "without a path"),
            ("linuxha1 maid::\n", 1, "empty"),
            ("linuxha1 ::vacuum\n", 1, "name of a script"),
            ("linuxha1 a b\nlinuxha2 a::1 b::2\nlinuxha2 a c::3\n", 3, "must be unique"),
            ("linuxha1 a 10.0.0.9/24\nlinuxha2 IPaddr::10.0.0.9\n", 2, "line 1 already"),
            ("linuxha1 10.0.0.9 10.0.0.9\n", 1, "line 1 already"),
            ("linuxha1 httpd \\\n", 1, "file ends"),
            ("linuxha1 httpd \\\n smb \\\n10.0.0.300\n", 3, "IP address"),
        ] {
            let error = only_error(text);
            assert_eq!(error.line, Some(line), "{error}");
            assert!(error.message.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_limits_are_errors_with_the_numbers() {
        let line = |count: usize| {
            let scripts: String = (0..count).map(|i| format!(" s{i}")).collect();
            format!("linuxha1{scripts}\n")
        };
        assert_eq!(read(&line(16)).1, []);
        assert!(only_error(&line(17)).message.contains("17 resources in one group; 16 at most"));

        let groups =
            |count: usize| -> String { (0..count).map(|i| format!("linuxha1 s{i}\n")).collect() };
        assert_eq!(read(&groups(16)).1, []);
        let error = only_error(&groups(18));
        assert_eq!(error.line, Some(17));
        assert!(error.message.contains("18 resource groups; 16 at most"), "{error}");
    }

    #[test]
    fn one_script_in_two_groups_is_a_warning() {
        let (groups, found) = read("linuxha1 10.0.0.1 httpd\nlinuxha2 10.0.0.2 httpd\n");
        assert_eq!(groups.len(), 2);
        assert_eq!(
            (found.len(), found[0].severity, found[0].line),
            (1, Severity::Warning, Some(2))
        );
    }

    #[test]
    fn an_empty_file_is_a_warning() {
        let (_, found) = read("# nothing\n");
        assert_eq!((found.len(), found[0].severity, found[0].line), (1, Severity::Warning, None));
    }
}
