//! The conditions of one rule: all must hold. They are checked in the order of their cost.

use super::{
    super::{asker::Asker, field::Field},
    language::Languages,
    names::{BROWSERS, DEVICES, SYSTEMS, Vocabulary},
    network::Networks,
    place::{Cities, Countries, Regions},
    query::Query,
    referrer::Referrers,
    time::{Clock, Dates},
};

/// The names of all conditions, cheap ones first; `timeZone` belongs to those before it.
const NAMES: &[&str] = &[
    "after", "before", "weekday", "hours", "timeZone", "network", "query", "language", "referrer", "os", "device",
    "browser", "bot", "country", "region", "city", "visitor",
];

/// The conditions of a rule, cheap ones first.
#[derive(Clone, Debug)]
pub(super) struct When(Box<[Condition]>);

#[derive(Clone, Debug)]
enum Condition {
    Dates(Dates),
    Clock(Clock),
    Network(Networks),
    Query(Query),
    Language(Languages),
    Referrer(Referrers),
    Os(Box<[&'static str]>),
    Device(Box<[&'static str]>),
    Browser(Box<[&'static str]>),
    Bot(bool),
    Country(Countries),
    Region(Regions),
    City(Cities),
    Returning(bool),
}

impl When {
    pub(super) fn read(field: &Field<'_>) -> Result<Self, String> {
        field.object("write conditions, such as {\"os\": [\"ios\"]}; {} is everyone")?;
        field.has_only(NAMES)?;
        let mut conditions = Vec::new();
        conditions.extend(Dates::read(field)?.map(Condition::Dates));
        conditions.extend(Clock::read(field)?.map(Condition::Clock));
        if let Some(zone) = field.find("timeZone")
            && conditions.is_empty()
        {
            return Err(
                zone.is_bad("it has no effect without `weekday`, `hours`, `after` or `before`; add one of them")
            );
        }
        for name in NAMES {
            if let Some(value) = field.find(name) {
                conditions.extend(condition(name, &value)?);
            }
        }
        Ok(Self(conditions.into()))
    }

    /// The name of the first condition that does not hold.
    pub(super) fn first_failed(&self, asker: &mut (impl Asker + ?Sized)) -> Option<&'static str> {
        self.0.iter().find(|condition| !condition.holds(asker)).map(Condition::name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(Condition::name)
    }
}

/// A condition with a field of its own.
fn condition(name: &str, value: &Field<'_>) -> Result<Option<Condition>, String> {
    let slugs = |names: &Vocabulary| names.read(value);
    Ok(Some(match name {
        "network" => Condition::Network(Networks::read(value)?),
        "query" => Condition::Query(Query::read(value)?),
        "language" => Condition::Language(Languages::read(value)?),
        "referrer" => Condition::Referrer(Referrers::read(value)?),
        "os" => Condition::Os(slugs(&SYSTEMS)?),
        "device" => Condition::Device(slugs(&DEVICES)?),
        "browser" => Condition::Browser(slugs(&BROWSERS)?),
        "bot" => Condition::Bot(value.value().as_bool().ok_or_else(|| value.is_bad("write true or false"))?),
        "country" => Condition::Country(Countries::read(value)?),
        "region" => Condition::Region(Regions::read(value)?),
        "city" => Condition::City(Cities::read(value)?),
        "visitor" => Condition::Returning(match value.value().as_str() {
            Some("new") => false,
            Some("returning") => true,
            _ => return Err(value.is_bad("write \"new\" or \"returning\"")),
        }),
        _ => return Ok(None),
    }))
}

impl Condition {
    fn holds(&self, asker: &mut (impl Asker + ?Sized)) -> bool {
        let is_one = |slugs: &[&str], slug: Option<&str>| slug.is_some_and(|slug| slugs.contains(&slug));
        match self {
            Self::Dates(dates) => dates.holds(asker.now()),
            Self::Clock(clock) => clock.holds(asker.now()),
            Self::Network(networks) => asker.address().is_some_and(|address| networks.holds(address)),
            Self::Query(query) => query.holds(asker.query()),
            Self::Language(languages) => languages.holds(asker.accept_language()),
            Self::Referrer(referrers) => referrers.holds(asker.referrer()),
            Self::Os(slugs) => is_one(slugs, asker.os()),
            Self::Device(slugs) => is_one(slugs, asker.device()),
            Self::Browser(slugs) => is_one(slugs, asker.browser()),
            Self::Bot(wanted) => asker.is_bot() == *wanted,
            Self::Country(countries) => countries.holds(&asker.place()),
            Self::Region(regions) => regions.holds(&asker.place()),
            Self::City(cities) => cities.holds(&asker.place()),
            Self::Returning(wanted) => asker.is_returning() == *wanted,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Dates(dates) => dates.name(),
            Self::Clock(clock) => clock.name(),
            Self::Network(_) => "network",
            Self::Query(_) => "query",
            Self::Language(_) => "language",
            Self::Referrer(_) => "referrer",
            Self::Os(_) => "os",
            Self::Device(_) => "device",
            Self::Browser(_) => "browser",
            Self::Bot(_) => "bot",
            Self::Country(_) => "country",
            Self::Region(_) => "region",
            Self::City(_) => "city",
            Self::Returning(_) => "visitor",
        }
    }
}
