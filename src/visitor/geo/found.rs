//! A location that the redirect has found for a rule, on its way to the event.
//!
//! ```text
//! 0 bytes                  not looked up
//! 0                        looked up, none found
//! 1                        the first byte of a location; then
//!   length, code           of the country (1 + 0 to 3 bytes)
//!   length, code           of the region
//!   parts                  1: a latitude, 2: a longitude, 4: a city
//!   latitude, longitude    64 bits each, little endian, as far as they are there
//!   city                   the rest, UTF-8
//! ```

use crate::event::{Code, Location};

const LATITUDE: u8 = 1;
const LONGITUDE: u8 = 2;
const CITY: u8 = 4;

/// The text of what a look-up has found.
pub fn encode(found: Option<&Location>) -> Vec<u8> {
    let Some(location) = found else { return vec![0] };
    let mut text = vec![1];
    for code in [&location.country, &location.region] {
        let code = code.as_ref().map_or("", Code::as_str);
        text.push(code.len() as u8);
        text.extend_from_slice(code.as_bytes());
    }
    let part = |is_there: bool, part: u8| if is_there { part } else { 0 };
    let (latitude, longitude) = (location.latitude, location.longitude);
    let parts = part(latitude.is_some(), LATITUDE) | part(longitude.is_some(), LONGITUDE);
    text.push(parts | part(location.city.is_some(), CITY));
    for degrees in [latitude, longitude].into_iter().flatten() {
        text.extend_from_slice(&degrees.to_le_bytes());
    }
    text.extend_from_slice(location.city.as_deref().unwrap_or_default().as_bytes());
    text
}

/// What a look-up has found; `None` when there was none.
pub fn decode(text: &[u8]) -> Option<Option<Location>> {
    let (&is_found, mut rest) = text.split_first()?;
    if is_found == 0 {
        return Some(None);
    }
    let (country, region) = (Code::read(code(&mut rest)?), Code::read(code(&mut rest)?));
    let parts = take::<1>(&mut rest)?[0];
    let mut degrees = |part: u8| match parts & part {
        0 => Some(None),
        _ => take(&mut rest).map(|bytes| Some(f64::from_le_bytes(bytes))),
    };
    let (latitude, longitude) = (degrees(LATITUDE)?, degrees(LONGITUDE)?);
    let city = if parts & CITY == 0 { None } else { Some(str::from_utf8(rest).ok()?.to_owned()) };
    Some(Some(Location { country, region, city, latitude, longitude }))
}

/// The bytes of a code, which may be empty.
fn code<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::from(take::<1>(rest)?[0]);
    let (code, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(code)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_look_up_that_found_nothing_differs_from_none() {
        assert_eq!(decode(b""), None);
        assert_eq!(decode(&encode(None)), Some(None));
    }

    proptest! {
        #[test]
        fn what_was_found_is_what_is_read(
            country in "[a-z]{0,2}", region in "[a-z0-9]{0,3}", city: Option<String>,
            latitude in proptest::option::of(-90.0..90.0_f64), longitude in proptest::option::of(-180.0..180.0_f64),
        ) {
            let code = |text: &str| Code::read(text.as_bytes());
            let location = Location { country: code(&country), region: code(&region), city, latitude, longitude };
            prop_assert_eq!(decode(&encode(Some(&location))), Some(Some(location)));
        }

        #[test]
        fn any_bytes_are_a_location_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            decode(&bytes);
        }
    }
}
