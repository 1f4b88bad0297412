//! `homelab completions`.

use std::process::Command;

use clap::CommandFactory as _;
use homelab_bin::args::Args;

use crate::process::{good, homelab, text};

fn script(shell: &str) -> String {
    good(&homelab().args(["completions", shell]).output().expect("started"), &[shell])
}

/// Every command that people type, with its words.
fn commands(command: &clap::Command, words: &[String], all: &mut Vec<Vec<String>>) {
    for next in command.get_subcommands().filter(|next| !next.is_hide_set()) {
        let words = [words, &[next.get_name().to_owned()]].concat();
        commands(next, &words, all);
        all.push(words);
    }
}

fn all() -> Vec<Vec<String>> {
    let mut all = Vec::new();
    commands(&Args::command(), &[], &mut all);
    assert!(all.contains(&vec!["kv".to_owned(), "edit".to_owned()]), "{all:?}");
    all
}

#[test]
fn bash_completes_every_command() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("homelab.bash");
    std::fs::write(&file, script("bash")).expect("written");
    let mut asks = format!("source {}\n", file.display());
    for words in all() {
        // As bash calls it while somebody types: the words, which one, the command, the word and the one before.
        let line = words.join(" ");
        let before = words.iter().rev().nth(1).map_or("homelab", String::as_str);
        let last = words.last().expect("a word");
        asks += &format!(
            "COMP_WORDS=(homelab {line}); COMP_CWORD={}; COMPREPLY=(); _homelab homelab {last} {before}; echo \"{line}:\" \"${{COMPREPLY[@]}}\"\n",
            words.len()
        );
    }
    let output = Command::new("bash").args(["--norc", "-c", &asks]).output().expect("bash is there");
    let said = good(&output, &["bash"]);
    for words in all() {
        let (line, last) = (words.join(" "), words.last().expect("a word"));
        let answer = said.lines().find_map(|l| l.strip_prefix(&format!("{line}:"))).unwrap_or_default();
        assert!(answer.split(' ').any(|word| word == last), "`homelab {line}` is not completed: {answer:?}");
    }
    assert!(text(&output.stderr).is_empty(), "{}", text(&output.stderr));
}

#[test]
fn zsh_and_fish_know_every_command() {
    for shell in ["zsh", "fish"] {
        let script = script(shell);
        for words in all() {
            let last = words.last().expect("a word");
            assert!(script.contains(last.as_str()), "{shell} does not know `homelab {}`", words.join(" "));
        }
    }
    let refused = homelab().args(["completions", "tcsh"]).output().expect("started");
    assert!(!refused.status.success() && text(&refused.stderr).contains("possible values"));
}
