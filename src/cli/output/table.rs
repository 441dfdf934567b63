//! Boxes, for a terminal.

use std::io::{self, Write};

/// Headings centred and in capitals, cells to the right.
pub(super) fn write(out: &mut Vec<u8>, header: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let header: Vec<String> = header.iter().map(|name| name.to_uppercase()).collect();
    let widths: Vec<usize> = (0..header.len())
        .map(|column| {
            let cells = rows.iter().map(|row| &row[column]).chain([&header[column]]);
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let rule: String = widths.iter().map(|width| format!("+{}", "-".repeat(width + 2))).collect();
    writeln!(out, "{rule}+")?;
    for (name, width) in header.iter().zip(&widths) {
        write!(out, "| {name:^width$} ")?;
    }
    writeln!(out, "|\n{rule}+")?;
    for row in rows {
        for (cell, width) in row.iter().zip(&widths) {
            write!(out, "| {cell:>width$} ")?;
        }
        writeln!(out, "|")?;
    }
    if !rows.is_empty() {
        writeln!(out, "{rule}+")?;
    }
    Ok(())
}
