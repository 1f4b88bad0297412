//! A recovery key on the screen, once: as a line to write down, and for a camera.

use anyhow::{Context as _, Result};
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;

use crate::cli::output;

/// Shows the key on stdout; for a person with its QR code.
pub(in crate::cli) fn show(key: &str) -> Result<()> {
    output::line(key)?;
    if output::is_terminal() {
        output::line(&code(key)?)?;
    }
    output::note("write the line above down and keep it elsewhere: it is shown only now");
    Ok(())
}

/// The key as a QR code of half blocks, dark on light, with the quiet zone that readers want.
fn code(key: &str) -> Result<String> {
    let code = QrCode::new(key).context("draw the recovery key as a QR code")?;
    // Most terminals are dark: what is light has to be drawn.
    Ok(code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).quiet_zone(true).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_a_square_that_fits_a_terminal() {
        let text = code("homelab-recovery/1 003G-W58W-4CN3-2E1Z-8S6N-8PV2-D5R7-EZM5-HJ9S-N8D8-NYVB-VH6B-TBCW-G9MC")
            .expect("a code");
        let lines: Vec<_> = text.lines().collect();
        let wide = lines[0].chars().count();
        assert!(lines.iter().all(|line| line.chars().count() == wide) && wide <= 60, "{text}");
        assert!(wide.div_ceil(2) == lines.len(), "half blocks are twice as high as wide: {wide} × {}", lines.len());
        assert!(lines[0].chars().all(|c| c == '█'), "the quiet zone is light: {text}");
    }
}
