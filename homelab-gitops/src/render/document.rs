//! Documents of a YAML stream or a JSON file, each with the line it begins at.

use serde_json::Value;

/// A document with its line, or the line and the words of what is wrong with it.
pub(super) type Document = Result<(usize, Value), (usize, String)>;

/// Reads all documents of a file; empty ones are left out.
pub(super) fn parse(name: &str, text: &str) -> Vec<Document> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if name.to_ascii_lowercase().ends_with(".json") {
        return json(text);
    }
    split(text).into_iter().filter_map(|(line, document)| yaml(line, &document)).collect()
}

fn json(text: &str) -> Vec<Document> {
    if text.trim().is_empty() {
        return Vec::new();
    }
    let stream = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    stream
        .map(|value| {
            value
                .map(|value| (1, value))
                .map_err(|e| (e.line().max(1), format!("is not JSON: {}", one_line(&e.to_string()))))
        })
        .collect()
}

/// Cuts a YAML stream at its document marks. A line that begins with `---` ends even a block scalar (YAML 1.2, 9.1.2),
/// so this needs no knowledge of what is inside. Lines may end in CR LF.
fn split(text: &str) -> Vec<(usize, String)> {
    let mut documents = vec![(1, String::new())];
    for (index, line) in text.lines().enumerate() {
        let marked = |mark: &str| {
            line.strip_prefix(mark).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r']))
        };
        if marked("---") || marked("...") {
            let rest = line.get(3..).unwrap_or_default().trim();
            let starts_here = !rest.is_empty() && !rest.starts_with('#');
            documents.push(if starts_here { (index + 1, format!("{rest}\n")) } else { (index + 2, String::new()) });
        } else if let Some((_, document)) = documents.last_mut() {
            let is_directive = document.trim().is_empty() && line.starts_with('%');
            document.push_str(if is_directive { "" } else { line });
            document.push('\n');
        }
    }
    documents
}

fn yaml(line: usize, document: &str) -> Option<Document> {
    if document.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return None;
    }
    // As kubectl reads it: `defaultMode: 0644` is octal. Snippets would show what may be secret.
    let options = serde_saphyr::options! { legacy_octal_numbers: true, with_snippet: false };
    Some(match serde_saphyr::from_str_with_options::<Value>(document, options) {
        Ok(Value::Null) => return None,
        Ok(value) => {
            let first =
                document.lines().position(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
            Ok((line + first.unwrap_or_default(), value))
        }
        Err(error) => {
            let inside = error.location().map_or(1, |location| usize::try_from(location.line()).unwrap_or(1));
            Err((line + inside.saturating_sub(1), format!("is not YAML: {}", one_line(&error.to_string()))))
        }
    })
}

/// Without the parser's own place, which counts from the document, and without advice for its programmer.
fn one_line(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let end = [" at line ", ", set DuplicateKeyPolicy"].iter().filter_map(|mark| text.find(mark)).min();
    text.get(..end.unwrap_or(text.len())).unwrap_or_default().to_owned()
}
