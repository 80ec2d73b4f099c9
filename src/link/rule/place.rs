//! The conditions `country`, `region` and `city`: the location of the client address.

use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

use super::{
    super::{asker::Place, field::Field},
    MAX_VALUES,
};

/// Longest name of a city, in bytes.
const MAX_CITY: usize = 200;

/// ISO 3166-1 alpha-2, and the code that databases use for Kosovo.
const COUNTRIES: &str = "\
    ad ae af ag ai al am ao aq ar as at au aw ax az ba bb bd be bf bg bh bi bj bl bm bn bo bq br bs bt bv bw by bz ca \
    cc cd cf cg ch ci ck cl cm cn co cr cu cv cw cx cy cz de dj dk dm do dz ec ee eg eh er es et fi fj fk fm fo fr ga \
    gb gd ge gf gg gh gi gl gm gn gp gq gr gs gt gu gw gy hk hm hn hr ht hu id ie il im in io iq ir is it je jm jo jp \
    ke kg kh ki km kn kp kr kw ky kz la lb lc li lk lr ls lt lu lv ly ma mc md me mf mg mh mk ml mm mn mo mp mq mr ms \
    mt mu mv mw mx my mz na nc ne nf ng ni nl no np nr nu nz om pa pe pf pg ph pk pl pm pn pr ps pt pw py qa re ro rs \
    ru rw sa sb sc sd se sg sh si sj sk sl sm sn so sr ss st sv sx sy sz tc td tf tg th tj tk tl tm tn to tr tt tv tw \
    tz ua ug um us uy uz va vc ve vg vi vn vu wf ws xk ye yt za zm zw";

type Country = [u8; 2];

#[derive(Clone, Debug)]
pub(super) struct Countries(Box<[Country]>);

impl Countries {
    pub(super) fn read(field: &Field<'_>) -> Result<Self, String> {
        const REMEDY: &str = "write codes of ISO 3166-1, such as \"fr\"";
        let code = |field: Field<'_>| field.value().as_str().and_then(country).ok_or_else(|| field.is_bad(REMEDY));
        field.values(MAX_VALUES, REMEDY)?.into_iter().map(code).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn holds(&self, place: &Place<'_>) -> bool {
        place.country.is_some_and(|code| self.0.iter().any(|country| country == code.as_bytes()))
    }
}

#[derive(Clone, Debug)]
pub(super) struct Regions(Box<[Region]>);

#[derive(Clone, Debug)]
struct Region {
    /// `None` for a subdivision that is written alone, of whatever country.
    country: Option<Country>,
    code: Box<str>,
}

impl Regions {
    pub(super) fn read(field: &Field<'_>) -> Result<Self, String> {
        const REMEDY: &str = "write codes of ISO 3166-2, such as \"us-ca\", or \"ca\" next to a country";
        let code = |field: Field<'_>| field.value().as_str().and_then(region).ok_or_else(|| field.is_bad(REMEDY));
        field.values(MAX_VALUES, REMEDY)?.into_iter().map(code).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn holds(&self, place: &Place<'_>) -> bool {
        let Some(code) = place.region else { return false };
        let is_in = |country: Option<Country>| {
            country.is_none_or(|country| place.country.is_some_and(|code| country == code.as_bytes()))
        };
        self.0.iter().any(|region| *region.code == *code && is_in(region.country))
    }
}

#[derive(Clone, Debug)]
pub(super) struct Cities(Box<[Box<str>]>);

impl Cities {
    pub(super) fn read(field: &Field<'_>) -> Result<Self, String> {
        const REMEDY: &str = "write English names, such as \"Paris\"";
        let city = |field: Field<'_>| {
            let folded = folded(field.text(MAX_CITY, REMEDY)?).collect::<String>();
            if folded.is_empty() { Err(field.is_bad(REMEDY)) } else { Ok(folded.into()) }
        };
        field.values(MAX_VALUES, REMEDY)?.into_iter().map(city).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn holds(&self, place: &Place<'_>) -> bool {
        place.city.is_some_and(|city| self.0.iter().any(|wanted| folded(city).eq(wanted.chars())))
    }
}

fn country(text: &str) -> Option<Country> {
    let code = text.trim().to_ascii_lowercase();
    let code = match code.as_str() {
        "uk" => "gb",
        "el" => "gr",
        code => code,
    };
    let code: Country = code.as_bytes().try_into().ok()?;
    COUNTRIES.split_ascii_whitespace().any(|known| code == known.as_bytes()).then_some(code)
}

fn region(text: &str) -> Option<Region> {
    let text = text.trim().to_ascii_lowercase();
    let (country, code) = match text.split_once(['-', '_']) {
        Some((country, code)) => (Some(self::country(country)?), code),
        None => (None, text.as_str()),
    };
    let is_code = (1..=3).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_code.then(|| Region { country, code: code.into() })
}

/// A name without case, accents, spaces and punctuation: `Saint-Étienne` and `saint etienne` are the same.
fn folded(name: &str) -> impl Iterator<Item = char> {
    let plain = name.nfkd().filter(|&character| !is_combining_mark(character));
    plain.flat_map(char::to_lowercase).flat_map(|character| letters(character).chain(other(character)))
}

/// The letters that replace one without a decomposition.
fn letters(character: char) -> impl Iterator<Item = char> {
    let letters = match character {
        'ß' => "ss",
        'æ' => "ae",
        'œ' => "oe",
        'ø' => "o",
        'ł' => "l",
        'đ' | 'ð' => "d",
        'þ' => "th",
        'ħ' => "h",
        'ı' => "i",
        _ => "",
    };
    letters.chars()
}

fn other(character: char) -> Option<char> {
    (character.is_alphanumeric() && letters(character).next().is_none()).then_some(character)
}
