//! Reads the records of an export: JSON in any of its forms, or CSV.

use std::io::{self, Read};

use serde_json::{Deserializer, Map, Value};

use super::table;
use crate::catalog::source::{
    decode::decode,
    shape::{BYTE_ORDER_MARK, HEAD, Shape},
};

/// Largest export, decompressed, in bytes: it is read whole.
const MAX_INPUT: u64 = 2 << 30;

/// Members that lead to the records, in the answers and exports of all services.
const WRAPPERS: [&str; 10] =
    ["links", "data", "items", "results", "records", "urls", "short_urls", "shortUrls", "bitlinks", "domains"];

/// One record, and where it stands: `line 3`, `element 7`.
pub struct Record {
    pub place: String,
    pub content: Result<Map<String, Value>, String>,
    /// Its fields have the names of columns that are known.
    pub is_row: bool,
}

/// The records of an export.
///
/// # Errors
/// When it cannot be read, or is neither JSON nor CSV: then as `InvalidData`.
pub fn records(input: impl Read) -> io::Result<Vec<Record>> {
    let mut bytes = Vec::new();
    let limited = decode(io::BufReader::new(input))?.take(MAX_INPUT + 1);
    { limited }.read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_INPUT {
        return Err(invalid(format!("it is larger than {MAX_INPUT} bytes; split it")));
    }
    let bytes = utf_8(bytes)?;
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&bytes);
    match bytes.trim_ascii_start().first() {
        None => Ok(Vec::new()),
        Some(b'{' | b'[') => match Shape::of(&bytes[..bytes.len().min(HEAD)]) {
            Shape::Lines => Ok(lines(bytes)),
            Shape::Values { .. } => values(bytes),
        },
        Some(b'<') => Err(invalid("it is HTML or XML, such as an error page; export JSON or CSV".into())),
        Some(_) => rows(bytes),
    }
}

/// Spreadsheets write UTF-16, with a mark.
fn utf_8(bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    let unit: fn([u8; 2]) -> u16 = match bytes[..] {
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        _ => return Ok(bytes),
    };
    let units: Vec<u16> = bytes[2..].chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect();
    String::from_utf16(&units).map(String::into_bytes).map_err(|_| invalid("it is damaged UTF-16".into()))
}

fn lines(bytes: &[u8]) -> Vec<Record> {
    let mut records = Vec::new();
    for (number, line) in (1_u64..).zip(bytes.split(|byte| *byte == b'\n')) {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let place = format!("line {number}");
        let mut found = Vec::new();
        match serde_json::from_slice(line) {
            Ok(value) => unwrap(value, &mut found),
            Err(error) => found.push(Err(format!("it is not valid JSON: {error}"))),
        }
        let record = |content| Record { place: place.clone(), content, is_row: false };
        records.extend(found.into_iter().map(record));
    }
    records
}

fn values(bytes: &[u8]) -> io::Result<Vec<Record>> {
    let mut found = Vec::new();
    for value in Deserializer::from_slice(bytes).into_iter::<Value>() {
        let value = value.map_err(|error| invalid(format!("it is not valid JSON: {error}")))?;
        unwrap(value, &mut found);
    }
    let record = |(number, content)| Record { place: format!("element {number}"), content, is_row: false };
    Ok((1_u64..).zip(found).map(record).collect())
}

/// The records in a value: itself, or those to which it leads.
fn unwrap(value: Value, found: &mut Vec<Result<Map<String, Value>, String>>) {
    match value {
        Value::Array(list) => list.into_iter().for_each(|value| unwrap(value, found)),
        Value::Object(mut map) => {
            // A dump of a database names itself before its tables.
            if matches!(map.get("type").and_then(Value::as_str), Some("header" | "database")) && map.len() < 6 {
                return;
            }
            let wrapper =
                WRAPPERS.iter().find(|name| matches!(map.get(**name), Some(Value::Array(_) | Value::Object(_))));
            match wrapper.and_then(|name| map.remove(*name)) {
                // Records by made-up names.
                Some(Value::Object(inner)) if !inner.is_empty() && inner.values().all(Value::is_object) => {
                    inner.into_iter().for_each(|(_, value)| unwrap(value, found));
                }
                Some(inner) => unwrap(inner, found),
                None => found.push(Ok(map)),
            }
        }
        _ => found.push(Err("it is no JSON object".into())),
    }
}

fn rows(bytes: &[u8]) -> io::Result<Vec<Record>> {
    let (bytes, delimiter) = delimiter(bytes);
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(bytes);
    let header = reader.headers().map_err(|error| invalid(format!("its header cannot be read: {error}")))?;
    let header: Vec<String> = header.iter().map(str::to_owned).collect();
    let names = table::named(&header);
    if !names.iter().any(|name| name == "destination") {
        let names = header.join(", ").chars().take(200).collect::<String>();
        return Err(invalid(format!(
            "its first line names no column for the destination, such as `destination`, `url` or `long_url`: {names}"
        )));
    }
    let mut records = Vec::new();
    for row in reader.byte_records() {
        let row = row.map_err(|error| invalid(format!("it is not valid CSV: {error}")))?;
        let place = row.position().map_or_else(String::new, |position| format!("line {}", position.line()));
        let cells: Result<Vec<String>, _> = row.iter().map(|cell| String::from_utf8(cell.to_vec())).collect();
        let content = match cells {
            Ok(cells) => Ok(table::record(&names, cells.into_iter())),
            Err(_) => Err("it is not text in UTF-8".to_owned()),
        };
        records.push(Record { place, content, is_row: true });
    }
    Ok(records)
}

/// The table, and what separates its columns: the sign that is most frequent in the first line, unless a spreadsheet
/// has named it before (`sep=;`).
fn delimiter(bytes: &[u8]) -> (&[u8], u8) {
    let (header, rest) = bytes.split_at(memchr::memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1));
    if let Some([sign]) = header.trim_ascii().strip_prefix(b"sep=") {
        return (rest, *sign);
    }
    let count = |sign: u8| memchr::memchr_iter(sign, header).count();
    let signs = b",;\t|".iter().copied();
    (bytes, signs.max_by_key(|sign| (count(*sign), *sign == b',')).unwrap_or(b','))
}

fn invalid(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}
