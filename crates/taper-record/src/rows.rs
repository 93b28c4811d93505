//! CSV files with a header.

use crate::RecordError;
use serde::{Serialize, de::DeserializeOwned};
use std::path::Path;

/// A row of a CSV file: a flat struct of numbers and text.
pub trait Row: Serialize + DeserializeOwned {
    /// The names of its fields, in order.
    const COLUMNS: &'static [&'static str];
}

/// The header of a file, without the line break.
pub fn head<R: Row>() -> String {
    R::COLUMNS.join(",")
}

/// A row as a line of a file, without the line break.
///
/// # Errors
/// If the struct is not flat.
pub fn line<R: Row>(row: &R) -> std::io::Result<String> {
    let mut writer = ::csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    writer.serialize(row)?;
    let bytes = writer.into_inner().map_err(::csv::IntoInnerError::into_error)?;
    let text = String::from_utf8(bytes).map_err(std::io::Error::other)?;
    Ok(text.trim_end_matches('\n').to_owned())
}

/// The text of a file: the header, and a line for each row.
///
/// # Errors
/// If the struct is not flat.
pub fn text<'a, R: Row + 'a>(rows: impl IntoIterator<Item = &'a R>) -> std::io::Result<String> {
    let mut text = head::<R>() + "\n";
    for row in rows {
        text += &line(row)?;
        text.push('\n');
    }
    Ok(text)
}

/// The text of a file with text cells: a line for each list of cells. The first list is the header.
///
/// # Errors
/// If the lists differ in length.
pub fn of_cells<'a>(lines: impl IntoIterator<Item = &'a Vec<String>>) -> std::io::Result<String> {
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    for line in lines {
        writer.write_record(line)?;
    }
    let bytes = writer.into_inner().map_err(|error| error.into_error())?;
    String::from_utf8(bytes).map_err(std::io::Error::other)
}

/// Reads the rows of a file. Columns are matched by the names in the header. A last line without a line break is
/// ignored: a killed process can leave an incomplete line.
///
/// # Errors
/// [`RecordError::Io`] if the file cannot be read, [`RecordError::Malformed`] if its columns or values are invalid.
pub fn read<R: Row>(path: &Path) -> Result<Vec<R>, RecordError> {
    let bytes = std::fs::read(path).map_err(RecordError::io("read", path))?;
    let end = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
    let rows = ::csv::Reader::from_reader(&bytes[..end]).into_deserialize();
    let rows = rows.collect::<Result<_, _>>();
    rows.map_err(RecordError::malformed(path))
}

/// The fields of a row as text.
///
/// # Errors
/// If the struct is not flat.
pub fn fields<R: Row>(row: &R) -> std::io::Result<Vec<String>> {
    let line = line(row)? + "\n";
    let mut reader = ::csv::ReaderBuilder::new().has_headers(false).from_reader(line.as_bytes());
    let record = reader.records().next().unwrap_or(Ok(::csv::StringRecord::new()))?;
    Ok(record.iter().map(str::to_owned).collect())
}

/// Parses the result of [`fields`]. The last fields may be missing if the type has a default for them. `None` if the
/// fields are invalid.
pub fn from_fields<R: Row>(fields: &[&str]) -> Option<R> {
    let n = fields.len().min(R::COLUMNS.len());
    let head = ::csv::StringRecord::from(R::COLUMNS[..n].to_vec());
    ::csv::StringRecord::from(fields.to_vec()).deserialize(Some(&head)).ok()
}

/// Checks that `COLUMNS` equals the columns that serde writes.
#[cfg(test)]
pub(crate) fn check_columns<R: Row>(row: &R) {
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    writer.serialize(row).unwrap();
    let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
    assert_eq!(text.lines().next().unwrap(), head::<R>());
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Pair {
        name: String,
        #[serde(default)]
        n: Option<u64>,
    }

    impl Row for Pair {
        const COLUMNS: &'static [&'static str] = &["name", "n"];
    }

    fn pair(name: &str, n: Option<u64>) -> Pair {
        Pair { name: name.into(), n }
    }

    #[test]
    fn cells_are_quoted_if_needed() {
        let line = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let lines = [line(["a, b", "c"]), line(["1 \"x\"", "2"])];
        assert_eq!(of_cells(&lines).expect("a file"), "\"a, b\",c\n\"1 \"\"x\"\"\",2\n");
        assert!(of_cells(&[lines[0].clone(), vec!["1".into()]]).is_err());
    }

    #[test]
    fn rows_are_read_as_they_were_written() {
        let rows = [pair("a, \"b\"", Some(3)), pair("", None)];
        let text = text(&rows).unwrap();
        assert_eq!(text, "name,n\n\"a, \"\"b\"\"\",3\n\"\",\n".replace("\"\",\n", ",\n"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pairs.csv");
        std::fs::write(&path, &text).unwrap();
        assert_eq!(read::<Pair>(&path).unwrap(), rows);
        check_columns(&rows[0]);
        // Columns are matched by name. Earlier versions may have fewer columns, later versions more.
        std::fs::write(&path, "m,name\n1,x\n").unwrap();
        assert_eq!(read::<Pair>(&path).unwrap(), [pair("x", None)]);
        std::fs::write(&path, "name,n\nx,1\ny,2").unwrap();
        assert_eq!(read::<Pair>(&path).unwrap(), [pair("x", Some(1))], "y may have been 20");
        std::fs::write(&path, "n\n1\n").unwrap();
        let error = read::<Pair>(&path).unwrap_err().to_string();
        assert!(error.contains("pairs.csv is not a valid record"), "{error}");
        assert!(error.contains("name"), "{error}");
        assert_eq!(super::text::<Pair>([]).unwrap(), "name,n\n");
    }

    #[test]
    fn fields_are_parsed() {
        let row = pair("a,b", Some(7));
        let fields = fields(&row).unwrap();
        assert_eq!(fields, ["a,b", "7"]);
        assert_eq!(from_fields::<Pair>(&["a,b", "7"]), Some(row));
        assert_eq!(from_fields::<Pair>(&["x"]), Some(pair("x", None)));
        assert_eq!(from_fields::<Pair>(&["x", "y"]), None);
        assert_eq!(from_fields::<Pair>(&[]), None);
    }
}
