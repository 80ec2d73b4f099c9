//! Variants: several destinations, of which each visitor gets one, in shares by weight.
//!
//! A variant is picked by a hash of the visitor alone, so the same visitor gets the same one as long as the list stays.
//! The caller decides who is the same visitor.

use serde_json::Value;

use super::{Check, field::Field};

/// Most variants of a link or a rule.
pub const MAX_VARIANTS: usize = 20;

/// Highest weight of a variant.
pub const MAX_WEIGHT: u32 = 1_000_000;

/// Longest name of a rule or a variant, in bytes.
pub const MAX_NAME: usize = 100;

const LIST: &str = r#"write a list such as [{"name": "a", "weight": 1, "destination": "https://www.example.com/a"}]"#;

/// One of several destinations.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Variant {
    /// Unique among the variants of one link or rule.
    pub name: Box<str>,
    /// At least 1: its share is its part of the sum of all weights.
    pub weight: u32,
    /// As the check returned it.
    pub destination: Box<str>,
}

/// The variants of a link or a rule, at least one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Variants {
    first: Variant,
    others: Box<[Variant]>,
    total: u64,
}

impl Variants {
    /// Reads the value of a link's field `variants`.
    ///
    /// # Errors
    /// A message that names field, value and remedy.
    pub fn parse(json: &Value, check: Check) -> Result<Self, String> {
        Self::read(&Field::new("variants", json), check)
    }

    pub(super) fn read(field: &Field<'_>, check: Check) -> Result<Self, String> {
        let mut read: Vec<Variant> = Vec::new();
        for element in field.list(MAX_VARIANTS, LIST)? {
            let variant = variant(&element, check)?;
            if read.iter().any(|earlier| earlier.name == variant.name) {
                let name = element.need("name", "")?;
                return Err(name.is_bad("an earlier variant has this name; give each its own"));
            }
            read.push(variant);
        }
        let total = read.iter().map(|variant| u64::from(variant.weight)).sum();
        let mut read = read.into_iter();
        let first = read.next().ok_or_else(|| field.is_bad(LIST))?;
        Ok(Self { first, others: read.collect(), total })
    }

    /// The variant of a visitor, by a hash whose 64 bits are all random.
    pub fn pick(&self, visitor: u64) -> &Variant {
        let at = ((u128::from(visitor) * u128::from(self.total)) >> 64) as u64;
        let mut end = 0;
        for variant in self.iter() {
            end += u64::from(variant.weight);
            if at < end {
                return variant;
            }
        }
        &self.first
    }

    /// The variants, in the order of the link.
    pub fn iter(&self) -> impl Iterator<Item = &Variant> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

fn variant(field: &Field<'_>, check: Check) -> Result<Variant, String> {
    const WEIGHT: &str = "write a whole number from 1 to 1000000, such as 3";
    field.object(LIST)?;
    field.has_only(&["name", "weight", "destination"])?;
    let name = field.need("name", "give each variant a name, such as \"a\"")?;
    let name = name.text(MAX_NAME, "write a name, such as \"a\"")?.into();
    let weight = match field.find("weight") {
        None => 1,
        Some(weight) => {
            let number = weight.value().as_u64().filter(|number| (1..=u64::from(MAX_WEIGHT)).contains(number));
            number.ok_or_else(|| weight.is_bad(WEIGHT))? as u32
        }
    };
    let destination = field.need("destination", "write where this variant leads")?;
    Ok(Variant { name, weight, destination: self::destination(&destination, check)? })
}

/// A destination, as the check returns it.
pub(super) fn destination(field: &Field<'_>, check: Check) -> Result<Box<str>, String> {
    let text =
        field.value().as_str().ok_or_else(|| field.is_bad("write a URL, such as \"https://www.example.com\""))?;
    check(text).map_err(|problem| field.problem(&format!("is not possible: {problem}")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn parse(json: &Value) -> Result<Variants, String> {
        Variants::parse(json, &|text: &str| Ok(text.into()))
    }

    #[test]
    fn weights_are_shares_and_default_to_equal_ones() {
        let list = json!([{"name": "a", "destination": "x"}, {"name": "b", "weight": 3, "destination": "y"}]);
        let variants = parse(&list).unwrap();
        assert_eq!(variants.iter().map(|variant| variant.weight).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(&*variants.pick(0).name, "a");
        assert_eq!(&*variants.pick(u64::MAX / 4).name, "a");
        assert_eq!(&*variants.pick(u64::MAX / 4 + 2).name, "b");
        assert_eq!(&*variants.pick(u64::MAX).destination, "y");
    }

    #[test]
    fn bad_variants_are_rejected_with_field_value_and_remedy() {
        for (list, message) in [
            (json!([]), "`variants` is empty; write a list such as"),
            (json!({}), "`variants` is {}; write a list such as"),
            (json!([1]), "`variants[0]` is 1; write a list such as"),
            (json!([{"weight": 1, "destination": "x"}]), "`variants[0]` has no `name`; give each"),
            (json!([{"name": "", "destination": "x"}]), "`variants[0].name` is \"\"; write a name"),
            (json!([{"name": "a"}]), "`variants[0]` has no `destination`; write where"),
            (json!([{"name": "a", "destination": 7}]), "`variants[0].destination` is 7; write a URL"),
            (json!([{"name": "a", "weight": 0, "destination": "x"}]), "`variants[0].weight` is 0; write a whole"),
            (json!([{"name": "a", "weight": 0.5, "destination": "x"}]), "`variants[0].weight` is 0.5; write"),
            (json!([{"name": "a", "weight": 1_000_001, "destination": "x"}]), "`variants[0].weight` is 1000001"),
            (
                json!([{"name": "a", "wight": 1, "destination": "x"}]),
                "`variants[0].wight` is unknown; known are name",
            ),
            (
                json!([{"name": "a", "destination": "x"}, {"name": "a", "destination": "y"}]),
                "`variants[1].name` is \"a\"; an earlier variant has this name",
            ),
        ] {
            let error = parse(&list).unwrap_err();
            assert!(error.starts_with(message), "{error}");
        }
        let many: Vec<_> = (0..=MAX_VARIANTS).map(|at| json!({"name": at.to_string(), "destination": "x"})).collect();
        assert_eq!(parse(&Value::Array(many)).unwrap_err(), "`variants` has 21 elements; at most 20 are possible");
        let long = json!([{"name": "a".repeat(101), "destination": "x"}]);
        assert_eq!(parse(&long).unwrap_err(), "`variants[0].name` has 101 bytes; at most 100 are possible");
    }

    #[test]
    fn a_destination_is_checked_and_taken_as_the_check_returns_it() {
        let list = json!([{"name": "a", "destination": "HTTPS://x"}]);
        let lower = |text: &str| Ok(text.to_lowercase().into());
        assert_eq!(&*Variants::parse(&list, &lower).unwrap().pick(7).destination, "https://x");
        let error = Variants::parse(&list, &|_| Err("no host".into())).unwrap_err();
        assert_eq!(error, "`variants[0].destination` is not possible: no host");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(30))]

        #[test]
        fn ten_thousand_visitors_get_shares_within_two_percent(
            weights in proptest::collection::vec(1..=100_u32, 1..=MAX_VARIANTS),
            seed: u64,
        ) {
            let name = |at: usize| format!("v{at}");
            let list = weights.iter().enumerate();
            let list = list.map(|(at, weight)| json!({"name": name(at), "weight": weight, "destination": "x"}));
            let variants = parse(&Value::Array(list.collect())).unwrap();
            let mut counts = vec![0_u32; weights.len()];
            let mut state = seed;
            for _ in 0..10_000 {
                let picked = &variants.pick(splitmix(&mut state)).name;
                counts[(0..weights.len()).find(|&at| **picked == *name(at)).unwrap()] += 1;
            }
            let total = f64::from(weights.iter().sum::<u32>());
            for (count, weight) in counts.iter().zip(&weights) {
                let (share, wanted) = (f64::from(*count) / 10_000.0, f64::from(*weight) / total);
                prop_assert!((share - wanted).abs() < 0.02, "{} instead of {}", share, wanted);
            }
        }
    }

    fn splitmix(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
