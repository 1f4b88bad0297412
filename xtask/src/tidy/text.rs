//! What any file must and must not say.

use super::File;

/// Code lines of one file; more is two files.
const LONGEST_FILE: usize = 500;
/// Required methods of one trait.
const LARGEST_TRAIT: usize = 5;

// In pieces, so that this file does not find itself.
const MARKS: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];
const MACHINE: [&str; 3] = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/runner/")];
const HOSTS: [&str; 11] = [
    concat!("pypi", ".org"),
    concat!("python", "hosted.org"),
    concat!("//crates", ".io"),
    concat!("index.crates", ".io"),
    concat!("static.crates", ".io"),
    concat!("registry.npmjs", ".org"),
    concat!("proxy.golang", ".org"),
    concat!("sum.golang", ".org"),
    concat!("deb.debian", ".org"),
    concat!("security.debian", ".org"),
    concat!("repo.maven.apache", ".org"),
];
/// The one reason to leave a test out of `cargo test`.
const ON_CLUSTER: &str = "#[ignore = \"needs a cluster\"]";
const TICKETS: [&str; 4] =
    [concat!("iss", "ue #"), concat!("iss", "ue "), concat!("tick", "et #"), concat!("tick", "et ")];

/// Findings of one file.
pub(super) fn check(file: &File) -> Vec<String> {
    // Lock files are written by tools and name registries by design.
    if file.path.ends_with(".lock") || file.path.ends_with("go.sum") || file.path.ends_with("package-lock.json") {
        return Vec::new();
    }
    let mut found: Vec<String> = file
        .text
        .lines()
        .enumerate()
        .flat_map(|(n, l)| line(file, l).into_iter().map(move |what| (n, what)))
        .map(|(n, what)| format!("{}:{}: {what}", file.path, n + 1))
        .collect();
    if file.is_rust() {
        found.extend(length(file));
        found.extend(traits(file));
    }
    found
}

fn line(file: &File, line: &str) -> Vec<String> {
    let mut found = Vec::new();
    for mark in MARKS.iter().filter(|m| line.contains(**m)) {
        found.push(format!("`{mark}`: do it now or say in prose what is absent and why"));
    }
    for path in MACHINE.iter().filter(|p| names_path(line, p)) {
        found.push(format!("a path of somebody's machine (`{path}`): name it relative to the workspace or the cache"));
    }
    for host in HOSTS.iter().filter(|h| line.contains(**h)) {
        found.push(format!("a registry's host (`{host}`): use the package client by the package's name"));
    }
    if has_ticket(line) {
        found.push("a ticket's number: say what it is about instead".to_owned());
    }
    if file.is_rust() && line.trim_start().starts_with("#[ignore") && !line.trim_start().starts_with(ON_CLUSTER) {
        found.push(format!(
            "a test that no run would run: `cargo xtask test` runs those with {ON_CLUSTER}, on its cluster"
        ));
    }
    found
}

/// Whether a line names this folder of the top level, rather than one of that name further down.
fn names_path(line: &str, path: &str) -> bool {
    line.match_indices(path)
        .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-}~)>*".contains(c)))
}

/// Whether a line names a ticket by its number.
fn has_ticket(line: &str) -> bool {
    let low = line.to_lowercase();
    TICKETS.iter().any(|word| {
        low.match_indices(word).any(|(at, _)| low[at + word.len()..].starts_with(|c: char| c.is_ascii_digit()))
    })
}

fn length(file: &File) -> Option<String> {
    let lines = file.code().len();
    let too_long = !file.is_test() && lines > LONGEST_FILE;
    too_long.then(|| format!("{}: {lines} lines without tests, more than {LONGEST_FILE}: split it where a second reason to change begins", file.path))
}

fn traits(file: &File) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Option<(String, usize)> = None;
    for line in file.code() {
        if let Some((name, methods)) = &mut open {
            // rustfmt: a trait's own methods are indented once, and a required one has no body.
            let signature = line.strip_prefix("    ").filter(|l| !l.starts_with(' '));
            *methods += usize::from(signature.is_some_and(|l| {
                (l.starts_with("fn ") || l.starts_with("async fn ")) && !l.ends_with('}') && !l.ends_with('{')
            }));
            if line == "}" {
                if *methods > LARGEST_TRAIT {
                    found.push(format!("{}: trait {name} requires {methods} methods, more than {LARGEST_TRAIT}: split it by who needs what", file.path));
                }
                open = None;
            }
        } else if let Some(rest) = line.strip_prefix("pub trait ").filter(|l| l.ends_with('{')) {
            open = Some((rest.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned(), 0));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> usize {
        check(&File { path: "homelab-x/src/a.rs".to_owned(), text: text.to_owned() }).len()
    }

    #[test]
    fn each_kind_of_line_is_found_once() {
        assert_eq!(found(&format!("// {} later", MARKS[0])), 1);
        assert_eq!(found(&format!("let a = \"{}main\";", MACHINE[0])), 1);
        assert_eq!(found(&format!("// see https://{}/x", HOSTS[0])), 1);
        assert_eq!(found(&format!("// {}42 tells why", TICKETS[0])), 1);
        assert_eq!(found(&format!("#[ignore]\n#[ignore = \"slow\"]\n    {ON_CLUSTER}")), 2);
    }

    #[test]
    fn folders_of_that_name_elsewhere_are_fine() {
        assert_eq!(found(&format!("// <cache>{0}x and a{0}b, dir.join(\"{{}}{0}\")", MACHINE[0])), 0);
    }

    #[test]
    fn provided_methods_do_not_make_a_trait_large() {
        let required = "    fn a(&self);\n".repeat(5);
        let provided = "    fn b(&self) {\n        1\n    }\n".repeat(5);
        assert_eq!(found(&format!("pub trait T {{\n{required}{provided}}}\n")), 0);
        assert_eq!(found(&format!("pub trait T {{\n{required}{required}}}\n")), 1);
    }
}
