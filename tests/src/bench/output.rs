//! What the person at the terminal sees.
#![expect(clippy::print_stdout, reason = "the bench talks to a person")]

use comfy_table::Table;
use comfy_table::presets::UTF8_BORDERS_ONLY;

use super::Number;

pub(super) fn say(text: impl AsRef<str>) {
    println!("{}", text.as_ref());
}

pub(super) fn table(numbers: &[Number]) {
    let mut table = Table::new();
    table.load_preset(UTF8_BORDERS_ONLY).set_header(["what", "value", "unit", "goal"]);
    for number in numbers {
        let goal = number.goal.map(|goal| {
            let verdict = if number.value <= goal { "met" } else { "MISSED" };
            format!("≤ {goal} {verdict}")
        });
        table.add_row([number.what.as_str(), &format!("{:.2}", number.value), number.unit, &goal.unwrap_or_default()]);
    }
    println!("{table}");
    if cfg!(debug_assertions) {
        println!("(a debug build: `cargo xtask bench` measures a release build)");
    }
}
