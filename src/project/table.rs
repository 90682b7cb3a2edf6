//! Tables: rows of cells with typed columns, as pasted from a spreadsheet or read from CSV or TSV text.

use super::data::{DataType, Integer, Literal};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Columns a table may have.
pub const MAX_TABLE_COLUMNS: usize = 256;
/// Characters of one cell.
pub const MAX_CELL_CHARS: usize = 100_000;
/// Wrong cells that are told at once.
const MAX_WRONG_CELLS: usize = 20;

/// A table of values. Cells stay as they were typed; the column says what they mean.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// The columns, left to right.
    pub columns: Vec<Column>,
    /// The rows, top to bottom. A cell that is missing at the end of a row is empty.
    pub rows: Vec<Vec<String>>,
}

/// One column of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Its name: the axis, and so the label of everything made from it.
    pub name: String,
    /// What its cells hold: text, whole numbers, numbers, true or false, or JSON.
    pub data_type: DataType,
}

/// A cell that does not hold what its column says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongCell {
    /// Row, counted from 1 below the header.
    pub row: usize,
    /// Name of the column.
    pub column: String,
    /// What the cell holds.
    pub text: String,
    /// What the column holds.
    pub wanted: DataType,
}

/// Why a text is not a table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// There is no header.
    #[error("the table is empty; its first line names the columns")]
    Empty,
    /// A quoted cell does not end.
    #[error(
        "the quoted cell that begins in line {line} does not end; close it with a quotation mark"
    )]
    OpenQuote {
        /// Line of the text, from 1.
        line: usize,
    },
    /// A row has more cells than the header.
    #[error(
        "line {line} has {cells} cells, but there are only {columns} columns; remove the surplus, or quote cells that contain the separator"
    )]
    TooManyCells {
        /// Line of the text, from 1.
        line: usize,
        /// Cells of the row.
        cells: usize,
        /// Columns of the header.
        columns: usize,
    },
    /// There are too many columns.
    #[error("the table has {columns} columns, more than the {MAX_TABLE_COLUMNS} that are allowed")]
    TooManyColumns {
        /// How many.
        columns: usize,
    },
    /// A cell is too long.
    #[error("a cell in line {line} is longer than {MAX_CELL_CHARS} characters; shorten it")]
    CellTooLong {
        /// Line of the text, from 1.
        line: usize,
    },
}

impl Table {
    /// Reads CSV or TSV text (RFC 4180: cells may be quoted, quotation marks inside doubled). The first line names the
    /// columns; tab, semicolon or comma separate, whichever the header has most of. Each column gets the narrowest type
    /// that all its cells fit: whole number, number, true or false, else text.
    ///
    /// # Errors
    /// [`TableError`] with the line.
    pub fn from_text(text: &str) -> Result<Self, TableError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut lines = split_cells(text, separator_of(text))?.into_iter();
        let (_, header) = lines.next().ok_or(TableError::Empty)?;
        if header.len() > MAX_TABLE_COLUMNS {
            return Err(TableError::TooManyColumns {
                columns: header.len(),
            });
        }
        let mut rows = Vec::new();
        for (line, cells) in lines {
            if cells.len() > header.len() {
                return Err(TableError::TooManyCells {
                    line,
                    cells: cells.len(),
                    columns: header.len(),
                });
            }
            if cells
                .iter()
                .any(|cell| cell.chars().count() > MAX_CELL_CHARS)
            {
                return Err(TableError::CellTooLong { line });
            }
            rows.push(cells);
        }
        let columns = header
            .into_iter()
            .enumerate()
            .map(|(place, name)| Column {
                name: name.trim().to_owned(),
                data_type: narrowest_type(rows.iter().filter_map(|row| row.get(place))),
            })
            .collect();
        Ok(Self { columns, rows })
    }

    /// The table as CSV text (RFC 4180), which [`Self::from_text`] reads again.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let header: Vec<&str> = self
            .columns
            .iter()
            .map(|column| column.name.as_str())
            .collect();
        write_line(&mut text, &header);
        for row in &self.rows {
            let cells: Vec<&str> = row.iter().map(String::as_str).collect();
            write_line(&mut text, &cells);
        }
        text
    }

    /// The value of a cell by row and column from 0; none when the cell is empty, not there, or not of the column's type.
    #[must_use]
    pub fn value(&self, row: usize, column: usize) -> Option<Literal> {
        let data_type = self.columns.get(column)?.data_type;
        cell_value(self.rows.get(row)?.get(column)?, data_type).ok()?
    }

    /// The cells that do not hold what their column says, the first few of them.
    #[must_use]
    pub fn wrong_cells(&self) -> Vec<WrongCell> {
        let cells = self.rows.iter().enumerate().flat_map(|(row, cells)| {
            cells
                .iter()
                .zip(&self.columns)
                .map(move |(text, column)| (row, text, column))
        });
        cells
            .filter(|(_, text, column)| cell_value(text, column.data_type).is_err())
            .map(|(row, text, column)| WrongCell {
                row: row + 1,
                column: column.name.clone(),
                text: text.clone(),
                wanted: column.data_type,
            })
            .take(MAX_WRONG_CELLS)
            .collect()
    }

    /// The first row with more cells than there are columns, counted from 1.
    #[must_use]
    pub fn overlong_row(&self) -> Option<usize> {
        self.rows
            .iter()
            .position(|row| row.len() > self.columns.len())
            .map(|place| place + 1)
    }
}

impl Column {
    /// Whether cells can hold values of this type.
    #[must_use]
    pub fn holds(data_type: DataType) -> bool {
        matches!(
            data_type,
            DataType::Text
                | DataType::Integer
                | DataType::Number
                | DataType::Boolean
                | DataType::Json
        )
    }
}

/// The value of a cell; none when it is empty.
fn cell_value(text: &str, data_type: DataType) -> Result<Option<Literal>, ()> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Ok(None);
    }
    let value = match data_type {
        DataType::Text => Some(Literal::Text(text.to_owned())),
        DataType::Integer => trimmed
            .parse::<i128>()
            .ok()
            .and_then(Integer::new)
            .map(Literal::Integer),
        DataType::Number => trimmed
            .parse::<f64>()
            .ok()
            .filter(|number| number.is_finite())
            .map(Literal::Number),
        DataType::Boolean => match trimmed.to_ascii_lowercase().as_str() {
            "true" => Some(Literal::Boolean(true)),
            "false" => Some(Literal::Boolean(false)),
            _ => None,
        },
        DataType::Json => serde_json::from_str(trimmed).ok().map(Literal::Json),
        _ => None,
    };
    value.map(Some).ok_or(())
}

fn write_line(text: &mut String, cells: &[&str]) {
    for (place, cell) in cells.iter().enumerate() {
        if place > 0 {
            text.push(',');
        }
        let is_lone_blank = cells.len() == 1 && cell.trim().is_empty();
        if is_lone_blank || cell.contains([',', ';', '\t', '"', '\n', '\r']) {
            text.push('"');
            text.push_str(&cell.replace('"', "\"\""));
            text.push('"');
        } else {
            text.push_str(cell);
        }
    }
    text.push('\n');
}

fn narrowest_type<'a>(cells: impl Iterator<Item = &'a String> + Clone) -> DataType {
    let has_value = cells.clone().any(|cell| !cell.trim().is_empty());
    [DataType::Integer, DataType::Number, DataType::Boolean]
        .into_iter()
        .filter(|_| has_value)
        .find(|data_type| {
            cells
                .clone()
                .all(|cell| cell_value(cell, *data_type).is_ok())
        })
        .unwrap_or(DataType::Text)
}

fn separator_of(text: &str) -> char {
    let header = text.lines().next().unwrap_or_default();
    let count = |separator: char| header.matches(separator).count();
    let mut best = ',';
    for separator in [';', '\t'] {
        if count(separator) > count(best) {
            best = separator;
        }
    }
    best
}

/// The cells of each line that is not empty, with the line's number from 1.
fn split_cells(text: &str, separator: char) -> Result<Vec<(usize, Vec<String>)>, TableError> {
    let mut rows = Vec::new();
    let mut cells: Vec<String> = Vec::new();
    let mut cell = String::new();
    let mut line = 1;
    let mut row_line = 1;
    let mut quote_line = None;
    let mut was_quoted = false;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter == '\n' {
            line += 1;
        }
        if quote_line.is_some() {
            match letter {
                '"' if letters.peek() == Some(&'"') => {
                    letters.next();
                    cell.push('"');
                }
                '"' => quote_line = None,
                other => cell.push(other),
            }
            continue;
        }
        match letter {
            '"' if cell.trim().is_empty() && !was_quoted => {
                cell.clear();
                was_quoted = true;
                quote_line = Some(line);
            }
            '\r' if letters.peek() == Some(&'\n') => {}
            '\n' => {
                cells.push(std::mem::take(&mut cell));
                end_row(&mut rows, row_line, &mut cells, was_quoted);
                was_quoted = false;
                row_line = line;
            }
            other if other == separator => {
                cells.push(std::mem::take(&mut cell));
                was_quoted = false;
            }
            other => cell.push(other),
        }
    }
    if let Some(line) = quote_line {
        return Err(TableError::OpenQuote { line });
    }
    if !cell.is_empty() || !cells.is_empty() || was_quoted {
        cells.push(cell);
        end_row(&mut rows, row_line, &mut cells, was_quoted);
    }
    Ok(rows)
}

/// Takes a line over unless it is blank.
fn end_row(
    rows: &mut Vec<(usize, Vec<String>)>,
    line: usize,
    cells: &mut Vec<String>,
    was_quoted: bool,
) {
    let cells = std::mem::take(cells);
    let is_blank =
        cells.len() == 1 && !was_quoted && cells.iter().all(|cell| cell.trim().is_empty());
    if !is_blank {
        rows.push((line, cells));
    }
}
